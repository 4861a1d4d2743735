//! Every answer that is ours: refusals, faults and static answers. The one place that chooses status
//! codes and bodies of a refusal (problem details, RFC 9457).

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{HeaderMap, Response, StatusCode, Uri};

use super::body::Body;
use super::filter::{AuthAnswer, AuthRefusal};
use super::ratelimit;
use crate::model::{Redirect, Refusal, StaticAnswer};

/// A refusal that we intend.
#[derive(Debug)]
pub(super) enum Rejection {
    /// The head is not what HTTP allows; the reason is a label of metrics.
    Malformed(&'static str),
    Connect,
    /// An extended CONNECT for something else than WebSocket.
    Protocol,
    UriTooLong,
    /// Too many bytes or fields before the body.
    HeadTooLarge,
    /// HTTP of a version that is not spoken here.
    Version,
    /// Transfer-Encoding names more than `chunked`.
    Coding,
    BodyTooLarge,
    /// Expect says something else than 100-continue.
    Expectation,
    /// No API listens there.
    NoApi,
    /// No credential, or none that is good for this.
    Auth(Box<AuthRefusal>),
    Limited(Box<Refusal>),
    /// Plain HTTP, where only https is served: the same place there.
    HttpsOnly(Box<HeaderValue>),
    /// A browser asks beforehand; what it is told.
    Preflight(Box<HeaderMap>),
    /// A browser asks beforehand, for an origin that is not listed.
    Origin,
    /// The client showed no certificate where the API wants one.
    NoCertificate,
    /// OPTIONS whose Max-Forwards ends here.
    LastOptions,
    /// TRACE whose Max-Forwards ends here.
    LastTrace,
    /// The request passed here before.
    Loop,
}

impl Rejection {
    /// As logs name it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Malformed(reason) => reason,
            Self::Connect => "connect",
            Self::Protocol => "protocol",
            Self::UriTooLong => "uri_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::Version => "version",
            Self::Coding => "coding",
            Self::BodyTooLarge => "body_too_large",
            Self::Expectation => "expectation",
            Self::NoApi => "no_api",
            Self::Auth(refusal) => match refusal.reason.answer() {
                AuthAnswer::BadRequest | AuthAnswer::Absent | AuthAnswer::Unauthorized => "unauthorized",
                AuthAnswer::Forbidden => "forbidden",
                AuthAnswer::Unavailable => "auth_unavailable",
            },
            Self::Limited(_) => "limited",
            Self::HttpsOnly(_) => "https_only",
            Self::Preflight(_) => "preflight",
            Self::Origin => "origin",
            Self::NoCertificate => "no_certificate",
            Self::LastOptions | Self::LastTrace => "max_forwards",
            Self::Loop => "loop",
        }
    }
}

impl Fault {
    /// As logs and metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoAddress => "no_address",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::ResponseTimeout => "response_timeout",
            Self::Broken => "broken",
            Self::RequestBody => "request_body",
            Self::RequestTooSlow => "request_body_idle",
            Self::RequestTooLarge => "request_body_too_large",
            Self::NotSwitched => "not_switched",
            Self::Late => "request_total",
        }
    }

    /// Nothing is wrong with the upstream.
    pub fn is_the_clients(self) -> bool {
        matches!(self, Self::RequestBody | Self::RequestTooSlow | Self::RequestTooLarge)
    }
}

/// The upstream's failure, or ours on the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("the upstream's name has no address")]
    NoAddress,
    #[error("every upstream has as many requests as it may, and as many wait as may")]
    QueueFull,
    #[error("every upstream had as many requests as it may for too long")]
    QueueTimeout,
    #[error("the upstream refused the connection")]
    ConnectFailed,
    #[error("the upstream did not take the connection in time")]
    ConnectTimeout,
    #[error("the upstream did not answer in time")]
    ResponseTimeout,
    #[error("the upstream's answer is no HTTP")]
    Broken,
    #[error("the request's body did not come whole")]
    RequestBody,
    #[error("the request's body stopped coming, or came too slowly")]
    RequestTooSlow,
    #[error("the request's body is larger than it may be")]
    RequestTooLarge,
    #[error("the upstream speaks no WebSocket here")]
    NotSwitched,
    #[error("the request took longer than it may in all")]
    Late,
}

/// A static answer, made ready at publish.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    status: StatusCode,
    content_type: HeaderValue,
    body: Bytes,
}

/// A redirect, made ready at publish.
#[derive(Clone, Debug)]
pub(super) struct Moved {
    status: StatusCode,
    to: Arc<str>,
    keeps_path: bool,
}

impl Prepared {
    /// Configuration allows no status and no content type that HTTP does not; what came through all
    /// the same is answered as a server error without a type.
    pub fn new(answer: &StaticAnswer) -> Self {
        Self {
            status: StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            content_type: HeaderValue::from_str(&answer.content_type)
                .unwrap_or(HeaderValue::from_static("text/plain; charset=utf-8")),
            body: Bytes::copy_from_slice(answer.body.as_bytes()),
        }
    }

    pub fn respond(&self) -> Response<Body> {
        let mut response = Response::new(Body::full(self.body.clone()));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, self.content_type.clone());
        response
    }
}

/// Before the body of a request that waits for it (RFC 9110 section 10.1.1).
pub(super) fn continue_100() -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::CONTINUE;
    response
}

/// To an extended CONNECT that has its tunnel (RFC 8441 section 5).
pub(super) fn connected() -> StatusCode {
    StatusCode::OK
}

/// RFC 9110 sections 15.3.5 and 15.4.5.
pub(super) fn has_no_body(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

pub(super) fn reject(rejection: &Rejection) -> Response<Body> {
    match rejection {
        Rejection::Malformed(reason) => {
            closing(problem(StatusCode::BAD_REQUEST, "Malformed request", &reason.replace('_', " ")))
        }
        Rejection::Connect => {
            closing(problem(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", "CONNECT is not served"))
        }
        // RFC 9220 section 3.
        Rejection::Protocol => problem(
            StatusCode::NOT_IMPLEMENTED,
            "Not implemented",
            "no protocol but websocket is spoken here",
        ),
        Rejection::UriTooLong => {
            closing(problem(StatusCode::URI_TOO_LONG, "URI too long", "shorten the path or the query"))
        }
        Rejection::HeadTooLarge => closing(problem(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "Request header fields too large",
            "send fewer or shorter header fields",
        )),
        Rejection::Version => closing(problem(
            StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            "HTTP version not supported",
            "HTTP/1.0 and HTTP/1.1 are spoken here",
        )),
        Rejection::Coding => closing(problem(
            StatusCode::NOT_IMPLEMENTED,
            "Not implemented",
            "no transfer coding but chunked is undone here",
        )),
        Rejection::BodyTooLarge => {
            closing(problem(StatusCode::PAYLOAD_TOO_LARGE, "Body too large", "send a smaller body"))
        }
        Rejection::Expectation => closing(problem(
            StatusCode::EXPECTATION_FAILED,
            "Expectation failed",
            "only 100-continue can be expected",
        )),
        Rejection::NoApi => {
            problem(StatusCode::NOT_FOUND, "Not found", "no API listens on this host and path")
        }
        Rejection::Auth(refusal) => unauthorized(refusal),
        Rejection::Limited(refusal) => limited(refusal),
        Rejection::HttpsOnly(location) => {
            redirect(StatusCode::PERMANENT_REDIRECT, HeaderValue::clone(location))
        }
        Rejection::Preflight(headers) => {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::NO_CONTENT;
            response.headers_mut().clone_from(headers);
            response
        }
        Rejection::Origin => problem(StatusCode::FORBIDDEN, "Forbidden", "this origin is not allowed"),
        Rejection::NoCertificate => {
            problem(StatusCode::FORBIDDEN, "Forbidden", "a client certificate is needed here")
        }
        Rejection::LastOptions => {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        // What it would show is what the client sent, credentials that others set for it included.
        Rejection::LastTrace => {
            problem(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", "TRACE is not answered here")
        }
        Rejection::Loop => {
            problem(StatusCode::LOOP_DETECTED, "Loop detected", "this request was sent on from here before")
        }
    }
}

/// Says what is needed, never how near a guess was. RFC 9110 sections 15.5.2 and 15.5.4, RFC 6750 section 3.1.
fn unauthorized(refusal: &AuthRefusal) -> Response<Body> {
    let mut response = match refusal.reason.answer() {
        AuthAnswer::BadRequest => {
            problem(StatusCode::BAD_REQUEST, "Bad request", "bring one credential, and bring it once")
        }
        AuthAnswer::Absent => {
            problem(StatusCode::UNAUTHORIZED, "Unauthorized", "a credential is needed here")
        }
        AuthAnswer::Unauthorized => {
            problem(StatusCode::UNAUTHORIZED, "Unauthorized", "this credential is not good here")
        }
        AuthAnswer::Forbidden => {
            problem(StatusCode::FORBIDDEN, "Forbidden", "this credential does not allow it")
        }
        AuthAnswer::Unavailable => return overloaded("credentials cannot be checked now"),
    };
    for challenge in &refusal.challenges {
        response.headers_mut().append(WWW_AUTHENTICATE, challenge.clone());
    }
    response
}

impl Moved {
    /// Configuration allows no other statuses and targets.
    pub fn new(redirect: &Redirect) -> Self {
        Self {
            status: StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::PERMANENT_REDIRECT),
            to: Arc::clone(&redirect.to),
            keeps_path: redirect.keeps_path,
        }
    }

    /// `rest` is what the request asks for behind the listen path, where that is stripped.
    pub fn respond(&self, rest: &Uri) -> Response<Body> {
        let rest = rest.path_and_query().map_or("/", |rest| rest.as_str());
        let location = if self.keeps_path { format!("{}{rest}", self.to) } else { self.to.to_string() };
        redirect(self.status, HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/")))
    }
}

fn redirect(status: StatusCode, location: HeaderValue) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response.headers_mut().insert(LOCATION, location);
    response
}

pub(super) fn fault(fault: Fault) -> Response<Body> {
    let (status, title) = match fault {
        Fault::NoAddress | Fault::ConnectFailed | Fault::Broken | Fault::NotSwitched => {
            (StatusCode::BAD_GATEWAY, "Bad gateway")
        }
        Fault::ConnectTimeout | Fault::ResponseTimeout | Fault::Late => {
            (StatusCode::GATEWAY_TIMEOUT, "Gateway timeout")
        }
        Fault::QueueFull | Fault::QueueTimeout => return overloaded(&fault.to_string()),
        Fault::RequestBody => {
            return closing(problem(StatusCode::BAD_REQUEST, "Bad request", &fault.to_string()));
        }
        Fault::RequestTooSlow => {
            return closing(problem(StatusCode::REQUEST_TIMEOUT, "Request timeout", &fault.to_string()));
        }
        Fault::RequestTooLarge => return reject(&Rejection::BodyTooLarge),
    };
    problem(status, title, &fault.to_string())
}

/// Beyond what upstreams may have: it may be otherwise at once.
fn overloaded(detail: &str) -> Response<Body> {
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable", detail);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn limited(refusal: &Refusal) -> Response<Body> {
    let seconds = ratelimit::retry_after_seconds(refusal.retry_after_ns);
    let detail = format!("limit {} is used up, retry in {seconds} s", refusal.name);
    let mut response = problem(StatusCode::TOO_MANY_REQUESTS, "Too many requests", &detail);
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    for (name, text) in ratelimit::fields(refusal) {
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    }
    response
}

fn problem(status: StatusCode, title: &str, detail: &str) -> Response<Body> {
    // Titles and details are ours and hold nothing that JSON escapes.
    let body = format!(
        r#"{{"type":"about:blank","title":"{title}","status":{},"detail":"{detail}"}}"#,
        status.as_u16()
    );
    let mut response = Response::new(Body::full(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// After a request whose end nobody knows, nothing more is read from the connection.
fn closing(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
