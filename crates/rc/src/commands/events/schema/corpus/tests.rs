use bytes::Bytes;
use rc_events::bus::{Cursor, Publish, Record};
use rc_events::schema::Schema;
use rc_events::{NewEvent, Numbering};
use rc_model::{TenantId, Timestamp};

use super::*;

fn placed(kseq: u64, schema: u16, payload: String) -> Record {
    let event = NewEvent {
        id: uuid::Uuid::now_v7(),
        tenant: TenantId::new("acme").unwrap(),
        topic: "orders".into(),
        key: "a".to_owned(),
        kseq,
        numbering: Numbering::Consecutive,
        event_type: "order.placed".into(),
        schema,
        time: Timestamp::from_unix_ms(0),
        fingerprint: [0; 16],
        trace: None,
        payload: Bytes::from(payload),
    };
    Record {
        origin_pos: kseq.cast_signed(),
        event,
    }
}

#[tokio::test]
async fn the_newest_events_are_held_against_their_schemas() {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = SystemClock::shared();
    let bus = SqliteBus::open(&folder.path().join("bus.db"), clock)
        .await
        .unwrap();
    // The oldest are broken, and too old to be looked at; so is one of the newest, and one is of a version unknown.
    let records = (1..=100).map(|kseq| match kseq {
        1..=80 | 95 => placed(kseq, 1, format!("{{\"n\":\"{kseq}\"}}")),
        99 => placed(kseq, 7, "{}".to_owned()),
        _ => placed(kseq, 1, format!("{{\"n\":{kseq}}}")),
    });
    let publish = Publish {
        origin: "orders".to_owned(),
        expected: Cursor::default(),
        cursor: Cursor::new("100"),
        records: records.collect(),
    };
    bus.publish(publish).await.unwrap();
    let text = r#"{"properties":{"n":{"type":"integer"}}}"#;
    let files = [("order.placed.v1.json", text), ("rare.v1.json", "{}")];
    let schemas = Registry::new(files.map(|(file, text)| Schema::parse(file, text).unwrap()));
    let samples = sample(&bus, &schemas, 10).await.unwrap();
    let counts: Vec<_> = samples
        .iter()
        .map(|(name, sample)| (&**name, sample.events, sample.broken))
        .collect();
    assert_eq!(
        counts,
        [
            ("order.placed.v1", 10, 1),
            ("order.placed.v7", 1, 1),
            ("rare.v1", 0, 0)
        ]
    );
    let example = &samples["order.placed.v1"].examples[0];
    assert_eq!(example.position, 95);
    assert!(example.what.contains("`/n`"), "{}", example.what);
}
