//! Heads and pieces of bodies in the one form that we write: framing by us, names in lower case, one
//! field a line.

use std::cell::{Cell, Ref, RefCell};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use hyper::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use hyper::http::{request, response};
use hyper::{HeaderMap, Method, StatusCode, Version};

use super::lines::Lines;
use super::output::Output;

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Neither a body nor a word about one.
    None,
    /// No body follows; the head's own Content-Length says what a GET would bring.
    Described,
    Length(u64),
    Chunked,
    UntilClose,
}

impl Framing {
    /// Of a request on its way to an upstream.
    pub fn of_request(method: &Method, size: &SizeHint) -> Self {
        match size.exact() {
            // RFC 9110 section 8.6: a method that gives a body a meaning says that there is none.
            Some(0) if matches!(*method, Method::POST | Method::PUT | Method::PATCH) => Self::Length(0),
            Some(0) => Self::None,
            Some(length) => Self::Length(length),
            None => Self::Chunked,
        }
    }

    /// Of an answer on its way to a client.
    pub fn of_answer(method: &Method, status: StatusCode, version: Version, size: &SizeHint) -> Self {
        if status.is_informational() || status == StatusCode::NO_CONTENT {
            return Self::None;
        }
        if *method == Method::HEAD || status == StatusCode::NOT_MODIFIED {
            return Self::Described;
        }
        match size.exact() {
            Some(length) => Self::Length(length),
            None if version >= Version::HTTP_11 => Self::Chunked,
            None => Self::UntilClose,
        }
    }

    /// A body that its sender has at hand when it sends the head.
    pub fn is_short(self) -> bool {
        matches!(self, Self::Length(length) if length <= SHORT_BYTES_MAX)
    }

    /// Whether bytes of a body follow the head.
    pub fn has_body(self) -> bool {
        matches!(self, Self::Length(_) | Self::Chunked | Self::UntilClose)
    }

    fn write(self, out: &mut BytesMut, headers: &HeaderMap) {
        match self {
            Self::None | Self::UntilClose => {}
            Self::Described => {
                if let Some(length) = headers.get(CONTENT_LENGTH) {
                    field(out, b"content-length", length.as_bytes());
                }
            }
            Self::Length(length) => {
                field(out, b"content-length", itoa::Buffer::new().format(length).as_bytes());
            }
            Self::Chunked => field(out, b"transfer-encoding", b"chunked"),
        }
    }
}

/// Of a body whose first bytes the head waits for.
const SHORT_BYTES_MAX: u64 = 64 * 1024;
/// Room for a head of usual size.
const HEAD_BYTES: usize = 512;

/// A request's head; its target is the URI's path and query.
pub fn request_head(out: &mut BytesMut, head: &request::Parts, framing: Framing) {
    out.reserve(HEAD_BYTES);
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.extend_from_slice(b" ");
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    if !target.starts_with('/') {
        // An absolute form may have a query and no path.
        out.extend_from_slice(b"/");
    }
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if fields(out, &head.headers).upgrade {
        field(out, b"connection", b"upgrade");
    }
    framing.write(out, &head.headers);
    out.extend_from_slice(b"\r\n");
}

/// What a client's connection does after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    Keep,
    /// Kept for a client of HTTP/1.0, which must be told.
    KeepTold,
    Close,
    /// The connection becomes another protocol's.
    Upgrade,
}

/// The head of an answer, whose fields are in `lines` where those are.
pub fn answer_head(
    out: &mut BytesMut,
    head: &response::Parts,
    lines: Option<&Lines>,
    framing: Framing,
    persistence: Persistence,
    date: &Date,
) {
    out.reserve(HEAD_BYTES + lines.map_or(0, |lines| lines.encoded.len()));
    // Section 2.3: a server answers with its own version, whatever the client's.
    status_line(out, head.status);
    let mut own = fields(out, &head.headers);
    if let Some(lines) = lines {
        out.extend_from_slice(&lines.encoded);
        own.date |= lines.has_date;
    }
    if !own.date && !head.status.is_informational() {
        date.write(out);
    }
    framing.write(out, &head.headers);
    match persistence {
        Persistence::Keep => {}
        Persistence::KeepTold => field(out, b"connection", b"keep-alive"),
        Persistence::Close => field(out, b"connection", b"close"),
        Persistence::Upgrade => field(out, b"connection", b"upgrade"),
    }
    out.extend_from_slice(b"\r\n");
}

/// An interim answer (1xx) as it came.
pub fn interim_head(out: &mut BytesMut, status: StatusCode, headers: &HeaderMap) {
    status_line(out, status);
    fields(out, headers);
    out.extend_from_slice(b"\r\n");
}

fn status_line(out: &mut BytesMut, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.extend_from_slice(b" ");
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// All but what frames the message and what the connection's end says, which we write ourselves.
fn fields(out: &mut BytesMut, headers: &HeaderMap) -> Own {
    let mut own = Own::default();
    for (name, value) in headers {
        own.date |= *name == DATE;
        own.upgrade |= *name == UPGRADE;
        if *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING && *name != CONNECTION {
            field(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    own
}

/// What a head has of its own.
#[derive(Clone, Copy, Default)]
struct Own {
    date: bool,
    upgrade: bool,
}

fn field(out: &mut BytesMut, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A piece of a body behind what waits.
pub fn piece(output: &mut Output, framing: Framing, frame: Frame<Bytes>) {
    match (framing, frame.into_data()) {
        (Framing::Chunked, Ok(data)) if !data.is_empty() => {
            use std::fmt::Write as _;

            // Writing to BytesMut does not fail.
            write!(output.encoded, "{:x}\r\n", data.len()).unwrap_or(());
            output.push(data, b"\r\n");
        }
        (Framing::Length(_) | Framing::UntilClose, Ok(data)) => output.push(data, b""),
        (Framing::Chunked, Err(frame)) => {
            if let Ok(trailers) = frame.into_trailers() {
                output.encoded.extend_from_slice(b"0\r\n");
                fields(&mut output.encoded, &trailers);
                output.encoded.extend_from_slice(b"\r\n");
            }
        }
        (Framing::None | Framing::Described | Framing::Chunked, Ok(_)) | (_, Err(_)) => {}
    }
}

/// The end of a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The Date field's text, made once a second.
pub struct Date {
    second: Cell<u64>,
    text: RefCell<Vec<u8>>,
}

impl Date {
    pub fn new() -> Self {
        Self { second: Cell::new(u64::MAX), text: RefCell::default() }
    }

    fn write(&self, out: &mut BytesMut) {
        field(out, b"date", &self.fresh());
    }

    /// For who does not write heads himself.
    pub fn value(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.fresh()).ok()
    }

    fn fresh(&self) -> Ref<'_, Vec<u8>> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let mut text = self.text.borrow_mut();
        if self.second.replace(since.as_secs()) != since.as_secs() {
            *text = httpdate::fmt_http_date(UNIX_EPOCH + since).into_bytes();
        }
        drop(text);
        self.text.borrow()
    }
}
