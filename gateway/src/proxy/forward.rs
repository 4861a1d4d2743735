//! Sends a request to an upstream and its answer back: choose, connect or reuse, send, wait for the
//! head, all bounded in time. Bodies stream both ways.

mod balance;

mod headers;

mod pool;

mod target;

mod upstreams;

mod uri;

use std::rc::Rc;

use hyper::{Method, Request, Response, Uri};
use tokio::time::timeout;

use self::pool::{Connection, Sending};
use super::Timeouts;
use super::body::{Body, RequestBody, Upstream};
use super::respond::Fault;
use crate::telemetry::metrics::ApiMetrics;

pub(super) use self::balance::Balance;
pub(super) use self::headers::{Hop, strip_hop_by_hop, to_upstream};
pub use self::pool::IDLE_MAX;
pub(super) use self::pool::{Pools, Returning};
pub(super) use self::target::Target;
pub use self::upstreams::{Addresses, Upstreams};
pub(super) use self::uri::upstream_uri;

/// One worker's way to upstreams.
pub(super) struct Forward<'a> {
    pub pools: &'a Rc<Pools>,
    pub timeouts: &'a Timeouts,
    pub metrics: &'a ApiMetrics,
}

impl Forward<'_> {
    /// The upstream's answer, its head read, its body to come.
    pub async fn send(
        &self,
        target: &Target,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Fault> {
        let exchanged = self.exchange(target, request).await;
        if let Err(fault) = &exchanged {
            match fault {
                Fault::ConnectFailed => self.metrics.connect_failed.inc(),
                Fault::ConnectTimeout => self.metrics.connect_timeout.inc(),
                Fault::ResponseTimeout => self.metrics.response_timeout.inc(),
                Fault::Broken => self.metrics.broken.inc(),
                Fault::NoAddress | Fault::RequestBody => 0,
            };
        }
        exchanged
    }

    async fn exchange(
        &self,
        target: &Target,
        request: Request<RequestBody>,
    ) -> Result<Response<Body>, Fault> {
        let Some(mut pooled) = self.pools.take(target) else {
            let fresh = self.connect(target).await?;
            return self.attempt(fresh, request).await.map_err(|failed| failed.fault);
        };
        // The upstream may close a connection just as we take it: what it surely did not act on is sent again.
        let again = copy_if_repeatable(&request);
        pooled.mark_reused();
        let failed = match self.attempt(pooled, request).await {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        let Some(request) = failed.unsent.or(again.filter(|_| failed.before_answer)) else {
            return Err(failed.fault);
        };
        let fresh = self.connect(target).await?;
        self.attempt(fresh, request).await.map_err(|failed| failed.fault)
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
        Ok(Response::from_parts(head, Body::Upstream(Box::new(Upstream { incoming, returning }))))
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
