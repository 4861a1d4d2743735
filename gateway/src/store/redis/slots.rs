//! Hash slots of a Cluster: which a key has, and who serves it.

use std::collections::{BTreeMap, BTreeSet};

use redis::Value;

use super::Address;

pub(super) const SLOTS: u16 = 16_384;

/// CRC-16/XMODEM of what stands within the first pair of braces, or of all (Redis Cluster
/// specification, "Hash tags").
pub(super) fn slot(key: &[u8]) -> u16 {
    crc16(hashed_part(key)) % SLOTS
}

fn hashed_part(key: &[u8]) -> &[u8] {
    let inside = || {
        let open = key.iter().position(|byte| *byte == b'{')?;
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..close).filter(|inside| !inside.is_empty())
    };
    inside().unwrap_or(key)
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => crc << 1 ^ 0x1021,
        })
    })
}

/// First slot of a range: its last, and its master.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotMap(BTreeMap<u16, (u16, Address)>);

impl SlotMap {
    /// What CLUSTER SLOTS says; a server that does not know its own address is `asked`.
    pub fn parse(answer: &Value, asked: &Address) -> Option<Self> {
        let ranges = answer.as_sequence()?.iter().map(|range| {
            let [first, last, master, ..] = range.as_sequence()? else { return None };
            let [host, port, ..] = master.as_sequence()? else { return None };
            let host = text(host).filter(|host| !host.is_empty()).unwrap_or_else(|| asked.host.clone());
            Some((number(first)?, (number(last)?, Address::new(host, number(port)?))))
        });
        ranges.collect::<Option<_>>().map(Self)
    }

    pub fn master(&self, slot: u16) -> Option<&Address> {
        let (_, (last, address)) = self.0.range(..=slot).next_back()?;
        (slot <= *last).then_some(address)
    }

    pub fn masters(&self) -> BTreeSet<&Address> {
        self.0.values().map(|(_, address)| address).collect()
    }

    /// Slots of a master.
    pub fn served_by(&self, master: &Address) -> u16 {
        let served = self.0.iter().filter(|(_, (_, address))| address == master);
        served.map(|(first, (last, _))| last.saturating_sub(*first).saturating_add(1)).sum()
    }

    pub fn uncovered(&self) -> u16 {
        let covered: u16 =
            self.0.iter().map(|(first, (last, _))| last.saturating_sub(*first).saturating_add(1)).sum();
        SLOTS.saturating_sub(covered)
    }
}

fn number(value: &Value) -> Option<u16> {
    match value {
        Value::Int(number) => u16::try_from(*number).ok(),
        _ => None,
    }
}

pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}
