//! An issuer's side of JSON Web Tokens: keys that are made here, their JWKs, and tokens, good and bad. By
//! aws-lc's own signing and an encoding of our own, so that nothing here leans on what is under test.

use anyhow::{Result, anyhow};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use aws_lc_rs::{hmac, signature};
use serde_json::{Value, json};

/// Signs tokens by one algorithm.
pub struct Key {
    pub kid: String,
    pub algorithm: &'static str,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ec(EcdsaKeyPair, &'static str),
    Ed(Ed25519KeyPair),
    Secret(Vec<u8>),
}

impl Key {
    /// Of 2048 bits, for RSA.
    pub fn new(kid: &str, algorithm: &'static str) -> Result<Self> {
        let pair = match algorithm {
            "ES256" => ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256")?,
            "ES384" => ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384")?,
            "ES512" => ec(&ECDSA_P521_SHA512_FIXED_SIGNING, "P-521")?,
            "EdDSA" => Pair::Ed(Ed25519KeyPair::generate()?),
            _ => Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048)?, encoding(algorithm)?),
        };
        Ok(Self { kid: kid.to_owned(), algorithm, pair })
    }

    /// HS256, 384 or 512.
    pub fn of_secret(algorithm: &'static str, secret: &[u8]) -> Self {
        Self { kid: "secret".to_owned(), algorithm, pair: Pair::Secret(secret.to_vec()) }
    }

    /// The public key, as a set holds it. An HS key has none.
    pub fn jwk(&self) -> Value {
        let mut jwk = self.bare_jwk();
        if let Some(members) = jwk.as_object_mut() {
            for (name, value) in [("kid", &*self.kid), ("alg", self.algorithm), ("use", "sig")] {
                members.insert(name.to_owned(), json!(value));
            }
        }
        jwk
    }

    /// Without name, algorithm and use.
    pub fn bare_jwk(&self) -> Value {
        match &self.pair {
            Pair::Rsa(pair, _) => {
                let (n, e) = modulus_and_exponent(pair.public_key().as_ref()).unwrap_or_default();
                json!({"kty": "RSA", "n": encode(&n), "e": encode(&e)})
            }
            Pair::Ec(pair, curve) => {
                let point = pair.public_key().as_ref();
                let half = point.len() / 2;
                let (x, y) = point.get(1..).unwrap_or_default().split_at(half);
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())})
            }
            Pair::Secret(_) => Value::Null,
        }
    }

    /// With the header that an issuer writes.
    pub fn token(&self, claims: &Value) -> Result<String> {
        self.token_under(&json!({"alg": self.algorithm, "typ": "JWT", "kid": self.kid}), claims)
    }

    pub fn token_under(&self, header: &Value, claims: &Value) -> Result<String> {
        self.token_of(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// Of any bytes, signed well.
    pub fn token_of(&self, header: &[u8], payload: &[u8]) -> Result<String> {
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = self.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", encode(&signature)))
    }

    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        Ok(match &self.pair {
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, message, &mut signature)?;
                signature
            }
            Pair::Ec(pair, _) => pair.sign(&random, message)?.as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Secret(secret) => {
                let hash = match self.algorithm {
                    "HS384" => hmac::HMAC_SHA384,
                    "HS512" => hmac::HMAC_SHA512,
                    _ => hmac::HMAC_SHA256,
                };
                hmac::sign(&hmac::Key::new(hash, secret), message).as_ref().to_vec()
            }
        })
    }

    /// As `BEGIN PUBLIC KEY` holds it, in DER: what who confuses RS with HS takes for a secret.
    pub fn public_der(&self) -> Result<Vec<u8>> {
        let Pair::Rsa(pair, _) = &self.pair else { return Err(anyhow!("not an RSA key")) };
        let der: PublicKeyX509Der<'_> = pair.public_key().as_der()?;
        Ok(der.as_ref().to_vec())
    }
}

/// Of an RSAPublicKey in DER (RFC 8017 appendix A.1.1): a sequence of two integers.
fn modulus_and_exponent(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (sequence, _) = der_value(der)?;
    let (modulus, rest) = der_value(sequence)?;
    let (exponent, _) = der_value(rest)?;
    let bare = |integer: &[u8]| integer.strip_prefix(&[0]).unwrap_or(integer).to_vec();
    Some((bare(modulus), bare(exponent)))
}

/// The first value's inside, and what follows it.
fn der_value(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.get(1..)?.split_first()?;
    let n_bytes = if first < 128 { 0 } else { usize::from(first & 127) };
    let (length, rest) = rest.split_at_checked(n_bytes)?;
    let long = || length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    rest.split_at_checked(if first < 128 { usize::from(first) } else { long() })
}

fn ec(algorithm: &'static EcdsaSigningAlgorithm, curve: &'static str) -> Result<Pair> {
    Ok(Pair::Ec(EcdsaKeyPair::generate(algorithm)?, curve))
}

fn encoding(algorithm: &str) -> Result<&'static dyn RsaEncoding> {
    let encodings: [(&str, &'static dyn RsaEncoding); 6] = [
        ("RS256", &RSA_PKCS1_SHA256),
        ("RS384", &RSA_PKCS1_SHA384),
        ("RS512", &RSA_PKCS1_SHA512),
        ("PS256", &RSA_PSS_SHA256),
        ("PS384", &RSA_PSS_SHA384),
        ("PS512", &RSA_PSS_SHA512),
    ];
    let found = encodings.into_iter().find(|(name, _)| *name == algorithm);
    found.map(|(_, encoding)| encoding).ok_or_else(|| anyhow!("{algorithm} signs nothing here"))
}

/// A set of keys as issuers publish it.
pub fn set(keys: &[&Key]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

/// base64url without padding.
pub fn encode(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for piece in bytes.chunks(3) {
        let bits =
            piece.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - piece.len()));
        for place in 0..=piece.len() {
            let value = bits >> (18 - 6 * place) & 63;
            text.extend(ALPHABET.get(value as usize).map(|byte| char::from(*byte)));
        }
    }
    text
}

/// Verifies as barely as it can be done: what a gateway's cold path is compared with.
pub fn verify_rs256(der: &[u8], message: &[u8], signed: &[u8]) -> bool {
    let key = signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, der);
    key.verify(message, signed).is_ok()
}
