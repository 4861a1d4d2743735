//! Tokens that were verified, so that one that comes again costs a digest and a look-up. Held by keyed
//! digest, never the token itself; in as many slots as the configuration says, of which each keeps a
//! bounded identity, so that a flood of valid tokens displaces others and takes no memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::key::Key;
use crate::proxy::filter::auth::Identity;

/// Of a line, which one lock holds: a token has its place in one of them.
const WAYS: usize = 8;
/// Of an identity in bytes. One that is larger is verified each time it comes.
const IDENTITY_BYTES_MAX: usize = 1 << 10;
/// Its allocations, besides.
const IDENTITY_REST: usize = 512;

/// A token that passed. All of it stays true as long as the key is not gone and the time has not come.
#[derive(Clone)]
pub(in crate::proxy) struct Verified {
    pub identity: Arc<Identity>,
    pub jti: Option<Arc<str>>,
    pub key: Arc<Key>,
}

/// One for the process.
pub struct Tokens {
    /// As it was asked for.
    pub wanted: u32,
    lines: Box<[Mutex<Line>]>,
    used: AtomicUsize,
    /// Nobody outside can aim at a line, or tell two tokens of one digest.
    secret: [u8; 32],
}

type Line = [Option<Slot>; WAYS];

struct Slot {
    digest: TokenDigest,
    verified: Verified,
    used_ns: u64,
}

/// Over the settings that it was verified under, and the token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest([u8; 32]);

impl Tokens {
    /// Room for at least `capacity`; 0 keeps none.
    pub fn new(capacity: u32) -> Self {
        let lines = usize::try_from(capacity).unwrap_or_default().div_ceil(WAYS);
        let lines = (0..lines).map(|_| Mutex::default()).collect();
        let mut secret = [0; 32];
        // Without randomness digests are merely not keyed: SHA-256 is no less hard to collide.
        aws_lc_rs::rand::fill(&mut secret).unwrap_or(());
        Self { wanted: capacity, lines, used: AtomicUsize::new(0), secret }
    }

    /// What digests of one verifier's tokens begin with.
    pub fn prefix(&self, settings: &[u8]) -> Sha256 {
        let settings = Sha256::digest(settings);
        // One whole block, so that it is not hashed again with each token.
        Sha256::new().chain_update(self.secret).chain_update(settings)
    }

    pub fn digest(prefix: &Sha256, token: &[u8]) -> TokenDigest {
        TokenDigest(prefix.clone().chain_update(token).finalize().into())
    }

    /// None also where the key is gone, or the time is over.
    pub(super) fn find(&self, digest: TokenDigest, unix_s: u64, now_ns: u64) -> Option<Verified> {
        let mut line = self.line(digest)?.lock().unwrap_or_else(PoisonError::into_inner);
        let place = line.iter_mut().find(|slot| slot.as_ref().is_some_and(|slot| slot.digest == digest))?;
        if place.as_ref().is_some_and(|slot| slot.is_over(unix_s)) {
            *place = None;
            self.used.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let slot = place.as_mut()?;
        slot.used_ns = now_ns;
        Some(slot.verified.clone())
    }

    /// In a free slot, in one whose time is over, or in place of what was not asked for the longest.
    pub(super) fn keep(&self, digest: TokenDigest, verified: Verified, unix_s: u64, now_ns: u64) {
        if weight(&verified) > IDENTITY_BYTES_MAX {
            return;
        }
        let Some(line) = self.line(digest) else { return };
        let mut line = line.lock().unwrap_or_else(PoisonError::into_inner);
        let same = line.iter().position(|slot| slot.as_ref().is_some_and(|slot| slot.digest == digest));
        let rank = |slot: &Option<Slot>| match slot {
            None => (0, 0),
            Some(slot) if slot.is_over(unix_s) => (1, 0),
            Some(slot) => (2, slot.used_ns),
        };
        let worst = || (0..WAYS).min_by_key(|at| line.get(*at).map_or((3, 0), rank));
        let Some(place) = same.or_else(worst).and_then(|at| line.get_mut(at)) else { return };
        if place.replace(Slot { digest, verified, used_ns: now_ns }).is_none() {
            self.used.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn kept(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub fn capacity(&self) -> usize {
        self.lines.len() * WAYS
    }

    /// Most memory that room for `capacity` takes.
    pub fn bytes_for(capacity: u32) -> u64 {
        let lines = (u64::from(capacity)).div_ceil(WAYS as u64);
        let rest = WAYS * (IDENTITY_BYTES_MAX + IDENTITY_REST);
        lines * (size_of::<Mutex<Line>>() + rest) as u64
    }

    fn line(&self, digest: TokenDigest) -> Option<&Mutex<Line>> {
        let word = digest.0.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let at = word.checked_rem(self.lines.len() as u64)?;
        self.lines.get(usize::try_from(at).ok()?)
    }
}

impl Slot {
    fn is_over(&self, unix_s: u64) -> bool {
        self.verified.key.is_gone() || self.verified.identity.is_expired(unix_s)
    }
}

/// Bytes that an identity holds.
fn weight(verified: &Verified) -> usize {
    let Verified { identity, jti, .. } = verified;
    let named = |names: &[Arc<str>]| names.iter().map(|name| name.len() + 32).sum::<usize>();
    let facts = identity.claims.iter().map(|(_, fact)| fact.len() + 48).sum::<usize>();
    let fields = identity.headers.iter().map(|(_, value)| value.len() + 96).sum::<usize>();
    let subject = identity.subject.as_ref().map_or(0, |subject| subject.len());
    let jti = jti.as_ref().map_or(0, |jti| jti.len());
    identity.name.len() + subject + jti + named(&identity.policies) + named(&identity.scopes) + facts + fields
}
