//! An upstream's answer as it comes. Its end gives the connection back to the pool.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::pool::Connection;
use super::target::Pending;
use crate::proxy::body::BodyError;
use crate::proxy::http1::{Lines, Pump};

/// The body of an answer, and the rest of the request's on its way.
pub(in crate::proxy) struct Answer {
    /// Of its head, where nobody reads them.
    lines: Option<Lines>,
    /// None once it was read to its end.
    connection: Option<Connection>,
    pump: Option<Pump>,
    idle: Duration,
    /// Waiting for the upstream since.
    since: Option<Instant>,
    /// In flight until the body's end.
    pending: Option<Pending>,
}

impl Answer {
    /// `idle`: without a byte for so long, the answer is over.
    pub fn new(connection: Connection, lines: Option<Lines>, pump: Option<Pump>, idle: Duration) -> Self {
        let mut answer = Self { lines, connection: Some(connection), pump, idle, since: None, pending: None };
        answer.give_back();
        answer
    }

    /// The fields that stand in no map; for who writes the head.
    pub fn take_lines(&mut self) -> Option<Lines> {
        self.lines.take()
    }

    /// Counts as in flight until its end.
    pub fn counted(&mut self, pending: Pending) {
        if !self.is_end_stream() {
            self.pending = Some(pending);
        }
    }

    /// Once both bodies are through.
    fn give_back(&mut self) {
        let over =
            self.pump.is_none() && self.connection.as_ref().is_some_and(|held| held.link.is_body_done());
        if over && let Some(connection) = self.connection.take() {
            connection.give_back();
        }
    }

    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        match connection.link.poll_body(cx, &mut self.pump) {
            Poll::Ready(frame) => {
                self.since = None;
                self.give_back();
                if frame.is_none() {
                    // An upstream that answers before it has the whole request has read enough.
                    self.connection = None;
                    self.pending = None;
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let since = *self.since.get_or_insert_with(Instant::now);
                ready!(connection.link.poll_due(cx, since + self.idle));
                Poll::Ready(Some(Err(BodyError::Idle)))
            }
        }
    }

    pub fn is_end_stream(&self) -> bool {
        self.connection.as_ref().is_none_or(|held| held.link.is_body_done())
    }

    pub fn size_hint(&self) -> SizeHint {
        self.connection.as_ref().map_or(SizeHint::with_exact(0), |held| held.link.size_hint())
    }
}
