use rc_serve::Readiness;

use super::*;
use crate::ingest::backend::Given;
use crate::ingest::decide::{Route, Work, Write};
use crate::ingest::{body, receive};

const GIB: u64 = 1 << 30;

#[test]
fn a_twentieth_of_the_disk_is_kept_and_half_a_gibibyte_at_most() {
    let wanted = |free, size, was_short| match disk(free, size, was_short) {
        None => 0,
        Some(Shortage::Disk { wanted, .. }) => wanted,
        Some(other) => panic!("{other}"),
    };
    assert_eq!(wanted(GIB, 20 * GIB, false), 0);
    assert_eq!(wanted((512 << 20) - 1, 4_000 * GIB, false), 512 << 20);
    assert_eq!(wanted(512 << 20, 4_000 * GIB, false), 0);
    assert_eq!(wanted(50, 2_000, false), 100);
    assert_eq!(wanted(100, 2_000, false), 0);
    // Once short, a quarter more must come back.
    assert_eq!(wanted(124, 2_000, true), 125);
    assert_eq!(wanted(125, 2_000, true), 0);
    assert_eq!(wanted(0, 0, false), 0, "a file system that tells no size");
}

#[test]
fn writes_are_refused_before_the_bus_gives_up_a_reader() {
    let bounds = Bounds::default();
    assert!(bounds.waiting_events_max < rc_events::bus::CONSUMER_LAG_MAX);
    assert_eq!(readers(bounds.waiting_events_max, "docs-api", bounds), None);
    let shortage = readers(bounds.waiting_events_max + 1, "docs-api", bounds).unwrap();
    assert_eq!(
        shortage.to_string(),
        "RC-ING-032: 900001 events wait for docs-api"
    );
}

#[test]
fn a_shortage_refuses_with_a_wait_and_stands_in_ready_until_it_is_over() {
    let (room, readiness) = (Room::default(), Readiness::new());
    let ready = readiness.component("room");
    room.set(None, &ready);
    room.admit().unwrap();
    let low = Shortage::Disk {
        free: 1 << 20,
        wanted: 2 << 20,
    };
    room.set(Some(low), &ready);
    let problem = room.admit().unwrap_err();
    assert_eq!((problem.status, &*problem.code), (503, "RC-ING-031"));
    assert_eq!(problem.retry_after_secs(), Some(10));
    assert_eq!(
        readiness.report().components["room"],
        "down: RC-ING-031: 1MiB are free, 2MiB are kept for what was acknowledged"
    );
    room.set(None, &ready);
    room.admit().unwrap();
    assert!(readiness.is_ready());
}

#[tokio::test]
async fn events_that_nobody_reads_refuse_documents_until_the_reader_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let (tree, clock) = (Tree::new(), rc_model::SystemClock::shared());
    let given = Given {
        clock: Arc::clone(&clock),
        telemetry: None,
        bus: None,
        tree: tree.clone(),
    };
    let backend = Backend::open_sqlite(folder.path(), &given).await.unwrap();
    backend.bus.progress("docs-api", 0).await.unwrap();
    let tenant = rc_model::TenantId::new("acme").unwrap();
    let body: String = (0..10)
        .map(|n| format!("{{\"id\":\"d{n}\",\"text\":\"words\"}}\n"))
        .collect();
    let items = body::parse(&tenant, None, body::Format::Lines, body.as_bytes()).unwrap();
    let write = Write {
        tenant,
        route: Route::Batch,
        key: Some("k".to_owned()),
        request_hash: [1; 32],
        work: Work::Put(items),
        quota: None,
        full: false,
        batch: receive::batch_id(&*clock),
        at: clock.now(),
        trace: rc_model::TraceContext::start(|| 7),
    };
    backend.store.write(write).await.unwrap();
    rc_test::eventually(Duration::from_secs(10), "the relay has moved all", async || {
        backend.bus.tail().await.unwrap() == 10
    })
    .await;
    let backend = Arc::new(ArcSwapOption::from_pointee(backend));
    let readiness = Readiness::new();
    let watch = Watch {
        room: Room::default(),
        folder: None,
        backend: Arc::clone(&backend),
        bounds: Bounds {
            waiting_events_max: 8,
        },
        ready: readiness.component("room"),
        free: Gauge::default(),
    };
    let waiting = watch.look().await.unwrap();
    assert_eq!(
        waiting,
        Shortage::Readers {
            waiting: 10,
            who: "docs-api".to_owned()
        }
    );
    let bus = Arc::clone(&backend.load_full().unwrap().bus);
    bus.progress("docs-api", 2).await.unwrap();
    assert_eq!(watch.look().await, None);
    backend.load_full().unwrap().close().await;
    tree.drain(Duration::from_secs(5)).await.unwrap();
}
