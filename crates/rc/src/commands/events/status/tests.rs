use rc_model::Timestamp;
use rc_services::events::status::BusLine;
use rc_services::events::wire::{Count, Counts};

use super::*;

fn status() -> Status {
    Status {
        relays: vec![RelayLine {
            origin: "ingest".to_owned(),
            state: "moving".to_owned(),
            waiting: Some(2),
            lag_ms: Some(41),
            published: 1_204,
            published_at: Some(Timestamp::from_unix_ms(1_795_255_200_000)),
            epoch: 1,
            cursor: "1204".to_owned(),
            code: None,
            error: None,
        }],
        buses: vec![BusLine {
            id: "b7".to_owned(),
            tail: 1_204,
        }],
        consumers: vec![ConsumerLine {
            name: "docs-api".to_owned(),
            state: Some("following".to_owned()),
            position: 1_204,
            lag: 0,
            code: None,
            error: None,
        }],
        ..Status::default()
    }
}

#[test]
fn a_person_reads_one_table_a_kind() {
    insta::assert_snapshot!(render(&status(), false), @r"
    RELAY   STATE   WAITING  LAG     PUBLISHED  LAST
    ingest  moving  2        0.04 s  1204       2026-11-21T10:00:00.000Z

    BUS  EVENTS
    b7   1204

    CONSUMER  STATE      POSITION  LAG
    docs-api  following  1204      0
    ");
    assert!(!needs_a_person(&status()));
}

#[test]
fn what_needs_a_person_is_told() {
    let mut bad = status();
    bad.consumers[0].state = Some("stuck".to_owned());
    bad.consumers[0].code = Some("RC-EVT-014".to_owned());
    bad.consumers[0].error = Some("too much fails".to_owned());
    bad.letters.push(Counts {
        holder: "docs-api".to_owned(),
        letters: 3,
        keys: 1,
        oldest_at: None,
        of: vec![Count {
            state: "parked".to_owned(),
            class: "decode".to_owned(),
            letters: 3,
        }],
    });
    assert!(needs_a_person(&bad));
    let text = render(&bad, false);
    assert!(text.ends_with("docs-api: too much fails (RC-EVT-014)"), "{text}");
    assert!(text.contains("docs-api      parked  decode  3"), "{text}");
}
