//! Bytes to the messages that they are read as, and back to bytes, without a connection: what one side of
//! the proxy would write of what came on the other. For the fuzzer and for property tests, in which the
//! parts are put together as `server` and `link` do.

use bytes::BytesMut;
use http_body::Frame;
use hyper::header::{CONTENT_LENGTH, DATE, HeaderValue};
use hyper::http::{request, response};
use hyper::{HeaderMap, Method, Version};

use super::Malformed;
use super::encode::{self, Date, Framing, LAST_CHUNK, Persistence};
use super::framing::{Decoder, Step};
pub use super::head::HeadBounds;
use super::head::{self, Fields, HeadError, Scan};
use super::lines::Lines;
use super::output::Output;

#[cfg(test)]
mod tests;

/// A larger one would not be copied behind what waits.
const PIECE_BYTES: usize = 4_096;

/// Whose messages they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Requests.
    Client,
    /// Answers to GET.
    Upstream,
}

/// What became of some bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Whole messages in the form in which they are sent on, each body in one piece.
    pub written: Vec<u8>,
    /// What was wrong behind them.
    pub refused: Option<&'static str>,
    /// What came and is no whole message yet.
    pub is_within: bool,
}

/// Reads the pieces one by one, as from a connection that is closed behind them.
pub fn read<'a>(whose: Whose, bounds: HeadBounds, pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut reader = Reader {
        whose,
        bounds,
        input: BytesMut::new(),
        scan: Scan::default(),
        message: None,
        written: BytesMut::new(),
    };
    let mut refused = None;
    for piece in pieces {
        reader.input.extend_from_slice(piece);
        refused = refused.or_else(|| reader.advance().err().map(reason));
    }
    if refused.is_none()
        && reader.message.as_ref().is_some_and(|message| message.decoder.ends_with_connection())
    {
        reader.finish(None);
    }
    let is_within = reader.message.is_some() || !reader.input.is_empty();
    Read { written: reader.written.to_vec(), refused, is_within }
}

struct Reader {
    whose: Whose,
    bounds: HeadBounds,
    input: BytesMut,
    scan: Scan,
    message: Option<Message>,
    written: BytesMut,
}

struct Message {
    head: Head,
    framing: Framing,
    decoder: Decoder,
    body: BytesMut,
}

enum Head {
    Request(request::Parts),
    Answer(response::Parts, Option<Lines>),
}

impl Reader {
    /// As far as the bytes go.
    fn advance(&mut self) -> Result<(), HeadError> {
        loop {
            let Some(message) = &mut self.message else {
                self.message = self.head()?;
                if self.message.is_none() {
                    return Ok(());
                }
                continue;
            };
            match message.decoder.decode(&mut self.input)? {
                Step::More => return Ok(()),
                Step::Done => self.finish(None),
                Step::Frame(frame) => match frame.into_data() {
                    Ok(data) => message.body.extend_from_slice(&data),
                    Err(frame) => self.finish(frame.into_trailers().ok()),
                },
            }
        }
    }

    fn head(&mut self) -> Result<Option<Message>, HeadError> {
        let (input, scan, bounds) = (&mut self.input, &mut self.scan, &self.bounds);
        let (head, framing, decoder) = match self.whose {
            Whose::Client => {
                let Some((request, marks)) = head::request(input, scan, bounds)? else { return Ok(None) };
                let decoder = Decoder::of_request(request.version(), request.headers(), marks)?;
                let framing = Framing::of_request(request.method(), &decoder.size_hint());
                (Head::Request(request.into_parts().0), framing, decoder)
            }
            Whose::Upstream => {
                let answer = head::answer(input, scan, bounds, Fields::SentOn)?;
                let Some(head::Answer { head: mut answer, marks, lines }) = answer else { return Ok(None) };
                let (status, version) = (answer.status(), answer.version());
                let decoder = Decoder::of_answer(&Method::GET, status, version, answer.headers(), marks)?;
                if let (Decoder::Done, Some(length)) = (&decoder, marks.length()) {
                    answer.headers_mut().insert(CONTENT_LENGTH, length.into());
                }
                let size = decoder.size_hint();
                let framing = Framing::of_answer(&Method::GET, status, Version::HTTP_11, &size);
                (Head::Answer(answer.into_parts().0, lines), framing, decoder)
            }
        };
        Ok(Some(Message { head, framing, decoder, body: BytesMut::new() }))
    }

    /// Writes the message, whose body is whole.
    fn finish(&mut self, trailers: Option<HeaderMap>) {
        let Some(Message { head, framing, body, .. }) = self.message.take() else { return };
        let out = &mut self.written;
        match head {
            Head::Request(head) => encode::request_head(out, &head, framing),
            Head::Answer(mut head, lines) => {
                if !lines.as_ref().is_some_and(|lines| lines.has_date) {
                    // The clock's has no place in a law.
                    head.headers.entry(DATE).or_insert(HeaderValue::from_static("now"));
                }
                encode::answer_head(out, &head, lines.as_ref(), framing, Persistence::Keep, &Date::new());
            }
        }
        let mut output = Output::default();
        for part in body.chunks(PIECE_BYTES) {
            encode::piece(&mut output, framing, Frame::data(bytes::Bytes::copy_from_slice(part)));
        }
        match (framing, trailers) {
            (Framing::Chunked, Some(trailers)) => {
                encode::piece(&mut output, framing, Frame::trailers(trailers))
            }
            (Framing::Chunked, None) => output.encoded.extend_from_slice(LAST_CHUNK),
            _ => {}
        }
        out.extend_from_slice(&output.encoded);
    }
}

const fn reason(error: HeadError) -> &'static str {
    match error {
        HeadError::Malformed(Malformed(reason)) => reason,
        HeadError::UriTooLong => "uri_too_long",
        HeadError::TooLarge => "too_large",
        HeadError::Version => "version",
    }
}
