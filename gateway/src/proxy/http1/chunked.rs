//! A chunked body (RFC 9112 section 7.1). Every line ends with CR LF; sizes are hexadecimal digits and
//! nothing else; extensions are read over and thrown away, within a bound over the whole body.

use bytes::{Buf as _, BytesMut};
use http_body::Frame;
use hyper::HeaderMap;
use hyper::header::{
    AGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, COOKIE, DATE, EXPECT, EXPIRES, HOST, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LOCATION, MAX_FORWARDS, PRAGMA, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, RANGE, RETRY_AFTER, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VARY,
    WWW_AUTHENTICATE,
};

use super::Malformed;
use super::framing::{Step, cut, take};
use crate::proxy::forward::{says_who, strip_hop_by_hop};

/// Bytes of a line with a chunk's size and its extensions.
const LINE_BYTES_MAX: usize = 1_024;
/// Bytes of all extensions of a body.
const EXTENSION_BYTES_MAX: usize = 8_192;
/// Bytes of the trailer section.
const TRAILER_BYTES_MAX: usize = 16_384;
const TRAILERS_MAX: usize = 64;
/// Digits of a chunk's size; leading zeros count.
const SIZE_DIGITS_MAX: usize = 16;

/// What frames, routes, controls or authorises a message, and so may not stand in trailers (RFC 9110
/// section 6.5.1); neither may what says who sent it.
const NO_TRAILERS: [HeaderName; 32] = [
    AGE,
    AUTHORIZATION,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    COOKIE,
    DATE,
    EXPECT,
    EXPIRES,
    HOST,
    IF_MATCH,
    IF_MODIFIED_SINCE,
    IF_NONE_MATCH,
    IF_RANGE,
    IF_UNMODIFIED_SINCE,
    LOCATION,
    MAX_FORWARDS,
    PRAGMA,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    RANGE,
    RETRY_AFTER,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    VARY,
    WWW_AUTHENTICATE,
];

#[derive(Debug, Default)]
pub struct Chunked {
    at: At,
    extension_bytes: usize,
    /// What Connection lists goes no further as a trailer either (RFC 9110 section 7.6.1).
    listed: Vec<HeaderName>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default)]
enum At {
    #[default]
    Size,
    Data {
        left: u64,
    },
    /// The CR LF behind a chunk's data.
    DataEnd,
    Trailers,
}

impl Chunked {
    pub fn without(listed: Vec<HeaderName>) -> Self {
        Self { listed, ..Self::default() }
    }

    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Step, Malformed> {
        loop {
            match self.at {
                At::Size => {
                    let Some(end) = line_end(input, LINE_BYTES_MAX)? else { return Ok(Step::More) };
                    let line = input.split_to(end);
                    let size = self.size(line.strip_suffix(b"\r\n").unwrap_or(&line))?;
                    self.at = if size == 0 { At::Trailers } else { At::Data { left: size } };
                }
                At::Data { .. } if input.is_empty() => return Ok(Step::More),
                At::Data { left } => {
                    let data = take(input, left);
                    let left = left - data.len() as u64;
                    self.at = if left == 0 { At::DataEnd } else { At::Data { left } };
                    return Ok(Step::Frame(Frame::data(data)));
                }
                At::DataEnd => match (input.first(), input.get(1)) {
                    (None, _) | (Some(b'\r'), None) => return Ok(Step::More),
                    (Some(b'\r'), Some(b'\n')) => {
                        input.advance(2);
                        self.at = At::Size;
                    }
                    _ => return Err(Malformed("chunk")),
                },
                At::Trailers => return trailers(input, &self.listed),
            }
        }
    }

    fn size(&mut self, line: &[u8]) -> Result<u64, Malformed> {
        let malformed = Malformed("chunk");
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let (size, extensions) = line.split_at_checked(digits).ok_or(malformed)?;
        if digits == 0 || digits > SIZE_DIGITS_MAX {
            return Err(malformed);
        }
        // Blank space may stand before the ';' (section 7.1.1), and nowhere else behind a size.
        let is_text = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
        let begins = extensions.is_empty() || extensions.trim_ascii_start().starts_with(b";");
        if !begins || !extensions.iter().all(is_text) {
            return Err(malformed);
        }
        self.extension_bytes += extensions.len();
        if self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(Malformed("chunk_extensions"));
        }
        let text = std::str::from_utf8(size).map_err(|_| malformed)?;
        u64::from_str_radix(text, 16).map_err(|_| malformed)
    }
}

/// Where the line at the beginning ends, its CR LF included; None: not yet.
fn line_end(input: &[u8], most: usize) -> Result<Option<usize>, Malformed> {
    match memchr::memchr2(b'\r', b'\n', input) {
        Some(at) if at > most => Err(Malformed("chunk")),
        Some(at) => match (input.get(at), input.get(at + 1)) {
            (Some(b'\r'), None) => Ok(None),
            (Some(b'\r'), Some(b'\n')) => Ok(Some(at + 2)),
            _ => Err(Malformed("chunk")),
        },
        None if input.len() > most => Err(Malformed("chunk")),
        None => Ok(None),
    }
}

fn trailers(input: &mut BytesMut, listed: &[HeaderName]) -> Result<Step, Malformed> {
    let malformed = Malformed("trailers");
    let Some(end) = section_end(input)? else {
        return if input.len() > TRAILER_BYTES_MAX { Err(malformed) } else { Ok(Step::More) };
    };
    let section = cut(input, end).freeze();
    if section.len() > TRAILER_BYTES_MAX {
        return Err(malformed);
    }
    if section.len() == 2 {
        return Ok(Step::Done);
    }
    let mut fields = [httparse::EMPTY_HEADER; TRAILERS_MAX];
    let (_, fields) = match httparse::parse_headers(&section, &mut fields) {
        Ok(httparse::Status::Complete(parsed)) => parsed,
        Ok(httparse::Status::Partial) | Err(_) => return Err(malformed),
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| malformed)?;
        let value = HeaderValue::from_maybe_shared(section.slice_ref(field.value)).map_err(|_| malformed)?;
        if !listed.contains(&name) {
            trailers.append(name, value);
        }
    }
    keep_trailers(&mut trailers);
    Ok(if trailers.is_empty() { Step::Done } else { Step::Frame(Frame::trailers(trailers)) })
}

/// Takes out what may not stand there, from whatever version they came.
pub fn keep_trailers(trailers: &mut HeaderMap) {
    strip_hop_by_hop(trailers);
    let may_not = |name: &HeaderName| NO_TRAILERS.contains(name) || says_who(name.as_str());
    let names: Vec<HeaderName> = trailers.keys().filter(|name| may_not(name)).cloned().collect();
    for name in names {
        trailers.remove(name);
    }
}

/// Behind the empty line that ends the trailer section; a bare CR or LF is refused.
fn section_end(input: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut line = 0;
    for at in memchr::memchr_iter(b'\n', input) {
        if at.checked_sub(1).and_then(|before| input.get(before)) != Some(&b'\r') {
            return Err(Malformed("trailers"));
        }
        if at == line + 1 {
            return Ok(Some(at + 1));
        }
        line = at + 1;
    }
    Ok(None)
}
