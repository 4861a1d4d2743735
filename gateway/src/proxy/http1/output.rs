//! What is to be written: encoded bytes, and behind them at most one large piece that is not copied.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::AsyncWrite;

use crate::proxy::stream::Stream;

/// A piece up to this is copied behind what waits already, to go out in one write.
const COPIED_BYTES_MAX: usize = 4_096;
/// Encoded bytes that may wait; a piece more is not asked for.
const WAITING_BYTES_MAX: usize = 16_384;

#[derive(Debug, Default)]
pub struct Output {
    pub encoded: BytesMut,
    piece: Bytes,
    /// Behind the piece.
    end: &'static [u8],
}

impl Output {
    /// Puts `piece` and then `end` behind what waits. Only when not [full](Self::is_full).
    pub fn push(&mut self, piece: Bytes, end: &'static [u8]) {
        if piece.len() <= COPIED_BYTES_MAX {
            self.encoded.extend_from_slice(&piece);
            self.encoded.extend_from_slice(end);
        } else {
            self.piece = piece;
            self.end = end;
        }
    }

    pub fn is_full(&self) -> bool {
        !self.piece.is_empty() || !self.end.is_empty() || self.encoded.len() >= WAITING_BYTES_MAX
    }

    fn is_empty(&self) -> bool {
        self.encoded.is_empty() && self.piece.is_empty() && self.end.is_empty()
    }

    /// Writes until nothing waits; `moved` hears of the bytes of each write.
    pub fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut Stream,
        mut moved: impl FnMut(usize),
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let slices = [IoSlice::new(&self.encoded), IoSlice::new(&self.piece), IoSlice::new(self.end)];
            let mut stream = Pin::new(&mut *stream);
            let written = if self.piece.is_empty() && self.end.is_empty() {
                ready!(stream.as_mut().poll_write(cx, &self.encoded))?
            } else {
                ready!(stream.as_mut().poll_write_vectored(cx, &slices))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            moved(written);
            self.advance(written);
        }
        self.encoded = BytesMut::new();
        Pin::new(stream).poll_flush(cx)
    }

    fn advance(&mut self, written: usize) {
        let encoded = written.min(self.encoded.len());
        self.encoded.advance(encoded);
        let piece = (written - encoded).min(self.piece.len());
        self.piece.advance(piece);
        let end = written - encoded - piece;
        self.end = self.end.get(end..).unwrap_or_default();
    }
}
