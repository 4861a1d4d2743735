//! HAProxy, as a peer: one thread, one process, no log.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::front::{Entrance, Front, Way};
use crate::process::Process;

const START: Duration = Duration::from_secs(5);

/// A running HAProxy; killed in Drop.
pub struct Haproxy {
    process: Process,
    pub address: SocketAddr,
}

impl Haproxy {
    /// Starts it in the namespace and on the core of the calling thread; its files go to `folder`.
    pub fn start(name: &str, address: SocketAddr, front: &Front<'_>, folder: &Path) -> Result<Self> {
        let prefix = folder.join(name);
        std::fs::create_dir_all(&prefix)?;
        let config = prefix.join("haproxy.cfg");
        if let Entrance::Tls { certificates } = front.entrance {
            // Certificate and key in one file.
            let read = |file: &str| std::fs::read_to_string(certificates.join(file));
            std::fs::write(prefix.join("both.pem"), read("server.crt")? + &read("server.key")?)?;
        }
        std::fs::write(&config, text(address, front, &prefix)).context("writing haproxy.cfg")?;
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&config);
        let mut process = Process::start(name, command, &prefix)?;
        process
            .wait_until(&format!("accepts on {address}"), START, || TcpStream::connect(address).is_ok())?;
        Ok(Self { process, address })
    }

    pub fn pid(&self) -> nix::unistd::Pid {
        self.process.pid()
    }
}

fn text(address: SocketAddr, front: &Front<'_>, folder: &Path) -> String {
    let entrance = match front.entrance {
        Entrance::Plain => String::new(),
        Entrance::Tls { .. } => format!(" ssl crt {} alpn h2,http/1.1", folder.join("both.pem").display()),
        Entrance::Http2 => " proto h2".to_owned(),
    };
    let way = match front.way {
        Way::Http1 | Way::WebSocket => "",
        Way::Grpc => " proto h2",
    };
    let limit = match front.limit {
        None => String::new(),
        Some(limit) => format!(
            "  stick-table type ip size 100k expire 60s store http_req_rate(1s)
  http-request track-sc0 src
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {} }}\n",
            limit.per_second
        ),
    };
    let upstream = front.upstream;
    format!(
        "global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 60s
frontend front
  bind {address}{entrance} backlog 4096
{limit}  option forwardfor
  default_backend behind
backend behind
  http-reuse always
  server one {upstream}{way}
"
    )
}
