use super::*;

#[test]
fn a_client_has_one_key_however_its_address_is_written() {
    let key = |text: &str| ClientKey::of(text.parse().unwrap());
    assert_eq!(key("192.0.2.1"), key("::ffff:192.0.2.1"));
    assert_eq!(key("2001:db8:0:1::1"), key("2001:db8:0:1:ffff::"));
    assert_ne!(key("2001:db8:0:1::1"), key("2001:db8:0:2::1"));
    assert_eq!(key("192.0.2.1").to_string(), "192.0.2.1");
    assert_eq!(key("2001:db8:0:1::1").to_string(), "2001:db8:0:1::/64");
    assert!(key("192.0.2.1").is_v4() && !key("2001:db8::").is_v4());
}

#[test]
fn leases_run_out_at_their_jiffy_and_only_where_there_are_some() {
    let over = |ends: [u64; LEASES], jiffies| Leases { ends }.over(jiffies);
    assert!(!over([0, 0], 0) && !over([0, 0], u64::MAX));
    for ends in [[100, 0], [0, 100], [100, 900], [900, 100]] {
        assert!(!over(ends, 99) && over(ends, 100) && over(ends, 101), "{ends:?}");
    }
}

#[test]
fn an_answer_of_charge_comes_back_as_it_was_meant() {
    for debt_ns in [0, 1, 999, 1_000, 1_001, 15 * 60 * 1_000_000_000] {
        let (admitted, denied) = (ChargeAnswer::admitted(debt_ns), ChargeAnswer::denied(debt_ns));
        assert!(!admitted.is_denied() && denied.is_denied() && !admitted.is_error() && !denied.is_error());
        assert_eq!(admitted.debt_ns(), debt_ns.div_ceil(1_000) * 1_000);
        assert_eq!(denied.debt_ns(), admitted.debt_ns());
    }
    assert!(ChargeAnswer::admitted(u64::MAX - 1_000).debt_ns() >= 15 * 60 * 1_000_000_000, "saturates");
    assert_eq!((ChargeAnswer::error(17).is_error(), ChargeAnswer::error(17).errno()), (true, 17));
}
