//! A row: bytes that a client sends, and what must come of them. A second request always follows in
//! the same write: behind a refused one it may never be served.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::recorder::{Recorder, Seen};
use super::wire::{Message, Read, Unframed, read};
use crate::proxy::tests::forward;
use crate::proxy::tests::harness::Gateway;

const PATIENCE: Duration = Duration::from_secs(10);
const TIMES: &str = "[timeouts]\nrequest_head = \"3s\"\nrequest_body_idle = \"3s\"\nkeep_alive = \"3s\"\n";
/// What is longer comes in one piece only.
const DRIBBLED_BYTES_MAX: usize = 1_000;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup";
const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

pub struct Row {
    /// What is odd about it, and the section that decides.
    what: String,
    sent: Vec<u8>,
    expected: Expected,
}

enum Expected {
    /// This status, the connection closed, nothing for the upstream.
    Refused(u16),
    /// The head was right and may be under way: this status, closed, and no whole request.
    Torn(u16),
    /// In one normal form.
    Forwarded(Normal),
}

/// A request as the upstream must get it, without what every one has.
#[derive(Clone)]
pub struct Normal {
    line: &'static str,
    host: Option<&'static str>,
    fields: Vec<String>,
    body: String,
    trailers: Vec<String>,
    closes: bool,
}

pub fn refused(status: u16, what: &str, sent: impl AsRef<[u8]>) -> Row {
    row(what, sent, Expected::Refused(status))
}

pub fn torn(status: u16, what: &str, sent: impl AsRef<[u8]>) -> Row {
    row(what, sent, Expected::Torn(status))
}

pub fn forwarded(normal: Normal, what: &str, sent: impl AsRef<[u8]>) -> Row {
    row(what, sent, Expected::Forwarded(normal))
}

fn row(what: &str, sent: impl AsRef<[u8]>, expected: Expected) -> Row {
    Row { what: what.to_owned(), sent: sent.as_ref().to_owned(), expected }
}

/// As the upstream gets it: `GET / HTTP/1.1` of host `a`.
pub fn normal(line: &'static str) -> Normal {
    Normal {
        line,
        host: Some("a"),
        fields: Vec::new(),
        body: String::new(),
        trailers: Vec::new(),
        closes: false,
    }
}

impl Normal {
    pub fn field(mut self, field: &str) -> Self {
        self.fields.push(field.to_owned());
        self
    }

    pub fn length(self, body: &str) -> Self {
        Self { body: body.to_owned(), ..self }.field(&format!("content-length: {}", body.len()))
    }

    pub fn chunked(self, body: &str) -> Self {
        Self { body: body.to_owned(), ..self }.field("transfer-encoding: chunked")
    }

    pub fn trailer(mut self, field: &str) -> Self {
        self.trailers.push(field.to_owned());
        self
    }

    pub fn host(self, host: &'static str) -> Self {
        Self { host: Some(host), ..self }
    }

    pub fn no_host(self) -> Self {
        Self { host: None, ..self }
    }

    /// The next request is not served: the client said so.
    pub fn closes(self) -> Self {
        Self { closes: true, ..self }
    }

    fn message(&self, port: u16) -> Message {
        let mut fields = vec![
            format!("host: 127.0.0.1:{port}"),
            "x-forwarded-for: 127.0.0.1".to_owned(),
            "x-forwarded-proto: http".to_owned(),
        ];
        fields.extend(self.host.map(|host| format!("x-forwarded-host: {host}")));
        fields.extend(self.fields.iter().cloned());
        sorted(Message {
            line: self.line.to_owned(),
            fields,
            body: self.body.clone(),
            trailers: self.trailers.clone(),
        })
    }
}

/// Fields in the order of their names; those of one name keep theirs.
fn sorted(mut message: Message) -> Message {
    message.fields.sort_by(|a, b| a.split(':').next().cmp(&b.split(':').next()));
    message
}

/// Checks each row with a gateway of its own.
#[track_caller]
pub fn check(rows: &[Row]) {
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for part in rows.chunks(rows.len().div_ceil(4)) {
            let failed = &failed;
            scope.spawn(move || {
                for row in part {
                    if let Err(why) = row.check() {
                        failed.lock().unwrap().push(format!("{}: {why}", row.what));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} rows:\n{}", failed.len(), rows.len(), failed.join("\n"));
}

impl Row {
    /// In one piece, and byte by byte: where a read ends changes nothing.
    fn check(&self) -> Result<(), String> {
        let sent = [&self.sent, NEXT].concat();
        self.check_in(&[&sent])?;
        if sent.len() > DRIBBLED_BYTES_MAX {
            return Ok(());
        }
        let bytes: Vec<_> = sent.chunks(1).collect();
        self.check_in(&bytes).map_err(|why| format!("byte by byte: {why}"))
    }

    fn check_in(&self, pieces: &[&[u8]]) -> Result<(), String> {
        let upstream = Recorder::start(ANSWER);
        let port = upstream.port;
        let mut gateway = Gateway::start(&format!("{TIMES}{}", forward("a", "/", port, "")));
        let stream = gateway.connect().expect("the gateway listens");
        let got = converse(stream, pieces);
        gateway.drain();
        gateway.ended();
        let (seen, _) = upstream.finish();
        let got = got?;
        let answers = statuses(&got)?;
        let next = || Seen::Request(normal("GET /next HTTP/1.1").message(port));
        let seen: Vec<_> = seen.into_iter().map(in_order).collect();
        let (expected, expected_seen) = match &self.expected {
            Expected::Refused(status) => (vec![*status], Vec::new()),
            Expected::Torn(status) => {
                if let Some(whole) = seen.iter().find(|seen| !matches!(seen, Seen::Torn(_))) {
                    return Err(format!("the upstream saw {}", told(std::slice::from_ref(whole))));
                }
                (vec![*status], seen.clone())
            }
            Expected::Forwarded(normal) if normal.closes => {
                (vec![200], vec![Seen::Request(normal.message(port))])
            }
            Expected::Forwarded(normal) => {
                (vec![200, 200], vec![Seen::Request(normal.message(port)), next()])
            }
        };
        if seen != expected_seen {
            return Err(format!("the upstream saw\n{}not\n{}", told(&seen), told(&expected_seen)));
        }
        if answers != expected {
            return Err(format!("answered {answers:?}, not {expected:?}: {got:.200}"));
        }
        Ok(())
    }
}

/// A line each, without the request that follows.
fn told(seen: &[Seen]) -> String {
    let line = |seen: &Seen| match seen {
        Seen::Request(message) => {
            let Message { line, fields, body, trailers } = message;
            format!("    {line:.80} {:.300} {body:.40?} {trailers:.100?}\n", format!("{fields:?}"))
        }
        other => format!("    {:.300}\n", format!("{other:?}")),
    };
    seen.iter().map(line).filter(|line| !line.contains("/next")).collect()
}

fn in_order(seen: Seen) -> Seen {
    match seen {
        Seen::Request(message) => Seen::Request(sorted(message)),
        other => other,
    }
}

/// Sends everything, and reads to the other side's end.
pub fn converse(stream: TcpStream, pieces: &[&[u8]]) -> Result<String, String> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut got = Vec::new();
    let ended = std::thread::scope(|scope| {
        let mut writing = stream.try_clone().unwrap();
        writing.set_write_timeout(Some(PATIENCE)).unwrap();
        // Who refuses does not read the rest.
        scope.spawn(move || {
            for piece in pieces {
                writing.write_all(piece).unwrap_or(());
                std::thread::yield_now();
            }
        });
        (&stream).read_to_end(&mut got)
    });
    let got = super::wire::latin1(&got);
    match ended {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            Err(format!("the connection stays open, after {got:.200?}"))
        }
        // A reset behind the answer is an end.
        Ok(_) | Err(_) => Ok(got),
    }
}

/// The final answers' status codes.
pub fn statuses(got: &str) -> Result<Vec<u16>, String> {
    let bytes: Vec<u8> = got.chars().map(|char| char as u8).collect();
    let mut rest = bytes.as_slice();
    let mut statuses = Vec::new();
    while !rest.is_empty() {
        let Read::Whole(message, length) = read(rest, Unframed::AtTheHead) else {
            return Err(format!("an answer that is none: {got:.300?}"));
        };
        let code = message.line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let code: u16 = code.ok_or_else(|| format!("a status line that is none: {}", message.line))?;
        if code >= 200 {
            statuses.push(code);
        }
        rest = &rest[length..];
    }
    Ok(statuses)
}
