//! Every kind of fault once, each on one of the combinations that can have it, in an order from a fixed seed.

use rc_chaos::fault::dealt;
use rc_chaos::world::{BusKind, Combination, SourceKind};

use crate::world::{options, run};

fn whole(source: SourceKind, bus: BusKind) {
    let combination = Combination { source, bus };
    let faults = dealt(combination);
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(combination, folder.path());
    options.faults = u64::try_from(faults.len()).unwrap();
    options.only = Some(faults);
    let outcome = run(&options);
    println!("{}", serde_json::to_string_pretty(&outcome).unwrap());
    if !outcome.is_whole() {
        let kept = folder.keep();
        panic!(
            "not whole; `rc-chaos check {}/history.ndjson`: {outcome:#?}",
            kept.display()
        );
    }
    assert!(outcome.faults() >= options.faults * 2 / 3, "{:?}", outcome.faults);
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

#[test]
fn slow_live_an_outbox_table_of_others_to_jetstream_keeps_the_promise() {
    whole(SourceKind::Table, BusKind::Nats);
}

#[test]
fn slow_live_a_capture_to_the_bus_in_sqlite_keeps_the_promise() {
    whole(SourceKind::Capture, BusKind::Sqlite);
}
