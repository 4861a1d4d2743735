//! An upstream's answer as it comes. Its end gives the connection back to the pool.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use super::judged::Judged;
use super::pool::Connection;
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
    pending: Option<Judged>,
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
    pub fn counted(&mut self, judged: Judged) {
        if self.is_end_stream() {
            judged.whole();
        } else {
            self.pending = Some(judged);
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
                let is_through = connection.link.is_body_done();
                let is_the_upstreams = !connection.link.lost_its_request();
                self.since = None;
                self.give_back();
                if frame.is_none() {
                    // An upstream that answers before it has the whole request has read enough.
                    self.connection = None;
                }
                match &frame {
                    Some(Err(error)) => self.broke(error, is_the_upstreams),
                    Some(Ok(_)) if !is_through => {}
                    Some(Ok(_)) | None => self.pending.take().map_or((), Judged::whole),
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let since = *self.since.get_or_insert_with(Instant::now);
                ready!(connection.link.poll_due(cx, since + self.idle));
                let is_the_upstreams = !connection.link.lost_its_request();
                self.broke(&BodyError::Idle, is_the_upstreams);
                Poll::Ready(Some(Err(BodyError::Idle)))
            }
        }
    }

    fn broke(&mut self, why: &dyn std::fmt::Display, is_the_upstreams: bool) {
        if let Some(judged) = self.pending.take().filter(|_| is_the_upstreams) {
            judged.broke(why);
        }
    }

    pub fn is_end_stream(&self) -> bool {
        self.connection.as_ref().is_none_or(|held| held.link.is_body_done())
    }

    pub fn size_hint(&self) -> SizeHint {
        self.connection.as_ref().map_or(SizeHint::with_exact(0), |held| held.link.size_hint())
    }
}
