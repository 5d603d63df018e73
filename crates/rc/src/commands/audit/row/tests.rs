use rc_ledger::{Actor, Commitment, Outcome, Reason, Resource, Source};

use super::*;

fn entry(action: &str, code: &str) -> Entry {
    Entry {
        id: "01976f3a-5c2a-7000-8000-000000000000".parse().unwrap(),
        at_ms: 1_795_255_200_000,
        source: Source {
            id: "gateway/0".to_owned(),
            seq: 1,
        },
        actor: Actor {
            kind: "os-user".to_owned(),
            id: "1000".to_owned(),
        },
        action: action.to_owned(),
        resource: Resource {
            kind: "key".to_owned(),
            id: "ab12".to_owned(),
            tenant: Some("acme".to_owned()),
        },
        reason: Reason {
            code: code.to_owned(),
            text: None,
        },
        outcome: Outcome::Done,
        before: None,
        after: None,
        trace_id: None,
        detail: None,
    }
}

/// An entry with these texts, as they are found.
fn row(mut entry: Entry, reason: Option<Opened>, detail: Option<Opened>) -> Row {
    let commitment = Commitment {
        sha256: [0; 32],
        size: 0,
    };
    entry.reason.text = reason.as_ref().map(|_| commitment);
    entry.detail = detail.as_ref().map(|_| commitment);
    Row::new(7, &entry, &mut reason.into_iter().chain(detail))
}

fn text(text: &str) -> Option<Opened> {
    Some(Opened::Text(text.as_bytes().to_vec()))
}

#[test]
fn every_action_says_why_in_words() {
    let failed = |mut entry: Entry| {
        entry.outcome = Outcome::Failed;
        entry
    };
    let cases = [
        (
            row(
                entry("key.create", "asked"),
                text("for ci"),
                text(r#"{"label":"ci","expires_at":null}"#),
            ),
            "\"for ci\", label `ci`",
        ),
        (
            row(
                entry("key.create", "demo"),
                None,
                text(r#"{"label":"","expires_at":"2027"}"#),
            ),
            "for a demo tenant, until 2027",
        ),
        (
            row(entry("key.revoke", "replaced"), None, None),
            "replaced by a newer one",
        ),
        (
            row(
                failed(entry("service.crash", "ended")),
                None,
                text(r#"{"pid":7,"exit":"ended by SIGKILL"}"#),
            ),
            "ended by SIGKILL, pid 7",
        ),
        (
            row(
                entry("service.stop", "asked"),
                None,
                text(r#"{"pid":7,"exit":"ended with exit status 0"}"#),
            ),
            "exit status 0, pid 7",
        ),
        (
            row(
                failed(entry("service.start", "crashed")),
                None,
                text(r#"{"error":"no such file"}"#),
            ),
            "it had crashed, no such file, failed",
        ),
        (
            row(
                entry("platform.start", "asked"),
                None,
                text(r#"{"version":"1.2","run_before":"ended"}"#),
            ),
            "asked, version 1.2, the run before ended",
        ),
        (
            row(
                entry("config.refuse", "files-invalid"),
                None,
                text(r#"{"count":3,"problems":["a:1:2: no"]}"#),
            ),
            "a:1:2: no, and 2 more",
        ),
        (
            row(entry("later.version", "of-its-own"), None, text("[1]")),
            "of-its-own",
        ),
    ];
    for (row, why) in cases {
        assert_eq!(row.why(), why, "{}", row.action);
    }
}

#[test]
fn texts_that_are_gone_or_changed_are_told() {
    let gone = row(
        entry("key.create", "asked"),
        Some(Opened::Erased),
        Some(Opened::Wrong),
    );
    assert_eq!(
        gone.why(),
        "asked, (reason erased), (detail is not what was committed to)"
    );
    let json = serde_json::to_value(&gone).unwrap();
    assert_eq!(
        json["texts"],
        serde_json::json!([{"of": "reason", "state": "erased"}, {"of": "detail", "state": "wrong"}])
    );
    assert_eq!(
        (gone.who().as_str(), gone.on().as_str()),
        ("os-user:1000", "acme/ab12")
    );
    assert_eq!(json["at"], "2026-11-21T10:00:00.000Z");
    assert_eq!(json["index"], 7);
}

#[test]
fn a_reason_cannot_move_the_cursor() {
    let row = row(entry("key.create", "asked"), text("a\u{1b}[2Jb"), None);
    assert!(!row.why().contains('\u{1b}'), "{:?}", row.why());
}
