//! Which body follows a head, and where it ends (RFC 9112 section 6.3).

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use hyper::{HeaderMap, Method, StatusCode, Version};

use super::Malformed;
use super::chunked::Chunked;
use super::marks::Marks;
use crate::proxy::forward::listed;

/// Reads the body that follows a head.
#[derive(Debug)]
pub enum Decoder {
    /// There is none, or it was read to its end.
    Done,
    /// As many bytes are to come.
    Length(u64),
    Chunked(Box<Chunked>),
    /// An answer of an upstream that ends with its connection.
    UntilClose,
}

/// What a decoder finds in the bytes that came.
#[derive(Debug)]
pub enum Step {
    Frame(Frame<Bytes>),
    /// The bytes are used up.
    More,
    Done,
}

impl Decoder {
    /// Both lengths at once are a sign of smuggling (section 6.1), and so is each oddity in one.
    pub fn of_request(version: Version, headers: &HeaderMap, marks: Marks) -> Result<Self, Malformed> {
        let coded = is_chunked(headers, marks)?;
        let length = length(headers, marks)?;
        match (coded, length) {
            (true, Some(_)) => Err(Malformed("both_lengths")),
            (true, None) if version < Version::HTTP_11 => Err(Malformed("transfer_encoding")),
            (true, None) => Ok(Self::chunked(headers)),
            (false, None | Some(0)) => Ok(Self::Done),
            (false, Some(length)) => Ok(Self::Length(length)),
        }
    }

    pub fn of_answer(
        method: &Method,
        status: StatusCode,
        version: Version,
        headers: &HeaderMap,
        marks: Marks,
    ) -> Result<Self, Malformed> {
        let coded = is_chunked(headers, marks)?;
        let length = length(headers, marks)?;
        let bodiless = *method == Method::HEAD
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match (coded, length) {
            (true, Some(_)) => Err(Malformed("both_lengths")),
            (true, None) if version < Version::HTTP_11 => Err(Malformed("transfer_encoding")),
            _ if bodiless => Ok(Self::Done),
            (true, None) => Ok(Self::chunked(headers)),
            (false, Some(0)) => Ok(Self::Done),
            (false, Some(length)) => Ok(Self::Length(length)),
            (false, None) => Ok(Self::UntilClose),
        }
    }

    fn chunked(headers: &HeaderMap) -> Self {
        Self::Chunked(Box::new(Chunked::without(listed(headers))))
    }

    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Step, Malformed> {
        match self {
            Self::Done => Ok(Step::Done),
            Self::Length(0) => {
                *self = Self::Done;
                Ok(Step::Done)
            }
            Self::Length(_) | Self::UntilClose if input.is_empty() => Ok(Step::More),
            Self::UntilClose => Ok(Step::Frame(Frame::data(std::mem::take(input).freeze()))),
            Self::Length(left) => {
                let data = take(input, *left);
                *left -= data.len() as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Step::Frame(Frame::data(data)))
            }
            Self::Chunked(chunked) => {
                let step = chunked.decode(input)?;
                if matches!(step, Step::Done) || matches!(&step, Step::Frame(frame) if frame.is_trailers()) {
                    *self = Self::Done;
                }
                Ok(step)
            }
        }
    }

    /// The peer closed: whether that is the body's end.
    pub fn ends_with_connection(&self) -> bool {
        matches!(self, Self::UntilClose | Self::Done)
    }

    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done | Self::Length(0))
    }

    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::Done => SizeHint::with_exact(0),
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Chunked(_) | Self::UntilClose => SizeHint::default(),
        }
    }
}

/// At most `most` of the bytes that came.
pub(super) fn take(input: &mut BytesMut, most: u64) -> Bytes {
    let most = usize::try_from(most).unwrap_or(usize::MAX).min(input.len());
    cut(input, most).freeze()
}

/// The first `bytes` of what came. What is used up holds nothing any more: an empty rest would keep all of its
/// place.
pub(super) fn cut(input: &mut BytesMut, bytes: usize) -> BytesMut {
    if bytes == input.len() { std::mem::take(input) } else { input.split_to(bytes) }
}

/// Digits and nothing else, once: a list of equal ones may be refused too (section 6.3).
fn length(headers: &HeaderMap, marks: Marks) -> Result<Option<u64>, Malformed> {
    if marks.has_odd_framing() && headers.contains_key(CONTENT_LENGTH) {
        return Err(Malformed("content_length"));
    }
    Ok(marks.length())
}

/// Other codings, and `chunked` last (section 6.1): nothing is wrong with that, and nobody here undoes them.
pub const OTHER_CODING: Malformed = Malformed("other_coding");

/// `chunked` and nothing else: no other coding is undone here, so none can be passed on.
fn is_chunked(headers: &HeaderMap, marks: Marks) -> Result<bool, Malformed> {
    if !marks.has_odd_framing() {
        return Ok(marks.is_chunked());
    }
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Ok(marks.is_chunked()),
        (Some(line), None) if !marks.is_chunked() && is_other_coding(line.as_bytes()) => Err(OTHER_CODING),
        (Some(_), _) => Err(Malformed("transfer_encoding")),
    }
}

fn is_other_coding(list: &[u8]) -> bool {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let is_token = |coding: &[u8]| HeaderName::from_bytes(coding).is_ok();
    let mut codings = list.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    codings.next().is_some_and(is_chunked) && codings.all(|coding| is_token(coding) && !is_chunked(coding))
}
