//! Free ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result};

/// A port of 127.0.0.1 that nobody holds now. Another process may take it before it is used, which
/// shows as that server's refusal to start, never as a wrong answer.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
    Ok(listener.context("asking for a free port")?.local_addr()?.port())
}

/// The same with 127.0.0.1.
pub fn free_address() -> Result<SocketAddr> {
    Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), free_port()?))
}
