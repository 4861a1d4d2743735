//! HTTP/2 by hand: frames as bytes, so that a test can send what no library would.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// RFC 9113 section 7.
pub const PROTOCOL_ERROR: u32 = 1;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// Of RST_STREAM, and of GOAWAY behind its last stream.
    pub fn error_code(&self) -> Option<u32> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(*self.payload.get(at..)?.first_chunk()?))
    }

    /// Whether an answer's head has one of the statuses that HPACK's static table knows (RFC 7541
    /// appendix A): 200, 204, 206, 304, 400, 404, 500.
    pub fn has_status(&self, status: u16) -> bool {
        let place = [200, 204, 206, 304, 400, 404, 500].iter().position(|known| *known == status);
        let place = place.and_then(|place| u8::try_from(place).ok()).map(|place| 0x88 + place);
        self.kind == HEADERS && place.is_some() && self.payload.first().copied() == place
    }
}

/// A frame's bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut bytes = Vec::with_capacity(9 + payload.len());
    bytes.extend(length.iter().skip(1));
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as HPACK literals that nobody remembers.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            length(&mut bytes, text.len());
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// RFC 7541 section 5.1, with a prefix of seven bits.
fn length(bytes: &mut Vec<u8>, length: usize) {
    let octet = |value: usize| u8::try_from(value).unwrap_or(u8::MAX);
    let Some(mut rest) = length.checked_sub(127) else { return bytes.push(octet(length)) };
    bytes.push(127);
    while rest >= 128 {
        bytes.push(octet(rest % 128) | 128);
        rest /= 128;
    }
    bytes.push(octet(rest));
}

/// The head of a request for `a.example`.
pub fn request(stream: u32, flags: u8, method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a.example")];
    frame(HEADERS, flags | END_HEADERS, stream, &block(&[&pseudo, fields].concat()))
}

pub fn get(stream: u32, path: &str) -> Vec<u8> {
    request(stream, END_STREAM, "GET", path, &[])
}

/// A client's end, its settings sent.
pub struct Connection<S> {
    pub stream: S,
}

impl<S: Read + Write> Connection<S> {
    pub fn begin(stream: S) -> Result<Self> {
        Self::begin_with(stream, &[])
    }

    /// `settings` are pairs of identifier and value.
    pub fn begin_with(stream: S, settings: &[(u16, u32)]) -> Result<Self> {
        let mut connection = Self { stream };
        let pairs = settings.iter().flat_map(|(name, value)| {
            name.to_be_bytes().into_iter().chain(value.to_be_bytes()).collect::<Vec<_>>()
        });
        let payload: Vec<u8> = pairs.collect();
        connection.send(&[PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat())?;
        Ok(connection)
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("sending frames")
    }

    /// The next frame; None at the connection's end.
    pub fn read(&mut self) -> Result<Option<Frame>> {
        let mut head = [0; 9];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if is_end(&error) => return Ok(None),
            Err(error) => return Err(error).context("waiting for a frame"),
        }
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        self.stream.read_exact(&mut payload).context("in the middle of a frame")?;
        Ok(Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload }))
    }

    /// The first frame that `wanted` says yes to.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Frame) -> bool) -> Result<Frame> {
        let mut before = Vec::new();
        while let Some(frame) = self.read()? {
            if wanted(&frame) {
                return Ok(frame);
            }
            before.push(format!("{}/{}/{}", frame.kind, frame.flags, frame.stream));
        }
        bail!("the connection ended before {what}; kind/flags/stream: {}", before.join(" "))
    }

    /// A stream's answer: its head, and its body's bytes to the end.
    pub fn answer(&mut self, stream: u32) -> Result<(Frame, Vec<u8>)> {
        let head = self.until("an answer", |frame| frame.stream == stream && frame.kind == HEADERS)?;
        let (mut body, mut is_over) = (Vec::new(), head.ends_stream());
        while !is_over {
            let piece = self.until("a body's end", |frame| frame.stream == stream)?;
            is_over = piece.ends_stream();
            match piece.kind {
                DATA => body.extend(piece.payload),
                RST_STREAM => bail!("reset with {:?}", piece.error_code()),
                _ => {}
            }
        }
        Ok((head, body))
    }
}

fn is_end(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;

    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}
