//! A connection's transport: TCP, or TLS over it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client;
use tokio_rustls::server::TlsStream;

use super::accept::Metered;

/// What HTTP is spoken over.
pub(super) enum Stream {
    Plain(TcpStream),
    /// Plain, and read from already, to tell what is spoken.
    Begun {
        stream: TcpStream,
        ahead: Bytes,
    },
    Tls(Box<TlsStream<Metered>>),
    /// TLS of which we are the client.
    Upstream(Box<client::TlsStream<TcpStream>>),
}

impl Stream {
    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) | Self::Begun { stream, .. } => stream,
            Self::Tls(stream) => stream.get_ref().0.socket(),
            Self::Upstream(stream) => stream.get_ref().0,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Begun { ahead, .. } if !ahead.is_empty() => {
                buffer.put_slice(&ahead.split_to(ahead.len().min(buffer.remaining())));
                Poll::Ready(Ok(()))
            }
            Self::Plain(stream) | Self::Begun { stream, .. } => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Upstream(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) | Self::Begun { stream, .. } => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Upstream(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) | Self::Begun { stream, .. } => {
                Pin::new(stream).poll_write_vectored(cx, slices)
            }
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Upstream(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) | Self::Begun { stream, .. } => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
            Self::Upstream(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) | Self::Begun { stream, .. } => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Upstream(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) | Self::Begun { stream, .. } => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Upstream(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
