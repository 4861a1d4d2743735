//! A row of the other side: what an upstream sends, and what must come of it at the client. Another
//! request always follows, from another client: it gets its own answer, over the same connection to
//! the upstream only where the first answer left that in a known state.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::row::converse;
use super::wire::{Message, Read, Unframed, latin1, read};
use crate::proxy::tests::forward;
use crate::proxy::tests::harness::Gateway;

const PATIENCE: Duration = Duration::from_secs(10);
/// What is longer comes in one piece only.
const DRIBBLED_BYTES_MAX: usize = 1_000;
const TIMES: &str = "[timeouts]\nupstream_response_head = \"3s\"\nkeep_alive = \"3s\"\n";
const NEXT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext";

pub struct Answer {
    what: String,
    /// The request's line.
    asked: &'static str,
    sent: Vec<u8>,
    /// Sent once the client has its answer.
    late: &'static [u8],
    closes: bool,
    expected: Expected,
}

enum Expected {
    BadGateway,
    /// The client gets a head and part of a body, which it cannot take for a whole one.
    Cut,
    Passed(Message, Kept),
}

/// Whether the connection to the upstream serves the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

pub fn bad(what: &str, sent: impl AsRef<[u8]>) -> Answer {
    answer(what, sent, Expected::BadGateway)
}

pub fn cut(what: &str, sent: impl AsRef<[u8]>) -> Answer {
    answer(what, sent, Expected::Cut)
}

pub fn passed(message: Message, what: &str, sent: impl AsRef<[u8]>) -> Answer {
    answer(what, sent, Expected::Passed(message, Kept::Yes))
}

/// Passed on, and the connection that it came over not used again.
pub fn passed_last(message: Message, what: &str, sent: impl AsRef<[u8]>) -> Answer {
    answer(what, sent, Expected::Passed(message, Kept::No))
}

fn answer(what: &str, sent: impl AsRef<[u8]>, expected: Expected) -> Answer {
    Answer {
        what: what.to_owned(),
        asked: "GET /first HTTP/1.1",
        sent: sent.as_ref().to_owned(),
        late: b"",
        closes: false,
        expected,
    }
}

/// An answer as a client must get it, without Date and Connection.
pub fn message(line: &str, fields: &[&str], body: &str) -> Message {
    Message {
        line: line.to_owned(),
        fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        body: body.to_owned(),
        trailers: Vec::new(),
    }
}

impl Answer {
    pub fn asked(self, asked: &'static str) -> Self {
        Self { asked, ..self }
    }

    pub fn late(self, late: &'static [u8]) -> Self {
        Self { late, ..self }
    }

    /// The upstream closes behind it.
    pub fn closes(self) -> Self {
        Self { closes: true, ..self }
    }

    /// In one piece, and byte by byte: where a read ends changes nothing.
    fn check(&self) -> Result<(), String> {
        self.check_in(self.sent.len().max(1))?;
        if self.sent.len() > DRIBBLED_BYTES_MAX {
            return Ok(());
        }
        self.check_in(1).map_err(|why| format!("byte by byte: {why}"))
    }

    fn check_in(&self, piece_bytes: usize) -> Result<(), String> {
        let upstream = Upstream::start(self, piece_bytes);
        let mut gateway = Gateway::start(&format!("{TIMES}{}", forward("a", "/", upstream.port, "")));
        let ask = |line: &str| {
            let request = format!("{line}\r\nHost: a\r\nConnection: close\r\n\r\n");
            converse(gateway.connect().expect("the gateway listens"), &[request.as_bytes()])
        };
        let got = ask(self.asked);
        upstream.send_late();
        let next = ask("GET /next HTTP/1.1");
        gateway.drain();
        gateway.ended();
        let kept = upstream.kept();
        self.compare(&got?)?;
        let next = next?;
        if !next.starts_with("HTTP/1.1 200 ") || !next.ends_with("next") {
            return Err(format!("the next one got {next:.200?}"));
        }
        match &self.expected {
            Expected::Passed(_, expected) if *expected == kept => Ok(()),
            Expected::BadGateway | Expected::Cut if kept == Kept::No => Ok(()),
            _ => Err(format!("the connection was used again: {kept:?}")),
        }
    }

    fn compare(&self, got: &str) -> Result<(), String> {
        let bytes: Vec<u8> = got.chars().map(|char| char as u8).collect();
        let mut rest = bytes.as_slice();
        loop {
            let is_old = self.asked.ends_with("1.0");
            let unframed = if is_old { Unframed::AtTheEnd } else { Unframed::AtTheHead };
            let is_empty = self.asked.starts_with("HEAD") || rest.starts_with(b"HTTP/1.1 304");
            let got = if is_empty { headless(rest) } else { read(rest, unframed) };
            match got {
                Read::Whole(message, length) if message.line.starts_with("HTTP/1.1 1") => {
                    rest = &rest[length..];
                }
                Read::Whole(message, length) => return self.final_answer(message, &rest[length..]),
                Read::Short | Read::Nonsense(_) => {
                    let torn = rest.starts_with(b"HTTP/1.1 200 OK\r\n") || rest.is_empty();
                    return if torn && matches!(self.expected, Expected::Cut) {
                        Ok(())
                    } else {
                        Err(format!("the client got {:.200?}", latin1(rest)))
                    };
                }
            }
        }
    }

    fn final_answer(&self, mut got: Message, rest: &[u8]) -> Result<(), String> {
        if !rest.is_empty() {
            return Err(format!("behind the answer came {:.200?}", latin1(rest)));
        }
        got.fields.retain(|field| !field.starts_with("date: ") && !field.starts_with("connection: "));
        match &self.expected {
            Expected::BadGateway if got.line.starts_with("HTTP/1.1 502 ") => Ok(()),
            Expected::Passed(expected, _) => {
                got.fields.sort();
                let mut expected = expected.clone();
                expected.fields.sort();
                if got == expected { Ok(()) } else { Err(format!("got\n  {got:.500?}, not\n  {expected:?}")) }
            }
            _ => Err(format!("got {got:.500?}")),
        }
    }
}

/// An answer that has no body, whatever its fields say.
fn headless(bytes: &[u8]) -> Read {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Read::Short };
    let mut lines = latin1(&bytes[..end]).split("\r\n").map(str::to_owned).collect::<Vec<_>>().into_iter();
    let line = lines.next().unwrap_or_default();
    let fields = lines.map(|field| {
        let (name, value) = field.split_once(": ").unwrap_or((&field, ""));
        format!("{}: {value}", name.to_ascii_lowercase())
    });
    let message = Message { line, fields: fields.collect(), body: String::new(), trailers: Vec::new() };
    Read::Whole(message, end + 4)
}

#[track_caller]
pub fn check(answers: &[Answer]) {
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for part in answers.chunks(answers.len().div_ceil(4)) {
            let failed = &failed;
            scope.spawn(move || {
                for answer in part {
                    if let Err(why) = answer.check() {
                        failed.lock().unwrap().push(format!("{}: {why}", answer.what));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {} rows:\n{}", failed.len(), answers.len(), failed.join("\n"));
}

/// Answers the first request as the row says, and every other properly.
struct Upstream {
    port: u16,
    go_on: Sender<()>,
    late_sent: Receiver<()>,
    /// Of each request, the connection's number.
    over: Arc<Mutex<Vec<usize>>>,
}

impl Upstream {
    fn start(row: &Answer, piece_bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let over = Arc::<Mutex<Vec<usize>>>::default();
        let (go_on, wait) = channel();
        let (told, late_sent) = channel();
        let script = Arc::new(Mutex::new(Some(Script {
            pieces: row.sent.chunks(piece_bytes).map(<[u8]>::to_vec).collect(),
            late: row.late,
            closes: row.closes,
            wait,
            told,
        })));
        let writing = Arc::clone(&over);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let (script, writing) = (Arc::clone(&script), Arc::clone(&writing));
                std::thread::spawn(move || serve(stream, number, &script, &writing));
            }
        });
        Self { port, go_on, late_sent, over }
    }

    fn send_late(&self) {
        // Where the first request never came, nothing waits.
        self.go_on.send(()).unwrap_or(());
        self.late_sent.recv_timeout(PATIENCE).unwrap_or(());
    }

    fn kept(&self) -> Kept {
        let over = self.over.lock().unwrap();
        if over.iter().all(|number| *number == 0) { Kept::Yes } else { Kept::No }
    }
}

struct Script {
    pieces: Vec<Vec<u8>>,
    late: &'static [u8],
    closes: bool,
    wait: Receiver<()>,
    told: Sender<()>,
}

fn serve(mut stream: TcpStream, number: usize, script: &Mutex<Option<Script>>, over: &Mutex<Vec<usize>>) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut pending, mut buffer) = (Vec::new(), [0; 16_384]);
    loop {
        let length = match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => length,
        };
        pending.extend_from_slice(&buffer[..length]);
        while let Read::Whole(_, length) = read(&pending, Unframed::AtTheHead) {
            pending.drain(..length);
            over.lock().unwrap().push(number);
            let first = script.lock().unwrap().take();
            // Who cut us off does not want the rest.
            let Some(first) = first else {
                stream.write_all(NEXT).unwrap_or(());
                continue;
            };
            for piece in &first.pieces {
                stream.write_all(piece).unwrap_or(());
                std::thread::yield_now();
            }
            if first.closes {
                first.told.send(()).unwrap_or(());
                return;
            }
            first.wait.recv_timeout(PATIENCE).unwrap_or(());
            stream.write_all(first.late).unwrap_or(());
            first.told.send(()).unwrap_or(());
        }
    }
}
