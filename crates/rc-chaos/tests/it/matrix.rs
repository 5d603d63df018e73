//! Faults from a fixed seed, on every combination.

use rc_chaos::world::{BusKind, Combination, SourceKind};

use crate::world::{options, run};

fn whole(source: SourceKind, bus: BusKind) {
    const FAULTS: u64 = 10;
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(Combination { source, bus }, folder.path());
    options.faults = FAULTS;
    let outcome = run(&options);
    println!("{}", serde_json::to_string_pretty(&outcome).unwrap());
    if !outcome.is_whole() {
        let kept = folder.keep();
        panic!(
            "not whole; `rc-chaos check {}/history.ndjson`: {outcome:#?}",
            kept.display()
        );
    }
    assert!(outcome.faults() >= FAULTS / 2, "{:?}", outcome.faults);
    assert!(outcome.events >= options.events);
    assert_eq!(outcome.events, outcome.stream);
}

#[test]
fn slow_sqlite_to_the_embedded_bus_keeps_the_promise() {
    whole(SourceKind::Sqlite, BusKind::Sqlite);
}

#[test]
fn slow_live_sqlite_to_jetstream_keeps_the_promise() {
    whole(SourceKind::Sqlite, BusKind::Nats);
}

#[test]
fn slow_live_postgresql_polled_to_the_bus_in_sqlite_keeps_the_promise() {
    whole(SourceKind::Poll, BusKind::Sqlite);
}

#[test]
fn slow_live_postgresql_polled_to_the_bus_in_postgresql_keeps_the_promise() {
    whole(SourceKind::Poll, BusKind::Postgres);
}

#[test]
fn slow_live_postgresql_polled_to_jetstream_keeps_the_promise() {
    whole(SourceKind::Poll, BusKind::Nats);
}

#[test]
fn slow_live_a_slot_to_the_bus_in_sqlite_keeps_the_promise() {
    whole(SourceKind::Slot, BusKind::Sqlite);
}

#[test]
fn slow_live_a_slot_to_the_bus_in_postgresql_keeps_the_promise() {
    whole(SourceKind::Slot, BusKind::Postgres);
}

#[test]
fn slow_live_a_slot_to_jetstream_keeps_the_promise() {
    whole(SourceKind::Slot, BusKind::Nats);
}
