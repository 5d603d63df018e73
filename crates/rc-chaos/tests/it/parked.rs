//! Events that the bus will never take: they and what comes behind them in their key wait, and nothing else does.

use rc_chaos::checker::{Channel, Fault as Wrong};
use rc_chaos::fault::{Fault, PARKED_POINTS, Role};
use rc_chaos::world::{BusKind, Combination, SourceKind};

use crate::world::{options, run};

#[test]
fn slow_live_a_refused_event_holds_back_its_key_and_only_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let combination = Combination {
        source: SourceKind::Poll,
        bus: BusKind::Nats,
    };
    let mut options = options(combination, folder.path());
    options.oversize = true;
    let crashes = PARKED_POINTS.iter().map(|point| Fault::Crash(Role::Relay, point));
    options.only = Some(crashes.chain([Fault::Kill(Role::Relay)]).collect());
    options.faults = 2;
    let outcome = run(&options);
    println!("{}", serde_json::to_string_pretty(&outcome).unwrap());
    // What waits is not on the bus, and that is all that is wrong: no gap, no other order, nothing twice.
    let waits = outcome.count_in(Wrong::Lost, Channel::Stream);
    assert!(0 < waits && waits < outcome.events / 2, "{outcome:#?}");
    assert_eq!(outcome.count_in(Wrong::Lost, Channel::Effects), waits);
    assert_eq!(outcome.found.len(), 2, "{outcome:#?}");
    assert_eq!((outcome.stuck, outcome.panics), (None, 0));
}

#[test]
fn slow_an_event_that_cannot_be_applied_holds_back_its_key_and_only_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let combination = Combination {
        source: SourceKind::Sqlite,
        bus: BusKind::Sqlite,
    };
    let mut options = options(combination, folder.path());
    options.poison = true;
    options.only = Some(vec![
        Fault::Kill(Role::Consumer),
        Fault::Crash(Role::Consumer, "consumer.after_apply"),
    ]);
    options.faults = 2;
    let outcome = run(&options);
    println!("{}", serde_json::to_string_pretty(&outcome).unwrap());
    // What waits has no effect, and that is all that is wrong.
    let waits = outcome.count_in(Wrong::Lost, Channel::Effects);
    assert!(0 < waits && waits < outcome.events / 2, "{outcome:#?}");
    assert_eq!(outcome.found.len(), 1, "{outcome:#?}");
    assert_eq!((outcome.stuck, outcome.panics), (None, 0));
}
