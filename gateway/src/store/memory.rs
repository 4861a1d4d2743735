//! What one node keeps when it shares nothing: records and counters in this process, as many as were
//! said and no more.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::redis::{Fault, Kind};
use super::{Counted, clock};

#[derive(Debug)]
pub struct Memory {
    capacity: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    records: BTreeMap<String, Record>,
    counters: BTreeMap<String, (u64, Instant)>,
}

#[derive(Debug)]
struct Record {
    value: Vec<u8>,
    ends: Option<Instant>,
}

impl Record {
    fn holds(&self, now: Instant) -> bool {
        self.ends.is_none_or(|ends| now < ends)
    }
}

impl Memory {
    /// So many records, and as many counters.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, inner: Mutex::default() }
    }

    fn locked(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, key: &str, add: u64, most: u64, length: Duration) -> Result<Counted, Fault> {
        let now = clock::now();
        let mut inner = self.locked();
        let known = inner.counters.get(key).filter(|(_, ends)| now < *ends).copied();
        let (count, ends) = known.unwrap_or((0, now + length));
        let sum = count.checked_add(add).filter(|sum| *sum <= most && add > 0);
        if let Some(sum) = sum {
            if known.is_none() && inner.counters.len() >= self.capacity {
                inner.counters.retain(|_, (_, ends)| now < *ends);
                self.refuse_beyond(inner.counters.len())?;
            }
            inner.counters.insert(key.to_owned(), (sum, ends));
        }
        Ok(Counted { added: sum.is_some(), count: sum.unwrap_or(count), left: ends - now })
    }

    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let now = clock::now();
        self.locked().records.get(key).filter(|record| record.holds(now)).map(|record| record.value.clone())
    }

    pub(super) fn set(&self, key: &str, value: &[u8], length: Option<Duration>) -> Result<(), Fault> {
        let now = clock::now();
        let mut inner = self.locked();
        if !inner.records.contains_key(key) && inner.records.len() >= self.capacity {
            inner.records.retain(|_, record| record.holds(now));
            self.refuse_beyond(inner.records.len())?;
        }
        let record = Record { value: value.to_vec(), ends: length.map(|length| now + length) };
        inner.records.insert(key.to_owned(), record);
        Ok(())
    }

    pub(super) fn remove(&self, key: &str) -> bool {
        let now = clock::now();
        self.locked().records.remove(key).is_some_and(|record| record.holds(now))
    }

    pub(super) fn scan(&self, prefix: &str, most: usize) -> Vec<String> {
        let now = clock::now();
        let inner = self.locked();
        let from = inner.records.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        from.filter(|(_, record)| record.holds(now)).map(|(key, _)| key.clone()).take(most).collect()
    }

    fn refuse_beyond(&self, used: usize) -> Result<(), Fault> {
        if used < self.capacity {
            return Ok(());
        }
        Err(Fault {
            kind: Kind::Full,
            text: format!("all {} places of the store in memory are taken", self.capacity),
        })
    }
}
