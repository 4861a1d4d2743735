//! A real Redis of a test's own, asked over a socket by a client small enough to be trusted as a witness.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use weir::fleet::Wire;

use crate::ports::free_port;
use crate::process::Process;

const START: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(5);

/// A `redis-server` in memory; gone with its value.
pub struct Server {
    process: Process,
    pub address: SocketAddr,
    folder: TempDir,
}

impl Server {
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("weir-redis-").tempdir()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let process = spawn(address, &folder)?;
        Ok(Self { process, address, folder })
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// Kills it and starts another, empty, at its address.
    pub fn start_again(&mut self) -> Result<()> {
        self.kill()?;
        self.process = spawn(self.address, &self.folder)?;
        Ok(())
    }

    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGKILL)?;
        self.process.wait(PATIENCE).map(drop)
    }

    pub fn ask(&self, words: &[&str]) -> Result<Wire> {
        Connection::open(self.address)?.ask(words)
    }
}

fn spawn(address: SocketAddr, folder: &TempDir) -> Result<Process> {
    let mut command = Command::new("redis-server");
    let port = address.port().to_string();
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(folder.path());
    let mut process = Process::start("redis", command, folder.path())?;
    process.wait_until("answering", START, || {
        Connection::open(address).is_ok_and(|mut connection| connection.ask(&["PING"]).is_ok())
    })?;
    Ok(process)
}

/// RESP2.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// An error of Redis's is an error here.
    pub fn ask(&mut self, words: &[&str]) -> Result<Wire> {
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.answer()
    }

    pub fn eval(&mut self, script: &str, keys: &[String], arguments: &[String]) -> Result<Wire> {
        let n = keys.len().to_string();
        let mut words = vec!["EVAL", script, &n];
        words.extend(keys.iter().chain(arguments).map(String::as_str));
        self.ask(&words)
    }

    fn answer(&mut self) -> Result<Wire> {
        let mut line = String::new();
        self.stream.read_line(&mut line).context("reading an answer")?;
        let line = line.trim_end();
        let (kind, rest) = line.split_at_checked(1).context("an empty answer")?;
        match kind {
            "+" => Ok(Wire::Text(rest.to_owned())),
            "-" => bail!("redis: {rest}"),
            ":" => Ok(Wire::Int(rest.parse()?)),
            "$" if rest == "-1" => Ok(Wire::List(Vec::new())),
            "$" => {
                let mut text = vec![0; rest.parse::<usize>()? + 2];
                self.stream.read_exact(&mut text)?;
                text.truncate(text.len() - 2);
                Ok(Wire::Text(String::from_utf8(text)?))
            }
            "*" => {
                let n = rest.parse::<usize>().unwrap_or(0);
                Ok(Wire::List((0..n).map(|_| self.answer()).collect::<Result<_>>()?))
            }
            _ => bail!("not RESP: {line:?}"),
        }
    }
}
