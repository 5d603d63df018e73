use super::*;
use crate::event::tests::event;

#[test]
fn a_filter_takes_what_it_says() {
    let event = event("acme", "a", 3);
    let at = |ms| Some(Timestamp::from_unix_ms(event.time.unix_ms() + ms));
    let all = HistoryFilter::default;
    let some = |text: &str| Some(text.to_owned());
    for (filter, expect) in [
        (all(), true),
        (
            HistoryFilter {
                since: at(0),
                ..all()
            },
            true,
        ),
        (
            HistoryFilter {
                since: at(1),
                ..all()
            },
            false,
        ),
        (
            HistoryFilter {
                until: at(0),
                ..all()
            },
            false,
        ),
        (
            HistoryFilter {
                until: at(1),
                ..all()
            },
            true,
        ),
        (
            HistoryFilter {
                key: some("a"),
                ..all()
            },
            true,
        ),
        (
            HistoryFilter {
                key: some("b"),
                ..all()
            },
            false,
        ),
        (
            HistoryFilter {
                tenant: TenantId::new("beta").ok(),
                ..all()
            },
            false,
        ),
        (
            HistoryFilter {
                event_type: some("doc.put.v1"),
                topic: some("docs"),
                ..all()
            },
            true,
        ),
        (
            HistoryFilter {
                event_type: some("doc.put.v2"),
                ..all()
            },
            false,
        ),
    ] {
        assert_eq!(filter.matches(&event), expect, "{filter:?}");
        assert_eq!(HistoryFilter::of_row(&filter.to_row()).unwrap(), filter);
    }
    assert_eq!(
        HistoryFilter::of_row("{\"colour\":1}").unwrap_err().code(),
        "RC-EVT-008"
    );
}

#[test]
fn a_plan_is_told_by_everything_in_it() {
    let bus = BusId::new("b");
    let places = |of: &[u8]| blake3::hash(of);
    let plan = hash("docs", &bus, 0, 90, places(&[7, 8]));
    assert_eq!(upto_of(&plan).unwrap(), 90);
    for other in [
        hash("mail", &bus, 0, 90, places(&[7, 8])),
        hash("docs", &BusId::new("c"), 0, 90, places(&[7, 8])),
        hash("docs", &bus, 1, 90, places(&[7, 8])),
        hash("docs", &bus, 0, 90, places(&[7, 9])),
    ] {
        assert_ne!(plan, other);
    }
    assert_eq!(upto_of("ninety").unwrap_err().code(), "RC-EVT-016");
}
