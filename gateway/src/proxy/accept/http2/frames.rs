//! The frames in a stream of bytes (RFC 9113 section 4.1): their heads only, whatever pieces they come in.

/// RFC 9113 section 3.4.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEAD_BYTES: usize = 9;
/// Of the payload, what is kept for a look: an error code.
const LOOK_BYTES: usize = 4;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// A frame's head, and the first bytes of its payload (0 where it is shorter).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub kind: u8,
    pub length: usize,
    flags: u8,
    look: [u8; LOOK_BYTES],
}

impl Frame {
    pub fn ends_headers(&self) -> bool {
        self.flags & END_HEADERS != 0
    }

    pub fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    /// DATA that carries none: empty, or all padding.
    pub fn is_hollow(&self) -> bool {
        let [padding, ..] = self.look;
        let padding = if self.flags & PADDED != 0 { 1 + usize::from(padding) } else { 0 };
        self.length <= padding
    }

    /// Of RST_STREAM.
    pub fn error_code(&self) -> u32 {
        u32::from_be_bytes(self.look)
    }
}

/// Where in the stream we are.
#[derive(Debug)]
pub(super) struct Frames {
    preface_left: usize,
    head: [u8; HEAD_BYTES + LOOK_BYTES],
    have: usize,
    /// Of the payload, behind what is kept.
    payload_left: usize,
    kind: u8,
}

impl Frames {
    /// Of a client: its preface goes before.
    pub fn of_client() -> Self {
        Self { preface_left: PREFACE.len(), ..Self::of_server() }
    }

    pub fn of_server() -> Self {
        Self { preface_left: 0, head: [0; HEAD_BYTES + LOOK_BYTES], have: 0, payload_left: 0, kind: 0 }
    }

    /// Tells every frame whose head (and look) is whole now.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        bytes = skip(bytes, &mut self.preface_left);
        while !bytes.is_empty() {
            bytes = skip(bytes, &mut self.payload_left);
            let wanted = self.wanted();
            let missing = wanted.saturating_sub(self.have).min(bytes.len());
            let (taken, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
            if let Some(place) = self.head.get_mut(self.have..self.have + missing) {
                place.copy_from_slice(taken);
            }
            self.have += missing;
            bytes = rest;
            // A whole head may want a look behind it.
            if self.have >= HEAD_BYTES && self.have == self.wanted() {
                each(self.finish());
            }
        }
    }

    /// Inside the preface, a frame's head, or the payload of a frame that is no DATA.
    pub fn is_within(&self) -> bool {
        self.preface_left > 0 || self.have > 0 || self.payload_left > 0 && self.kind != DATA
    }

    fn length(&self) -> usize {
        let [a, b, c, ..] = self.head;
        usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
    }

    fn wanted(&self) -> usize {
        if self.have < HEAD_BYTES { HEAD_BYTES } else { HEAD_BYTES + self.length().min(LOOK_BYTES) }
    }

    fn finish(&mut self) -> Frame {
        let [_, _, _, kind, flags, _, _, _, _, look @ ..] = self.head;
        let length = self.length();
        self.payload_left = length.saturating_sub(LOOK_BYTES);
        self.kind = kind;
        self.have = 0;
        self.head = [0; HEAD_BYTES + LOOK_BYTES];
        Frame { kind, length, flags, look }
    }
}

/// What is behind the next `left` bytes.
fn skip<'a>(bytes: &'a [u8], left: &mut usize) -> &'a [u8] {
    let skipped = bytes.len().min(*left);
    *left -= skipped;
    bytes.get(skipped..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, 1];
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn frames_are_the_same_in_whatever_pieces_they_come() {
        let bytes = [
            PREFACE.to_vec(),
            frame(SETTINGS, 0, &[0, 3, 0, 0, 0, 9]),
            frame(DATA, 0, b""),
            frame(DATA, PADDED, &[3, 0, 0, 0]),
            frame(DATA, PADDED, &[2, b'x', 0, 0]),
            frame(RST_STREAM, 0, &[0, 0, 0, 8]),
            frame(HEADERS, END_STREAM, b"ab"),
            frame(CONTINUATION, END_HEADERS, b"0123456789"),
            frame(PING, 0, &[0; 8]),
        ]
        .concat();
        let read = |piece: usize| {
            let (mut frames, mut seen) = (Frames::of_client(), Vec::new());
            for piece in bytes.chunks(piece) {
                frames.feed(piece, |frame| seen.push(frame));
            }
            assert!(!frames.is_within(), "{piece}");
            seen
        };
        let whole = read(bytes.len());
        let kinds: Vec<_> = whole.iter().map(|frame| frame.kind).collect();
        assert_eq!(kinds, [SETTINGS, DATA, DATA, DATA, RST_STREAM, HEADERS, CONTINUATION, PING]);
        let hollow: Vec<_> = whole.iter().skip(1).take(3).map(Frame::is_hollow).collect();
        assert_eq!(hollow, [true, true, false]);
        assert_eq!(whole[4].error_code(), 8);
        assert!(whole[5].ends_stream() && !whole[5].ends_headers() && whole[6].ends_headers());
        for piece in 1..20 {
            assert_eq!(read(piece), whole, "{piece}");
        }
        for cut in 1..bytes.len() {
            let mut frames = Frames::of_client();
            frames.feed(&bytes[..cut], |_| {});
            frames.feed(&bytes[cut..], |_| {});
            assert!(!frames.is_within(), "{cut}");
        }
    }
}
