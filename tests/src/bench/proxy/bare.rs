//! `bench bare`: hyper's server and hyper's client on one thread, and nothing of a gateway: no routing, no
//! limit, no timeout, no retry. What a proxy of hyper costs at least.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::Result;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::CONNECTION;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    listen: SocketAddr,
    upstream: SocketAddr,
}

/// Connections to the upstream.
type Pool = Rc<RefCell<Vec<SendRequest<Incoming>>>>;

/// Serves until it is killed.
pub fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(arguments))
}

async fn serve(arguments: &Arguments) -> Result<()> {
    let (listener, upstream) = (TcpListener::bind(arguments.listen).await?, arguments.upstream);
    let pool = Pool::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let pool = Rc::clone(&pool);
        spawn_local(async move {
            let service = service_fn(|request| {
                let pool = Rc::clone(&pool);
                async move { forward(&pool, upstream, request).await }
            });
            let server = hyper::server::conn::http1::Builder::new();
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                eprintln!("a client's connection: {error}");
            }
        });
    }
}

async fn forward(
    pool: &Pool,
    upstream: SocketAddr,
    mut request: Request<Incoming>,
) -> Result<Response<Incoming>> {
    request.headers_mut().remove(CONNECTION);
    let pooled = {
        let mut pool = pool.borrow_mut();
        pool.retain(|sender| !sender.is_closed());
        let ready = pool.iter().position(SendRequest::is_ready);
        ready.map(|at| pool.swap_remove(at))
    };
    let mut sender = match pooled {
        Some(sender) => sender,
        None => connect(upstream).await?,
    };
    let response = sender.send_request(request).await?;
    // Ready again once the answer's body was read.
    pool.borrow_mut().push(sender);
    Ok(response)
}

async fn connect(upstream: SocketAddr) -> Result<SendRequest<Incoming>> {
    let stream = TcpStream::connect(upstream).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    spawn_local(async move {
        if let Err(error) = connection.await {
            eprintln!("a connection to the upstream: {error}");
        }
    });
    Ok(sender)
}
