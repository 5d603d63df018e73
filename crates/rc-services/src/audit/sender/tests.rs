use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use rc_ledger::Entry;
use rc_model::SystemClock;
use rc_serve::{Readiness, Tree, uds};

use super::*;
use crate::audit::Room;
use crate::audit::outbox::tests::{draft, sqlite_outbox};

/// A ledger that follows the rules of the real one and is as unreliable as a test wants it.
#[derive(Default)]
struct Fake {
    /// Entries by source and number.
    kept: Mutex<BTreeMap<(String, u64), Vec<u8>>>,
    calls: AtomicU64,
    /// Of the calls, those with these remainders by 4 are refused before, or answered wrongly after.
    shaky: AtomicBool,
}

async fn take(State(fake): State<Arc<Fake>>, axum::Json(delivery): axum::Json<Delivery>) -> Response {
    let call = fake.calls.fetch_add(1, Ordering::Relaxed);
    let shaky = fake.shaky.load(Ordering::Relaxed);
    let problem = |status, code: &str| {
        let status = http::StatusCode::from_u16(status).unwrap();
        (status, axum::Json(Problem::new(status.as_u16(), code, "no"))).into_response()
    };
    if shaky && call % 4 == 0 {
        return problem(503, "RC-LED-011");
    }
    let next = {
        let mut kept = fake.kept.lock().unwrap();
        let has = kept.range((delivery.source.clone(), 0)..=(delivery.source.clone(), u64::MAX));
        let head = has.last().map_or(0, |((_, seq), _)| *seq);
        if delivery.first > head + 1 {
            return problem(409, "RC-LED-024");
        }
        for (seq, delivered) in (delivery.first..).zip(&delivery.entries) {
            let before = kept.insert((delivery.source.clone(), seq), delivered.entry.clone());
            assert!(
                before.is_none_or(|before| before == delivered.entry),
                "{seq} changed"
            );
        }
        delivery.last() + 1
    };
    // It has them, and the sender does not learn it.
    if shaky && call % 4 == 2 {
        return problem(500, "RC-SRV-003");
    }
    axum::Json(Receipt { next, size: next }).into_response()
}

struct World {
    _dir: tempfile::TempDir,
    layout: Layout,
    outbox: Outbox,
    fake: Arc<Fake>,
    readiness: Readiness,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        fs_err::create_dir_all(layout.run()).unwrap();
        let outbox = sqlite_outbox(dir.path());
        outbox.migrate().await.unwrap();
        Self {
            _dir: dir,
            layout,
            outbox,
            fake: Arc::default(),
            readiness: Readiness::new(),
        }
    }

    fn listen(&self, tree: &Tree) {
        let listener = uds::bind(&self.layout.socket(&Builtin::ProvLedger.id())).unwrap();
        let router = axum::Router::new()
            .route(ENTRIES_PATH, axum::routing::post(take))
            .with_state(Arc::clone(&self.fake));
        let stopping = tree.stopping();
        tree.spawn("fake", async move {
            axum::serve(listener, router)
                .with_graceful_shutdown(stopping.cancelled_owned())
                .await
                .unwrap();
        });
    }

    fn sender(&self, metrics: &Metrics) -> Sender {
        let ready = self.readiness.component("audit");
        Sender::new(self.outbox.clone(), &self.layout, metrics, SystemClock::shared()).shown_by(ready)
    }

    fn send(&self, tree: &Tree, metrics: &Metrics) {
        let sender = self.sender(metrics);
        tree.spawn("sender", sender.run(tree.stopping()));
    }

    fn kept(&self) -> Vec<String> {
        let kept = self.fake.kept.lock().unwrap();
        let entry = |entry: &Vec<u8>| Entry::decode(entry).unwrap().resource.id;
        kept.values().map(entry).collect()
    }
}

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_arrives_once_however_unreliable_the_ledger_is() {
    const ENTRIES: usize = 600;
    let world = World::new().await;
    let (tree, metrics) = (Tree::new(), Metrics::new());
    world.fake.shaky.store(true, Ordering::Relaxed);
    // The sender is there before the ledger is.
    world.send(&tree, &metrics);
    for at in 0..ENTRIES {
        world
            .outbox
            .record(vec![draft(&format!("key-{at}"))], Room::Act)
            .await
            .unwrap();
        if at == ENTRIES / 3 {
            world.listen(&tree);
        }
    }
    rc_test::eventually(SOON, "the outbox is empty", async || {
        world.outbox.waiting().await.unwrap().rows == 0
    })
    .await;
    let wanted: Vec<String> = (0..ENTRIES).map(|at| format!("key-{at}")).collect();
    assert_eq!(world.kept(), wanted);
    rc_test::eventually(SOON, "the metrics say so", async || {
        let text = metrics.render();
        text.contains("rc_audit_outbox_entries 0\n")
            && text.contains("rc_audit_delivered_entries_total 600\n")
            && !text.contains("rc_audit_delivery_failures_total 0\n")
    })
    .await;
    tree.drain(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_stops_delivery_and_loses_nothing() {
    let world = World::new().await;
    let (tree, metrics) = (Tree::new(), Metrics::new());
    world
        .outbox
        .record(vec![draft("a"), draft("b"), draft("c")], Room::Act)
        .await
        .unwrap();
    // As if the ledger had acknowledged the first two and then been replaced.
    world.outbox.delivered(2).await.unwrap();
    world.listen(&tree);
    world.send(&tree, &metrics);
    rc_test::eventually(SOON, "it is refused", async || {
        world.fake.calls.load(Ordering::Relaxed) > 2
    })
    .await;
    assert_eq!(world.kept(), [] as [&str; 0]);
    assert_eq!(world.outbox.waiting().await.unwrap().rows, 1);
    assert!(metrics.render().contains("rc_audit_outbox_entries 1\n"));
    // Nobody but a person ends this, so the service says it.
    let report = world.readiness.report();
    assert_eq!(report.state, "unready");
    assert!(
        report.components["audit"].starts_with("down: RC-LED-024: "),
        "{report:?}"
    );
    tree.drain(SOON).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_entries_go_out_at_the_stop() {
    let world = World::new().await;
    let (tree, ledger, metrics) = (Tree::new(), Tree::new(), Metrics::new());
    world.listen(&ledger);
    let sender = world.sender(&metrics);
    tree.stop();
    world.outbox.record(vec![draft("last")], Room::Act).await.unwrap();
    sender.run(tree.stopping()).await;
    assert_eq!(world.kept(), ["last"]);
    ledger.drain(SOON).await.unwrap();
}

#[test]
fn pauses_grow_and_stay_bounded() {
    let pauses: Vec<u64> = (1..=9)
        .map(|attempts| u64::try_from(backoff(attempts).as_millis()).unwrap())
        .collect();
    assert_eq!(pauses, [50, 100, 200, 400, 800, 1600, 2000, 2000, 2000]);
    assert_eq!(backoff(u32::MAX), BACKOFF_MAX);
}
