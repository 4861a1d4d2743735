//! Sends a request to an upstream and its answer back: choose, connect or reuse, send, wait for the
//! head, all bounded in time; another upstream where one failed. Bodies stream both ways.

mod retry;

mod balance;

mod budget;

mod checks;

mod group;

mod headers;

mod health;

mod pool;

mod queue;

mod target;

mod upstreams;

mod uri;

use std::rc::Rc;

use hyper::{Method, Request, Response, Uri};
use tokio::time::timeout;

use self::pool::{Connection, Sending};
use self::retry::Failed;
use super::Timeouts;
use super::body::{Body, RequestBody, Upstream};
use super::respond::Fault;
use crate::model::Api;
use crate::telemetry::metrics::ApiMetrics;

pub(super) use self::balance::Balance;
pub use self::balance::{TargetFacts, UpstreamFacts};
pub use self::checks::check_upstreams;
pub(super) use self::headers::{Hop, strip_hop_by_hop, to_upstream};
pub use self::pool::IDLE_MAX;
pub(super) use self::pool::{Pools, Returning};
pub(super) use self::target::{Pending, Target};
pub use self::upstreams::{Addresses, Upstreams};
use self::uri::upstream_uri;

/// One worker's way to an API's upstreams.
pub(super) struct Forward<'a> {
    pub api: &'a Api,
    pub balance: &'a Balance,
    pub pools: &'a Rc<Pools>,
    pub timeouts: &'a Timeouts,
    pub metrics: &'a ApiMetrics,
}

impl Forward<'_> {
    /// One attempt; whether a further one can follow decides whether the request is kept for it.
    async fn exchange(
        &self,
        target: &Target,
        request: Request<RequestBody>,
        may_follow: bool,
    ) -> Result<Response<Body>, Failed> {
        let Some(mut pooled) = self.pools.take(target) else {
            return self.exchange_fresh(target, request, may_follow).await;
        };
        // The upstream may close a connection just as we take it: what it surely did not act on is sent again.
        let again = copy_if_repeatable(&request);
        pooled.mark_reused();
        let failed = match self.attempt(pooled, request).await {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        let before_answer = failed.before_answer;
        match failed.unsent.or(again.filter(|_| before_answer)) {
            Some(request) => self.exchange_fresh(target, request, may_follow).await,
            None => Err(Failed::for_good(failed.fault)),
        }
    }

    async fn exchange_fresh(
        &self,
        target: &Target,
        request: Request<RequestBody>,
        may_follow: bool,
    ) -> Result<Response<Body>, Failed> {
        let fresh = match self.connect(target).await {
            Ok(fresh) => fresh,
            Err(fault) => return Err(Failed { fault, again: Some(request) }),
        };
        let again = may_follow.then(|| copy_if_repeatable(&request)).flatten();
        let attempt = self.attempt(fresh, request).await;
        attempt.map_err(|failed| {
            let broken = again.filter(|_| failed.fault == Fault::Broken);
            Failed { fault: failed.fault, again: failed.unsent.or(broken) }
        })
    }

    async fn connect(&self, target: &Target) -> Result<Connection, Fault> {
        let connecting = timeout(self.timeouts.upstream_connect, self.pools.connect(target)).await;
        match connecting {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => {
                tracing::debug!(upstream = %target.pool, %error, "cannot connect");
                Err(Fault::ConnectFailed)
            }
            Err(_) => Err(Fault::ConnectTimeout),
        }
    }

    async fn attempt(
        &self,
        mut connection: Connection,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Sending> {
        let sent = timeout(self.timeouts.upstream_response_head, connection.send(request)).await;
        let response = sent.map_err(|_| Sending::fault(Fault::ResponseTimeout))??;
        if response.status().is_informational() {
            // Nobody asked for another protocol.
            return Err(Sending::fault(Fault::Broken));
        }
        let (mut head, incoming) = response.into_parts();
        strip_hop_by_hop(&mut head.headers);
        let mut returning = Some(Returning::new(self.pools, connection));
        if http_body::Body::is_end_stream(&incoming)
            && let Some(returning) = returning.take()
        {
            returning.give_back();
        }
        Ok(Response::from_parts(
            head,
            Body::Upstream(Box::new(Upstream { incoming, returning, pending: None })),
        ))
    }
}

/// A second copy of a request that may be sent twice: a method that RFC 9110 section 9.2.2 calls
/// idempotent, and no body.
fn copy_if_repeatable(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let repeatable = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    );
    if !repeatable || !http_body::Body::is_end_stream(request.body()) {
        return None;
    }
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = Uri::clone(request.uri());
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
