use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn allow_wins_over_deny_and_deny_over_dry_run_whatever_is_longer() {
    let lists = [
        List::new("deny", Sentence::Deny, nets(&["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"])),
        List::new("allow", Sentence::Allow, nets(&["10.1.0.0/16", "192.0.2.0/24"])),
        List::new("dry", Sentence::Observe, nets(&["10.2.0.0/16", "198.51.100.0/24"])),
        List::new("again", Sentence::Deny, nets(&["10.3.0.0/16", "10.0.0.0/8"])),
    ];
    let marks = Marks::compile(&lists, &[1, 2, 3, 4], &[]);
    for (address, expected) in [
        ("10.0.0.1", Some((Sentence::Deny, 1))),
        ("10.1.0.1", Some((Sentence::Allow, 2))),
        ("10.2.0.1", Some((Sentence::Deny, 1))),
        ("10.3.0.1", Some((Sentence::Deny, 4))),
        ("192.0.2.1", Some((Sentence::Allow, 2))),
        ("198.51.100.7", Some((Sentence::Observe, 3))),
        ("203.0.113.1", None),
        ("2001:db8:1::1", Some((Sentence::Deny, 1))),
    ] {
        let mark = marks.find(address.parse().unwrap());
        assert_eq!(mark.sentence().map(|sentence| (sentence, mark.cell())), expected, "{address}");
    }
    let rows: Vec<_> = marks.rows().iter().map(|(net, _)| net.to_string()).collect();
    assert_eq!(
        rows,
        ["10.0.0.0/8", "10.1.0.0/16", "10.3.0.0/16", "192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"],
        "what a wider prefix says already needs no row"
    );
}

#[test]
fn the_longest_override_holds_beside_whatever_lists_say() {
    let lists = [List::new("dry", Sentence::Observe, nets(&["10.1.0.0/16", "10.1.2.3/32"]))];
    let (wide, narrow) = (nets(&["10.0.0.0/8"]), nets(&["10.1.2.0/24"]));
    let marks = Marks::compile(&lists, &[9], &[(1, &wide), (2, &narrow)]);
    for (address, row, cell) in
        [("10.9.9.9", 1, 0), ("10.1.9.9", 1, 9), ("10.1.2.9", 2, 9), ("10.1.2.3", 2, 9), ("11.0.0.1", 0, 0)]
    {
        let mark = marks.find(address.parse().unwrap());
        assert_eq!((mark.row(), mark.cell()), (row, cell), "{address}");
    }
}

fn any_net() -> impl Strategy<Value = IpNet> {
    (0_u32..16, 26_u8..=32).prop_map(|(bits, length)| {
        IpNet::new(IpAddr::V4((0x0a00_0000 | bits << 1).into()), length).unwrap().trunc()
    })
}

fn any_marks() -> impl Strategy<Value = Marks> {
    proptest::collection::vec((any_net(), 1_u8..4), 0..8).prop_map(|rows| {
        let lists: Vec<_> = rows
            .into_iter()
            .map(|(net, kind)| {
                let sentence = [Sentence::Observe, Sentence::Deny, Sentence::Allow][usize::from(kind - 1)];
                List::new("any", sentence, [net])
            })
            .collect();
        let cells: Vec<u8> = (1..).take(lists.len()).collect();
        Marks::compile(&lists, &cells, &[(7, &nets(&["10.0.0.16/28"])), (8, &nets(&["10.0.0.0/26"]))])
    })
}

/// A trie as the kernel has it.
fn says(trie: &BTreeMap<IpNet, Mark>, address: IpAddr) -> Mark {
    let holding = trie.iter().filter(|(net, _)| net.contains(&address));
    holding.max_by_key(|(net, _)| net.prefix_len()).map_or(Mark::NONE, |(_, mark)| *mark)
}

proptest! {
    #[test]
    fn at_every_step_of_a_change_a_source_meets_the_old_lists_or_the_new(old in any_marks(), new in any_marks()) {
        let mut trie: BTreeMap<_, _> = old.rows().iter().copied().collect();
        let change = old.change_to(&new);
        let steps = change.inserted.iter().chain(&change.updated).map(|row| (row.0, Some(row.1)));
        for (net, mark) in steps.chain(change.removed.iter().map(|net| (*net, None))) {
            match mark {
                Some(mark) => trie.insert(net, mark),
                None => trie.remove(&net),
            };
            for bits in 0..64_u32 {
                let address = IpAddr::V4((0x0a00_0000 | bits).into());
                let found = says(&trie, address);
                prop_assert!(found == old.find(address) || found == new.find(address), "{address} at {net}");
            }
        }
        prop_assert!(trie.into_iter().eq(new.rows().iter().copied()));
    }
}
