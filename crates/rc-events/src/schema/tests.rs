//! What a schema refuses and how; chains of upcasters; a relay before a bus that checks.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::bus::Bus;
use crate::bus::tests::World;
use crate::consumer::Upcast as _;
use crate::event::tests::event;
use crate::letters::{Edit, LetterFilter, Letters as _, ReplayLetters};
use crate::relay::tests::{Outbox, assert_exact, read_all, run};
use crate::relay::{ParkedLetters, RelayOptions, Source as _};

const ORDER: &str = r##"{
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["sum"],
    "properties": {
        "sum": { "$ref": "#/$defs/amount" },
        "mail": { "type": "string", "pattern": "^[^@]+@[^@]+$" }
    },
    "additionalProperties": false,
    "$defs": { "amount": { "type": "integer", "minimum": 0 } }
}"##;

fn order(event_type: &'static str, schema: u16, payload: &str) -> NewEvent {
    NewEvent {
        event_type: event_type.into(),
        schema,
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        ..event("acme", "a", 1)
    }
}

fn registry(files: &[(&str, &str)]) -> Registry {
    Registry::new(
        files
            .iter()
            .map(|(file, text)| Schema::parse(file, text).unwrap()),
    )
}

#[test]
fn a_file_names_its_type_and_version() {
    let parse = |name| Subject::of_file(name).map(|subject| (subject.name, subject.major));
    assert_eq!(parse("doc.put.v1.json"), Some(("doc.put".to_owned(), 1)));
    assert_eq!(parse("a.v2.v10.json"), Some(("a.v2".to_owned(), 10)));
    for odd in [
        "doc.put.json",
        "doc.v0.json",
        "doc.v01.json",
        ".v1.json",
        "doc.v+1.json",
        "doc.v70000.json",
        "doc.v1",
    ] {
        assert_eq!(parse(odd), None, "{odd}");
    }
    assert_eq!(
        Subject::of_file("doc.put.v1.json").unwrap().file(),
        "doc.put.v1.json"
    );
    // A version in the type wins: an outbox of somebody else has no other.
    assert_eq!(Subject::of(&order("order.v2", 1, "")).to_string(), "order.v2");
    assert_eq!(Subject::of(&order("order", 3, "")).to_string(), "order.v3");
}

#[test]
fn what_is_no_schema_is_refused_with_its_place() {
    let refused = |text: &str| Schema::parse("order.v1.json", text).unwrap_err();
    assert!(refused("{").what.contains("not JSON"));
    assert_eq!(
        refused(r#"{"properties":{"a":{"type":"strin"}}}"#).pointer,
        "/properties/a/type"
    );
    assert_eq!(
        refused(r#"{"$schema":"http://json-schema.org/draft-07/schema#"}"#).pointer,
        "/$schema"
    );
    // Nothing is fetched.
    assert!(
        refused(r#"{"$ref":"https://elsewhere.example/s.json"}"#)
            .what
            .contains("elsewhere.example")
    );
    // A pattern that would take exponential time elsewhere is linear here, or refused.
    assert!(Schema::parse("order.v1.json", r#"{"pattern":"^(a+)+$"}"#).is_ok());
    assert!(Schema::parse("order.v1.json", r#"{"pattern":"(?=a)"}"#).is_err());
    assert!(
        Schema::parse("order.json", "{}")
            .unwrap_err()
            .what
            .contains("order.placed.v1.json")
    );
}

#[test]
fn a_violation_says_where_and_quotes_nothing() {
    let schemas = registry(&[("order.v1.json", ORDER)]);
    let check = |payload: &str| schemas.check(&order("order", 1, payload));
    assert_eq!(check(r#"{"sum":3}"#), Ok(()));
    let pointer = |payload: &str| match check(payload) {
        Err(Violation::Payload { pointer, .. }) => pointer.into_string(),
        other => panic!("{payload}: {other:?}"),
    };
    assert_eq!(pointer(r#"{"sum":-1}"#), "/sum");
    assert_eq!(pointer("{}"), "");
    assert_eq!(pointer("null"), "");
    assert_eq!(pointer(r#"{"sum":1,"mial":""}"#), "");
    let secret = check(r#"{"sum":1,"mail":"alice at example"}"#).unwrap_err();
    assert_eq!((secret.code(), secret.class()), ("RC-EVT-060", "schema"));
    assert!(!secret.to_string().contains("alice"), "{secret}");
    assert!(matches!(check("{"), Err(Violation::NotJson(_))));
    assert!(matches!(check("\u{0}"), Err(Violation::NotJson(_))));
    let deep = "[".repeat(100_000);
    assert!(matches!(check(&deep), Err(Violation::NotJson(_))));
}

#[test]
fn an_unknown_version_is_refused_and_an_unknown_type_where_every_type_has_a_schema() {
    let schemas = registry(&[("order.v1.json", ORDER), ("order.v3.json", "{}")]);
    let unknown = schemas.check(&order("order.v2", 1, "{}")).unwrap_err();
    assert_eq!(
        (unknown.code(), unknown.class()),
        ("RC-EVT-061", "unknown-schema")
    );
    assert_eq!(
        unknown.to_string(),
        "`order` is not known in major version 2, only in 1, 3"
    );
    let other = order("invoice", 1, "not even JSON");
    assert_eq!(schemas.check(&other), Ok(()));
    let strict = schemas.of_every_type();
    assert_eq!(strict.check(&other).unwrap_err().code(), "RC-EVT-061");
    assert_eq!(
        strict.check(&order(VOID, 1, "{}")),
        Ok(()),
        "what passes for a given-up event"
    );
}

/// 1: `n`; 2: `count`; 3: `count` and `unit`.
fn reader() -> Reader {
    let schemas = registry(&[
        ("order.v1.json", r#"{"required":["n"]}"#),
        ("order.v2.json", r#"{"required":["count"]}"#),
        ("order.v3.json", r#"{"required":["count","unit"]}"#),
    ]);
    let upcasters = Upcasters::default()
        .with("order", 1, |old| match old["n"].as_i64() {
            Some(n) => Ok(json!({ "count": n })),
            None => Err("`n` is no number".to_owned()),
        })
        .with("order", 2, |mut old| {
            if old["count"] != json!(13) {
                old["unit"] = json!("piece");
            }
            Ok(old)
        });
    Reader::new(Arc::new(schemas), upcasters)
}

#[test]
fn upcasters_chain_to_the_newest_version() {
    let reader = reader();
    for (stored, expect) in [
        (
            order("order", 1, r#"{"n":2}"#),
            ("order", 3, r#"{"count":2,"unit":"piece"}"#),
        ),
        (
            order("order.v1", 1, r#"{"n":2}"#),
            ("order.v3", 3, r#"{"count":2,"unit":"piece"}"#),
        ),
        (
            order("order", 2, r#"{"count":5}"#),
            ("order", 3, r#"{"count":5,"unit":"piece"}"#),
        ),
    ] {
        let newest = reader.upcast(&stored).unwrap().unwrap();
        let found = (
            &*newest.event_type,
            newest.schema,
            std::str::from_utf8(&newest.payload).unwrap(),
        );
        assert_eq!(found, expect);
        // Who and where it is does not change, and the fingerprint is still that of what was written.
        assert_eq!(
            (newest.id, newest.kseq, newest.fingerprint),
            (stored.id, stored.kseq, stored.fingerprint)
        );
    }
    let newest = order("order", 3, r#"{"count":1,"unit":"kg"}"#);
    assert_eq!(reader.upcast(&newest), Ok(None));
    assert_eq!(
        reader.upcast(&order("invoice", 1, "?")),
        Ok(None),
        "other types are not ours to read"
    );
    for (stored, code) in [
        (order("order", 1, r#"{"n":"two"}"#), "RC-EVT-064"),
        (order("order", 1, r#"{"count":2}"#), "RC-EVT-060"),
        // What an upcaster makes is checked too.
        (order("order", 2, r#"{"count":13}"#), "RC-EVT-060"),
        (order("order", 4, "{}"), "RC-EVT-061"),
    ] {
        assert_eq!(reader.upcast(&stored).unwrap_err().code, code);
    }
}

#[tokio::test]
async fn what_breaks_its_schema_is_set_aside_by_the_relay_with_its_key() {
    let (outbox, world) = (Outbox::new().await, World::sqlite().await);
    let schemas = registry(&[("doc.put.v1.json", r#"{"properties":{"n":{"type":"integer"}}}"#)]);
    let bus: Arc<dyn Bus> = Arc::new(CheckedBus::new(Arc::clone(&world.bus), Arc::new(schemas)));
    let mut running = run(outbox.source(), &bus, RelayOptions::default());
    let mut bad = event("acme", "a", 2);
    bad.payload = Bytes::from_static(br#"{"n":"two"}"#);
    let others = [("a", 1), ("b", 1), ("a", 3), ("b", 2)].map(|(key, kseq)| event("acme", key, kseq));
    let [first, second, behind, last] = others;
    outbox.append(vec![first, second, bad, behind, last]).await;
    running.until(|status| status.published == 3).await;

    let parked = outbox.source().parked().unwrap();
    let clock = rc_model::SystemClock::shared();
    let letters = ParkedLetters::new("ingest", parked, Arc::clone(&bus), clock);
    let all = LetterFilter::default();
    let held = letters.list(&all).await.unwrap();
    let first = &held[0];
    assert_eq!(held.len(), 2);
    assert_eq!(
        (&*first.class, &*first.code, first.event.kseq),
        ("schema", "RC-EVT-060", 2)
    );
    assert!(first.why.contains("`/n`"), "{}", first.why);

    // A release is checked like everything else.
    let again = letters.replay(&all, ReplayLetters::default()).await.unwrap();
    assert_eq!((again.applied, again.failed.len()), (0, 1));
    let mend = Edit::Patch(json!([{ "op": "replace", "path": "/n", "value": 2 }]));
    letters.edit(first.number, mend).await.unwrap();
    assert_eq!(
        letters
            .replay(&all, ReplayLetters::default())
            .await
            .unwrap()
            .applied,
        2
    );
    running.end().await;
    let expect = HashMap::from([("a".to_owned(), 3), ("b".to_owned(), 2)]);
    assert_exact(&read_all(&world.bus).await, &expect);
}
