//! The other end of the control socket: what the commands use.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::message::Request;

/// For one answer; a stream waits as long as it likes.
const PATIENCE: Duration = Duration::from_secs(10);
/// For an answer to a list of a million prefixes.
const LOAD_PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("no weir answers at {path} ({source}): is it running? --socket or --config say where")]
    Unreachable { path: PathBuf, source: io::Error },
    #[error("weir did not answer: {0}")]
    Broken(#[from] io::Error),
    #[error("weir's answer makes no sense: {0}")]
    Nonsense(#[from] serde_json::Error),
    #[error("{0}")]
    Refused(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(Value),
    Error(String),
}

/// Sends a request and waits for its answer.
pub fn ask(socket: &Path, request: &Request) -> Result<Value, AskError> {
    let mut stream = send(socket, request)?;
    stream.get_mut().set_read_timeout(Some(PATIENCE))?;
    receive(&mut stream)?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof).into())
}

/// As [`ask`], with a text behind the request.
pub fn ask_with(socket: &Path, request: &Request, text: &[u8]) -> Result<Value, AskError> {
    let mut stream = send(socket, request)?;
    stream.get_mut().write_all(text)?;
    stream.get_mut().set_read_timeout(Some(LOAD_PATIENCE))?;
    receive(&mut stream)?.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof).into())
}

/// Hands each line of a stream to `take` until that says no, or the other end closes.
pub fn follow(socket: &Path, mut take: impl FnMut(Value) -> bool) -> Result<(), AskError> {
    let mut stream = send(socket, &Request::Watch)?;
    while let Some(line) = receive(&mut stream)? {
        if !take(line) {
            return Ok(());
        }
    }
    Ok(())
}

fn send(socket: &Path, request: &Request) -> Result<BufReader<UnixStream>, AskError> {
    let unreachable = |source| AskError::Unreachable { path: socket.to_owned(), source };
    let mut stream = UnixStream::connect(socket).map_err(unreachable)?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(BufReader::new(stream))
}

fn receive(stream: &mut BufReader<UnixStream>) -> Result<Option<Value>, AskError> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    match serde_json::from_str(&line)? {
        Answer::Ok(value) => Ok(Some(value)),
        Answer::Error(message) => Err(AskError::Refused(message)),
    }
}
