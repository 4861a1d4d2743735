use super::*;

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn facts() -> HostFacts {
    HostFacts {
        own: ["127.0.0.1", "::1", "10.0.0.5", "2001:db8::5"].map(|text| text.parse().unwrap()).to_vec(),
        gateways: vec![Gateway { address: "10.0.0.1".parse().unwrap(), interface: "eth0".to_owned() }],
        dns: vec![
            ("127.0.0.53".parse().unwrap(), "a".to_owned()),
            ("9.9.9.9".parse().unwrap(), "resolv.conf".to_owned()),
        ],
    }
}

fn guard(config: &Config) -> Guard {
    let host =
        |authority: &str, why, from: &str| Host { authority: authority.into(), why, from: from.to_owned() };
    let hosts = [
        host("192.0.2.80:9000", Why::Upstream, "orders"),
        host("[2001:db8:1::80]:9000", Why::Upstream, "v6"),
        host("127.0.0.1:9000", Why::Upstream, "here"),
        host("redis.example:6379", Why::Store, "[store]"),
    ];
    let mut names = Names::default();
    names.renew(Names::known("redis.example", "192.0.2.63".parse().unwrap()));
    Guard::of(config, facts(), &hosts, &names, &["203.0.113.7".parse().unwrap()])
}

/// Dropping `net` would hit exactly these.
#[track_caller]
fn check_met(guard: &Guard, net: &str, expected: &[&str]) {
    let met: Vec<_> = guard.met_by(&net.parse().unwrap()).map(Guarded::to_string).collect();
    assert_eq!(met, expected, "{net}");
}

#[test]
fn each_class_is_found_and_named() {
    let config = Config { management: nets(&["198.51.100.0/24"]), ..Config::default() };
    let guard = guard(&config);
    for (net, who) in [
        ("10.0.0.5/32", "this host's own address 10.0.0.5"),
        ("127.0.0.9/32", "this host's own address 127.0.0.0/8 (lo)"),
        ("2001:db8::/64", "this host's own address 2001:db8::5"),
        ("10.0.0.0/30", "the default gateway 10.0.0.1 (eth0)"),
        ("9.0.0.0/8", "the DNS server 9.9.9.9 (resolv.conf)"),
        ("192.0.2.63/32", "the store 192.0.2.63 ([store])"),
        ("192.0.2.80/32", "the upstream 192.0.2.80 (orders)"),
        ("2001:db8:1::/64", "the upstream 2001:db8:1::80 (v6)"),
        ("203.0.113.0/24", "the SSH peer 203.0.113.7"),
        ("198.51.0.0/16", "the management range 198.51.100.0/24"),
        ("198.51.100.9/32", "the management range 198.51.100.0/24"),
    ] {
        check_met(&guard, net, &[who]);
    }
    check_met(&guard, "192.0.2.0/26", &["the store 192.0.2.63 ([store])"]);
    check_met(&guard, "172.16.0.0/12", &[]);
    check_met(&guard, "10.0.0.2/32", &[]);
}

#[test]
fn own_addresses_may_be_left_unguarded_and_other_classes_do_not_bring_them_back() {
    let guard = guard(&Config { guard_own_addresses: false, ..Config::default() });
    check_met(&guard, "127.0.0.0/8", &[]);
    check_met(&guard, "10.0.0.5/32", &[]);
    check_met(&guard, "10.0.0.0/24", &["the default gateway 10.0.0.1 (eth0)"]);
}

#[test]
fn ranges_meet_and_cover_as_their_prefixes_do() {
    let ranges = Ranges::of(
        nets(&["10.1.0.0/16", "10.0.0.0/16", "10.0.3.0/24", "2001:db8::/32", "0.0.0.1/32"]).into_iter(),
    );
    for (net, meets, covers) in [
        ("10.0.0.0/15", true, true),
        ("10.0.0.0/8", true, false),
        ("10.1.255.255/32", true, true),
        ("10.2.0.0/16", false, false),
        ("::1/128", false, false),
        ("2001:db8:5::/48", true, true),
        ("::/0", true, false),
        ("0.0.0.0/31", true, false),
    ] {
        let net: IpNet = net.parse().unwrap();
        assert_eq!((ranges.meets(&net), ranges.covers(&net)), (meets, covers), "{net}");
    }
}

#[test]
fn name_servers_are_read_as_the_resolver_reads_them() {
    let text = "# nameserver 1.1.1.1\nsearch example\nnameserver 9.9.9.9\nnameserver  fe80::1%eth0\nnameserver nonsense\nnameservers 8.8.8.8\n";
    let expected: Vec<IpAddr> = ["9.9.9.9", "fe80::1"].map(|text| text.parse().unwrap()).to_vec();
    assert_eq!(resolv::parse(text), expected);
}

#[test]
fn authorities_are_told_apart_from_their_ports() {
    for (authority, host) in [
        ("h", "h"),
        ("h:1", "h"),
        ("[::1]", "::1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("192.0.2.1:80", "192.0.2.1"),
    ] {
        assert_eq!(names::bare(authority), host);
    }
}

#[test]
fn sessions_and_sockets_are_read_as_they_are_written() {
    assert_eq!(ssh::peer("203.0.113.7 50000 22"), "203.0.113.7".parse().ok());
    assert_eq!(ssh::peer("fe80::7%eth0 50000 fe80::1%eth0 22"), "fe80::7".parse().ok());
    assert_eq!(ssh::peer("nonsense"), None);
    let ends = ssh::both_ends("203.0.113.7 50000 10.0.0.5 22");
    assert_eq!(ends, Some(("10.0.0.5:22".parse().unwrap(), "203.0.113.7:50000".parse().unwrap())));
    let line = "  0: 0500000A:0016 077100CB:C350 01 00000000:00000000 00:00000000 00000000 0";
    assert_eq!(ssh::socket(line), ends);
    let mapped = "0: 0000000000000000FFFF00000500000A:0016 0000000000000000FFFF0000077100CB:C350 01 0";
    assert_eq!(ssh::socket(mapped), ends);
    assert_eq!(ssh::socket(&line.replace(" 01 ", " 06 ")), None);
    assert_eq!(ssh::socket("  sl  local_address rem_address   st"), None);
}
