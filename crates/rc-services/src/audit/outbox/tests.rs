use rc_ledger::Entry;
use rc_store::{PostgresOptions, SqliteOptions};
use serde_json::json;

use super::*;
use crate::audit::seal::Source;
use crate::audit::{Act, Action, Actor, Outcome, Reason, Resource};

const NOW: Timestamp = Timestamp::from_unix_ms(1_795_255_200_000);
const ALL: Limit = Limit {
    rows: usize::MAX,
    bytes: usize::MAX,
};

pub(crate) fn draft(id: &str) -> Draft {
    let act = Act {
        at: NOW,
        actor: Actor::OsUser(1000),
        action: Action::KeyCreate,
        resource: Resource {
            kind: "key",
            id: id.to_owned(),
            tenant: None,
        },
        reason: Reason {
            code: "asked",
            text: Some(format!("because of {id}")),
        },
        outcome: Outcome::Done,
        before: None,
        after: None,
        trace_id: Some(7),
        detail: Some(json!({ "label": id })),
    };
    act.draft().unwrap()
}

pub(crate) fn sqlite_outbox(folder: &std::path::Path) -> Outbox {
    let db = Sqlite::open(&folder.join("outbox.db"), SqliteOptions::default()).unwrap();
    Outbox::sqlite(db, "gateway")
}

fn ids(batch: &Batch) -> Vec<(u64, String)> {
    let entry = |row: &Row| {
        let entry = Entry::decode(&row.entry).unwrap();
        assert_eq!((entry.source.seq, &entry.source.id), (row.seq, &batch.source));
        (row.seq, entry.resource.id)
    };
    batch.rows.iter().map(entry).collect()
}

fn named(list: &[(u64, &str)]) -> Vec<(u64, String)> {
    list.iter().map(|(seq, id)| (*seq, (*id).to_owned())).collect()
}

/// The contract of the outbox, the same on both engines.
async fn contract(outbox: &Outbox) {
    outbox.migrate().await.unwrap();
    assert_eq!(outbox.pending_migrations().await.unwrap(), 0);
    let empty = outbox.next(ALL).await.unwrap();
    assert_eq!(Source::new("gateway", &empty.source[8..]).id(), empty.source);
    assert_eq!((empty.source.len(), empty.rows.len()), (8 + 32, 0));
    let waiting = outbox.waiting().await.unwrap();
    assert_eq!(
        (waiting.source, waiting.newest, waiting.rows),
        (empty.source.clone(), 0, 0)
    );
    assert_eq!(outbox.last_action().await.unwrap(), None);

    outbox.record(vec![draft("one")], Room::Act).await.unwrap();
    outbox
        .record(vec![draft("two"), draft("three")], Room::Fact)
        .await
        .unwrap();
    let batch = outbox.next(ALL).await.unwrap();
    assert_eq!(batch.source, empty.source, "the source's id stays");
    assert_eq!(ids(&batch), named(&[(1, "one"), (2, "two"), (3, "three")]));
    let waiting = outbox.waiting().await.unwrap();
    assert_eq!((waiting.rows, waiting.newest, waiting.oldest), (3, 3, Some(NOW)));
    assert_eq!(outbox.last_action().await.unwrap().as_deref(), Some("key.create"));

    // The texts are those that the entry commits to.
    let entry = Entry::decode(&batch.rows[0].entry).unwrap();
    let texts: Vec<&[u8]> = batch.rows[0].texts.iter().map(|text| &text.text[..]).collect();
    assert_eq!(texts, [b"because of one".as_slice(), br#"{"label":"one"}"#]);
    let salt = <&[u8; 32]>::try_from(batch.rows[0].texts[0].salt.as_slice()).unwrap();
    assert!(entry.reason.text.unwrap().opens(salt, b"because of one"));

    // Limits hold, and one row always goes.
    let few = |rows, bytes| outbox.next(Limit { rows, bytes });
    assert_eq!(few(2, usize::MAX).await.unwrap().rows.len(), 2);
    assert_eq!(few(10, 1).await.unwrap().rows.len(), 1);

    // What was delivered is gone; numbers go on.
    outbox.delivered(2).await.unwrap();
    outbox.record(vec![draft("four")], Room::Act).await.unwrap();
    assert_eq!(
        ids(&outbox.next(ALL).await.unwrap()),
        named(&[(3, "three"), (4, "four")])
    );
    outbox.delivered(4).await.unwrap();
    let waiting = outbox.waiting().await.unwrap();
    assert_eq!((waiting.rows, waiting.newest, waiting.oldest), (0, 4, None));

    // An act that cannot be recorded takes its number back.
    let bad = Act {
        resource: Resource {
            kind: "key",
            id: "an identifier without spaces".to_owned(),
            tenant: None,
        },
        ..plain()
    };
    outbox
        .record(vec![draft("five"), bad.draft().unwrap()], Room::Act)
        .await
        .unwrap_err();
    outbox.record(vec![draft("six")], Room::Act).await.unwrap();
    assert_eq!(ids(&outbox.next(ALL).await.unwrap()), named(&[(5, "six")]));
    outbox.delivered(5).await.unwrap();

    // Full: acts are refused, facts have more room, and nothing of what is refused stays.
    let room = usize::try_from(ACTS_WAIT_MAX).unwrap();
    for _ in 0..room / 1_000 {
        outbox
            .record(vec![draft("filler"); 1_000], Room::Act)
            .await
            .unwrap();
    }
    let refused = outbox.record(vec![draft("late")], Room::Act).await.unwrap_err();
    let full = refused.downcast_ref::<Full>().unwrap();
    assert_eq!((full.waiting, full.max), (ACTS_WAIT_MAX + 1, ACTS_WAIT_MAX));
    assert_eq!(outbox.waiting().await.unwrap().rows, ACTS_WAIT_MAX);
    outbox.record(vec![draft("fact")], Room::Fact).await.unwrap();
    assert_eq!(outbox.waiting().await.unwrap().rows, ACTS_WAIT_MAX + 1);
}

fn plain() -> Act {
    Act {
        at: NOW,
        actor: Actor::Service("rc-up"),
        action: Action::ServiceStart,
        resource: Resource {
            kind: "service",
            id: "ingest".to_owned(),
            tenant: None,
        },
        reason: Reason::of("catalog"),
        outcome: Outcome::Done,
        before: None,
        after: None,
        trace_id: None,
        detail: None,
    }
}

#[tokio::test]
async fn entries_wait_in_order_without_gaps_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = sqlite_outbox(dir.path());
    contract(&outbox).await;
    let source = outbox.next(ALL).await.unwrap().source;
    outbox.close().await;
    assert_eq!(
        sqlite_outbox(dir.path()).next(ALL).await.unwrap().source,
        source,
        "the source's id survives a restart"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_wait_in_order_without_gaps_on_postgresql() {
    let database = rc_test::Postgres::start().fresh_database();
    let db = Postgres::connect(&database.url, &PostgresOptions::new("rc-gateway", "gateway")).unwrap();
    contract(&Outbox::postgres(db, "gateway")).await;
}

/// Transactions that roll back, at random, beside others that commit: numbers still have no gap, and every
/// committed act has its entry.
#[tokio::test(flavor = "multi_thread")]
async fn rollbacks_beside_commits_leave_no_gap_on_postgresql() {
    const TASKS: usize = 8;
    const ACTS: usize = 25;
    let database = rc_test::Postgres::start().fresh_database();
    let db = Postgres::connect(&database.url, &PostgresOptions::new("rc-gateway", "gateway")).unwrap();
    let outbox = Outbox::postgres(db.clone(), "gateway");
    outbox.migrate().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let db = db.clone();
        tasks.spawn(async move {
            let mut done = Vec::new();
            for act in 0..ACTS {
                let id = format!("{task}-{act}");
                let mut client = db.client().await.unwrap();
                let tx = client.system().await.unwrap();
                postgres::append(&tx, "gateway", &[draft(&id)], Room::Act)
                    .await
                    .unwrap();
                if (task + act) % 3 == 0 {
                    tx.rollback().await.unwrap();
                } else {
                    tx.commit().await.unwrap();
                    done.push(id);
                }
            }
            done
        });
    }
    let mut wanted: Vec<String> = tasks.join_all().await.into_iter().flatten().collect();
    let batch = outbox.next(ALL).await.unwrap();
    let found = ids(&batch);
    let numbers: Vec<u64> = found.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(numbers, (1..=wanted.len() as u64).collect::<Vec<_>>());
    let mut found: Vec<String> = found.into_iter().map(|(_, id)| id).collect();
    found.sort();
    wanted.sort();
    assert_eq!(found, wanted);
}
