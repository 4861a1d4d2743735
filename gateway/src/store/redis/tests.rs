use std::time::Duration;

use super::backoff::Backoff;
use super::config::Url;
use super::slots::slot;
use super::{Address, AddressError};

#[track_caller]
fn check_url(text: &str, expected: Result<(&str, u16, bool, u16), AddressError>) {
    let found = Url::parse(text, 6379).map(|url| (url.address, url.is_tls, url.database));
    let expected =
        expected.map(|(host, port, is_tls, database)| (Address::new(host, port), is_tls, database));
    assert_eq!(found, expected, "{text}");
}

#[test]
fn urls() {
    check_url("redis://127.0.0.1", Ok(("127.0.0.1", 6379, false, 0)));
    check_url("redis://127.0.0.1:7000/3", Ok(("127.0.0.1", 7000, false, 3)));
    check_url("rediss://redis.example:7000", Ok(("redis.example", 7000, true, 0)));
    check_url("redis://[::1]:7000", Ok(("::1", 7000, false, 0)));
    check_url("redis://[::1]", Ok(("::1", 6379, false, 0)));
    check_url("127.0.0.1:6379", Err(AddressError::Scheme));
    check_url("http://127.0.0.1", Err(AddressError::Scheme));
    check_url("redis://:geheim@127.0.0.1", Err(AddressError::Secret));
    check_url("redis://", Err(AddressError::Host));
    check_url("redis://a b", Err(AddressError::Host));
    check_url("redis://a:0", Err(AddressError::Port));
    check_url("redis://a:65536", Err(AddressError::Port));
    check_url("redis://[::1]7000", Err(AddressError::Port));
    check_url("redis://a/x", Err(AddressError::Database));
}

/// Values of the Redis Cluster specification and of `CLUSTER KEYSLOT`.
#[test]
fn slots_of_keys() {
    for (key, expected) in
        [("123456789", 0x31c3), ("foo", 12_182), ("{foo}bar", 12_182), ("a{}b", slot(b"a{}b"))]
    {
        assert_eq!(slot(key.as_bytes()), expected, "{key}");
    }
    assert_eq!(slot(b"weir:{s3}:c:1"), slot(b"s3"));
    assert_ne!(slot(b"a{}b"), slot(b""));
}

#[test]
fn waits_grow_are_bounded_and_differ() {
    let mut backoff = Backoff::default();
    let waits: Vec<_> = (0..40).map(|_| backoff.broken()).collect();
    assert!(waits.iter().all(|wait| *wait <= Duration::from_millis(700)), "{waits:?}");
    assert!(waits.first() < Some(&Duration::from_millis(51)), "{waits:?}");
    let late: std::collections::BTreeSet<_> = waits.iter().skip(8).collect();
    assert!(late.len() > 16, "nodes would come together: {waits:?}");
    assert!(late.iter().all(|wait| **wait >= Duration::from_millis(350)), "{waits:?}");
    let denied = (0..40).map(|_| backoff.denied()).max();
    assert!(denied > Some(Duration::from_secs(14)) && denied <= Some(Duration::from_secs(30)), "{denied:?}");
}
