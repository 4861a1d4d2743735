//! A connection to Redis, small enough to be trusted as a witness.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use weir::fleet::Wire;

const PATIENCE: Duration = Duration::from_secs(5);

/// RESP2.
pub struct Witness {
    stream: BufReader<TcpStream>,
}

impl Witness {
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
