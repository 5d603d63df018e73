//! An outbox that forgets what was relayed, under kills: nothing is forgotten that was not.

use rc_chaos::fault::{Fault, Role};
use rc_chaos::world::{BusKind, Combination, SourceKind};

use crate::world::{options, run};

fn whole_while_pruned(source: SourceKind, bus: BusKind, more: &[Fault]) {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(Combination { source, bus }, folder.path());
    options.prune = true;
    let kills = [
        Fault::Kill(Role::Relay),
        Fault::Crash(Role::Relay, "retain.before_drop"),
        Fault::Crash(Role::Relay, "relay.after_publish"),
        Fault::SecondRelay,
    ];
    options.only = Some([&kills, more].concat());
    options.faults = 6;
    let outcome = run(&options);
    println!("{}", serde_json::to_string_pretty(&outcome).unwrap());
    assert!(outcome.is_whole(), "{outcome:#?}");
    assert_eq!(outcome.events, outcome.stream);
    assert!(
        outcome.logged < outcome.events / 2,
        "nothing was forgotten: {outcome:#?}"
    );
}

#[test]
fn slow_an_outbox_in_sqlite_drops_only_what_the_bus_has() {
    whole_while_pruned(SourceKind::Sqlite, BusKind::Sqlite, &[]);
}

#[test]
fn slow_live_an_outbox_in_postgresql_drops_only_what_the_bus_has() {
    let servers = [Fault::KillPostgres, Fault::Failover, Fault::KillNats];
    whole_while_pruned(SourceKind::Poll, BusKind::Nats, &servers);
}
