use super::*;

#[test]
fn a_consumer_enters_where_it_was() {
    let bus = BusId::new("b");
    let stored = |rows: &[(&str, Seq)]| -> Vec<(String, Seq)> {
        rows.iter().map(|(bus, seq)| ((*bus).to_owned(), *seq)).collect()
    };
    for (rows, lanes, expect, write, former) in [
        // The first start: where it is told to.
        (stored(&[]), 1, vec![3], true, None),
        (stored(&[("b", 7)]), 1, vec![7], false, None),
        // Written by the former layout, which knew no bus.
        (stored(&[("", 7)]), 1, vec![7], true, None),
        // More lanes, fewer lanes: all begin at the lowest.
        (stored(&[("b", 7)]), 2, vec![7, 7], true, None),
        (stored(&[("b", 9), ("b", 4), ("b", 6)]), 1, vec![4], true, None),
        (stored(&[("b", 9), ("b", 4)]), 2, vec![9, 4], false, None),
        // Another bus: from its first event.
        (stored(&[("a", 70)]), 1, vec![3], true, Some("a")),
    ] {
        let (entered, wrote) = enter(&rows, &bus, lanes, 3);
        assert_eq!(entered.positions, expect, "{rows:?}");
        assert_eq!(wrote, write, "{rows:?}");
        assert_eq!(entered.former, former.map(BusId::new), "{rows:?}");
    }
}
