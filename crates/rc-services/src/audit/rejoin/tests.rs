use std::path::Path;

use rc_model::SystemClock;
use rc_store::{Postgres, PostgresOptions, Sqlite, SqliteOptions};

use super::*;
use crate::audit::Room;
use crate::audit::outbox::tests::draft;
use crate::audit::wire::{BATCH, Delivery};
use crate::ledger::{Book, Refusal};

const NOW: Timestamp = Timestamp::from_unix_ms(1_795_255_200_000);

fn open(path: &Path) -> Outbox {
    Outbox::sqlite(Sqlite::open(path, SqliteOptions::default()).unwrap(), "gateway")
}

/// Takes everything that waits to the log.
async fn deliver(layout: &Layout, outbox: &Outbox) -> Result<u64, Refusal> {
    let mut book = Book::open(layout, SystemClock::shared()).await.unwrap();
    let mut outcome = Ok(book.size());
    while let Some(delivery) = Delivery::of(outbox.next(BATCH).await.unwrap()) {
        let last = delivery.last();
        match book.accept(vec![delivery]).await.pop().unwrap() {
            Ok(receipt) => outcome = Ok(receipt.size),
            Err(refusal) => {
                outcome = Err(refusal);
                break;
            }
        }
        outbox.delivered(last).await.unwrap();
    }
    book.close().await;
    outcome
}

fn revocation(key: &str) -> Draft {
    let act = Act {
        at: NOW,
        actor: Actor::OsUser(1000),
        action: Action::KeyRevoke,
        resource: Resource {
            kind: "key",
            id: key.to_owned(),
            tenant: None,
        },
        reason: Reason::of("asked"),
        outcome: Outcome::Done,
        before: None,
        after: None,
        trace_id: None,
        detail: None,
    };
    act.draft().unwrap()
}

#[tokio::test]
async fn a_restored_store_is_noticed_and_follows_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let (path, backup) = (dir.path().join("gateway.db"), dir.path().join("backup.db"));
    let outbox = open(&path);
    outbox.migrate().await.unwrap();
    assert_eq!(outbox.behind(&layout).await.unwrap(), None, "there is no log yet");
    outbox
        .record(vec![draft("a"), draft("b")], Room::Act)
        .await
        .unwrap();
    deliver(&layout, &outbox).await.unwrap();
    // This one waits in the backup; the log gets it later.
    outbox.record(vec![draft("c")], Room::Act).await.unwrap();
    outbox.close().await;
    fs_err::copy(&path, &backup).unwrap();

    let outbox = open(&path);
    assert_eq!(outbox.behind(&layout).await.unwrap(), None);
    outbox
        .record(vec![revocation("k1"), draft("d"), revocation("k2")], Room::Act)
        .await
        .unwrap();
    deliver(&layout, &outbox).await.unwrap();
    assert_eq!(outbox.behind(&layout).await.unwrap(), None);
    outbox.close().await;

    fs_err::copy(&backup, &path).unwrap();
    let outbox = open(&path);
    let behind = outbox.behind(&layout).await.unwrap().unwrap();
    assert_eq!((behind.had, behind.head), (3, 6));
    assert_eq!(behind.revoked, ["k1", "k2"]);
    // Before it follows the log, numbers are given again, and what they name is refused.
    outbox
        .record(vec![revocation("k1"), revocation("k2")], Room::Act)
        .await
        .unwrap();
    let refusal = deliver(&layout, &outbox).await.unwrap_err();
    assert_eq!(refusal.code(), "RC-LED-025");
    // As after a crash in between: the same is found, although the numbers now reach nearly as far.
    let behind = outbox.behind(&layout).await.unwrap().unwrap();
    assert_eq!((behind.had, behind.head, behind.revoked.len()), (5, 6, 2));
    outbox.rejoin(&behind, NOW).await.unwrap();
    let waiting: Vec<(u64, String)> = outbox
        .next(ALL_ROWS)
        .await
        .unwrap()
        .rows
        .iter()
        .map(|row| (row.seq, Entry::decode(&row.entry).unwrap().action))
        .collect();
    let wanted = [(7, "store.rewind"), (8, "key.revoke"), (9, "key.revoke")];
    assert_eq!(waiting, wanted.map(|(seq, action)| (seq, action.to_owned())));
    assert_eq!(deliver(&layout, &outbox).await.unwrap(), 9);
    assert_eq!(outbox.behind(&layout).await.unwrap(), None);
    outbox.record(vec![draft("e")], Room::Act).await.unwrap();
    assert_eq!(deliver(&layout, &outbox).await.unwrap(), 10);
    outbox.close().await;
}

const ALL_ROWS: Limit = Limit {
    rows: usize::MAX,
    bytes: usize::MAX,
};

#[tokio::test(flavor = "multi_thread")]
async fn live_a_restored_database_follows_the_log_on_postgresql() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let database = rc_test::Postgres::start().fresh_database();
    let db = Postgres::connect(&database.url, &PostgresOptions::new("rc-gateway", "gateway")).unwrap();
    let outbox = Outbox::postgres(db.clone(), "gateway");
    outbox.migrate().await.unwrap();
    outbox
        .record(vec![draft("a"), draft("b"), draft("c")], Room::Act)
        .await
        .unwrap();
    deliver(&layout, &outbox).await.unwrap();
    assert_eq!(outbox.behind(&layout).await.unwrap(), None);
    // As a backup from after the first act would have it.
    let mut client = db.client().await.unwrap();
    let tx = client.system().await.unwrap();
    tx.execute("UPDATE audit_source SET seq = 1", &[]).await.unwrap();
    tx.commit().await.unwrap();
    drop(client);
    outbox.record(vec![draft("x")], Room::Act).await.unwrap();
    assert_eq!(deliver(&layout, &outbox).await.unwrap_err().code(), "RC-LED-025");
    let behind = outbox.catch_up(&layout, NOW).await.unwrap().unwrap();
    assert_eq!((behind.had, behind.head), (2, 3));
    assert_eq!(outbox.waiting().await.unwrap().newest, 5);
    assert_eq!(deliver(&layout, &outbox).await.unwrap(), 5);
    assert_eq!(outbox.catch_up(&layout, NOW).await.unwrap(), None);
}
