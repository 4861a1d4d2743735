//! RFC 9421 appendix B.2.5, and what is near it.

use std::time::Duration;

use hyper::{HeaderMap, Method, Uri};

use super::super::Kept;
use super::*;
use crate::model::{Holder, Secret};
use crate::proxy::connection::{self, Connection, Peer};

/// `test-shared-secret` of appendix B.1.5.
const SECRET: &str =
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
const INPUT: &str =
    "sig-b25=(\"date\" \"@authority\" \"content-type\");created=1618884473;keyid=\"test-shared-secret\"";
const SIGNED: &str = "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:";
const CREATED_S: u64 = 1_618_884_473;

fn scheme(components: &[&str], needs_nonce: bool) -> Box<dyn Scheme> {
    let holder = Holder {
        name: "test-shared-secret".into(),
        policies: [].into(),
        expires_s: None,
        metadata: [].into(),
        disabled: false,
    };
    let secret = Secret::new(&Base64::decode_vec(SECRET).unwrap());
    let settings = HmacAuth {
        rows: [SignerRow { holder, secret }].into(),
        components: components.iter().map(|name| (*name).into()).collect(),
        max_age: Duration::from_secs(300),
        needs_nonce,
    };
    let site = Site { realm: "a", kept: &Arc::<Kept>::default(), shares_bearer: false, claims: &[] };
    row(&AuthScheme::Hmac(Arc::new(settings)), &site).unwrap()
}

/// The appendix's request, with these two fields.
fn judge(scheme: &dyn Scheme, input: &str, signature: &str, at_s: u64) -> Result<(), Reason> {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "Example.com:443"),
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("content-type", "application/json"),
        ("signature-input", input),
        ("signature", signature),
    ] {
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    let over = Connection::new(Peer::of_socket([127, 0, 0, 1].into()), connection::Scheme::Https, None);
    let mut uri: Uri = "/foo?param=Value&Pet=dog".parse().unwrap();
    let mut presented = Presented {
        method: &Method::POST,
        uri: &mut uri,
        headers: &mut headers,
        over: &over,
        now_ns: at_s * 1_000_000_000,
        unix_s: at_s,
    };
    match scheme.authenticate(&mut presented) {
        Verdict::Pass(_) => Ok(()),
        Verdict::Refused(reason) => Err(reason),
        Verdict::Absent | Verdict::Wait(_) => panic!("a signature is there, and nothing waits"),
    }
}

/// Signs `params` as the appendix's signer would, over the components that they name.
fn sign(params: &str, lines: &[&str]) -> (String, String) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &Base64::decode_vec(SECRET).unwrap());
    let base = format!("{}\n\"@signature-params\": {params}", lines.join("\n"));
    let signature = Base64::encode_string(hmac::sign(&key, base.as_bytes()).as_ref());
    (format!("s={params}"), format!("s=:{signature}:"))
}

#[test]
fn the_vector_of_rfc_9421_passes_and_what_is_changed_does_not() {
    let scheme = scheme(&["date", "@authority", "content-type"], false);
    let check = |input: &str, signature: &str, at_s, expected: Result<(), Reason>| {
        assert_eq!(judge(&*scheme, input, signature, at_s), expected, "{input} {signature}");
    };
    check(INPUT, SIGNED, CREATED_S, Ok(()));
    check(INPUT, SIGNED, CREATED_S + 300, Ok(()));
    check(INPUT, SIGNED, CREATED_S + 301, Err(Reason::Expired));
    check(INPUT, SIGNED, CREATED_S - 31, Err(Reason::Early));
    check(INPUT, &SIGNED.replace("pxc", "pxd"), CREATED_S, Err(Reason::Signature));
    check(INPUT, &SIGNED.replace("sig-b25", "sig"), CREATED_S, Err(Reason::Malformed));
    check(INPUT, "sig-b25=:AAAA:", CREATED_S, Err(Reason::Malformed));
    check(&INPUT.replace("1618884473", "1618884474"), SIGNED, CREATED_S, Err(Reason::Signature));
    check(&INPUT.replace("test-", "best-"), SIGNED, CREATED_S, Err(Reason::Unknown));
    check(&INPUT.replace(" \"content-type\"", ""), SIGNED, CREATED_S, Err(Reason::Component));
    check(&INPUT.replace(";created=1618884473", ""), SIGNED, CREATED_S, Err(Reason::Component));
    check(&INPUT.replace("\"date\"", "\"x-absent\" \"date\""), SIGNED, CREATED_S, Err(Reason::Component));
    check(&format!("{INPUT};alg=\"rsa-v1_5-sha256\""), SIGNED, CREATED_S, Err(Reason::Algorithm));
    check(&format!("{INPUT};alg=\"hmac-sha256\""), SIGNED, CREATED_S, Err(Reason::Signature));
    check(&format!("{INPUT};expires=1618884473"), SIGNED, CREATED_S, Err(Reason::Expired));
    for broken in [
        "",
        "sig-b25",
        "sig-b25=()",
        &INPUT.replace("\"date\"", "\"date\";sf"),
        &INPUT.replace("\"date\"", "\"date\" \"date\""),
        &INPUT.replace("\"date\"", "\"Date\""),
        &format!("{INPUT}, other=()"),
        &format!("{INPUT};created=1618884473"),
        &format!("{INPUT};unknown=1"),
        &INPUT.replace("created=1618884473", "created=-1"),
    ] {
        let refused = judge(&*scheme, broken, SIGNED, CREATED_S);
        assert!(matches!(refused, Err(Reason::Malformed | Reason::Component)), "{broken}: {refused:?}");
    }
}

#[test]
fn a_nonce_passes_once() {
    let scheme = scheme(&["@method", "@path", "@query"], true);
    let signed = |nonce: &str| {
        let params =
            format!("(\"@method\" \"@target-uri\");created={CREATED_S};keyid=\"test-shared-secret\"{nonce}");
        sign(&params, &["\"@method\": POST", "\"@target-uri\": https://example.com/foo?param=Value&Pet=dog"])
    };
    let judge = |nonce: &str, at_s| {
        let (input, signature) = signed(nonce);
        judge(&*scheme, &input, &signature, at_s)
    };
    assert_eq!(judge("", CREATED_S), Err(Reason::Component));
    assert_eq!(judge(";nonce=\"a\"", CREATED_S), Ok(()));
    assert_eq!(judge(";nonce=\"a\"", CREATED_S), Err(Reason::Replayed));
    assert_eq!(judge(";nonce=\"a\"", CREATED_S + 299), Err(Reason::Replayed));
    assert_eq!(judge(";nonce=\"b\"", CREATED_S), Ok(()));
}
