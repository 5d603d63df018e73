//! Faults from a fixed seed, on every combination.

use rc_chaos::world::{BusKind, Combination, SourceKind};

use crate::world::{options, run};

fn whole(source: SourceKind, bus: BusKind, faults: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(Combination { source, bus }, folder.path());
    options.faults = faults;
    let outcome = run(&options);
    println!("{}", serde_json::to_string_pretty(&outcome).unwrap());
    if !outcome.is_whole() {
        let kept = folder.keep();
        panic!(
            "not whole; `rc-chaos check {}/history.ndjson`: {outcome:#?}",
            kept.display()
        );
    }
    assert!(outcome.faults() >= faults);
    assert!(outcome.events >= options.events);
    assert_eq!(outcome.events, outcome.stream);
}

#[test]
fn slow_sqlite_to_the_embedded_bus_keeps_the_promise_under_faults() {
    whole(SourceKind::Sqlite, BusKind::Sqlite, 25);
}

#[test]
fn slow_live_postgresql_polled_to_its_own_bus_keeps_the_promise_under_faults() {
    whole(SourceKind::Poll, BusKind::Postgres, 30);
}

#[test]
fn slow_live_postgresql_polled_to_the_embedded_bus_keeps_the_promise_under_faults() {
    whole(SourceKind::Poll, BusKind::Sqlite, 20);
}
