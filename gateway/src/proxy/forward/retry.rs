//! A request from the choice of an upstream to the head of an answer: who fails is judged, and where
//! that is safe another one is asked, within the API's budget.

use hyper::header::HOST;
use hyper::http::request;
use hyper::{Request, Response, Uri};

use super::balance::{Nobody, Tried};
use super::judged::Judged;
use super::target::Pending;
use super::{Forward, upstream_uri};
use crate::plane::now_ns as clock_ns;
use crate::proxy::body::{Body, RequestBody};
use crate::proxy::respond::Fault;

/// An attempt that failed.
pub(super) struct Failed {
    pub fault: Fault,
    /// The request's body, where the request may be sent once more.
    pub again: Option<RequestBody>,
}

impl Failed {
    pub fn for_good(fault: Fault) -> Self {
        Self { fault, again: None }
    }
}

impl Forward<'_> {
    /// The upstream's answer, its head read, its body to come. `key` is what a hash chooses by; the
    /// request is as the upstreams want it but for URI and Host, which are each one's own.
    pub async fn send(
        &self,
        key: u64,
        request: Request<RequestBody>,
        now_ns: u64,
    ) -> Result<Response<Body>, Fault> {
        let balance = self.balance;
        let retry = &balance.forwarding.retry;
        balance.group.budget.earn(retry);
        let mut tried = Tried::default();
        let mut pending = self.admit(key, now_ns).await.inspect_err(|fault| self.count(*fault))?;
        let asked = request.uri().clone();
        let (mut head, mut body) = request.into_parts();
        for retries_left in (0..=retry.times).rev() {
            let target = pending.target();
            self.told.attempt(&target.name);
            self.aim(&mut head, &asked, &pending);
            let failed = match self.exchange(target, &head, body).await {
                Ok(response) => {
                    balance.answered(target, response.status().as_u16());
                    let judged = Judged::new(pending, balance, &self.metrics.cut);
                    return Ok(response.map(|body| body.counted(judged)));
                }
                Err(failed) => failed,
            };
            tracing::debug!(upstream = %target.name, fault = %failed.fault, "attempt failed");
            self.count(failed.fault);
            if !failed.fault.is_the_clients() {
                balance.failed(target, &failed.fault);
            }
            tried.note(target);
            let Some(again) = failed.again.filter(|_| retries_left > 0) else { return Err(failed.fault) };
            // Nobody is waited for: who failed once has waited enough.
            let Ok(other) = balance.choose(key, &tried, clock_ns()) else { return Err(failed.fault) };
            if !balance.group.budget.spend(retry) {
                self.metrics.retries_refused.inc();
                return Err(failed.fault);
            }
            self.metrics.retries.inc();
            (pending, body) = (other, again);
        }
        // The last round has none left and returns.
        Err(Fault::Broken)
    }

    /// A place at an upstream, waited for where all are full.
    async fn admit(&self, key: u64, now_ns: u64) -> Result<Pending, Fault> {
        let (balance, tried) = (self.balance, Tried::default());
        let queue = &balance.group.queue;
        if queue.is_empty() {
            match balance.choose(key, &tried, now_ns) {
                Ok(pending) => return Ok(pending),
                Err(Nobody::Known) => return Err(Fault::NoAddress),
                Err(Nobody::Free) => {}
            }
        }
        queue.wait(&balance.forwarding.admit, || balance.choose(key, &tried, clock_ns()).ok()).await
    }

    /// Path prefix and Host are the upstream's own.
    fn aim(&self, head: &mut request::Parts, asked: &Uri, pending: &Pending) {
        let target = pending.target();
        head.uri = upstream_uri(self.api, &target.path, asked);
        head.headers.insert(HOST, target.host.clone());
    }

    pub fn count(&self, fault: Fault) {
        let metrics = self.metrics;
        match fault {
            Fault::NoAddress => metrics.no_address.inc(),
            Fault::ConnectFailed => metrics.connect_failed.inc(),
            Fault::ConnectTimeout => metrics.connect_timeout.inc(),
            Fault::ResponseTimeout => metrics.response_timeout.inc(),
            Fault::Broken => metrics.broken.inc(),
            Fault::QueueFull => metrics.queue_full.inc(),
            Fault::QueueTimeout => metrics.queue_timeout.inc(),
            Fault::Late => metrics.late.inc(),
            Fault::NotSwitched | Fault::RequestBody | Fault::RequestTooSlow | Fault::RequestTooLarge => 0,
        };
    }
}
