//! Records and counters by name, wherever they are kept. Each function may wait for Redis: call it from
//! the control side, never with a request in hand.

use std::sync::LazyLock;
use std::time::Duration;

use super::memory::Memory;
use super::redis::{Call, Fault, Kind, Link, Script, Tag, Value};

/// Bytes of a name, and of a record.
pub const KEY_BYTES_MAX: usize = 512;
pub const VALUE_BYTES_MAX: usize = 64 << 10;

/// Where they are. A store of another kind is a variant and a file of its own.
pub enum Backend {
    /// This process: one node, gone with it.
    Memory(Memory),
    Redis(Link),
}

/// What a counter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Whether it was added: not beyond the most, nor when nothing was to be.
    pub added: bool,
    pub count: u64,
    /// Until it ends and begins anew.
    pub left: Duration,
}

static COUNT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("count.lua")));

impl Backend {
    /// Adds to a counter unless that would bring it beyond `most`. It lives for `length` from its first
    /// count on, and then begins anew. A fault that [`Fault::may_have_run`] may have counted.
    pub async fn count(&self, key: &str, add: u64, most: u64, length: Duration) -> Result<Counted, Fault> {
        check(key, b"")?;
        let link = match self {
            Self::Memory(memory) => return memory.count(key, add, most, length),
            Self::Redis(link) => link,
        };
        let tag = tag(link, key);
        let keys = [link.key(tag, &format!("q:{key}"))];
        // Lua's numbers are exact up to 2^53.
        let exact = |number: u64| number.min(1 << 53).to_string().into_bytes();
        let ms = u64::try_from(length.as_millis().max(1)).unwrap_or(u64::MAX);
        let arguments = [exact(add), exact(most), exact(ms)];
        let answer = link.eval(tag, Call { script: &COUNT, keys: &keys, arguments: &arguments }).await?;
        match answer.as_sequence() {
            Some([Value::Int(added), Value::Int(count), Value::Int(left_ms)]) => Ok(Counted {
                added: *added == 1,
                count: count.unsigned_abs(),
                left: Duration::from_millis(left_ms.unsigned_abs()),
            }),
            _ => Err(nonsense()),
        }
    }

    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        check(key, b"")?;
        let link = match self {
            Self::Memory(memory) => return Ok(memory.get(key)),
            Self::Redis(link) => link,
        };
        let (tag, name) = name(link, key);
        match link.command(tag, &[b"GET", name.as_bytes()]).await? {
            Value::BulkString(value) => Ok(Some(value)),
            Value::Nil => Ok(None),
            _ => Err(nonsense()),
        }
    }

    /// None as `length`: until it is removed.
    pub async fn set(&self, key: &str, value: &[u8], length: Option<Duration>) -> Result<(), Fault> {
        check(key, value)?;
        let link = match self {
            Self::Memory(memory) => return memory.set(key, value, length),
            Self::Redis(link) => link,
        };
        let (tag, name) = name(link, key);
        let ms = length.map(|length| length.as_millis().max(1).to_string());
        let mut words: Vec<&[u8]> = vec![b"SET", name.as_bytes(), value];
        if let Some(ms) = &ms {
            words.extend([b"PX", ms.as_bytes()]);
        }
        link.command(tag, &words).await.map(drop)
    }

    /// Whether it was there.
    pub async fn remove(&self, key: &str) -> Result<bool, Fault> {
        check(key, b"")?;
        let link = match self {
            Self::Memory(memory) => return Ok(memory.remove(key)),
            Self::Redis(link) => link,
        };
        let (tag, name) = name(link, key);
        Ok(link.command(tag, &[b"DEL", name.as_bytes()]).await? == Value::Int(1))
    }

    /// Names of records that begin with `prefix`, at most `most`, in no order. One that comes or goes
    /// meanwhile may be missed.
    pub async fn scan(&self, prefix: &str, most: usize) -> Result<Vec<String>, Fault> {
        check(prefix, b"")?;
        let link = match self {
            Self::Memory(memory) => return Ok(memory.scan(prefix, most)),
            Self::Redis(link) => link,
        };
        let own = &link.config().prefix;
        let found = link.scan(&format!("{own}:{{s*}}:r:{}*", escaped(prefix)), most).await?;
        let record = |name: String| {
            let (_, rest) = name.strip_prefix(own.as_str())?.split_once("}:r:")?;
            Some(rest.to_owned())
        };
        Ok(found.into_iter().filter_map(record).collect())
    }
}

fn check(key: &str, value: &[u8]) -> Result<(), Fault> {
    if key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
        let text = format!("a name is at most {KEY_BYTES_MAX} bytes, a record {VALUE_BYTES_MAX}");
        return Err(Fault { kind: Kind::Refused, text });
    }
    Ok(())
}

fn tag(link: &Link, key: &str) -> Tag {
    // FNV-1a: the same on every node and in every version of the library, as a hasher of std is not.
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    link.tag(hash ^ hash >> 32)
}

fn name(link: &Link, key: &str) -> (Tag, String) {
    let tag = tag(link, key);
    (tag, link.key(tag, &format!("r:{key}")))
}

/// As a pattern of Redis that matches just this.
fn escaped(text: &str) -> String {
    let mut pattern = String::new();
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

fn nonsense() -> Fault {
    Fault { kind: Kind::Refused, text: "the answer makes no sense".to_owned() }
}
