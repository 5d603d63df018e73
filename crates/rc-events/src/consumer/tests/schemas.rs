//! A consumer that reads through schemas: older events come in their newest form, and what breaks a schema or is
//! of an unknown version becomes a letter.

use super::letters::{Picky, start};
use super::*;
use crate::letters::{LetterFilter, Letters as _};
use crate::schema::{Reader, Registry, Schema, Upcasters};

fn placed(key: &str, kseq: u64, major: u16, payload: &'static str) -> NewEvent {
    NewEvent {
        event_type: "order.placed".into(),
        schema: major,
        payload: payload.into(),
        ..event("acme", key, kseq)
    }
}

#[tokio::test]
async fn old_events_are_applied_in_the_newest_form_and_bad_ones_set_aside() {
    let (world, picky) = (World::sqlite().await, Picky::new(Effects::sqlite().await));
    let old = r#"{"n":1}"#;
    picky.poison.lock().unwrap().insert(old.to_owned());
    let schema = |file: &str, text: &str| Schema::parse(file, text).unwrap();
    let schemas = Registry::new([
        schema(
            "order.placed.v1.json",
            r#"{"required":["n"],"properties":{"n":{"type":"integer"}}}"#,
        ),
        schema("order.placed.v2.json", r#"{"required":["count"]}"#),
    ]);
    let upcasters = Upcasters::default().with("order.placed", 1, |old| {
        Ok(serde_json::json!({ "count": old["n"] }))
    });
    let options = ConsumerOptions {
        upcast: Some(Arc::new(Reader::new(Arc::new(schemas), upcasters))),
        ..ConsumerOptions::default()
    };
    let events = vec![
        placed("a", 1, 1, old),
        placed("b", 1, 1, r#"{"n":"many"}"#),
        placed("c", 1, 3, r#"{"n":1}"#),
        placed("a", 2, 2, r#"{"count":2}"#),
    ];
    publish(&world, 0, events.clone()).await;
    let (mut running, handle) = start(&world, &picky, options);
    let status = running.until(|status| status.position == 4).await;
    assert_eq!((status.applied, status.parked), (2, 2), "{status:?}");
    let letters = handle.list(&LetterFilter::default()).await.unwrap();
    let reasons: Vec<_> = letters
        .iter()
        .map(|letter| (&*letter.event.key, &*letter.class, &*letter.code))
        .collect();
    assert_eq!(
        reasons,
        [
            ("b", "schema", "RC-EVT-060"),
            ("c", "unknown-schema", "RC-EVT-061")
        ]
    );
    assert!(letters[0].why.contains("`/n`"), "{}", letters[0].why);
    let stored = world.bus.read(0, ReadLimit::default()).await.unwrap();
    assert!(
        stored.iter().map(|event| &event.event).eq(&events),
        "what is stored stays"
    );
    running.end().await;
}
