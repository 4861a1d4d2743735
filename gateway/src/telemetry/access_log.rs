//! The access log: a line of JSON for each request. Workers put what they know into a bounded queue and
//! go on; one thread of its own writes. Who finds the queue full drops the line and counts it: a slow
//! disk or a reader that stands still costs lines, never requests.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::counter::Counter;

use super::utc::seconds_text;

/// `[access_log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub to: To,
    /// Lines that wait to be written.
    pub queue: u32,
}

impl Config {
    pub const QUEUE: u32 = 8_192;
    /// A line that waits, with its path.
    pub const LINE_BYTES: u64 = 256 + PATH_BYTES_MAX as u64;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    Stdout,
    Stderr,
    File(PathBuf),
}

/// Bytes of a path that are logged.
pub const PATH_BYTES_MAX: usize = 1_024;
/// The writer looks at the queue so often: nobody has to wake it.
const LOOK: Duration = Duration::from_millis(50);
/// Bytes that are written at once.
const CHUNK_BYTES: usize = 64 << 10;

/// What is known of a request once its answer's head is.
#[derive(Clone, Debug)]
pub struct Line {
    /// Of the monotonic clock.
    pub began_ns: u64,
    pub took_ns: u64,
    pub client: IpAddr,
    pub api: Option<Arc<str>>,
    pub method: Box<str>,
    /// Without the query, which may hold secrets.
    pub path: Box<str>,
    pub status: u16,
    /// Why the answer is ours: a rejection's or a fault's name.
    pub why: Option<&'static str>,
    /// Name of the credential that passed; never what was presented.
    pub credential: Option<Arc<str>>,
    /// Scheme and reason where auth refused.
    pub auth: Option<(&'static str, &'static str)>,
    /// Who answered, or failed last.
    pub upstream: Option<Arc<str>>,
    pub attempts: u32,
    pub id: Option<Box<str>>,
}

/// The workers' end.
#[derive(Debug)]
pub struct AccessLog {
    lines: SyncSender<Line>,
    closed: Arc<AtomicBool>,
    stale: Arc<AtomicBool>,
    dropped: Counter,
}

/// The writing end: [`Writer::run`] on a thread of its own.
pub struct Writer {
    lines: Receiver<Line>,
    closed: Arc<AtomicBool>,
    stale: Arc<AtomicBool>,
    out: Box<dyn Write + Send>,
    open: Option<Open>,
}

/// Opens what is written to anew.
pub type Open = Box<dyn Fn() -> io::Result<Box<dyn Write + Send>> + Send>;

impl Config {
    /// Opens the file, where there is one: append only, so that copying and truncating rotates it, too.
    pub fn open(&self) -> io::Result<Box<dyn Write + Send>> {
        Ok(match &self.to {
            To::Stdout => Box::new(io::stdout()),
            To::Stderr => Box::new(io::stderr()),
            To::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        })
    }
}

impl AccessLog {
    pub fn new(queue: u32, out: Box<dyn Write + Send>, dropped: Counter) -> (Self, Writer) {
        let (sender, lines) = sync_channel(queue as usize);
        let (closed, stale) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let writer =
            Writer { lines, closed: Arc::clone(&closed), stale: Arc::clone(&stale), out, open: None };
        (Self { lines: sender, closed, stale, dropped }, writer)
    }

    pub fn write(&self, line: Line) {
        if self.lines.try_send(line).is_err() {
            self.dropped.inc();
        }
    }

    /// The file may have been moved away: the next lines go to the one that has its name then.
    pub fn reopen(&self) {
        self.stale.store(true, Ordering::Release);
    }

    /// The writer ends once what waits is written.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}

impl Writer {
    pub fn reopened_by(self, open: Open) -> Self {
        Self { open: Some(open), ..self }
    }

    /// Until the log is closed and the queue is empty. `now_ns` is the clock of [`Line::began_ns`].
    pub fn run(mut self, now_ns: fn() -> u64) {
        let mut text = String::new();
        loop {
            let is_closed = self.closed.load(Ordering::Acquire);
            if self.stale.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let epoch_ns = since_epoch.as_nanos().saturating_sub(now_ns().into());
            while let Ok(line) = self.lines.try_recv() {
                line.encode(epoch_ns, &mut text);
                if text.len() >= CHUNK_BYTES {
                    self.put(&mut text);
                }
            }
            self.put(&mut text);
            if is_closed {
                return;
            }
            std::thread::park_timeout(LOOK);
        }
    }

    fn reopen(&mut self) {
        match self.open.as_ref().map(|open| open()) {
            None => {}
            Some(Ok(out)) => self.out = out,
            Some(Err(error)) => {
                tracing::warn!(%error, "the access log cannot be opened anew, the old file is written on");
            }
        }
    }

    fn put(&mut self, text: &mut String) {
        if text.is_empty() {
            return;
        }
        // A full disk loses lines; saying so in this log would not help.
        if let Err(error) = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()) {
            tracing::debug!(%error, "the access log was not written");
        }
        text.clear();
    }
}

impl Line {
    /// One line of JSON; writing to a String does not fail.
    fn encode(&self, epoch_ns: u128, text: &mut String) {
        self.try_encode(epoch_ns, text).unwrap_or(());
    }

    fn try_encode(&self, epoch_ns: u128, text: &mut String) -> std::fmt::Result {
        let milliseconds =
            u64::try_from((epoch_ns + u128::from(self.began_ns)) / 1_000_000).unwrap_or_default();
        let time = seconds_text(milliseconds / 1_000);
        write!(
            text,
            r#"{{"time":"{time}.{:03}Z","client":"{}","method":"#,
            milliseconds % 1_000,
            self.client
        )?;
        quote(&self.method, text);
        text.push_str(r#","path":"#);
        quote(&self.path, text);
        write!(text, r#","status":{},"duration_us":{}"#, self.status, self.took_ns / 1_000)?;
        for (name, value) in [
            ("api", self.api.as_deref()),
            ("reason", self.why),
            ("auth_scheme", self.auth.map(|(scheme, _)| scheme)),
            ("auth_reason", self.auth.map(|(_, reason)| reason)),
            ("credential", self.credential.as_deref()),
            ("upstream", self.upstream.as_deref()),
            ("request_id", self.id.as_deref()),
        ] {
            let Some(value) = value else { continue };
            write!(text, r#","{name}":"#)?;
            quote(value, text);
        }
        if self.attempts > 1 {
            write!(text, r#","attempts":{}"#, self.attempts)?;
        }
        text.push_str("}\n");
        Ok(())
    }
}

/// A string of JSON (RFC 8259 section 7).
fn quote(value: &str, text: &mut String) {
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            letter if u32::from(letter) < 0x20 => {
                write!(text, "\\u{:04x}", u32::from(letter)).unwrap_or(());
            }
            letter => text.push(letter),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(path: &str) -> Line {
        Line {
            began_ns: 0,
            took_ns: 1_234_567,
            client: "2001:db8::1".parse().unwrap(),
            api: Some("orders".into()),
            method: "GET".into(),
            path: path.into(),
            status: 502,
            why: Some("connect_failed"),
            credential: None,
            auth: None,
            upstream: Some("a/127.0.0.1:80".into()),
            attempts: 2,
            id: None,
        }
    }

    #[test]
    fn a_line_is_json_whatever_the_path_holds() {
        let mut text = String::new();
        line("/a\"b\\c\u{1}\u{e9}").encode(1_798_761_599_042_000_000, &mut text);
        let expected = concat!(
            r#"{"time":"2026-12-31T23:59:59.042Z","client":"2001:db8::1","method":"GET","#,
            r#""path":"/a\"b\\c\u0001é","status":502,"duration_us":1234,"api":"orders","#,
            r#""reason":"connect_failed","upstream":"a/127.0.0.1:80","attempts":2}"#,
            "\n"
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let (out, dropped) = (Shared::default(), Counter::default());
        let (log, writer) = AccessLog::new(3, Box::new(out.clone()), dropped.clone());
        (0..10).for_each(|_| log.write(line("/")));
        assert_eq!(dropped.get(), 7);
        log.close();
        writer.run(|| 0);
        assert_eq!(String::from_utf8(out.0.lock().unwrap().clone()).unwrap().lines().count(), 3);
    }
}
