use super::{PLACES, Place, edge};

fn place(name: &str) -> &'static Place {
    PLACES.iter().find(|place| place.name == name).unwrap()
}

#[test]
fn arrows_point_down_only() {
    // from, to, dev, ours, allowed
    for (from, to, dev, ours, allowed) in [
        ("rc-events", "rc-store", false, true, true),
        ("rc-store", "rc-events", false, true, false),
        ("rc-store", "rc-events", true, true, false),
        ("rc-store", "rc-serve", false, true, false),
        ("rc-services", "rc-client", false, true, false),
        ("rc", "rc-services", false, true, true),
        ("rc-store", "rc-test", true, true, true),
        ("rc-store", "rc-test", false, true, false),
        ("rc-model", "rc-test", true, true, false),
        ("rc", "clap", false, false, true),
        ("rc-services", "clap", false, false, false),
        ("rc-traffic", "axum", false, false, false),
        ("rc-model", "tokio", false, false, false),
        ("rc-model", "tokio", true, false, true),
        ("rc-client", "serde", false, false, true),
    ] {
        assert_eq!(
            edge(place(from), to, dev, ours).is_none(),
            allowed,
            "{from} -> {to}, dev: {dev}"
        );
    }
}

#[test]
fn the_table_has_no_cycle() {
    // Each crate may use only crates that stand before it, except that the dev crates stand last.
    for (index, place) in PLACES.iter().enumerate() {
        for used in place.uses {
            let position = PLACES.iter().position(|other| other.name == *used);
            assert!(
                position.is_some_and(|position| position < index),
                "{} uses {used}",
                place.name
            );
        }
    }
}
