use super::*;

#[test]
fn as_many_as_there_are_lanes_are_kept_however_long_a_run_is() {
    let mut awaited = Awaited::default();
    let mut flights: Vec<(u32, u64)> = (0..64).map(|n| (n, awaited.sending())).collect();
    for next in 64..10_000 {
        // Any lane may be the next to be answered.
        let place = usize::try_from(next * 7_919).unwrap() % flights.len();
        let (batch, sent) = flights[place];
        awaited.answered(batch.to_string(), sent, true);
        flights[place] = (next, awaited.sending());
        // A batch answered before every flight began may go only when one of these has been answered.
        assert!(awaited.names().len() <= 64, "{}", awaited.names().len());
    }
}

#[test]
fn a_batch_that_was_under_way_at_the_same_time_is_kept() {
    let mut awaited = Awaited::of(&["earlier".to_owned()]);
    let (a, b) = (awaited.sending(), awaited.sending());
    awaited.answered("a".to_owned(), a, true);
    assert_eq!(awaited.names(), ["a"], "sent after the earlier run had ended");
    awaited.answered("b".to_owned(), b, true);
    assert_eq!(awaited.names(), ["a", "b"], "either may be the later one");
    let c = awaited.sending();
    awaited.answered("c".to_owned(), c, true);
    assert_eq!(awaited.names(), ["c"]);
}

#[test]
fn a_batch_whose_place_in_the_order_is_unknown_stands_for_no_other() {
    let mut awaited = Awaited::of(&["earlier".to_owned()]);
    let sent = awaited.sending();
    awaited.answered("duplicates".to_owned(), sent, false);
    assert_eq!(awaited.names(), ["earlier", "duplicates"]);
}
