//! A body that must be through by a deadline, whoever is waited for. Looked at whenever a piece is asked for.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use prometheus_client::metrics::counter::Counter;

use super::{Body, BodyError};
use crate::proxy::http1::Lines;
use crate::proxy::timer::{Deadline, Timer};

pub struct Timed {
    body: Body,
    until: Deadline,
    timer: Timer,
    late: Counter,
}

impl Timed {
    /// `late` counts the one that is cut.
    pub fn new(body: Body, until: Deadline, late: Counter) -> Self {
        Self { body, until, timer: Timer::default(), late }
    }

    pub fn take_lines(&mut self) -> Option<Lines> {
        self.body.take_lines()
    }

    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.timer.poll(cx, self.until.0).is_ready() {
            self.late.inc();
            return Poll::Ready(Some(Err(BodyError::Late)));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    pub fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
