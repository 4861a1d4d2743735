//! A key that may verify tokens, and by which algorithms: what its own words allow (RFC 7517 section 4),
//! so that no token can have an RSA key taken for a secret, or one curve for another.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    ParsedPublicKey, RsaParameters, RsaPublicKeyComponents,
};
use aws_lc_rs::{digest, hmac};

use super::base64url;
use super::json::{Json, Object};
use crate::model::Algorithm;

/// Of RSA. Shorter ones are refused by RFC 7518 section 3.3; longer ones cost too much to verify with.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;
/// Of an exponent that anybody uses; 65537 has three.
const EXPONENT_BYTES_MAX: usize = 4;

const RSA: [(Algorithm, &RsaParameters); 6] = [
    (Algorithm::Rs256, &signature::RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::Rs384, &signature::RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::Rs512, &signature::RSA_PKCS1_2048_8192_SHA512),
    // JWA wants a salt as long as the digest, and so do these.
    (Algorithm::Ps256, &signature::RSA_PSS_2048_8192_SHA256),
    (Algorithm::Ps384, &signature::RSA_PSS_2048_8192_SHA384),
    (Algorithm::Ps512, &signature::RSA_PSS_2048_8192_SHA512),
];

/// Why a key of a set is left out; the others are used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFlaw {
    #[error("not a strict JSON object, or too long")]
    NotJson,
    #[error("a member that is not what it must be")]
    Member,
    #[error("not for verifying signatures")]
    Use,
    #[error("a kind of key, a curve or an algorithm that is not used here")]
    Unknown,
    #[error("a private key or a secret, which a published set must not hold")]
    Private,
    #[error("an RSA key below 2048 or above 8192 bits, or with an exponent that is none")]
    Size,
    #[error("not a point of its curve, or not a key")]
    NotAKey,
}

pub struct Key {
    pub id: Option<Box<str>>,
    /// One for each algorithm that it may be used with.
    verifiers: Vec<(Algorithm, Verifier)>,
    /// Over all that matters of it: another one is another key.
    pub fingerprint: [u8; 32],
    /// Its issuer has taken it back.
    is_gone: AtomicBool,
}

enum Verifier {
    Public(ParsedPublicKey),
    Secret(Box<hmac::Key>),
}

impl Key {
    /// A member of a published set.
    pub fn from_jwk(jwk: &Object) -> Result<Self, KeyFlaw> {
        let text = |name: &str| match jwk.get(name) {
            None => Ok(None),
            Some(Json::Text(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(KeyFlaw::Member),
        };
        let kind = text("kty")?.ok_or(KeyFlaw::Member)?;
        if kind == "oct" || ["d", "k", "p", "q"].iter().any(|name| jwk.get(name).is_some()) {
            return Err(KeyFlaw::Private);
        }
        if text("use")?.is_some_and(|used| used != "sig") || !may_verify(jwk)? {
            return Err(KeyFlaw::Use);
        }
        // An algorithm that is not known fits no token.
        let algorithm = match text("alg")? {
            None => None,
            Some(name) => Some(Algorithm::parse(name).ok_or(KeyFlaw::Unknown)?),
        };
        let id = text("kid")?.map(Into::into);
        let part = |name: &str| {
            let text = text(name)?.ok_or(KeyFlaw::Member)?;
            base64url::decode(text.as_bytes()).ok_or(KeyFlaw::Member)
        };
        let (material, verifiers) = match (kind, text("crv")?) {
            ("RSA", _) => rsa(&part("n")?, &part("e")?, algorithm)?,
            ("EC", Some(curve)) => ec(curve, &part("x")?, &part("y")?)?,
            ("OKP", Some("Ed25519")) => ed25519(&part("x")?)?,
            _ => return Err(KeyFlaw::Unknown),
        };
        Self::new(id, verifiers, &material, algorithm)
    }

    /// For HS, from a configuration.
    pub fn from_secret(secret: &[u8]) -> Self {
        let algorithms = [
            (Algorithm::Hs256, hmac::HMAC_SHA256),
            (Algorithm::Hs384, hmac::HMAC_SHA384),
            (Algorithm::Hs512, hmac::HMAC_SHA512),
        ];
        let verifier =
            |(algorithm, hash)| (algorithm, Verifier::Secret(Box::new(hmac::Key::new(hash, secret))));
        Self {
            id: None,
            verifiers: algorithms.map(verifier).into(),
            fingerprint: digest_of(&[b"secret", secret]),
            is_gone: AtomicBool::new(false),
        }
    }

    fn new(
        id: Option<Box<str>>,
        mut verifiers: Vec<(Algorithm, Verifier)>,
        material: &[u8],
        algorithm: Option<Algorithm>,
    ) -> Result<Self, KeyFlaw> {
        verifiers.retain(|(one, _)| algorithm.is_none_or(|only| only == *one));
        if verifiers.is_empty() {
            return Err(KeyFlaw::Unknown);
        }
        let (named, algorithm) =
            (id.as_deref().unwrap_or_default(), format!("{algorithm:?} {}", id.is_some()));
        let fingerprint = digest_of(&[named.as_bytes(), algorithm.as_bytes(), material]);
        Ok(Self { id, verifiers, fingerprint, is_gone: AtomicBool::new(false) })
    }

    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.verifiers.iter().any(|(one, _)| *one == algorithm)
    }

    /// Whether `signature` over `signed` is this key's.
    pub fn has_signed(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        match self.verifiers.iter().find(|(one, _)| *one == algorithm) {
            Some((_, Verifier::Public(key))) => key.verify_sig(signed, signature).is_ok(),
            Some((_, Verifier::Secret(key))) => hmac::verify(key, signed, signature).is_ok(),
            None => false,
        }
    }

    /// What it verified does not hold any more.
    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::Acquire)
    }

    pub fn let_go(&self) {
        self.is_gone.store(true, Ordering::Release);
    }
}

/// `key_ops` (RFC 7517 section 4.3).
fn may_verify(jwk: &Object) -> Result<bool, KeyFlaw> {
    match jwk.get("key_ops") {
        None => Ok(true),
        Some(Json::List(uses)) => Ok(uses.iter().any(|one| one.text() == Some("verify"))),
        Some(_) => Err(KeyFlaw::Member),
    }
}

type Made = (Vec<u8>, Vec<(Algorithm, Verifier)>);

fn rsa(n: &[u8], e: &[u8], algorithm: Option<Algorithm>) -> Result<Made, KeyFlaw> {
    // Libraries are known that put a zero in front (RFC 7518 section 6.3.1.1).
    let (n, e) = (without_zeros(n), without_zeros(e));
    let bits = n.first().map_or(0, |first| n.len() * 8 - usize::try_from(first.leading_zeros()).unwrap_or(8));
    let is_exponent = e.len() <= EXPONENT_BYTES_MAX && e.last().is_some_and(|last| last & 1 == 1) && e != [1];
    if !RSA_BITS.contains(&bits) || !is_exponent {
        return Err(KeyFlaw::Size);
    }
    let wanted = RSA.iter().filter(|(one, _)| algorithm.is_none_or(|only| only == *one));
    let parsed = wanted.map(|(one, parameters)| {
        let key = RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters);
        Ok((*one, Verifier::Public(key.map_err(|_| KeyFlaw::NotAKey)?)))
    });
    Ok(([e, n].concat(), parsed.collect::<Result<_, _>>()?))
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

fn ec(curve: &str, x: &[u8], y: &[u8]) -> Result<Made, KeyFlaw> {
    let (algorithm, parameters, length) = match curve {
        "P-256" => (Algorithm::Es256, &ECDSA_P256_SHA256_FIXED, 32),
        "P-384" => (Algorithm::Es384, &ECDSA_P384_SHA384_FIXED, 48),
        "P-521" => (Algorithm::Es512, &ECDSA_P521_SHA512_FIXED, 66),
        _ => return Err(KeyFlaw::Unknown),
    };
    if x.len() != length || y.len() != length {
        return Err(KeyFlaw::Member);
    }
    // SEC 1 section 2.3.3, uncompressed.
    let point = [&[4], x, y].concat();
    let key = ParsedPublicKey::new(parameters, &point).map_err(|_| KeyFlaw::NotAKey)?;
    Ok((point, vec![(algorithm, Verifier::Public(key))]))
}

fn ed25519(x: &[u8]) -> Result<Made, KeyFlaw> {
    if x.len() != signature::ED25519_PUBLIC_KEY_LEN {
        return Err(KeyFlaw::Member);
    }
    let key = ParsedPublicKey::new(&ED25519, x).map_err(|_| KeyFlaw::NotAKey)?;
    Ok((x.to_vec(), vec![(Algorithm::EdDsa, Verifier::Public(key))]))
}

/// SHA-256 over the pieces and their lengths.
fn digest_of(pieces: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for piece in pieces {
        context.update(&(piece.len() as u64).to_be_bytes());
        context.update(piece);
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}
