use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_full_map_gives_up_the_shed_row_that_ends_first_and_never_an_operators() {
    let bans = Bans::in_process(2);
    bans.add(ClientKey(1), BanReason::Operator, 0, None, 0).unwrap();
    bans.add(ClientKey(2), BanReason::Shed, 1, Some(SECOND), 0).unwrap();
    bans.add(ClientKey(3), BanReason::Shed, 0, Some(2 * SECOND), 0).unwrap();
    let keys: Vec<_> = bans.list(0).unwrap().iter().map(|row| row.key.0).collect();
    assert_eq!(keys, [3, 1]);
    bans.add(ClientKey(4), BanReason::Operator, 0, None, 0).unwrap();
    assert!(matches!(bans.add(ClientKey(5), BanReason::Shed, 0, Some(SECOND), 0), Err(BanError::Full(2))));
}

#[test]
fn a_ban_ends_at_its_moment_and_a_shed_does_not_shorten_an_operators() {
    let bans = Bans::in_process(4);
    bans.add(ClientKey(1), BanReason::Shed, 0, Some(SECOND), 0).unwrap();
    assert!(bans.closes(ClientKey(1), 999_999_999));
    assert!(!bans.closes(ClientKey(1), 1_000_000_000));
    bans.add(ClientKey(2), BanReason::Operator, 0, None, 0).unwrap();
    bans.add(ClientKey(2), BanReason::Shed, 0, Some(SECOND), 0).unwrap();
    assert!(bans.find(ClientKey(2), u64::MAX - 1).is_some());
    assert!(bans.remove(ClientKey(2), 0).unwrap());
    assert!(!bans.remove(ClientKey(2), 0).unwrap());
}
