//! Nonces that passed, each remembered at least as long as a signature holds. Two generations; a full
//! memory refuses rather than forgets.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::super::Reason;

/// Remembered at once, of all signers.
pub const NONCES: usize = 131_072;

/// One for the process.
#[derive(Debug, Default)]
pub struct Nonces(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<[u8; 16]>,
    old: HashSet<[u8; 16]>,
    turned_ns: u64,
    /// The longest time that any signature holds.
    holds_ns: u64,
}

impl Nonces {
    pub fn len(&self) -> usize {
        let generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        generations.young.len() + generations.old.len()
    }

    /// Notes a nonce of this signer; a second one is a replay.
    pub(super) fn take(&self, signer: &str, nonce: &str, holds: Duration, now_ns: u64) -> Result<(), Reason> {
        let mut digest = Sha256::new();
        digest.update((signer.len() as u64).to_be_bytes());
        digest.update(signer);
        digest.update(nonce);
        let digest: [u8; 32] = digest.finalize().into();
        let key = digest.first_chunk().copied().unwrap_or_default();
        // A signer's clock may be ahead: its signatures hold that much longer.
        let holds_ns = u64::try_from((holds + Duration::from_secs(super::AHEAD_S)).as_nanos());
        let holds_ns = holds_ns.unwrap_or(u64::MAX);
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        generations.turn(holds_ns, now_ns);
        if generations.young.contains(&key) || generations.old.contains(&key) {
            return Err(Reason::Replayed);
        }
        if generations.young.len() >= NONCES / 2 {
            return Err(Reason::Busy);
        }
        generations.young.insert(key);
        Ok(())
    }
}

impl Generations {
    fn turn(&mut self, holds_ns: u64, now_ns: u64) {
        self.holds_ns = self.holds_ns.max(holds_ns);
        if now_ns.saturating_sub(self.turned_ns) > self.holds_ns {
            self.old = std::mem::take(&mut self.young);
            self.turned_ns = now_ns;
        }
    }
}
