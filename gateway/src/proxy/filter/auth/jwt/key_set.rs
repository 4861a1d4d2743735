//! A published set of keys (RFC 7517 section 5), read so that one broken key costs only itself, and the
//! choice among its keys. Knows nothing of where the document came from.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::flaw::Flaw;
use super::json::Object;
use super::key::{Key, KeyFlaw};
use super::token::Unverified;

/// Keys of one document; further ones are left out.
pub const KEYS_MAX: usize = 64;
/// Of one key with its certificates.
const KEY_BYTES_MAX: usize = 64 << 10;
/// Signatures that are tried for one token, over all sets of its API.
const TRIES_MAX: usize = 4;

#[derive(Default)]
pub struct KeySet {
    pub keys: Vec<Arc<Key>>,
    /// Why others were left out.
    flaws: Vec<KeyFlaw>,
    /// There were more than are read.
    is_cut: bool,
}

impl KeySet {
    /// Keys that were in `before` stay the same ones; those that are in it no more are let go.
    pub fn parse(document: &[u8], before: Option<&Self>) -> Result<Self, NotASet> {
        let Rows { rows, is_cut } = rows(document)?;
        let known = |fingerprint: [u8; 32]| {
            let same = |key: &&Arc<Key>| key.fingerprint == fingerprint;
            before.and_then(|before| before.keys.iter().find(same))
        };
        let mut set = Self { is_cut, ..Self::default() };
        for row in rows {
            let parsed = Some(row.get().as_bytes()).filter(|row| row.len() <= KEY_BYTES_MAX);
            let parsed = parsed.and_then(Object::parse).ok_or(KeyFlaw::NotJson);
            match parsed.and_then(|jwk| Key::from_jwk(&jwk)) {
                Ok(key) => set.keys.push(known(key.fingerprint).cloned().unwrap_or_else(|| Arc::new(key))),
                Err(flaw) => set.flaws.push(flaw),
            }
        }
        Ok(set)
    }

    /// Lets the keys go that `newer` does not have.
    pub fn superseded_by(&self, newer: &Self) {
        let stays = |key: &Arc<Key>| newer.keys.iter().any(|one| Arc::ptr_eq(one, key));
        self.keys.iter().filter(|key| !stays(key)).for_each(|key| key.let_go());
    }

    /// Of its keys; "" where one has none.
    pub fn names(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.id.as_deref().unwrap_or_default().to_owned()).collect()
    }

    /// Why keys of the document are not used.
    pub fn left_out(&self) -> Vec<String> {
        let cut = self.is_cut.then(|| format!("keys beyond the first {KEYS_MAX}"));
        self.flaws.iter().map(ToString::to_string).chain(cut).collect()
    }

    pub fn of_secret(secret: &[u8]) -> Self {
        Self { keys: vec![Arc::new(Key::from_secret(secret))], ..Self::default() }
    }
}

/// The key whose signature the token bears: of those with its `kid`, or, where none has that, of those
/// without any name.
pub fn verify(token: &Unverified<'_>, sets: &[Arc<KeySet>]) -> Result<Arc<Key>, Flaw> {
    let is_known = knows(token, sets);
    let may_be = |key: &&Arc<Key>| match &token.kid {
        None => true,
        Some(kid) if is_known => key.id.as_deref() == Some(kid),
        Some(_) => key.id.is_none(),
    };
    let fitting = |key: &&Arc<Key>| key.fits(token.algorithm) && may_be(key);
    let mut flaw = Flaw::UnknownKey;
    for key in sets.iter().flat_map(|set| &set.keys).filter(fitting).take(TRIES_MAX) {
        if key.has_signed(token.algorithm, token.signed, &token.signature) {
            return Ok(Arc::clone(key));
        }
        flaw = Flaw::Signature;
    }
    Err(flaw)
}

/// Whether a key has the name that the token gives: then no newer set is asked for.
pub fn knows(token: &Unverified<'_>, sets: &[Arc<KeySet>]) -> bool {
    let Some(kid) = token.kid.as_deref() else { return false };
    let mut keys = sets.iter().flat_map(|set| &set.keys);
    keys.any(|key| key.id.as_deref() == Some(kid) && key.fits(token.algorithm))
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a set of keys: {0}")]
pub struct NotASet(String);

/// The members of `keys`, unread.
struct Rows<'a> {
    rows: Vec<&'a RawValue>,
    is_cut: bool,
}

fn rows(document: &[u8]) -> Result<Rows<'_>, NotASet> {
    let said = |error: serde_json::Error| NotASet(error.to_string());
    let mut deserializer = serde_json::Deserializer::from_slice(document);
    let rows = deserializer.deserialize_map(Document).map_err(said)?;
    deserializer.end().map_err(said)?;
    Ok(rows)
}

struct Document;

impl<'de> Visitor<'de> for Document {
    type Value = Rows<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a list `keys`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Rows<'de>, A::Error> {
        let mut found = None;
        while let Some(name) = members.next_key::<String>()? {
            if name != "keys" {
                members.next_value::<IgnoredAny>()?;
            } else if found.replace(members.next_value_seed(List)?).is_some() {
                return Err(A::Error::duplicate_field("keys"));
            }
        }
        found.ok_or_else(|| A::Error::missing_field("keys"))
    }
}

struct List;

impl<'de> serde::de::DeserializeSeed<'de> for List {
    type Value = Rows<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Rows<'de>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List {
    type Value = Rows<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of keys")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Rows<'de>, A::Error> {
        let mut rows = Vec::new();
        while rows.len() < KEYS_MAX {
            match items.next_element::<&RawValue>()? {
                Some(row) => rows.push(row),
                None => return Ok(Rows { rows, is_cut: false }),
            }
        }
        let mut is_cut = false;
        while items.next_element::<IgnoredAny>()?.is_some() {
            is_cut = true;
        }
        Ok(Rows { rows, is_cut })
    }
}
