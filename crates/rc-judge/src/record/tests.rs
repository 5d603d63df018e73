use super::*;
use crate::sample::{Arm, Errors, Tally};

fn second(at: u64, stable_bad: u64, canary_bad: u64) -> Second {
    let arm = |requests: u64, server: u64| Arm {
        requests,
        errors: Errors {
            server,
            ..Errors::default()
        },
        latency: vec![(200, requests / 2), (211, requests / 3)],
    };
    Second {
        at,
        weight_ppm: 100_000,
        stable: arm(180, stable_bad),
        canary: arm(20, canary_bad),
        ..Second::default()
    }
}

/// A record of two minutes, with a verdict after each second.
fn record(canary_bad: impl Fn(u64) -> u64) -> String {
    let (mut recorder, header) = Recorder::new(&Rules::default(), &Baseline::unknown()).unwrap();
    let mut lines = vec![header];
    for at in 0..120 {
        lines.push(recorder.observe(second(at, at % 2, canary_bad(at))).unwrap());
        let finished = Finished {
            stable: Tally::new(180, at % 2),
            canary: Tally::new(20, canary_bad(at)),
        };
        lines.push(recorder.observe_finished(finished).unwrap());
        lines.push(recorder.verdict().1);
    }
    lines.join("\n")
}

#[test]
fn a_replay_gives_every_verdict_again_bit_for_bit() {
    let text = record(|at| u64::from(at % 5 == 0));
    let replay = Judge::replay(&text, None).unwrap();
    assert_eq!(
        (replay.seconds, replay.recorded, replay.identical),
        (120, 120, Some(true))
    );
    assert_eq!(
        replay.recorded_decision.as_deref(),
        Some(replay.verdict.decision.name())
    );
}

#[test]
fn a_changed_count_is_seen() {
    let text = record(|_| 0);
    let changed = text.replacen(r#""server":1"#, r#""server":2"#, 1);
    assert_ne!(text, changed);
    assert_eq!(Judge::replay(&changed, None).unwrap().identical, Some(false));
}

#[test]
fn other_rules_may_decide_otherwise_on_the_same_inputs() {
    let text = record(|at| u64::from(at % 2 == 0));
    let own = Judge::replay(&text, None).unwrap();
    let careless = Rules {
        alpha: 1e-12,
        ..Rules::default()
    };
    let other = Judge::replay(&text, Some(&careless)).unwrap();
    assert_eq!(own.verdict.decision, Decision::Fail);
    assert_ne!(other.verdict.decision, Decision::Fail);
    assert_eq!(other.identical, None);
    assert_eq!(own.verdict.inputs, other.verdict.inputs);
    assert_ne!(own.verdict.rules, other.verdict.rules);
    assert!(own.changes.iter().any(|change| change.decision == Decision::Fail));
}

#[test]
fn a_record_that_ends_in_the_middle_is_replayed_to_there() {
    let text = record(|_| 0);
    let half: Vec<&str> = text.lines().take(100).collect();
    assert_eq!(Judge::replay(&half.join("\n"), None).unwrap().seconds, 33);
}

#[test]
fn broken_records_are_named_by_line() {
    let text = record(|_| 0);
    let header = text.lines().next().unwrap();
    let fault = |text: &str| Judge::replay(text, None).unwrap_err().to_string();
    assert_eq!(fault(""), "the record is empty: its first line is the header");
    assert_eq!(fault("{}"), "line 1 cannot be read");
    assert_eq!(
        fault(&header.replacen("\"format\":1", "\"format\":7", 1)),
        "the record has format 7, this program reads format 1"
    );
    assert_eq!(
        fault(&format!("{header}\n\n{{\"second\":{{}}}}")),
        "line 3 cannot be read"
    );
    let second = text.lines().nth(1).unwrap();
    assert_eq!(
        fault(&format!("{header}\n{second}\n{second}")),
        "line 3 was never judged"
    );
    let broken = header.replacen("\"alpha\":0.01", "\"alpha\":7.0", 1);
    assert_eq!(fault(&broken), "the rules cannot be held");
}
