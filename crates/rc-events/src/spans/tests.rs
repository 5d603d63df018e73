//! A request's trace goes on over the bus: one span a trace and batch, each below the right request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rc_model::{SystemClock, TraceContext};
use rc_store::{Sqlite, SqliteOptions, TenantConn};
use rc_test::spans::{Heard, Recorder};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::bus::tests::World;
use crate::consumer::{Books, BusWake, SqliteBooks, sqlite};
use crate::event::tests::event;
use crate::outbox::sqlite::SqliteSource;
use crate::{Applied, Batch, BoxFuture, Consumer, Projection, Relay, RelayOptions, Seq, outbox};

fn of(traces: &[(Option<TraceContext>, u64)]) -> Vec<NewEvent> {
    let mut kseq = 0;
    let mut events = Vec::new();
    for (trace, count) in traces {
        for _ in 0..*count {
            kseq += 1;
            let mut event = event("acme", "a", kseq);
            event.trace = *trace;
            events.push(event);
        }
    }
    events
}

fn trace() -> TraceContext {
    TraceContext::start(random)
}

fn unsampled() -> TraceContext {
    let text = format!("00-{:032x}-{:016x}-00", fastrand::u128(1..), fastrand::u64(1..));
    TraceContext::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_batch_is_told_apart_by_its_traces() {
    let (a, b) = (trace(), trace());
    let events = of(&[
        (Some(a), 2),
        (Some(unsampled()), 3),
        (Some(b), 1),
        (None, 4),
        (Some(a), 5),
    ]);
    let found = parties(events.iter());
    let counts: Vec<(u128, u64)> = found
        .iter()
        .map(|party| (party.context.trace_id(), party.events))
        .collect();
    assert_eq!(counts, [(a.trace_id(), 7), (b.trace_id(), 1)]);

    let many: Vec<(Option<TraceContext>, u64)> = (0..TRACES_MAX + 10).map(|_| (Some(trace()), 1)).collect();
    assert_eq!(parties(of(&many).iter()).len(), TRACES_MAX);
}

/// Nothing but the position, in a file of its own.
struct Positions {
    db: Sqlite,
    /// Fails this many times first.
    fail: AtomicU32,
    _folder: tempfile::TempDir,
}

impl Positions {
    async fn new() -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let db = Sqlite::open(&folder.path().join("docs.db"), SqliteOptions::default()).unwrap();
        db.migrate(&sqlite::MIGRATIONS).await.unwrap();
        Arc::new(Self {
            db,
            fail: AtomicU32::new(0),
            _folder: folder,
        })
    }
}

impl Projection for Positions {
    fn name(&self) -> &str {
        "docs-api"
    }

    fn books(&self) -> Arc<dyn Books> {
        Arc::new(SqliteBooks::new(self.db.clone(), "docs-api"))
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, Error>> {
        Box::pin(async move {
            let fail = self.fail.load(Ordering::Relaxed);
            self.fail.store(fail.saturating_sub(1), Ordering::Relaxed);
            let apply = self.db.write_alone("docs.apply", move |conn| {
                let admitted = sqlite::admit(conn, &batch)?;
                if fail > 0 {
                    conn.execute("INSERT INTO nowhere VALUES ('secret')", [])?;
                }
                Ok(admitted.applied)
            });
            Ok(apply.await?)
        })
    }
}

/// An outbox with a relay, a bus, and a consumer behind it; both tell `recorder`.
struct Line {
    outbox: Sqlite,
    positions: Arc<Positions>,
    recorder: Arc<Recorder>,
    stop: CancellationToken,
    tasks: tokio::task::JoinSet<()>,
    world: World,
    _folder: tempfile::TempDir,
}

impl Line {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Sqlite::open(&folder.path().join("ingest.db"), SqliteOptions::default()).unwrap();
        outbox.migrate(&outbox::sqlite::MIGRATIONS).await.unwrap();
        Self {
            outbox,
            positions: Positions::new().await,
            recorder: Recorder::new(),
            stop: CancellationToken::new(),
            tasks: tokio::task::JoinSet::new(),
            world: World::sqlite().await,
            _folder: folder,
        }
    }

    async fn append(&self, events: Vec<NewEvent>) {
        let tenant = events[0].tenant.clone();
        self.outbox
            .write("append", move |conn| {
                outbox::sqlite::append(&TenantConn::new(conn, &tenant), &events)
            })
            .await
            .unwrap();
    }

    /// Carries everything to the consumer; what it said on the way.
    async fn carry(&mut self, upto: Seq) -> Vec<Heard> {
        let options = RelayOptions {
            telemetry: Some(self.recorder.sink()),
            ..RelayOptions::default()
        };
        let source = Arc::new(SqliteSource::new(self.outbox.clone(), "ingest"));
        let relay = Relay::new(
            source,
            Arc::clone(&self.world.bus),
            SystemClock::shared(),
            options,
        );
        let mut published = relay.status();
        self.tasks.spawn(relay.run(self.stop.clone()));
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, published.wait_for(|status| status.tail == upto))
            .await
            .unwrap()
            .unwrap();

        // Everything is on the bus: the consumer gets it in one batch.
        let wake = Arc::new(BusWake(Arc::clone(&self.world.bus)));
        let positions = Arc::clone(&self.positions) as Arc<dyn Projection>;
        let consumer = Consumer::new(Arc::clone(&self.world.bus), wake, positions)
            .with_telemetry(Some(self.recorder.sink()));
        let mut applied = consumer.status();
        self.tasks.spawn(consumer.run(self.stop.clone()));
        tokio::time::timeout(limit, applied.wait_for(|status| status.position == upto))
            .await
            .unwrap()
            .unwrap();
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        self.recorder.take()
    }
}

fn find<'s>(spans: &'s [Heard], trace: TraceContext, name: &str) -> &'s Heard {
    spans
        .iter()
        .find(|span| span.name == name && span.context.trace_id() == trace.trace_id())
        .unwrap_or_else(|| panic!("no `{name}` of this trace in {spans:#?}"))
}

#[tokio::test]
async fn a_lone_trace_goes_on_down_to_the_statements() {
    let mut line = Line::new().await;
    let request = trace();
    line.append(of(&[(Some(request), 3), (Some(unsampled()), 2)]))
        .await;
    let spans = line.carry(5).await;
    let publish = find(&spans, request, "publish docs");
    assert_eq!(
        (publish.kind, publish.parent),
        (SpanKind::Producer, Some(request.span_id()))
    );
    assert_eq!(publish.attribute("messaging.batch.message_count"), Some("3"));
    assert_eq!(publish.attribute("rc.tenant"), Some("acme"));
    let process = find(&spans, request, "process docs");
    assert_eq!(
        (process.kind, process.parent),
        (SpanKind::Consumer, Some(request.span_id()))
    );
    assert_eq!(process.attribute("messaging.batch.message_count"), Some("3"));
    assert_eq!(
        process.attribute("messaging.consumer.group.name"),
        Some("docs-api")
    );
    let job = find(&spans, request, "sqlite write docs.apply");
    assert_eq!(job.parent, Some(process.context.span_id()));
    let statement = find(&spans, request, "INSERT consumer_keys");
    assert_eq!(statement.parent, Some(job.context.span_id()));
    assert_eq!(
        statement.attribute("db.operation.batch.size"),
        None,
        "five events of one key change its row once"
    );
    assert!(process.took_ns >= job.took_ns);
    assert!(
        spans
            .iter()
            .all(|span| span.context.trace_id() == request.trace_id()),
        "the trace that nobody records left nothing: {spans:#?}"
    );
}

#[tokio::test]
async fn many_traces_have_a_batch_that_is_linked_with_all_of_them() {
    const REQUESTS: usize = LINKS_MAX + 20;
    let mut line = Line::new().await;
    let requests: Vec<TraceContext> = (0..REQUESTS).map(|_| trace()).collect();
    let each: Vec<_> = requests.iter().map(|request| (Some(*request), 2)).collect();
    line.append(of(&each)).await;
    let spans = line.carry(2 * REQUESTS as Seq).await;
    let batches: Vec<&Heard> = spans.iter().filter(|span| span.name == "process batch").collect();
    assert_eq!(batches.len(), 1);
    let batch = batches[0];
    assert_eq!((batch.parent, batch.links.len()), (None, LINKS_MAX));
    assert_eq!(batch.attribute("rc.traces"), Some(REQUESTS.to_string().as_str()));
    for (at, request) in requests.iter().enumerate() {
        assert_eq!(
            find(&spans, *request, "publish docs").parent,
            Some(request.span_id())
        );
        let process = find(&spans, *request, "process docs");
        assert_eq!(process.parent, Some(request.span_id()));
        assert_eq!(
            process.links,
            [batch.context],
            "from each request the batch can be found"
        );
        if at < LINKS_MAX {
            assert_eq!(batch.links[at], process.context);
        }
    }
    let job = find(&spans, batch.context, "sqlite write docs.apply");
    assert_eq!(job.parent, Some(batch.context.span_id()));
    find(&spans, batch.context, "INSERT consumer_keys");
}

#[tokio::test]
async fn of_failures_in_a_row_the_first_and_the_end_are_told() {
    let mut line = Line::new().await;
    let request = trace();
    line.append(of(&[(Some(request), 1)])).await;
    line.positions.fail.store(3, Ordering::Relaxed);
    let spans = line.carry(1).await;
    let told: Vec<Option<&str>> = spans
        .iter()
        .filter(|span| span.name == "process docs")
        .map(|span| span.error.as_deref())
        .collect();
    assert_eq!(told, [Some("RC-EVT-009"), None]);
    let jobs: Vec<&Heard> = spans
        .iter()
        .filter(|span| span.name == "sqlite write docs.apply")
        .collect();
    assert_eq!(jobs.len(), 2, "{spans:#?}");
    let processed = spans.iter().rfind(|span| span.name == "process docs").unwrap();
    assert_eq!(jobs[1].parent, Some(processed.context.span_id()));
    assert!(!format!("{spans:?}").contains("secret"));
}

#[tokio::test]
async fn traces_that_nobody_records_leave_nothing() {
    let mut line = Line::new().await;
    line.append(of(&[(Some(unsampled()), 3), (None, 2)])).await;
    assert_eq!(line.carry(5).await.len(), 0);
}
