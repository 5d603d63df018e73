//! A relay that comes back after long: all that waits is one pair of snapshots.

use rc_model::TenantId;
use rc_store::PostgresOptions;

use super::*;
use crate::event::tests::event;
use crate::outbox::postgres;

const KEYS: [&str; 3] = ["a", "b", "c"];

async fn append(db: &Postgres, numbers: RangeInclusive<u64>, payload: usize) {
    let tenant = TenantId::new("acme").unwrap();
    let mut client = db.client().await.unwrap();
    let tx = client.tenant(&tenant).await.unwrap();
    let mut events: Vec<NewEvent> = Vec::new();
    for number in numbers {
        events.extend(KEYS.map(|key| NewEvent {
            payload: vec![b'x'; payload].into(),
            ..event("acme", key, number)
        }));
    }
    postgres::append(&tx, &events).await.unwrap();
    tx.commit().await.unwrap();
}

/// Takes everything after `cursor`, `rows` at a time, by a source that is made anew after every `life` fetches.
async fn drain(db: &Postgres, cursor: &mut Cursor, rows: usize, life: usize) -> Vec<(String, u64)> {
    let limit = ReadLimit {
        rows,
        ..ReadLimit::default()
    };
    let mut got = Vec::new();
    'lives: loop {
        let source = PostgresSource::new(db.clone(), "ingest");
        for _ in 0..life {
            let fetched = source.fetch(cursor, limit).await.unwrap();
            let nothing = fetched.records.is_empty();
            *cursor = fetched.cursor;
            if nothing {
                break 'lives;
            }
            let events = fetched.records.into_iter().map(|record| record.event);
            got.extend(events.map(|event| (event.key, event.kseq)));
        }
    }
    got
}

#[tokio::test]
async fn live_a_long_backlog_comes_whole_and_in_order_over_restarts() {
    let database = rc_test::Postgres::start().fresh_database();
    let db = Postgres::connect(&database.url, &PostgresOptions::new("pair", "ingest")).unwrap();
    db.migrate(&postgres::MIGRATIONS).await.unwrap();
    for part in 0..8_u64 {
        append(&db, part * 1_000 + 1..=part * 1_000 + 1_000, 10).await;
    }
    // Some chunks end at their bytes.
    append(&db, 8_001..=8_020, 1 << 20).await;
    for (rows, life) in [(777, 5), (5_000, usize::MAX), (10_000, 1)] {
        let mut cursor = Cursor::default();
        let got = drain(&db, &mut cursor, rows, life).await;
        let expect: Vec<(String, u64)> = KEYS
            .iter()
            .flat_map(|key| (1..=8_020).map(|number| ((*key).to_owned(), number)))
            .collect();
        // Not by `assert_eq`: it would print all of them.
        assert!(got == expect, "{} of {} with {rows}", got.len(), expect.len());
        assert_eq!(drain(&db, &mut cursor, rows, 3).await, []);
    }
    // What commits while a pair is read belongs to the next one.
    let source = PostgresSource::new(db.clone(), "ingest");
    let mut cursor = Cursor::default();
    for _ in 0..3 {
        cursor = source.fetch(&cursor, ReadLimit::default()).await.unwrap().cursor;
    }
    append(&db, 8_021..=8_021, 1).await;
    let got = drain(&db, &mut cursor, 5_000, 2).await;
    let tail: Vec<&(String, u64)> = got.iter().rev().take(3).collect();
    assert!(tail.iter().all(|(_, number)| *number == 8_021), "{tail:?}");
}
