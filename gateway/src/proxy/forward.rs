//! Sends a request to an upstream and its answer back: choose, connect or reuse, send, wait for the
//! head, all bounded in time; another upstream where one failed. Bodies stream both ways.

mod retry;

mod switched;

mod answer;

mod balance;

mod budget;

mod checks;

mod group;

mod headers;

mod http2;

mod judged;

mod health;

mod pool;

mod queue;

mod secure;

mod target;

mod trail;

mod upstreams;

mod uri;

use std::rc::Rc;
use std::sync::Arc;

use hyper::header::{HeaderValue, UPGRADE};
use hyper::http::{request, response};
use hyper::{Method, Response};
use tokio::time::timeout;

use self::pool::Connection;
use self::retry::Failed;
use super::Timeouts;
use super::body::{Body, RequestBody};
use super::http1::{ExchangeError, Fields, Sent};
use super::respond::Fault;
use super::told::Told;
use crate::model::{Api, Speaks};
use crate::telemetry::metrics::ApiMetrics;

pub(super) use self::answer::Answer;
pub(super) use self::balance::Balance;
pub use self::balance::{TargetFacts, UpstreamFacts};
pub use self::checks::check_upstreams;
pub(super) use self::headers::{Hop, listed, says_who, strip_hop_by_hop, to_upstream};
pub(super) use self::http2::Streamed;
pub use self::http2::bytes_for as http2_upstream_bytes;
pub(super) use self::judged::Judged;
pub use self::pool::IDLE_ALL_MAX;
pub(super) use self::pool::Pools;
pub(super) use self::secure::Security;
pub use self::secure::check_upstream_tls;
pub(super) use self::switched::Switched;
pub(super) use self::target::Target;
pub(super) use self::trail::{Via, count_hop};
pub use self::upstreams::{Addresses, Upstreams};
pub(super) use self::uri::upstream_uri;

/// One worker's way to an API's upstreams.
pub(super) struct Forward<'a> {
    pub api: &'a Api,
    pub balance: &'a Arc<Balance>,
    pub pools: &'a Rc<Pools>,
    pub timeouts: &'a Timeouts,
    pub metrics: &'a ApiMetrics,
    /// Of answers.
    pub fields: Fields,
    pub told: &'a Told<'a>,
}

impl Forward<'_> {
    async fn exchange(
        &self,
        target: &Target,
        head: &request::Parts,
        body: RequestBody,
    ) -> Result<Response<Body>, Failed> {
        if target.state.speaks == Speaks::Http2 {
            return self.exchange_http2(target, head, body).await;
        }
        let Some(pooled) = self.pools.take(target) else {
            return self.exchange_fresh(target, head, body).await;
        };
        // The upstream may close a connection just as we take it: what it surely did not act on is sent again.
        let again = body.again();
        let failed = match self.attempt(pooled, head, body).await {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        let safe = match failed.sent {
            Sent::Nothing => true,
            Sent::Unanswered => is_idempotent(&head.method),
            Sent::Answered => false,
        };
        match again.filter(|_| safe) {
            Some(body) => self.exchange_fresh(target, head, body).await,
            None => Err(Failed::for_good(failed.fault)),
        }
    }

    async fn exchange_fresh(
        &self,
        target: &Target,
        head: &request::Parts,
        body: RequestBody,
    ) -> Result<Response<Body>, Failed> {
        let fresh = match self.connect(target).await {
            Ok(fresh) => fresh,
            Err(fault) => return Err(Failed { fault, again: Some(body) }),
        };
        let again = body.again();
        self.attempt(fresh, head, body).await.map_err(|ExchangeError { fault, sent }| {
            let safe = sent == Sent::Nothing || is_idempotent(&head.method);
            Failed { fault, again: again.filter(|_| safe && fault == Fault::Broken) }
        })
    }

    async fn connect(&self, target: &Target) -> Result<Connection, Fault> {
        let connecting = timeout(self.timeouts.upstream_connect, self.pools.connect(target)).await;
        match connecting {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => {
                tracing::debug!(upstream = %target.name, %error, "cannot connect");
                Err(Fault::ConnectFailed)
            }
            Err(_) => Err(Fault::ConnectTimeout),
        }
    }

    async fn attempt(
        &self,
        mut connection: Connection,
        head: &request::Parts,
        body: RequestBody,
    ) -> Result<Response<Body>, ExchangeError> {
        let patience = self.timeouts.upstream_response_head;
        let answered = connection.link.exchange(head, body, self.fields, patience).await?;
        let (switches, marks) = (answered.switches(), answered.marks);
        let (mut answer, ()) = answered.head.into_parts();
        if switches {
            return self.switch(answer, head, connection);
        }
        if marks.has_of_one_hop() {
            strip_hop_by_hop(&mut answer.headers);
        }
        let body =
            Answer::new(connection, answered.lines, answered.pump, self.timeouts.upstream_response_idle);
        Ok(Response::from_parts(answer, Body::Upstream(Box::new(body))))
    }

    /// A 101 that was asked for makes the connection the client's; any other is nonsense.
    fn switch(
        &self,
        mut answer: response::Parts,
        request: &request::Parts,
        connection: Connection,
    ) -> Result<Response<Body>, ExchangeError> {
        let is_asked = |upgrade: &HeaderValue| {
            let asked = request.headers.get(UPGRADE);
            asked.is_some_and(|asked| asked.as_bytes().eq_ignore_ascii_case(upgrade.as_bytes()))
        };
        let is_one = answer.headers.get_all(UPGRADE).iter().count() == 1;
        let Some(upgrade) = answer.headers.remove(UPGRADE).filter(|upgrade| is_one && is_asked(upgrade))
        else {
            return Err(ExchangeError { fault: Fault::Broken, sent: Sent::Answered });
        };
        strip_hop_by_hop(&mut answer.headers);
        answer.headers.insert(UPGRADE, upgrade);
        let switched = Switched::new(connection, &self.metrics.tunnels);
        Ok(Response::from_parts(answer, Body::Tunnel(Box::new(switched))))
    }
}

/// RFC 9110 section 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}
