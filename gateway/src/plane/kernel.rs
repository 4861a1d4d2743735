//! The program `charge`, by test run: the one way in which user space changes a client's entry.

use crate::model::{ClientKey, Decision, Limit};
use weir_ebpf::abi::Word;

/// The loaded program; runs without a capability, from any thread.
pub struct Charge {}

#[derive(Debug, thiserror::Error)]
pub enum ChargeError {
    #[error("the kernel refused to run `charge`: {0}")]
    Run(String),
    #[error("`charge` could not insert the client: errno {0}")]
    Insert(u32),
}

impl Charge {
    /// Takes `n` from the word `requests`.
    pub fn requests(&self, key: ClientKey, limit: &Limit, n: u64) -> Result<Decision, ChargeError> {
        let _ = (key, limit, n);
        Err(ChargeError::Insert(0))
    }

    pub fn peek(&self, _key: ClientKey, _word: Word) -> Result<u64, ChargeError> {
        Err(ChargeError::Insert(0))
    }

    pub fn forgive(&self, _key: ClientKey) -> Result<(), ChargeError> {
        Err(ChargeError::Insert(0))
    }

    pub fn prove(&self, _key: ClientKey) -> Result<(), ChargeError> {
        Err(ChargeError::Insert(0))
    }
}
