//! Fetches one document from where an operator says it is: a GET over hyper's client, bounded in time,
//! bytes and redirects. A redirect stays at the host that was written, and never falls from https to http.

use std::fmt::Display;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AGE, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, HOST, LOCATION, USER_AGENT,
};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::lifetime::Said;
use crate::model::{KeySetSource, Speaks};
use crate::proxy::forward::Security;
use crate::proxy::stream::Stream;

/// From the question for an address to the last byte, redirects included.
pub const FETCH: Duration = Duration::from_secs(5);
/// To one address; the next is tried then.
const CONNECT: Duration = Duration::from_millis(1_500);
const ADDRESSES_MAX: usize = 4;
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
pub const MOST_REDIRECTS: usize = 3;
/// Of an answer's head.
const HEAD_BYTES: usize = 64 << 10;

/// What came.
#[derive(Debug)]
pub struct Fetched {
    pub document: Vec<u8>,
    pub said: Said,
}

pub async fn fetch(settings: &KeySetSource) -> Result<Fetched, String> {
    let late = |_| format!("no answer within {} s", FETCH.as_secs());
    timeout(FETCH, follow(settings)).await.map_err(late)?
}

async fn follow(settings: &KeySetSource) -> Result<Fetched, String> {
    let mut url: Uri = settings.url.parse().map_err(said)?;
    for _ in 0..=MOST_REDIRECTS {
        match ask(&url, settings).await? {
            Asked::Answered(fetched) => return Ok(fetched),
            Asked::Moved(to) => {
                let to = target(&url, &to)?;
                may_lead(&url, &to)?;
                url = to;
            }
        }
    }
    Err(format!("more than {MOST_REDIRECTS} redirects"))
}

/// The operator trusts the place that was written: its host, and its port as long as the scheme is the same.
fn may_lead(from: &Uri, to: &Uri) -> Result<(), String> {
    let host = |url: &Uri| url.host().map(str::to_ascii_lowercase);
    let is_upgrade = from.scheme() != to.scheme();
    if is_upgrade && to.scheme_str() != Some("https") {
        return Err("a redirect leads from https to http".to_owned());
    }
    if host(from) != host(to) || !is_upgrade && port(from) != port(to) {
        return Err("a redirect leads to another host".to_owned());
    }
    Ok(())
}

fn port(url: &Uri) -> u16 {
    url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 })
}

enum Asked {
    Answered(Fetched),
    Moved(String),
}

async fn ask(url: &Uri, settings: &KeySetSource) -> Result<Asked, String> {
    let stream = connect(url, settings).await?;
    let mut client = hyper::client::conn::http1::Builder::new();
    client.max_buf_size(HEAD_BYTES);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(said)?;
    let exchange = async { read(sender.send_request(request(url)?).await.map_err(said)?).await };
    // The connection runs as long as its one exchange does, and is closed with it.
    tokio::pin!(connection, exchange);
    tokio::select! {
        asked = &mut exchange => asked,
        _ = &mut connection => exchange.await,
    }
}

fn request(url: &Uri) -> Result<Request<Empty<Bytes>>, String> {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    Request::get(path)
        .header(HOST, authority)
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(ACCEPT_ENCODING, "identity")
        .header(USER_AGENT, "weir")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(said)
}

async fn connect(url: &Uri, settings: &KeySetSource) -> Result<Stream, String> {
    let is_tls = url.scheme_str() == Some("https");
    let host = url.host().ok_or("a URL without a host")?;
    let port = port(url);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let tls = match (is_tls, settings.tls.as_deref()) {
        (false, _) => None,
        (true, Some(tls)) => Some(tls),
        (true, None) => return Err("https without authorities".to_owned()),
    };
    let security = Security::new(tls, &format!("{host}:{port}"), Speaks::Http1);
    let addresses = lookup_host((bare, port)).await.map_err(|error| format!("{bare}: {error}"))?;
    let mut failed = format!("{bare} has no address");
    for address in addresses.take(ADDRESSES_MAX) {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                return security.over(stream).await.map_err(|error| format!("{address}: {error}"));
            }
            Ok(Err(error)) => failed = format!("{address}: {error}"),
            Err(_) => failed = format!("{address}: no connection within {} ms", CONNECT.as_millis()),
        }
    }
    Err(failed)
}

async fn read(mut answer: Response<Incoming>) -> Result<Asked, String> {
    let line = |name| answer.headers().get(name).and_then(|line| line.to_str().ok());
    match answer.status().as_u16() {
        200 => {}
        301 | 302 | 303 | 307 | 308 => {
            return line(LOCATION)
                .map(|to| Asked::Moved(to.to_owned()))
                .ok_or("a redirect to nowhere".to_owned());
        }
        status => return Err(format!("the answer is {status}")),
    }
    if line(CONTENT_ENCODING).is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err("the answer is encoded, which was not asked for".to_owned());
    }
    let lines = answer.headers().get_all(CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    let said_of = Said::of(lines, line(AGE));
    let mut document = Vec::new();
    while let Some(frame) = answer.body_mut().frame().await {
        let Ok(piece) = frame.map_err(said)?.into_data() else { continue };
        if document.len() + piece.len() > DOCUMENT_BYTES_MAX {
            return Err(format!("the answer is longer than {DOCUMENT_BYTES_MAX} bytes"));
        }
        document.extend_from_slice(&piece);
    }
    Ok(Asked::Answered(Fetched { document, said: said_of }))
}

/// An absolute URL, or a path at the same place.
fn target(from: &Uri, to: &str) -> Result<Uri, String> {
    let wrong = |_| "a redirect to what is no URL".to_owned();
    if let Some(rest) = to.strip_prefix("//") {
        return format!("{}://{rest}", from.scheme_str().unwrap_or("https")).parse().map_err(wrong);
    }
    if to.starts_with('/') {
        let authority = from.authority().map_or("", |authority| authority.as_str());
        return format!("{}://{authority}{to}", from.scheme_str().unwrap_or("https")).parse().map_err(wrong);
    }
    let to: Uri = to.parse().map_err(wrong)?;
    match (to.scheme_str(), to.host()) {
        (Some("http" | "https"), Some(_)) => Ok(to),
        _ => Err("a redirect to what is no URL of http".to_owned()),
    }
}

fn said(error: impl Display) -> String {
    error.to_string()
}
