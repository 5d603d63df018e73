//! Servers that die, stand still or lose the stream, and networks that lose answers.

use rc_events::relay::{Backlog, Fetched, Pruned, Relay, RelayOptions, Source};
use rc_model::Timestamp;
use rc_model::clock::SystemClock;
use rc_test::chaos::{Proxy, Weather};
use rc_test::eventually;
use tokio_util::sync::CancellationToken;

use super::super::super::wire::HeaderBlock;
use super::*;

const LONG: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn live_a_server_that_is_killed_while_it_commits_loses_and_doubles_nothing() {
    let server = Arc::new(Nats::start_own(Sync::Always, ""));
    let world = World::on(&server, server.address());
    let bus = world.process();
    relay(&bus, 10, 10).await;
    let kills = {
        let server = Arc::clone(&server);
        tokio::task::spawn_blocking(move || {
            for round in 0..6_u64 {
                std::thread::sleep(Duration::from_millis(60 + round * 37));
                server.kill();
                server.start_again();
            }
        })
    };
    let mut upto = 10;
    while !kills.is_finished() {
        upto += 300;
        relay(&bus, upto, 100).await;
    }
    kills.await.unwrap();
    assert_exact(&bus, upto).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_answers_that_are_lost_and_connections_that_are_cut_double_nothing() {
    let server = Nats::start();
    let proxy = Arc::new(Proxy::tcp(server.address()));
    let bus = World::with(server, proxy.address(), "&deadline_ms=150").process();
    relay(&bus, 10, 10).await;
    let weather = {
        let proxy = Arc::clone(&proxy);
        tokio::task::spawn_blocking(move || {
            for round in 0..12_u64 {
                std::thread::sleep(Duration::from_millis(10 + round * 7));
                match round % 3 {
                    0 => {
                        proxy.cut();
                    }
                    1 => {
                        proxy.set(Weather::Silent);
                        std::thread::sleep(Duration::from_millis(250));
                        proxy.set(Weather::Clear);
                    }
                    _ => {
                        proxy.set(Weather::Slow(Duration::from_millis(15)));
                        std::thread::sleep(Duration::from_millis(50));
                        proxy.set(Weather::Clear);
                    }
                }
            }
        })
    };
    let mut upto = 10;
    while !weather.is_finished() {
        upto += 20;
        relay(&bus, upto, 10).await;
    }
    weather.await.unwrap();
    assert_exact(&bus, upto).await;
}

/// The batch is in the server's socket when it stands still, and is stored when it goes on: after its
/// publisher has given up.
#[tokio::test]
async fn live_a_batch_that_is_stored_after_its_publisher_gave_up_is_not_doubled() {
    let server = Nats::start_own(Sync::Always, "");
    let bus = World::with(&server, server.address(), "&deadline_ms=300").process();
    relay(&bus, 10, 10).await;
    server.stand_still();
    let error = publish(&bus, 10, 20).await.unwrap_err();
    assert_eq!(error.code(), "RC-EVT-012");
    server.go_on();
    relay(&bus, 40, 10).await;
    assert_exact(&bus, 40).await;
}

#[tokio::test]
async fn live_a_server_that_is_down_at_the_start_is_met_later() {
    let server = Nats::start_own(Sync::Always, "");
    server.kill();
    let world = World::on(&server, server.address());
    let bus = world.process();
    for error in [
        bus.tail().await.unwrap_err(),
        publish(&bus, 0, 1).await.unwrap_err(),
    ] {
        assert_eq!(error.code(), "RC-EVT-012");
        assert!(error.retry_after().is_some());
    }
    server.start_again();
    relay(&bus, 10, 10).await;
    assert_exact(&bus, 10).await;
}

/// No window of deduplication is involved: a batch that comes again after it has passed is refused.
#[tokio::test]
async fn live_a_batch_that_comes_again_after_any_window_is_refused() {
    let world = World::shared().await;
    let bus = world.process();
    publish(&bus, 0, 5).await.unwrap();
    let mut config = bus.info().await.unwrap().config;
    config["duplicate_window"] = json!(100_000_000);
    let verb = format!("STREAM.UPDATE.{}", bus.name());
    let updated: Answer<StreamInfo> = bus.client.api("update", &verb, &config).await.unwrap();
    updated.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    for again in [bus.clone(), world.process()] {
        assert!(matches!(publish(&again, 0, 5).await, Err(Error::Fenced(_))));
    }
    assert_exact(&bus, 5).await;
}

/// What a server that does not sync can leave behind: the first messages of a batch.
#[tokio::test]
async fn live_a_batch_without_its_end_comes_again() {
    let world = World::shared().await;
    let bus = world.process();
    publish(&bus, 0, 5).await.unwrap();
    for number in 1..=2 {
        let mut headers = HeaderBlock::new();
        headers.put(BATCH_SEQUENCE, &number.to_string());
        if number == 1 {
            headers.put(AFTER, "5");
        }
        let subject = super::super::super::message::subject(bus.name(), "ingest", &record(6).event);
        let put = bus.client.put("put", subject, headers.finish(), b"{}".to_vec());
        put.await.unwrap().unwrap();
    }
    assert_eq!(world.process().cursor("ingest").await.unwrap(), cursor(5));
    assert_eq!(publish(&world.process(), 5, 10).await.unwrap(), 12);
    assert_eq!(world.process().cursor("ingest").await.unwrap(), cursor(10));
}

/// A log of so many records.
struct Log(i64);

impl Source for Log {
    fn origin(&self) -> &str {
        "ingest"
    }

    fn fetch<'a>(&'a self, cursor: &'a Cursor, limit: ReadLimit) -> BoxFuture<'a, Result<Fetched, Error>> {
        let from = place(cursor);
        let upto = self.0.min(from + i64::try_from(limit.rows).unwrap());
        Box::pin(async move {
            Ok(Fetched {
                records: (from + 1..=upto).map(record).collect(),
                cursor: super::cursor(upto),
            })
        })
    }

    fn wait(&self, _idle: Duration) -> BoxFuture<'_, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(20)))
    }

    fn backlog<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Backlog, Error>> {
        Box::pin(async move {
            Ok(Backlog {
                rows: (self.0 - place(cursor)).cast_unsigned(),
                oldest: None,
            })
        })
    }

    fn prune<'a>(
        &'a self,
        _cursor: &'a Cursor,
        _now: Timestamp,
        _keep: Duration,
    ) -> BoxFuture<'a, Result<Pruned, Error>> {
        Box::pin(async { Ok(Pruned::default()) })
    }
}

#[tokio::test]
async fn live_a_deleted_stream_is_said_and_made_anew_by_a_person_only() {
    let world = World::shared().await;
    let bus = world.process();
    let log = Arc::new(Log(50));
    let options = RelayOptions {
        housekeeping_pause: Duration::from_millis(100),
        ..RelayOptions::default()
    };
    let shared = Arc::new(bus.clone());
    let moving = Relay::new(
        Arc::clone(&log) as Arc<dyn Source>,
        shared,
        SystemClock::shared(),
        options,
    );
    let (status, stop) = (moving.status(), CancellationToken::new());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(moving.run(stop.clone()));
    eventually(LONG, "the relay has published", async || {
        status.borrow().published == 50
    })
    .await;
    let (was, reader) = (bus.id().await.unwrap(), world.process());
    assert_eq!(reader.read(0, ReadLimit::default()).await.unwrap().len(), 50);

    let verb = format!("STREAM.DELETE.{}", bus.name());
    let deleted: Answer<StreamInfo> = bus.client.api("delete", &verb, &json!({})).await.unwrap();
    deleted.unwrap();
    eventually(LONG, "the relay says so", async || {
        let error = status.borrow().error.clone();
        error.is_some_and(|(code, text)| code == "RC-EVT-041" && text.contains(was.as_str()))
    })
    .await;
    for other in [reader.clone(), world.process()] {
        let read = other.read(50, ReadLimit::default()).await.unwrap_err();
        assert_eq!(read.code(), "RC-EVT-041");
        assert_eq!(other.wait(50, LONG).await.unwrap_err().code(), "RC-EVT-041");
    }

    let repairer = world.process();
    let done = rc_events::verify::repair(&*log, &repairer).await.unwrap();
    let is = done.made_anew.unwrap();
    assert_ne!(is, was);
    eventually(LONG, "everything is there again", async || {
        reader.tail().await.is_ok_and(|tail| tail == 50)
    })
    .await;
    assert_eq!(reader.id().await.unwrap(), is);
    assert_exact(&reader, 50).await;
    let report = rc_events::verify::verify(&*log, &reader).await.unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(
        world.process().make_anew().await.unwrap_err().code(),
        "RC-EVT-003"
    );
    stop.cancel();
    tasks.join_next().await;
}

#[tokio::test]
async fn live_a_full_bus_refuses_and_drops_nothing() {
    let server = Nats::start();
    let bus = World::with(server, server.address(), "&max_bytes=60000").process();
    let mut at = 0;
    let error = loop {
        match publish(&bus, at, at + 10).await {
            Ok(_) => at += 10,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), "RC-EVT-044", "{error}");
    assert!(error.retry_after().is_some());
    assert_exact(&bus, at).await;
    let half = Retention {
        bytes_max: 30_000,
        ..Retention::default()
    };
    assert!(bus.retain(&half).await.unwrap().deleted > 0);
    assert_eq!(publish(&bus, at, at + 10).await.unwrap(), at + 10);
}

#[tokio::test]
async fn live_what_is_missing_on_the_bus_is_found_and_brought_back() {
    let world = World::shared().await;
    let bus = world.process();
    let log = Log(30);
    // A relay that passed over rows 11 to 14.
    relay(&bus, 10, 10).await;
    let gap = Publish {
        origin: "ingest".to_owned(),
        expected: cursor(10),
        cursor: cursor(20),
        records: (15..=20).map(record).collect(),
    };
    bus.publish(gap).await.unwrap();
    let report = rc_events::verify::verify(&log, &bus).await.unwrap();
    assert_eq!((report.missing.count, report.waiting), (4, 10), "{report:#?}");
    let done = rc_events::verify::repair(&log, &world.process()).await.unwrap();
    assert_eq!(done.published, 4);
    relay(&bus, 30, 10).await;
    let report = rc_events::verify::verify(&log, &bus).await.unwrap();
    assert!(report.is_whole(), "{report:#?}");
    assert_eq!((report.bus_events, report.doubled.count), (30, 0));
}

/// Somebody deletes the bucket beside the stream: retention and readers go on, consumers register again.
#[tokio::test]
async fn live_a_deleted_state_is_made_anew() {
    let bus = World::shared().await.process();
    relay(&bus, 10, 10).await;
    bus.progress("docs", 3).await.unwrap();
    let delete = async || {
        let verb = format!("STREAM.DELETE.KV_{}_state", bus.name());
        let deleted: Answer<StreamInfo> = bus.client.api("delete", &verb, &json!({})).await.unwrap();
        deleted.unwrap();
    };
    delete().await;
    assert!(bus.consumers().await.unwrap().is_empty());
    delete().await;
    bus.progress("docs", 4).await.unwrap();
    assert_eq!(bus.consumers().await.unwrap()[0].seq, 4);
    delete().await;
    bus.retain(&Retention::default()).await.unwrap();
    relay(&bus, 20, 10).await;
    assert_exact(&bus, 20).await;
}
