//! Reads streams over a connection of its own, since a read that waits holds up all behind it.

use std::time::Duration;

use redis::Value;
use tokio::time::timeout;

use super::call::{Tag, command};
use super::open::{Opened, To};
use super::server::{alongside, ask};
use super::slots::text;
use super::{Address, Fault, Kind, Link};

/// An entry of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub stream: String,
    pub id: String,
    pub fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Follows streams of one hash tag. Whoever drops [`Reader::read`] midway loses the connection's
/// answer, so read to the end.
pub struct Reader {
    link: Link,
    tag: Tag,
    open: Option<(Address, Opened)>,
}

impl Reader {
    pub(super) fn new(link: Link, tag: Tag) -> Self {
        Self { link, tag, open: None }
    }

    /// Entries behind those ids, at most `most` of each stream (name and id); waits up to `wait` for the
    /// first. Nothing new is no fault.
    pub async fn read(
        &mut self,
        streams: &[(String, String)],
        most: usize,
        wait: Duration,
    ) -> Result<Vec<Entry>, Fault> {
        let (most, ms) = (most.to_string(), wait.as_millis().max(1).to_string());
        let mut words: Vec<&[u8]> =
            vec![b"XREAD", b"COUNT", most.as_bytes(), b"BLOCK", ms.as_bytes(), b"STREAMS"];
        words.extend(streams.iter().map(|(name, _)| name.as_bytes()));
        words.extend(streams.iter().map(|(_, id)| id.as_bytes()));
        let question = command(&words);
        let patience = wait + self.link.config().timeouts.give_up;
        let Opened { connection, driver } = self.opened().await?;
        let answer = timeout(patience, alongside(driver, ask(connection, &question))).await;
        let answer = answer
            .unwrap_or_else(|_| Err(Fault::new(Kind::Silent, format!("no answer within {patience:?}"))));
        match answer {
            Ok(answer) => Ok(entries(&answer)),
            Err(fault) => {
                if fault.ends_connection() || fault.kind == Kind::Moved {
                    self.open = None;
                }
                Err(fault)
            }
        }
    }

    /// The connection, made anew when the tag's master is another.
    async fn opened(&mut self) -> Result<&mut Opened, Fault> {
        let address = self.link.server(self.tag)?.address()?;
        if self.open.as_ref().is_none_or(|(of, _)| *of != address) {
            let dialer = &self.link.inner().dialer;
            let opened = timeout(dialer.config.timeouts.connect, dialer.open(&address, To::Master)).await;
            let silent = |_| Fault::new(Kind::Silent, "no connection in time");
            self.open = Some((address, opened.map_err(silent)??));
        }
        let opened = self.open.as_mut().map(|(_, opened)| opened);
        opened.ok_or_else(|| Fault::new(Kind::Away, "not connected yet"))
    }
}

/// XREAD's answer: streams, their entries, their fields.
fn entries(answer: &Value) -> Vec<Entry> {
    let mut all = Vec::new();
    for stream in answer.as_sequence().unwrap_or_default() {
        let Some([name, entries]) = stream.as_sequence() else { continue };
        let (Some(name), Some(entries)) = (text(name), entries.as_sequence()) else { continue };
        all.extend(entries.iter().filter_map(|entry| {
            let [id, fields] = entry.as_sequence()? else { return None };
            let fields = fields.as_sequence()?.chunks_exact(2).filter_map(|pair| {
                let [Value::BulkString(name), Value::BulkString(value)] = pair else { return None };
                Some((name.clone(), value.clone()))
            });
            Some(Entry { stream: name.clone(), id: text(id)?, fields: fields.collect() })
        }));
    }
    all
}
