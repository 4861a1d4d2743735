//! Where rows keep their words: one bounded table, and how its keys are made.

use std::hash::BuildHasher;
#[expect(
    deprecated,
    reason = "SipHash 2-4 by its own name: the default hasher may change with the compiler"
)]
use std::hash::SipHasher;
use std::sync::Arc;

use super::{Ledger, TABLE_ENTRIES};
use crate::plane::{Table, fresh_seed, raise_table};

pub struct RowWords {
    pub table: Table,
    pub keys: RowKeys,
    /// Of a node in a fleet.
    pub ledger: Option<Arc<Ledger>>,
}

/// Makes a row's key of its name and whom it counts. On a node alone nobody can foresee it; in a fleet all
/// nodes must make the same, and 64 bits of SipHash are what stands between a name that somebody chose and
/// another's word.
#[derive(Clone, Copy, Debug)]
pub struct RowKeys(u64, u64);

const OF_THE_FLEET: RowKeys = RowKeys(0x7765_6972_2072_6f77, 0x206b_6579_7320_7631);

impl RowWords {
    pub fn new(ledger: Option<Arc<Ledger>>) -> Self {
        let keys = if ledger.is_some() { OF_THE_FLEET } else { RowKeys(fresh_seed(), fresh_seed()) };
        Self { table: Table::new(TABLE_ENTRIES), keys, ledger }
    }
}

impl RowWords {
    /// Moves a row's word up to a debt that other nodes saw.
    pub fn raise(&self, key: u64, ahead_ns: u64, now_ns: u64) {
        raise_table(&self.table, key, ahead_ns, now_ns);
    }
}

#[expect(deprecated, reason = "see the import")]
impl BuildHasher for RowKeys {
    type Hasher = SipHasher;

    fn build_hasher(&self) -> SipHasher {
        SipHasher::new_with_keys(self.0, self.1)
    }
}
