//! The handshake of a TLS listener: bounded in time, whatever trickles in, and in bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::proxy::config::Timeouts;
use crate::proxy::stream::Stream;
use crate::proxy::tls::{ClientCertificate, H2, Tls};

/// What a client may send until it is through: a hello with post-quantum keys is below 2 KiB; certificates
/// of a client and their chain need some more.
const HANDSHAKE_BYTES: usize = 16 << 10;
/// Written records that wait for the socket.
pub const WRITE_BYTES: usize = 32 << 10;

/// A handshake that went well.
pub struct Secured {
    pub stream: Stream,
    pub speaks: Speaks,
    pub certificate: Option<ClientCertificate>,
}

/// What was agreed by ALPN; HTTP/1 without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    Http1,
    Http2,
}

/// Why there is none: a label of metrics. None: the client went without a byte.
pub type HandshakeFailed = Option<&'static str>;

pub async fn handshake(
    stream: TcpStream,
    tls: &Tls,
    timeouts: &Timeouts,
) -> Result<Secured, HandshakeFailed> {
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
    let metered = Metered { stream, left: Some(HANDSHAKE_BYTES) };
    let buffers = |connection: &mut ServerConnection| connection.set_buffer_limit(Some(WRITE_BYTES));
    let shaking = acceptor.accept_with(metered, buffers).into_fallible();
    let mut stream = match timeout(timeouts.handshake, shaking).await {
        Ok(Ok(stream)) => stream,
        Ok(Err((error, metered))) => return Err(reason(&error, metered.left)),
        Err(_) => return Err(Some("handshake_timeout")),
    };
    let (metered, connection) = stream.get_mut();
    metered.left = None;
    let speaks = if connection.alpn_protocol() == Some(H2) { Speaks::Http2 } else { Speaks::Http1 };
    let leaf = connection.peer_certificates().and_then(|chain| chain.first());
    let certificate = leaf.and_then(ClientCertificate::of);
    Ok(Secured { stream: Stream::Tls(Box::new(stream)), speaks, certificate })
}

fn reason(error: &io::Error, left: Option<usize>) -> HandshakeFailed {
    tracing::debug!(%error, "no handshake");
    match left {
        // A port scan or a load balancer's check.
        Some(HANDSHAKE_BYTES) => return None,
        Some(0) => return Some("handshake_bytes"),
        _ => {}
    }
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    Some(match cause {
        Some(rustls::Error::NoApplicationProtocol) => "handshake_alpn",
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) => {
            "handshake_certificate"
        }
        Some(rustls::Error::PeerIncompatible(_)) => "handshake_incompatible",
        Some(rustls::Error::AlertReceived(_)) => "handshake_alert",
        Some(_) => "handshake_malformed",
        None => "handshake_ended",
    })
}

/// A socket that gives so many bytes and then no more, until the bound is lifted.
pub struct Metered {
    stream: TcpStream,
    /// None: no bound.
    left: Option<usize>,
}

impl Metered {
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if let Some(left) = self.left {
            let left = left.saturating_sub(buffer.filled().len() - before);
            self.left = Some(left);
            if left == 0 {
                return Poll::Ready(Err(io::Error::other("more than a handshake")));
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
