//! What is asked: a script or a command, and the hash tag that its keys share.

use redis::Cmd;

/// One of the store's hash tags: all keys of a request carry the same, so that they are in one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(u16);

impl Tag {
    /// The tag of a hash.
    pub fn of(hash: u64, tags: u16) -> Self {
        let tag = hash % u64::from(tags.max(1));
        Self(u16::try_from(tag).unwrap_or(0))
    }

    pub fn all(tags: u16) -> impl Iterator<Item = Self> {
        (0..tags).map(Self)
    }

    pub fn number(self) -> u16 {
        self.0
    }

    /// `PREFIX:{s<n>}:REST`.
    pub fn key(self, prefix: &str, rest: &str) -> String {
        format!("{prefix}:{{s{}}}:{rest}", self.0)
    }

    pub(super) fn slot(self) -> u16 {
        super::slots::slot(format!("s{}", self.0).as_bytes())
    }
}

/// A Lua script, by its digest.
#[derive(Clone, Debug)]
pub struct Script {
    pub(super) code: String,
    pub(super) digest: String,
}

impl Script {
    pub fn new(code: &str) -> Self {
        Self { code: code.to_owned(), digest: redis::Script::new(code).get_hash().to_owned() }
    }
}

/// A script with its keys, which share the tag that it is sent by, and its arguments.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub script: &'a Script,
    pub keys: &'a [String],
    pub arguments: &'a [Vec<u8>],
}

impl Call<'_> {
    pub(super) fn command(&self) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.script.digest).arg(self.keys.len());
        self.keys.iter().for_each(|key| {
            command.arg(key);
        });
        self.arguments.iter().for_each(|argument| {
            command.arg(argument.as_slice());
        });
        command
    }
}

/// A command of plain words.
pub(super) fn command(words: &[&[u8]]) -> Cmd {
    let mut command = Cmd::new();
    words.iter().for_each(|word| {
        command.arg(*word);
    });
    command
}
