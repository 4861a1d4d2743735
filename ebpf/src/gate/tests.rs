use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn gate_of(generation: u64, address: &Address, length: u32) -> HashMap<u32, u64> {
    let mut words = HashMap::new();
    marks(generation, address, length, |bit| *words.entry(bit.word_idx).or_default() |= bit.mask);
    words
}

fn reads(words: &HashMap<u32, u64>) -> impl Fn(u32) -> u64 + '_ {
    |idx| {
        assert!(idx < GATE_WORDS);
        words.get(&idx).copied().unwrap_or(0)
    }
}

/// A source below the prefix: its free bits from `free`.
fn below4(net: u32, length: u32, free: u32) -> Address {
    let mask = u32::MAX.checked_shr(length).unwrap_or(0);
    Address::V4(((net & !mask) | (free & mask)).to_be_bytes())
}

fn below6(net: u128, length: u32, free: u128) -> Address {
    let mask = u128::MAX.checked_shr(length).unwrap_or(0);
    Address::V6(((net & !mask) | (free & mask)).to_be_bytes())
}

proptest! {
    #[test]
    fn no_match_is_ever_missed(net: u32, free: u32, wide: u128, more: u128, generation in 0_u64..2,
                               by4 in 0_u32..=32, by6 in 0_u32..=128) {
        let words = gate_of(generation, &below4(net, by4, 0), by4);
        prop_assert!(may_match(generation, &below4(net, by4, free), reads(&words)));
        prop_assert!(!may_match(generation ^ 1, &below4(net, by4, free), reads(&words)));
        let words = gate_of(generation, &below6(wide, by6, 0), by6);
        prop_assert!(may_match(generation, &below6(wide, by6, more), reads(&words)));
        prop_assert!(!may_match(generation ^ 1, &below6(wide, by6, more), reads(&words)));
    }
}

#[test]
fn neighbours_of_a_prefix_pay_nothing() {
    let v4 = |a, b, c, d| Address::V4([a, b, c, d]);
    let words = gate_of(0, &v4(192, 0, 2, 7), 32);
    for (source, may) in [
        (v4(192, 0, 2, 7), true),
        (v4(192, 0, 2, 8), true),
        (v4(192, 0, 3, 7), false),
        (v4(192, 1, 2, 7), false),
    ] {
        assert_eq!(may_match(0, &source, reads(&words)), may, "{source:?}");
    }
    let words = gate_of(0, &v4(10, 0, 0, 0), 8);
    assert!(may_match(0, &v4(10, 255, 255, 255), reads(&words)));
    assert!(!may_match(0, &v4(11, 0, 0, 0), reads(&words)));
    let v6 = |site: u16| Address::V6(((0x2001_0db8_u128 << 96) | u128::from(site) << 80).to_be_bytes());
    let words = gate_of(0, &v6(5), 48);
    assert!(may_match(0, &v6(5), reads(&words)));
    assert!(!may_match(0, &v6(6), reads(&words)));
}
