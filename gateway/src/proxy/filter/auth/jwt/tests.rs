mod vectors;

use std::sync::Arc;

use super::key::Key;
use super::key_set::{KEYS_MAX, KeySet};
use super::tokens::{Tokens, Verified};
use crate::proxy::filter::auth::Identity;

fn verified(name: &str, expires_s: u64, key: &Arc<Key>) -> Verified {
    let identity = Identity { name: name.into(), expires_s: Some(expires_s), ..Identity::default() };
    Verified { identity: Arc::new(identity), jti: None, key: Arc::clone(key) }
}

fn key() -> Arc<Key> {
    Arc::new(Key::from_secret(b"secret"))
}

#[test]
fn a_kept_token_ends_with_its_time_and_its_key() {
    let (tokens, key) = (Tokens::new(64), key());
    let prefix = tokens.prefix(b"settings");
    let digest = Tokens::digest(&prefix, b"token");
    assert!(tokens.find(digest, 1, 1).is_none());
    tokens.keep(digest, verified("alice", 100, &key), 1, 1);
    assert_eq!(&*tokens.find(digest, 99, 1).unwrap().identity.name, "alice");
    assert!(tokens.find(Tokens::digest(&tokens.prefix(b"others"), b"token"), 99, 1).is_none());
    assert!(tokens.find(digest, 100, 1).is_none(), "its second has come");
    assert_eq!(tokens.kept(), 0);
    tokens.keep(digest, verified("alice", 100, &key), 1, 1);
    key.let_go();
    assert!(tokens.find(digest, 1, 1).is_none(), "its key is gone");
}

#[test]
fn a_flood_of_tokens_takes_no_more_room_and_leaves_what_is_asked_for() {
    let (tokens, key) = (Tokens::new(1_024), key());
    let prefix = tokens.prefix(b"settings");
    let hot = Tokens::digest(&prefix, b"hot");
    tokens.keep(hot, verified("hot", 1_000, &key), 1, 1);
    for idx in 0..50_000_u64 {
        let digest = Tokens::digest(&prefix, &idx.to_be_bytes());
        tokens.keep(digest, verified("one of many", 1_000, &key), 1, 2 * idx + 2);
        if idx % 64 == 0 {
            assert!(tokens.find(hot, 1, 2 * idx + 3).is_some(), "after {idx}");
        }
    }
    assert!(tokens.kept() <= tokens.capacity() && tokens.capacity() == 1_024, "{}", tokens.kept());
    assert!(tokens.kept() > 1_000, "{}", tokens.kept());
    // What is large is verified each time, and displaces nobody.
    let large = Tokens::digest(&prefix, b"large");
    tokens.keep(large, verified(&"x".repeat(1_100), 1_000, &key), 1, 1);
    assert!(tokens.find(large, 1, 1).is_none());
    assert!(Tokens::bytes_for(1_024) < 2 << 20, "{}", Tokens::bytes_for(1_024));
}

#[test]
fn a_set_that_changes_keeps_the_keys_that_stay() {
    let jwk = |kid: &str, x: &str| format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}"#);
    // RFC 8032 section 7.1, keys of the first two tests.
    let (one, two) =
        ("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw");
    let set = |keys: &[String]| format!(r#"{{"x":{{"keys":1}},"keys":[{}]}}"#, keys.join(","));
    let first = KeySet::parse(set(&[jwk("a", one), jwk("b", two)]).as_bytes(), None).unwrap();
    assert_eq!(first.names(), ["a", "b"]);
    let second = KeySet::parse(set(&[jwk("a", one)]).as_bytes(), Some(&first)).unwrap();
    first.superseded_by(&second);
    assert!(Arc::ptr_eq(&first.keys[0], &second.keys[0]), "the same key");
    assert_eq!(first.keys.iter().map(|key| key.is_gone()).collect::<Vec<_>>(), [false, true]);
    // Under its old name, another key.
    let third = KeySet::parse(set(&[jwk("a", two)]).as_bytes(), Some(&second)).unwrap();
    second.superseded_by(&third);
    assert!(second.keys[0].is_gone() && !third.keys[0].is_gone());
}

#[test]
fn a_set_is_read_no_further_than_it_may_be() {
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let many = format!(r#"{{"keys":[{}]}}"#, [jwk; KEYS_MAX + 10].join(","));
    let set = KeySet::parse(many.as_bytes(), None).unwrap();
    assert_eq!((set.keys.len(), set.left_out().len()), (KEYS_MAX, 1));
    let long = format!(r#"{{"keys":[{{"kty":"RSA","x5c":["{}"]}},{jwk}]}}"#, "x".repeat(70_000));
    let set = KeySet::parse(long.as_bytes(), None).unwrap();
    assert_eq!((set.keys.len(), set.left_out().len()), (1, 1));
    for document in
        ["", "{}", "[]", "{\"keys\":{}}", "{\"keys\":[]} x", "{\"keys\":[],\"keys\":[]}", "{\"keys\":[1,"]
    {
        assert!(KeySet::parse(document.as_bytes(), None).is_err(), "{document}");
    }
    let nested = format!("{{\"x\":{}1{},\"keys\":[]}}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(KeySet::parse(nested.as_bytes(), None).unwrap().keys.is_empty(), "read over without a stack");
}
