use rc_judge::sample::{Errors, Second, Tally};
use rc_judge::{Arm, Baseline, Finished, Recorder};

use super::*;

/// A canary that fails two of 20 requests in each second.
fn record() -> String {
    let (mut recorder, header) = Recorder::new(&Rules::default(), &Baseline::unknown()).unwrap();
    let arm = |requests: u64, server: u64| Arm {
        requests,
        errors: Errors {
            server,
            ..Errors::default()
        },
        latency: Vec::new(),
    };
    let mut lines = vec![header];
    for at in 0..30 {
        let second = Second {
            at,
            weight_ppm: 100_000,
            stable: arm(180, 1),
            canary: arm(20, 2),
            ..Second::default()
        };
        let finished = Finished {
            stable: Tally::new(180, 1),
            canary: Tally::new(20, 2),
        };
        lines.push(recorder.observe(second).unwrap());
        lines.push(recorder.observe_finished(finished).unwrap());
    }
    lines.push(recorder.verdict().1);
    lines.join("\n")
}

#[test]
fn a_replay_tells_what_was_decided_when_and_why() {
    let replay = Judge::replay(&record(), None).unwrap();
    insta::assert_snapshot!(render(&replay), @r"
    seconds: 30, recorded verdicts: 1
      second 0: wait: not enough data
      second 11: fail: the canary is worse than stable
    errors: canary 60 of 600, stable 30 of 5400; canary below 20.541 %; ln E 14.88 of 4.61
    every recorded verdict came out again, bit for bit
    fail: the canary is worse than stable, by its errors (e-value 2.313e6)
    ");
}

#[test]
fn a_replay_with_other_rules_tells_what_was_recorded() {
    let rules = Rules {
        alpha: 1e-9,
        ..Rules::default()
    };
    let replay = Judge::replay(&record(), Some(&rules)).unwrap();
    insta::assert_snapshot!(render(&replay), @r"
    seconds: 30, recorded verdicts: 1
      second 0: wait: not enough data
    errors: canary 60 of 600, stable 30 of 5400; canary below 20.541 %; ln E 14.88 of 20.72
    recorded: fail
    wait: not enough data: 13744 more requests of the canary, about 12 min
    ");
}

/// The names of an object's members.
fn keys(value: &serde_json::Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn the_json_has_a_stable_shape() {
    let replay = serde_json::to_value(Judge::replay(&record(), None).unwrap()).unwrap();
    let members = [
        "seconds",
        "changes",
        "verdict",
        "recorded",
        "identical",
        "recorded_decision",
    ];
    assert_eq!(keys(&replay), members);
    assert_eq!(keys(&replay["changes"][0]), ["at", "decision", "reason"]);
    let members = [
        "decision",
        "reason",
        "at",
        "log_e",
        "log_e_fails",
        "worst",
        "signals",
        "tenants",
        "errors",
        "rules",
        "inputs",
    ];
    assert_eq!(keys(&replay["verdict"]), members);
    let members = [
        "name",
        "weight",
        "counts",
        "dispersion",
        "log_e",
        "budget",
        "burn",
        "upper_bound",
        "log_e_within",
        "within",
    ];
    assert_eq!(keys(&replay["verdict"]["signals"][0]), members);
}

#[test]
fn rules_are_yaml_or_json_and_have_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str| {
        let path = folder.path().join("rules.yaml");
        fs_err::write(&path, text).unwrap();
        rules(&path)
    };
    assert_eq!(read("").unwrap(), Rules::default());
    assert_eq!(read("alpha: 0.02\n").unwrap().alpha, 0.02);
    assert_eq!(read(r#"{"quantiles": [0.9]}"#).unwrap().quantiles, [0.9]);
    for broken in ["alpha: [", "alhpa: 0.02", "alpha: 2", "alpha: 0\n"] {
        let fault = read(broken).unwrap_err().to_string();
        assert!(fault.contains("rules.yaml cannot be used"), "{fault}");
    }
}
