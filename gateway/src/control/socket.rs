//! The control socket: one request a line, one answer a line, `watch` many. Only its owner may open
//! it; lines, clients and times are bounded.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::time::timeout;

use super::message::{LOAD_BYTES_MAX, News, Request};
use super::{Parts, apply, bans, explain, jwks, lists, status, store};

#[cfg(test)]
mod tests;

/// Bytes of a request: a configuration fits.
const LINE_BYTES: u64 = 1_024 * 1_024;
const CLIENTS: usize = 16;
/// To a whole request, and to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// To the text of a list.
const LOAD_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("another weir answers at {0}: stop it, or set [admin] socket")]
    Alive(PathBuf),
    #[error("the control socket {path} cannot be made: {source}")]
    Bind { path: PathBuf, source: io::Error },
}

/// Binds the socket, over one that a dead process left; mode 0600 from the first moment.
pub fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    let refused = |source| SocketError::Bind { path: path.to_owned(), source };
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(SocketError::Alive(path.to_owned()));
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(refused)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(error)),
        Ok(()) | Err(_) => {}
    }
    // Bound under another name first: at its own name the socket never has looser permissions.
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&fresh).map_err(refused)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).map_err(refused)?;
    std::fs::rename(&fresh, path).map_err(refused)?;
    Ok(listener)
}

/// Serves until `drain` turns true.
pub async fn serve(listener: UnixListener, parts: Arc<Parts>, mut drain: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = drain.wait_for(|drain| *drain) => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let parts = Arc::clone(&parts);
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &parts).await {
                tracing::debug!(%error, "control connection ended");
            }
            drop(place);
        });
    }
}

async fn converse(stream: UnixStream, parts: &Parts) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read).take(LINE_BYTES);
    timeout(PATIENCE, read.read_line(&mut line)).await??;
    if !line.ends_with('\n') {
        return send(
            &mut write,
            &Answer::<()>::Error(format!("a request is a line of at most {LINE_BYTES} bytes")),
        )
        .await;
    }
    match serde_json::from_str(&line) {
        Ok(Request::StorePing) => {
            let pings = store::ping(parts).await.and_then(value);
            send(&mut write, &Answer::of(pings)).await
        }
        Ok(Request::Explain { address }) => {
            let explained = match explain::explain(parts, &address) {
                Ok(explained) => explain::with_fleet(parts, explained, &address).await.and_then(value),
                Err(error) => Err(error),
            };
            send(&mut write, &Answer::of(explained)).await
        }
        Ok(Request::Watch) => follow(&mut write, parts.news.subscribe()).await,
        Ok(Request::ListLoad { bytes, .. }) if bytes > LOAD_BYTES_MAX => {
            send(&mut write, &Answer::<()>::Error(format!("a list is at most {LOAD_BYTES_MAX} bytes"))).await
        }
        Ok(Request::ListLoad { list, source, bytes }) => {
            read.set_limit(bytes);
            let mut text = Vec::new();
            timeout(LOAD_PATIENCE, read.read_to_end(&mut text)).await??;
            let loaded = lists::load(parts, list, &source, &text).and_then(value);
            send(&mut write, &Answer::of(loaded)).await
        }
        Ok(Request::JwksRefresh { url }) => {
            let refreshed = jwks::refresh(parts, url.as_deref()).await.and_then(value);
            send(&mut write, &Answer::of(refreshed)).await
        }
        Ok(request) => send(&mut write, &answer(parts, &request)).await,
        Err(error) => send(&mut write, &Answer::<()>::Error(format!("no such request: {error}"))).await,
    }
}

/// `{"ok": ..}` or `{"error": ".."}`.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer<T> {
    Ok(T),
    Error(String),
}

impl<T> Answer<T> {
    fn of(result: Result<T, String>) -> Self {
        result.map_or_else(Self::Error, Self::Ok)
    }
}

fn answer(parts: &Parts, request: &Request) -> Answer<serde_json::Value> {
    let answered = match request {
        Request::Status => status::status(parts).and_then(value),
        Request::BansList => bans::list(parts).and_then(value),
        Request::BansAdd { address, seconds } => bans::add(parts, address, *seconds).and_then(value),
        Request::BansRemove { address, grace_seconds } => {
            bans::remove(parts, address, *grace_seconds).and_then(value)
        }
        Request::Reload { sessions } => {
            parts.guarding.welcome(sessions);
            parts.reloader.reload(parts).and_then(value)
        }
        Request::ListShow { list } => lists::list(parts, *list).and_then(value),
        Request::ListAdd { list, prefix } => lists::add(parts, *list, prefix).and_then(value),
        Request::ListRemove { list, prefix } => lists::remove(parts, *list, prefix).and_then(value),
        Request::JwksStatus => value(jwks::list(parts)),
        Request::JwksRefresh { .. } => Err("a fetch is waited for".to_owned()),
        Request::ListLoad { .. } => Err("a list is loaded from what follows its line".to_owned()),
        Request::Apply { text, name, confirm_seconds, sessions } => {
            parts.guarding.welcome(sessions);
            apply::apply(parts, text, name, *confirm_seconds).and_then(value)
        }
        Request::Pending => apply::pending(parts).and_then(value),
        Request::Revert => apply::revert(parts).and_then(value),
        Request::StoreStatus => value(store::view(parts)),
        Request::StorePing | Request::Explain { .. } => Err("the store is asked first".to_owned()),
        Request::Watch => Err("watch is answered by a stream".to_owned()),
    };
    Answer::of(answered)
}

fn value(answer: impl Serialize) -> Result<serde_json::Value, String> {
    serde_json::to_value(answer).map_err(|error| error.to_string())
}

async fn follow(
    write: &mut tokio::net::unix::OwnedWriteHalf,
    mut news: broadcast::Receiver<News>,
) -> io::Result<()> {
    loop {
        let line = match news.recv().await {
            Ok(line) => line,
            Err(broadcast::error::RecvError::Lagged(lines)) => News::Missed { lines },
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        };
        send(write, &Answer::Ok(line)).await?;
    }
}

async fn send<T: Serialize>(
    write: &mut tokio::net::unix::OwnedWriteHalf,
    answer: &Answer<T>,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer).map_err(io::Error::other)?;
    line.push(b'\n');
    timeout(PATIENCE, write.write_all(&line)).await?
}
