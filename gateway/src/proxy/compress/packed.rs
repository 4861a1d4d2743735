//! A body on its way through gzip. What came is let out whenever more is waited for, so that an event never
//! stays inside; beyond that as much is gathered as makes a piece.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::{Body as _, Frame};
use hyper::HeaderMap;

use super::Place;
use crate::proxy::body::{Body, BodyError};

/// Compressed bytes that make a piece.
const PIECE_BYTES: usize = 16 << 10;
/// Read at once; then the worker's others have their turn.
const TURN_BYTES: usize = 256 << 10;

pub struct Packed {
    body: Body,
    /// None: the end is out.
    encoder: Option<GzEncoder<Vec<u8>>>,
    /// Bytes are inside that could be out.
    holds: bool,
    trailers: Option<HeaderMap>,
    _place: Place,
}

impl Packed {
    pub fn new(body: Body, level: u32, place: Place) -> Self {
        let encoder = Some(GzEncoder::new(Vec::new(), Compression::new(level)));
        Self { body, encoder, holds: false, trailers: None, _place: place }
    }

    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut left = TURN_BYTES;
        loop {
            let Some(encoder) = &mut self.encoder else {
                return Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            };
            if encoder.get_ref().len() >= PIECE_BYTES {
                return Poll::Ready(Some(Ok(piece(encoder))));
            }
            if left == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending if !self.holds => return Poll::Pending,
                Poll::Pending => {
                    self.holds = false;
                    encoder.flush()?;
                    return Poll::Ready(Some(Ok(piece(encoder))));
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => return Poll::Ready(self.finish().transpose()),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        encoder.write_all(&data)?;
                        self.holds = true;
                        left = left.saturating_sub(data.len().max(1));
                    }
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        return Poll::Ready(self.finish().transpose());
                    }
                },
            }
        }
    }

    fn finish(&mut self) -> Result<Option<Frame<Bytes>>, BodyError> {
        let last = self.encoder.take().map(GzEncoder::finish).transpose()?;
        Ok(last.map(|last| Frame::data(last.into())))
    }

    pub fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }
}

fn piece(encoder: &mut GzEncoder<Vec<u8>>) -> Frame<Bytes> {
    Frame::data(std::mem::take(encoder.get_mut()).into())
}
