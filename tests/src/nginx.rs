//! nginx, as an upstream that answers 200 by itself and as the peer that Weir's proxy is compared
//! with: `proxy_pass` with `limit_req`. One worker, one process, no log of requests.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::front::{Entrance, Front, RequestLimit, Way};
use crate::process::Process;

const START: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub enum Role<'a> {
    /// Answers 200 and a short body.
    Upstream,
    /// Answers a short file, on the port of every address of either family.
    Site {
        limit: Option<RequestLimit>,
    },
    Proxy(Front<'a>),
}

/// What an upstream answers besides, by path.
pub const BODIES: [(&str, usize); 2] = [("10k", 10 << 10), ("1m", 1 << 20)];

/// A running nginx; killed in Drop.
pub struct Nginx {
    process: Process,
    pub address: SocketAddr,
}

impl Nginx {
    /// Starts it in the namespace and on the core of the calling thread; its files go to `folder`.
    pub fn start(name: &str, address: SocketAddr, role: &Role<'_>, folder: &Path) -> Result<Self> {
        let prefix = folder.join(name);
        std::fs::create_dir_all(&prefix)?;
        std::fs::write(prefix.join("site"), "hello\n")?;
        for (name, bytes) in BODIES {
            std::fs::write(prefix.join(name), vec![b'x'; bytes])?;
        }
        let config = prefix.join("nginx.conf");
        std::fs::write(&config, text(address, role)).context("writing nginx.conf")?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&prefix).arg("-c").arg(&config).args(["-e", "error.log"]);
        let mut process = Process::start(name, command, &prefix)?;
        process
            .wait_until(&format!("accepts on {address}"), START, || TcpStream::connect(address).is_ok())?;
        Ok(Self { process, address })
    }

    pub fn pid(&self) -> nix::unistd::Pid {
        self.process.pid()
    }
}

fn text(address: SocketAddr, role: &Role<'_>) -> String {
    let (outside, location) = match role {
        Role::Upstream => {
            ("open_file_cache max=4; sendfile on;".to_owned(), "return 200 \"hello\\n\";".to_owned())
        }
        Role::Site { limit } => site(*limit),
        Role::Proxy(front) => proxy(front),
    };
    let files = match role {
        Role::Upstream => BODIES.map(|(name, _)| format!("location = /{name} {{ root .; }}")).join(" "),
        Role::Site { .. } | Role::Proxy(_) => String::new(),
    };
    let listen = match role {
        Role::Site { .. } => {
            format!("listen 0.0.0.0:{0} backlog=4096; listen [::]:{0} backlog=4096;", address.port())
        }
        Role::Upstream => format!("listen {address} backlog=4096;"),
        Role::Proxy(front) => entrance(address, front),
    };
    format!(
        "daemon off;
master_process off;
pid nginx.pid;
error_log error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  default_type text/plain;
  keepalive_requests 1000000000;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  {outside}
  server {{
    {listen}
    {files}
    location / {{ {location} }}
  }}
}}
"
    )
}

/// A file, because `return` answers before `limit_req` is asked.
fn site(limit: Option<RequestLimit>) -> (String, String) {
    let (mut outside, mut location) =
        ("open_file_cache max=4;".to_owned(), "root .; try_files /site =404;".to_owned());
    if let Some(limit) = limit {
        limit.write(&mut outside, &mut location);
    }
    (outside, location)
}

fn entrance(address: SocketAddr, front: &Front<'_>) -> String {
    match front.entrance {
        Entrance::Plain => format!("listen {address} backlog=4096;"),
        Entrance::Http2 => format!("listen {address} http2 backlog=4096;"),
        Entrance::Tls { certificates } => {
            let file = |name: &str| certificates.join(name).display().to_string();
            format!(
                "listen {address} ssl http2 backlog=4096; ssl_certificate {}; ssl_certificate_key {}; \
                 ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:tls:10m;",
                file("server.crt"),
                file("server.key")
            )
        }
    }
}

fn proxy(front: &Front<'_>) -> (String, String) {
    let upstream = front.upstream;
    let mut outside =
        format!("upstream behind {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}");
    const FIELDS: &str = "Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;";
    let mut location = match front.way {
        Way::Http1 => format!(
            "proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header {FIELDS}"
        ),
        Way::WebSocket => format!(
            "proxy_pass http://behind; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
             proxy_set_header Connection upgrade; proxy_set_header {FIELDS}"
        ),
        Way::Grpc => {
            "grpc_pass grpc://behind; grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;".to_owned()
        }
    };
    if let Some(limit) = front.limit {
        limit.write(&mut outside, &mut location);
    }
    (outside, location)
}

impl RequestLimit {
    fn write(self, outside: &mut String, location: &mut String) {
        let Self { per_second, burst } = self;
        let zone = format!("limit_req_zone $binary_remote_addr zone=clients:10m rate={per_second}r/s;");
        outside.push_str(&zone);
        location.push_str(&format!("limit_req zone=clients burst={burst} nodelay; limit_req_status 429;"));
    }
}
