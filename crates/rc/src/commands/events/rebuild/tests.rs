use rc_model::Timestamp;
use rc_services::docs::generations::{Building, Slot};

use super::*;

fn status() -> StatusLine {
    StatusLine {
        consumer: "docs-api".to_owned(),
        serving: Slot::A,
        building: None,
        last: None,
    }
}

fn ended(outcome: End) -> Ended {
    Ended {
        number: 3,
        reason: "new tokens".to_owned(),
        began_at: Timestamp::from_unix_ms(1_795_255_200_000),
        ended_at: Timestamp::from_unix_ms(1_795_255_260_000),
        outcome,
        why: None,
        code: None,
        taken_over: 0,
    }
}

#[test]
fn a_person_reads_how_far_it_is_and_how_it_ended() {
    insta::assert_snapshot!(render(&status()), @"docs-api was never rebuilt");
    let building = BuildingLine {
        building: Building {
            number: 3,
            reason: "new tokens".to_owned(),
            uid: Some(7),
            began_at: Timestamp::from_unix_ms(1_795_255_200_000),
            first: 0,
        },
        done: 12_000,
        total: 50_000,
        rate: Some(1_900.4),
        left_s: Some(20),
    };
    let running = StatusLine {
        building: Some(building),
        ..status()
    };
    insta::assert_snapshot!(render(&running), @"rebuild 3 since 2026-11-21T10:00:00.000Z: 12000 of 50000 events, 1900/s, 20 s left");
    let switched = StatusLine {
        last: Some(Ended {
            taken_over: 2,
            ..ended(End::Switched)
        }),
        ..status()
    };
    insta::assert_snapshot!(render(&switched), @"rebuild 3 serves since 2026-11-21T10:01:00.000Z; 2 keys were taken over as they were");
    let failed = StatusLine {
        last: Some(Ended {
            why: Some("the disk is full".to_owned()),
            code: Some("RC-STO-008".to_owned()),
            ..ended(End::Failed)
        }),
        ..status()
    };
    insta::assert_snapshot!(render(&failed), @r"
    rebuild 3 failed since 2026-11-21T10:01:00.000Z
    the disk is full (RC-STO-008)
    ");
}

#[test]
fn the_json_shape_is_stable() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&status()).unwrap(), @r#"
    {
      "consumer": "docs-api",
      "serving": "a",
      "building": null,
      "last": null
    }
    "#);
}
