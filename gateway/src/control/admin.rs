//! The admin listener: /metrics, /healthz, /readyz. Loopback unless configured otherwise.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::Parts;

const CONNECTIONS: usize = 64;
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Serves until the runtime ends; `drain` only changes what /readyz says.
pub async fn serve_admin(listener: TcpListener, parts: Arc<Parts>, drain: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (parts, drain) = (Arc::clone(&parts), drain.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = respond(&parts, *drain.borrow(), &request);
                async move { Ok::<_, Infallible>(response) }
            });
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = serving.await {
                tracing::debug!(%error, "admin connection ended");
            }
            drop(place);
        });
    }
}

fn respond(parts: &Parts, draining: bool, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET or HEAD\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" if draining => text(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n".to_owned()),
        "/readyz" if !parts.ready.load(Ordering::Acquire) => {
            text(StatusCode::SERVICE_UNAVAILABLE, TEXT, "starting\n".to_owned())
        }
        "/readyz" => text(StatusCode::OK, TEXT, "ready\n".to_owned()),
        "/metrics" => match parts.shared.metrics.encode() {
            Ok(metrics) => text(StatusCode::OK, OPENMETRICS, metrics),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, TEXT, "/metrics /healthz /readyz\n".to_owned()),
    }
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
