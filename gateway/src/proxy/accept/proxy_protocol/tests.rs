use proptest::prelude::*;

use super::*;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

/// Whole, cut at every byte, and with the client's bytes behind.
#[track_caller]
fn check(bytes: &[u8], expected: Result<Option<&str>, NoHeader>) {
    let header = expected
        .map(|source| Some(Header { source: source.map(|text| text.parse().unwrap()), bytes: bytes.len() }));
    assert_eq!(parse(bytes), header);
    let followed = [bytes, b"GET / HTTP/1.1\r\n"].concat();
    assert_eq!(parse(&followed), header, "with bytes behind");
    for cut in 0..bytes.len() {
        let parsed = parse(&bytes[..cut]);
        assert!(parsed == Ok(None) || parsed == header, "cut at {cut}: {parsed:?}");
    }
}

#[test]
fn lines_name_the_client() {
    for (line, source) in [
        ("PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n", Some("192.0.2.1:4711")),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Some("255.255.255.255:65535")),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 0 0\r\n", Some("192.0.2.1:0")),
        ("PROXY TCP6 2001:db8::1 2001:db8::2 4711 443\r\n", Some("[2001:db8::1]:4711")),
        ("PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", Some("[::ffff:192.0.2.1]:1")),
        ("PROXY UNKNOWN\r\n", None),
        ("PROXY UNKNOWN ffff::1 nonsense  9\r\n", None),
    ] {
        check(line.as_bytes(), Ok(source));
    }
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    assert_eq!(longest.len(), 107);
    check(longest.as_bytes(), Ok(None));
}

#[test]
fn what_is_no_line_is_refused() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 4711\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 4711 443 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 4711 443 x\r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 4711 443\r\n",
        "PROXY  TCP4 192.0.2.1 192.0.2.2 4711 443\r\n",
        "PROXY TCP4\t192.0.2.1 192.0.2.2 4711 443\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 4711 443\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 4711 443\r\n",
        "PROXY UNKNOWNX\r\n",
        "PROXY TCP4 2001:db8::1 192.0.2.2 4711 443\r\n",
        "PROXY TCP6 192.0.2.1 2001:db8::1 4711 443\r\n",
        "PROXY TCP4 192.0.2.1 2001:db8::1 4711 443\r\n",
        "PROXY TCP6 [2001:db8::1] ::1 4711 443\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 4711 443\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 4711 443\r\n",
        "PROXY TCP4 192.0.2.256 192.0.2.2 4711 443\r\n",
        "PROXY TCP4 192.0.2 192.0.2.2 4711 443\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 04711 443\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +4711 443\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 -1 443\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 00 443\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 4711 \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\rx",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN \rx\r\n",
        "PROXY TCP4 192.0.2.1\0 192.0.2.2 4711 443\r\n",
        "PROXY TCP4 192.0.2.\u{661} 192.0.2.2 4711 443\r\n",
    ] {
        assert_eq!(parse(line.as_bytes()), Err(NoHeader::Malformed), "{line:?}");
    }
    assert_eq!(parse(b"PROXY TCP4 \xff\r\n"), Err(NoHeader::Malformed));
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert_eq!(parse(long.as_bytes()), Err(NoHeader::TooLong), "108 bytes");
    assert_eq!(parse(&long.as_bytes()[..107]), Err(NoHeader::TooLong), "and at the 107th already");
    assert_eq!(parse(&long.as_bytes()[..106]), Ok(None));
}

#[test]
fn binary_headers_name_the_client() {
    let v4 = [&[192, 0, 2, 1], &[192, 0, 2, 2], &[0x12, 0x67, 1, 187][..]].concat();
    let v6: Vec<u8> = [
        "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec(),
        vec![0; 16],
        vec![0x12, 0x67, 1, 187],
    ]
    .concat();
    let tlvs = |addresses: &[u8], bytes| [addresses, &vec![0xea; bytes]].concat();
    check(&binary(0x21, 0x11, &v4), Ok(Some("192.0.2.1:4711")));
    check(&binary(0x21, 0x21, &v6), Ok(Some("[2001:db8::1]:4711")));
    check(&binary(0x21, 0x11, &tlvs(&v4, 100)), Ok(Some("192.0.2.1:4711")));
    check(&binary(0x21, 0x21, &tlvs(&v6, 536 - 16 - 36)), Ok(Some("[2001:db8::1]:4711")));
    check(&binary(0x21, 0x31, &[b'/'; 216]), Ok(None));
    check(&binary(0x21, 0x00, b""), Ok(None));
    check(&binary(0x21, 0x00, &v6), Ok(None));
    check(&binary(0x20, 0x00, b""), Ok(None));
    check(&binary(0x20, 0x11, &v4), Ok(None));
    check(&binary(0x20, 0xff, &v4), Ok(None));
}

#[test]
fn what_is_no_binary_header_is_refused() {
    for (command, family, rest_bytes) in [
        (0x11, 0x11, 12),
        (0x22, 0x11, 12),
        (0x31, 0x11, 12),
        (0x01, 0x11, 12),
        (0x21, 0x11, 11),
        (0x21, 0x11, 0),
        (0x21, 0x21, 35),
        (0x21, 0x31, 215),
        (0x21, 0x12, 12),
        (0x21, 0x22, 36),
        (0x21, 0x32, 216),
        (0x21, 0x10, 12),
        (0x21, 0x01, 12),
        (0x21, 0x13, 12),
        (0x21, 0x41, 216),
    ] {
        let bytes = binary(command, family, &vec![0; rest_bytes]);
        assert_eq!(parse(&bytes), Err(NoHeader::Malformed), "{command:#x} {family:#x} {rest_bytes}");
    }
    assert_eq!(parse(&binary(0x21, 0x11, &[0; 521])), Err(NoHeader::TooLong), "537 bytes");
    assert_eq!(parse(&binary(0x20, 0x00, &[0; 65_535])[..16]), Err(NoHeader::TooLong));
}

#[test]
fn anything_else_is_seen_at_its_first_byte_that_differs() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"\x16\x03\x01",
        b"P\0",
        b"PROXX",
        b"PROXY\t",
        b"proxy TCP4",
        b"\r\n\r\n\0\r\nQUIT\r",
        b"\r\n\r\n\r",
        b" PROXY ",
        b"\n",
    ] {
        assert_eq!(parse(bytes), Err(NoHeader::Missing), "{bytes:?}");
    }
    assert_eq!(parse(b""), Ok(None));
}

/// Bytes that get past the signatures.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let words = "PROXY (TCP4|TCP6|UNKNOWN|TCP)( [0-9a-f:.]{0,20}){0,6} ?[\r\n]{0,3}.{0,10}";
    let fixed = (0..4_u8, proptest::sample::select(vec![0x00_u8, 0x11, 0x21, 0x31, 0x12, 0xff]), 0..600_u16);
    let rest = proptest::collection::vec(any::<u8>(), 0..700);
    prop_oneof![
        words.prop_map(String::into_bytes),
        (fixed, rest.clone()).prop_map(|((command, family, length), rest)| {
            [SIGNATURE, &[0x1f + command, family], &length.to_be_bytes(), &rest].concat()
        }),
        rest,
    ]
}

proptest! {
    #[test]
    fn no_bytes_panic_and_every_cut_says_the_same(bytes in nearly()) {
        let whole = parse(&bytes);
        if let Ok(Some(header)) = whole {
            prop_assert!(header.bytes <= bytes.len().min(HEADER_BYTES_MAX));
            prop_assert_eq!(parse(&bytes[..header.bytes]), whole, "no byte behind it counts");
        } else if whole == Ok(None) {
            prop_assert!(bytes.len() < HEADER_BYTES_MAX);
        }
        for cut in 0..bytes.len() {
            let parsed = parse(&bytes[..cut]);
            prop_assert!(parsed == Ok(None) || parsed == whole, "cut at {}: {:?}, whole: {:?}", cut, parsed, whole);
        }
    }

    #[test]
    fn a_line_that_is_written_is_read(source: std::net::Ipv4Addr, port: u16, other: std::net::Ipv6Addr) {
        let line = format!("PROXY TCP4 {source} 192.0.2.1 {port} 443\r\n");
        let expected = Header { source: Some(SocketAddr::new(source.into(), port)), bytes: line.len() };
        prop_assert_eq!(parse(line.as_bytes()), Ok(Some(expected)));
        let line = format!("PROXY TCP6 {other} ::1 {port} 443\r\n");
        let expected = Header { source: Some(SocketAddr::new(other.into(), port)), bytes: line.len() };
        prop_assert_eq!(parse(line.as_bytes()), Ok(Some(expected)));
    }
}
