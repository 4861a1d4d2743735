use super::*;

#[test]
fn a_key_keeps_its_word_and_a_full_line_gives_up_the_smallest() {
    let table = Table::new(16);
    for key in 10..10_000_u64 {
        table.update(key, 0, |_| (Some(key), ()));
        assert_eq!(table.read(key), Some(key));
    }
    assert_eq!(table.capacity(), 16);
    assert_eq!(table.used(), 16);
    assert_eq!(table.read(9_999), Some(9_999));
    assert_eq!(table.read(10), None);
    assert!(table.replaced() > 9_000);
}

#[test]
fn threads_on_one_key_lose_no_step() {
    let table = Table::new(64);
    table.update(7, 0, |_| (Some(1_000), ()));
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let table = &table;
            scope.spawn(move || {
                for round in 0..10_000_u64 {
                    table.update(7, 0, |word| (Some(word + 1), ()));
                    // Strangers with smaller words come and go in the same lines.
                    table.update(1_000 + thread * 100_000 + round, 0, |_| (Some(1), ()));
                }
            });
        }
    });
    assert_eq!(table.read(7), Some(41_000));
}

#[test]
fn reserved_keys_are_keys_like_others() {
    let table = Table::new(16);
    table.update(0, 0, |_| (Some(5), ()));
    table.update(1, 0, |_| (Some(6), ()));
    assert_eq!(table.read(0), Some(5));
    assert_eq!(table.read(1), Some(6));
}
