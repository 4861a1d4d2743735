//! A blocking HTTP/1.1 client, small enough to be trusted as a witness.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use socket2::{Domain, Socket, Type};

/// How long connecting, and each read and write, may take.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Largest body that is read.
const BODY_BYTES: u64 = 16 << 20;

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// One GET on a connection of its own.
pub fn get(server: SocketAddr, path: &str) -> Result<Response> {
    Connection::open(server)?.get(path, "")
}

/// A kept-alive connection.
pub struct Connection {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

impl Connection {
    pub fn open(server: SocketAddr) -> Result<Self> {
        Self::over(TcpStream::connect_timeout(&server, PATIENCE), server, PATIENCE)
    }

    /// As `open`, giving up on the connect and on each answer after `patience`.
    pub fn open_within(server: SocketAddr, patience: Duration) -> Result<Self> {
        Self::over(TcpStream::connect_timeout(&server, patience), server, patience)
    }

    /// From a source address of this host; any of 127.0.0.0/8 will do for a loopback server.
    pub fn open_from(source: IpAddr, server: SocketAddr) -> Result<Self> {
        Self::open_from_within(source, server, PATIENCE)
    }

    /// As `open_from`, giving up after `patience`.
    pub fn open_from_within(source: IpAddr, server: SocketAddr, patience: Duration) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(source, 0).into()).with_context(|| format!("binding to {source}"))?;
        let connected = socket.connect_timeout(&server.into(), patience).map(|()| socket.into());
        Self::over(connected, server, patience)
    }

    fn over(connected: std::io::Result<TcpStream>, server: SocketAddr, patience: Duration) -> Result<Self> {
        let stream = connected.with_context(|| format!("connecting to {server}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Self { stream: BufReader::new(stream), host: server })
    }

    /// `headers` are whole lines, each with its CRLF.
    pub fn get(&mut self, path: &str, headers: &str) -> Result<Response> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.host);
        self.exchange(request.as_bytes())
    }

    /// Sends bytes as they are and reads one answer.
    pub fn exchange(&mut self, request: &[u8]) -> Result<Response> {
        self.stream.get_mut().write_all(request).context("sending the request")?;
        self.response()
    }

    /// Reads one answer to something sent before.
    pub fn response(&mut self) -> Result<Response> {
        read_response(&mut self.stream)
    }
}

/// Reads one answer.
pub fn read_response(stream: &mut impl BufRead) -> Result<Response> {
    let mut reader = Reader { stream, line: String::new() };
    let status = reader.next_line()?.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.with_context(|| format!("not a status line: {:?}", reader.line))?;
    let mut headers = Vec::new();
    while let Some((name, value)) = reader.next_line()?.split_once(':') {
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut response = Response { status, headers, body: Vec::new() };
    reader.body(&mut response)?;
    Ok(response)
}

struct Reader<'a, S> {
    stream: &'a mut S,
    line: String,
}

impl<S: BufRead> Reader<'_, S> {
    fn body(&mut self, response: &mut Response) -> Result<()> {
        if matches!(response.status, 100..=199 | 204 | 304) {
            return Ok(());
        }
        if response.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.chunks(&mut response.body);
        }
        match response.header("content-length").map(str::parse::<u64>) {
            Some(length) => {
                let length = length.context("reading content-length")?.min(BODY_BYTES);
                self.take(length, &mut response.body)
            }
            None if response.closes() => {
                self.stream.by_ref().take(BODY_BYTES).read_to_end(&mut response.body)?;
                Ok(())
            }
            None => bail!("an answer without a length on a connection that stays open"),
        }
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> Result<()> {
        loop {
            let length = u64::from_str_radix(self.next_line()?.split(';').next().unwrap_or_default(), 16);
            let length = length.context("reading a chunk's length")?.min(BODY_BYTES);
            self.take(length, body)?;
            if length == 0 {
                // Trailers, if there are some.
                while !self.next_line()?.is_empty() {}
                return Ok(());
            }
            if !self.next_line()?.is_empty() {
                bail!("a chunk without an end");
            }
        }
    }

    fn take(&mut self, length: u64, body: &mut Vec<u8>) -> Result<()> {
        let read = self.stream.by_ref().take(length).read_to_end(body)?;
        if read as u64 != length {
            bail!("the connection ended after {read} of {length} bytes");
        }
        Ok(())
    }

    /// A line without its end; an empty one at the end of headers.
    fn next_line(&mut self) -> Result<&str> {
        self.line.clear();
        if self.stream.read_line(&mut self.line).context("reading an answer")? == 0 {
            bail!("the connection ended before an answer");
        }
        Ok(self.line.trim_end())
    }
}
