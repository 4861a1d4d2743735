//! libFuzzer's report on one line every few seconds: what it prints by itself is a line for each frame
//! that it keeps, and then nothing for minutes.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Result;

const PAUSE: Duration = Duration::from_secs(5);
/// What is told of a failure.
const LINES_KEPT: usize = 25;
/// Lines on their way to be told.
const LINES_WAITING: usize = 64;

/// Reads to the end; the last lines.
#[expect(clippy::disallowed_methods, reason = "progress is told by the wall clock")]
pub(super) fn show(name: &str, seconds: u32, report: impl Read + Send) -> Result<String> {
    let started = Instant::now();
    let tell = |line: &str| {
        println!("{name}: {:>4} of {seconds} s  {}", started.elapsed().as_secs(), shown(line));
    };
    let mut told = started;
    let (mut last, mut counts) = (VecDeque::new(), String::new());
    std::thread::scope(|scope| {
        let (sender, lines) = sync_channel(LINES_WAITING);
        scope.spawn(move || {
            let lines = BufReader::new(report).split(b'\n').map_while(Result::ok);
            for line in lines {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        loop {
            match lines.recv_timeout((told + PAUSE).saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if line.starts_with('#') {
                        counts.clone_from(&line);
                    }
                    if last.len() == LINES_KEPT {
                        last.pop_front();
                    }
                    last.push_back(line);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if told.elapsed() >= PAUSE {
                tell(&counts);
                told = Instant::now();
            }
        }
    });
    tell(&counts);
    Ok(Vec::from(last).join("\n"))
}

/// Frames run, edges, kept frames and speed of libFuzzer's latest line, as in
/// `#8192 pulse cov: 585 ft: 668 corp: 211/14kb lim: 1024 exec/s: 4096 rss: 47Mb`; between two of them
/// the count stands.
fn shown(line: &str) -> String {
    let words: Vec<_> = line.split_whitespace().collect();
    let after = |label| {
        words.iter().position(|word| *word == label).and_then(|at| words.get(at + 1)).copied().unwrap_or("?")
    };
    let frames = words.first().map_or("?", |word| word.trim_start_matches('#'));
    let kept = after("corp:").split('/').next().unwrap_or("?");
    format!("at least {frames} frames, {} edges, {kept} kept, {} frames/s", after("cov:"), after("exec/s:"))
}
