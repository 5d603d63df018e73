//! Power losses: acknowledged events survive them where syncs are waited for, and do not where they are not. The
//! second half shows that the disk forgets, without which the first would mean nothing. And disks that are full.

use std::process::Command;

use rc_chaos::checker::Fault;
use rc_chaos::run::Outcome;

/// A run with nothing but power losses; in a process of its own, which has its own mounts.
fn run(args: &[&str]) -> Outcome {
    run_with("--power-loss", args)
}

fn run_with(fault: &str, args: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_rc-chaos"))
        .arg("run")
        .args(args)
        .args([fault, "--events", "3000", "--faults", "4", "--folder"])
        .arg(folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn slow_sqlite_keeps_what_it_acknowledged() {
    let outcome = run(&["sqlite", "sqlite"]);
    assert!(outcome.is_whole(), "{outcome:#?}");
    assert_eq!(outcome.faults(), 4);
}

#[test]
fn slow_live_postgresql_keeps_what_it_acknowledged() {
    let outcome = run(&["poll", "postgres"]);
    assert!(outcome.is_whole(), "{outcome:#?}");
    assert_eq!(outcome.faults(), 4);
}

#[test]
fn slow_live_postgresql_without_fsync_loses_what_it_acknowledged() {
    let outcome = run(&["poll", "postgres", "--unsafe-sync"]);
    assert!(
        outcome.count(Fault::Lost) > 0,
        "the disk forgot nothing: {outcome:#?}"
    );
}

#[test]
fn slow_live_jetstream_that_syncs_always_keeps_what_it_acknowledged() {
    let outcome = run(&["sqlite", "nats"]);
    assert!(outcome.is_whole(), "{outcome:#?}");
    assert_eq!(outcome.faults(), 4);
}

/// The relay publishes what the stream forgot again, so that nothing is lost: its cursor lies in the stream and was
/// forgotten with the events. What was acknowledged was gone all the same.
#[test]
fn slow_live_jetstream_with_its_own_defaults_forgets_what_it_acknowledged() {
    let outcome = run(&["sqlite", "nats", "--unsafe-sync"]);
    assert!(outcome.forgotten > 0, "the disk forgot nothing: {outcome:#?}");
}

#[test]
fn sqlite_keeps_its_word_with_synchronous_full_only() {
    for (synchronous, keeps) in [("full", true), ("normal", false), ("off", false)] {
        let output = Command::new(env!("CARGO_BIN_EXE_rc-chaos"))
            .args(["sqlite", synchronous])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{synchronous}: acknowledged and kept {text}");
        let (acknowledged, kept) = text
            .trim()
            .split_once(' ')
            .unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        let acknowledged: u64 = acknowledged.parse().unwrap();
        let kept: u64 = kept.parse().unwrap();
        assert_eq!(kept >= acknowledged, keeps, "{synchronous}: {text}");
    }
}

/// Writer, relay and consumer, and the servers that they write to, have no room for a byte, and go on when there is.
fn goes_on_after_a_full_disk(args: &[&str]) {
    let outcome = run_with("--disk-full", args);
    assert!(outcome.is_whole(), "{outcome:#?}");
    assert_eq!(outcome.faults(), 4);
}

#[test]
fn slow_sqlite_goes_on_after_a_full_disk() {
    goes_on_after_a_full_disk(&["sqlite", "sqlite"]);
}

#[test]
fn slow_live_postgresql_goes_on_after_a_full_disk() {
    goes_on_after_a_full_disk(&["poll", "postgres"]);
}

#[test]
fn slow_live_jetstream_goes_on_after_a_full_disk() {
    goes_on_after_a_full_disk(&["sqlite", "nats"]);
}
