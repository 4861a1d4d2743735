use proptest::prelude::*;

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn the_longest_prefix_decides() {
    let map = PrefixMap::new([
        (net("10.0.0.0/8"), 1),
        (net("10.1.0.0/16"), 2),
        (net("10.1.2.3/32"), 3),
        (net("255.255.255.255/32"), 4),
        (net("2001:db8::/32"), 5),
        (net("::/0"), 6),
    ]);
    for (address, value) in [
        ("9.255.255.255", None),
        ("10.0.0.0", Some(1)),
        ("10.1.2.2", Some(2)),
        ("10.1.2.3", Some(3)),
        ("10.1.2.4", Some(2)),
        ("10.2.0.0", Some(1)),
        ("11.0.0.0", None),
        ("255.255.255.255", Some(4)),
        ("2001:db8::1", Some(5)),
        ("2001:db9::1", Some(6)),
    ] {
        assert_eq!(map.find(address.parse().unwrap()), value, "{address}");
    }
}

fn any_net() -> impl Strategy<Value = IpNet> {
    (0_u32..64, 24_u8..=32).prop_map(|(bits, length)| {
        IpNet::new(IpAddr::V4((0xfff_ffc0 << 4 | 0xf0f0_0000 | bits).into()), length).unwrap().trunc()
    })
}

proptest! {
    #[test]
    fn it_agrees_with_looking_at_every_prefix(rows in proptest::collection::vec((any_net(), 0_u8..4), 0..12), at in 0_u32..512) {
        let map = PrefixMap::new(rows.iter().copied());
        let address = IpAddr::V4((0xfff_ff00_u32.wrapping_shl(4) | at).wrapping_sub(64).into());
        let holding = rows.iter().filter(|(net, _)| net.contains(&address));
        let longest = holding.max_by_key(|(net, _)| net.prefix_len()).map(|(_, value)| *value);
        prop_assert_eq!(map.find(address), longest);
    }
}
