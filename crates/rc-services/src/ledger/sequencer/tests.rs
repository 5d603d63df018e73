use futures_util::FutureExt as _;
use rc_model::{Layout, SystemClock};
use rc_serve::Readiness;
use rc_store::{Sqlite, SqliteOptions};

use super::*;
use crate::audit::outbox::tests::draft;
use crate::audit::{Outbox, Room};

#[tokio::test]
async fn a_full_queue_refuses_and_what_waited_is_appended_once() {
    let folder = tempfile::tempdir().unwrap();
    let db = Sqlite::open(&folder.path().join("outbox.db"), SqliteOptions::default()).unwrap();
    let outbox = Outbox::sqlite(db, "gateway");
    outbox.migrate().await.unwrap();
    outbox.record(vec![draft("a")], Room::Fact).await.unwrap();
    let delivery = Delivery::of(outbox.next(BATCH).await.unwrap()).unwrap();
    let book = Book::open(&Layout::new(folder.path()), SystemClock::shared())
        .await
        .unwrap();
    let metrics = Metrics::new();
    let (sequencer, handle) = Sequencer::new(book, &metrics, Readiness::new().component("ledger"));
    // Nobody takes anything yet.
    let mut waiting: Vec<_> = (0..QUEUE_MAX)
        .map(|_| Box::pin(handle.deliver(delivery.clone())))
        .collect();
    for waits in &mut waiting {
        assert!(waits.now_or_never().is_none());
    }
    assert_eq!(handle.deliver(delivery.clone()).await, Err(Refusal::Busy));
    let clients = handle.clone();
    let all = async move {
        for waits in waiting {
            assert_eq!(waits.await.unwrap().size, 1, "the same delivery, each time");
        }
    };
    let appends = Histogram::new([1.0]);
    tokio::select! {
        () = all => {}
        () = sequencer.run(appends) => panic!("the sequencer ended while somebody holds a handle"),
    }
    assert_eq!(clients.meters.size.get(), 1);
}
