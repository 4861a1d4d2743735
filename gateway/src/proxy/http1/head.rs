//! A head's bytes to a request or an answer. Lines end with CR LF and nothing else; nothing is repaired.
//! httparse cuts the head up, once, when it is whole: a head that comes byte by byte is only scanned.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes, BytesMut};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};

use super::Malformed;
use super::framing::cut;
use super::lines::Lines;
use super::marks::Marks;

/// Fields that are cut up without an allocation.
const FIELDS_INLINE: usize = 100;
/// Fields that we add to a head; room for them is made with it.
const ROOM: usize = 3;
/// A method is a short word; no registered one has more than 18 letters.
const METHOD_BYTES_MAX: usize = 32;

/// Empty lines before a request: old clients send one behind a body (section 2.2).
const EMPTY_LINES_MAX: usize = 4;

/// Bounds of a head.
#[derive(Clone, Copy, Debug)]
pub struct HeadBounds {
    pub bytes: usize,
    pub fields: usize,
    /// Bytes of the request target.
    pub target: usize,
}

/// Why a head is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    Malformed(Malformed),
    UriTooLong,
    /// Too many bytes or fields.
    TooLarge,
    /// HTTP, of a version that is not spoken here.
    Version,
}

impl From<Malformed> for HeadError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// How far a head that is still coming was scanned.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    /// Read over before the head.
    empty_lines: usize,
    seen: usize,
    line: usize,
}

impl Scan {
    /// Behind the empty line that ends the head; None: not yet.
    fn end(&mut self, input: &[u8]) -> Result<Option<usize>, Malformed> {
        let fresh = input.get(self.seen..).unwrap_or_default();
        for at in memchr::memchr_iter(b'\n', fresh).map(|at| at + self.seen) {
            if at.checked_sub(1).and_then(|before| input.get(before)) != Some(&b'\r') {
                return Err(Malformed("line_end"));
            }
            if at == self.line + 1 {
                return Ok(Some(at + 1));
            }
            self.line = at + 1;
        }
        self.seen = input.len();
        Ok(None)
    }
}

/// The request at the beginning of `input`, taken out of it; None: not whole yet.
pub fn request(
    input: &mut BytesMut,
    scan: &mut Scan,
    bounds: &HeadBounds,
) -> Result<Option<(Request<()>, Marks)>, HeadError> {
    // Section 2.2: an empty line before a request is read over.
    while scan.seen == 0 && input.starts_with(b"\r\n") {
        input.advance(2);
        scan.empty_lines += 1;
        if scan.empty_lines > EMPTY_LINES_MAX {
            return Err(Malformed("empty_lines").into());
        }
    }
    if scan.seen == 0 && **input == *b"\r" {
        return Ok(None);
    }
    let end = match head_end(input, scan, bounds) {
        Ok(Some(end)) => end,
        Ok(None) => return Ok(None),
        // Garbage has no lines either; what is wrong with it is better said of its first line.
        Err(error) => return Err(first_line(within(input, bounds), bounds).err().unwrap_or(error)),
    };
    first_line(input, bounds)?;
    let head = cut(input, end).freeze();
    *scan = Scan::default();
    with_fields(bounds.fields, |fields| parse_request(&head, fields)).map(Some)
}

/// An answer's head.
pub struct Answer {
    /// Its fields are in `lines` where those are.
    pub head: Response<()>,
    pub marks: Marks,
    pub lines: Option<Lines>,
}

/// What becomes of an answer's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fields {
    /// Somebody reads or changes them.
    Read,
    /// They are sent on over HTTP/1 as they are.
    SentOn,
}

/// The answer at the beginning of `input`, taken out of it; None: not whole yet.
pub fn answer(
    input: &mut BytesMut,
    scan: &mut Scan,
    bounds: &HeadBounds,
    fields: Fields,
) -> Result<Option<Answer>, HeadError> {
    let Some(end) = head_end(input, scan, bounds)? else { return Ok(None) };
    let head = cut(input, end).freeze();
    *scan = Scan::default();
    with_fields(bounds.fields, |cut| parse_answer(&head, cut, fields)).map(Some)
}

/// Behind the head; None: not yet.
fn head_end(input: &[u8], scan: &mut Scan, bounds: &HeadBounds) -> Result<Option<usize>, HeadError> {
    let within = within(input, bounds);
    match scan.end(within)? {
        Some(end) if end <= bounds.bytes => Ok(Some(end)),
        None if within.len() <= bounds.bytes => Ok(None),
        Some(_) | None => Err(HeadError::TooLarge),
    }
}

/// A byte more than a head may have: what is beyond is not looked at, so that one answer comes of the same
/// bytes however they come.
fn within<'a>(input: &'a [u8], bounds: &HeadBounds) -> &'a [u8] {
    input.get(..=bounds.bytes).unwrap_or(input)
}

type Cut<'a> = [MaybeUninit<httparse::Header<'a>>];

fn with_fields<'a, T>(most: usize, parse: impl FnOnce(&mut Cut<'a>) -> T) -> T {
    if most <= FIELDS_INLINE {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS_INLINE];
        return parse(fields.get_mut(..most).unwrap_or_default());
    }
    let mut fields: Vec<_> = std::iter::repeat_with(MaybeUninit::uninit).take(most).collect();
    parse(&mut fields)
}

fn parse_request<'a>(head: &'a Bytes, fields: &mut Cut<'a>) -> Result<(Request<()>, Marks), HeadError> {
    let malformed = Malformed("head");
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, fields) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Ok(httparse::Status::Partial) | Err(_) => return Err(malformed.into()),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(malformed.into());
    };
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|_| malformed)?;
    *request.uri_mut() = uri(head.slice_ref(target.as_bytes()))?;
    *request.version_mut() = version(minor);
    let (headers, marks) = header_map(head, parsed.headers, ROOM)?;
    *request.headers_mut() = headers;
    Ok((request, marks))
}

/// A fragment never belongs into a target (section 3.2), and the parser would drop it in silence.
fn uri(target: Bytes) -> Result<Uri, HeadError> {
    let malformed = Malformed("target");
    if memchr::memchr(b'#', &target).is_some() {
        return Err(malformed.into());
    }
    Ok(Uri::from_maybe_shared(target).map_err(|_| malformed)?)
}

fn parse_answer<'a>(head: &'a Bytes, cut: &mut Cut<'a>, fields: Fields) -> Result<Answer, HeadError> {
    let malformed = Malformed("head");
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, cut) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Ok(httparse::Status::Partial) | Err(_) => return Err(malformed.into()),
    }
    let (Some(code), Some(minor)) = (parsed.code, parsed.version) else { return Err(malformed.into()) };
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(code).map_err(|_| malformed)?;
    *response.version_mut() = version(minor);
    if fields == Fields::SentOn
        && !response.status().is_informational()
        && let Some((lines, marks)) = Lines::of(head.len(), parsed.headers)
    {
        return Ok(Answer { head: response, marks, lines: Some(lines) });
    }
    let (headers, marks) = header_map(head, parsed.headers, 0)?;
    *response.headers_mut() = headers;
    Ok(Answer { head: response, marks, lines: None })
}

fn version(minor: u8) -> Version {
    if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 }
}

/// Values share the head's bytes; `room` is for fields that will be added.
fn header_map(
    head: &Bytes,
    fields: &[httparse::Header<'_>],
    room: usize,
) -> Result<(HeaderMap, Marks), HeadError> {
    let malformed = Malformed("head");
    let mut headers = HeaderMap::with_capacity(fields.len() + room);
    let mut marks = Marks::default();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| malformed)?;
        if !marks.note(name.as_str().as_bytes(), field.value) {
            let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value)).map_err(|_| malformed)?;
            headers.append(name, value);
        }
    }
    Ok((headers, marks))
}

/// What a request's first line must look like before a parser sees it.
fn first_line(input: &[u8], bounds: &HeadBounds) -> Result<(), HeadError> {
    let line = memchr::memchr2(b'\r', b'\n', input).and_then(|end| input.get(..end)).unwrap_or(input);
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    if method.is_none_or(|method| method.is_empty() || method.len() > METHOD_BYTES_MAX) {
        return Err(Malformed("method").into());
    }
    if target.is_some_and(|target| target.len() > bounds.target) {
        return Err(HeadError::UriTooLong);
    }
    match version {
        Some(version) if is_other_version(version) => Err(HeadError::Version),
        _ => Ok(()),
    }
}

fn is_other_version(version: &[u8]) -> bool {
    let Some(&[major, b'.', minor]) = version.strip_prefix(b"HTTP/") else { return false };
    major.is_ascii_digit() && minor.is_ascii_digit() && (major, minor) > (b'1', b'1')
}
