//! A bus that refuses some events, on both outboxes: only their keys wait, and nothing is lost or doubled however
//! a release ends.

use std::collections::HashMap;
use std::time::Duration;

use rc_model::{SystemClock, TenantId};
use rc_store::{Postgres, PostgresOptions};

use super::*;
use crate::bus::tests::World;
use crate::bus::{BusConsumer, BusId, ReadLimit, Retained, Retention};
use crate::event::tests::event;
use crate::event::{Event, NewEvent, Seq};
use crate::letters::CLASS_REFUSED;
use crate::outbox::postgres as pg;
use crate::relay::tests::{Outbox, Running, assert_exact, read_all, run};
use crate::relay::{RelayOptions, Source};

/// Refuses whatever has `poison` in its payload.
struct Strict(Arc<dyn Bus>);

impl Bus for Strict {
    fn id(&self) -> BoxFuture<'_, Result<BusId, Error>> {
        self.0.id()
    }

    fn publish(&self, publish: Publish) -> BoxFuture<'_, Result<Seq, Error>> {
        let poison = |record: &Record| record.event.payload.windows(6).any(|part| part == b"poison");
        match publish.records.iter().position(poison) {
            Some(index) => Box::pin(async move {
                Err(Error::Refused(Box::new(Refused {
                    index,
                    place: publish.records[index].event.place().to_string(),
                    class: CLASS_REFUSED,
                    code: "RC-EVT-010",
                    why: "it is poison".to_owned(),
                })))
            }),
            None => self.0.publish(publish),
        }
    }

    fn cursor<'a>(&'a self, origin: &'a str) -> BoxFuture<'a, Result<Cursor, Error>> {
        self.0.cursor(origin)
    }

    fn read(&self, after: Seq, limit: ReadLimit) -> BoxFuture<'_, Result<Vec<Event>, Error>> {
        self.0.read(after, limit)
    }

    fn tail(&self) -> BoxFuture<'_, Result<Seq, Error>> {
        self.0.tail()
    }

    fn wait(&self, after: Seq, timeout: Duration) -> BoxFuture<'_, Result<Seq, Error>> {
        self.0.wait(after, timeout)
    }

    fn progress<'a>(&'a self, consumer: &'a str, seq: Seq) -> BoxFuture<'a, Result<(), Error>> {
        self.0.progress(consumer, seq)
    }

    fn consumers(&self) -> BoxFuture<'_, Result<Vec<BusConsumer>, Error>> {
        self.0.consumers()
    }

    fn retain<'a>(&'a self, retention: &'a Retention) -> BoxFuture<'a, Result<Retained, Error>> {
        self.0.retain(retention)
    }
}

/// An outbox of either kind, and a strict bus.
struct Parking {
    outbox: Kind,
    bus: Arc<dyn Bus>,
    _world: World,
}

enum Kind {
    Sqlite(Outbox),
    Postgres(Postgres),
}

impl Parking {
    async fn both() -> [Self; 2] {
        let database = rc_test::Postgres::start().fresh_database();
        let db = Postgres::connect(&database.url, &PostgresOptions::new("parked", "ingest")).unwrap();
        db.migrate(&pg::MIGRATIONS).await.unwrap();
        let mut both = Vec::new();
        for outbox in [Kind::Sqlite(Outbox::new().await), Kind::Postgres(db)] {
            let world = World::sqlite().await;
            both.push(Self {
                outbox,
                bus: Arc::new(Strict(Arc::clone(&world.bus))),
                _world: world,
            });
        }
        both.try_into().ok().unwrap()
    }

    fn source(&self) -> Arc<dyn Source> {
        match &self.outbox {
            Kind::Sqlite(outbox) => outbox.source(),
            Kind::Postgres(db) => Arc::new(pg::PostgresSource::new(db.clone(), "ingest")),
        }
    }

    fn run(&self) -> Running {
        run(self.source(), &self.bus, RelayOptions::default())
    }

    fn letters(&self) -> ParkedLetters {
        let parked = self.source().parked().unwrap();
        ParkedLetters::new("ingest", parked, Arc::clone(&self.bus), SystemClock::shared())
    }

    async fn append(&self, events: Vec<NewEvent>) {
        match &self.outbox {
            Kind::Sqlite(outbox) => outbox.append(events).await,
            Kind::Postgres(db) => {
                let tenant = TenantId::new("acme").unwrap();
                let mut client = db.client().await.unwrap();
                let tx = client.tenant(&tenant).await.unwrap();
                pg::append(&tx, &events).await.unwrap();
                tx.commit().await.unwrap();
            }
        }
    }

    /// `a` and `b` from 1 to 5; number 3 of `a` is poison. Then number 6 of both.
    async fn poisoned(&self) -> Running {
        let mut running = self.run();
        let mut events: Vec<NewEvent> = Vec::new();
        for kseq in 1..=5 {
            events.push(poisonous("a", kseq, kseq == 3));
            events.push(poisonous("b", kseq, false));
        }
        self.append(events).await;
        running.until(|status| status.published == 7).await;
        self.append(vec![poisonous("a", 6, false), poisonous("b", 6, false)])
            .await;
        running.until(|status| status.published == 8).await;
        running
    }

    /// The numbers of `key` on the bus.
    async fn numbers(&self, key: &str) -> Vec<u64> {
        let events = read_all(&self.bus).await;
        events
            .iter()
            .filter(|event| event.key == key)
            .map(|event| event.kseq)
            .collect()
    }
}

fn poisonous(key: &str, kseq: u64, poison: bool) -> NewEvent {
    let mut event = event("acme", key, kseq);
    if poison {
        event.payload = Bytes::from_static(b"{\"is\":\"poison\"}");
    }
    event
}

fn states(letters: &[Letter]) -> Vec<(u64, LetterState)> {
    letters
        .iter()
        .map(|letter| (letter.event.kseq, letter.state))
        .collect()
}

#[tokio::test]
async fn live_a_refused_event_stops_its_key_and_no_other() {
    use LetterState::{Parked, Stuck, Waiting};
    let all = LetterFilter::default();
    for parking in Parking::both().await {
        let running = parking.poisoned().await;
        assert_eq!(parking.numbers("a").await, [1, 2]);
        assert_eq!(parking.numbers("b").await, [1, 2, 3, 4, 5, 6]);
        let letters = parking.letters();
        let listed = letters.list(&all).await.unwrap();
        let expect = [(3, Parked), (4, Waiting), (5, Waiting), (6, Waiting)];
        assert_eq!(states(&listed), expect);
        let counts = letters.count(&all).await.unwrap();
        assert_eq!((counts.letters, counts.keys), (4, 1));

        // As it is, it is refused again, and needs force after three times.
        let how = ReplayLetters::default();
        for round in 1..=2 {
            let outcome = letters.replay(&all, how).await.unwrap();
            assert_eq!((outcome.applied, outcome.failed.len()), (0, 1), "{round}");
        }
        assert!(letters.replay(&all, how).await.unwrap().failed[0].stuck);
        assert_eq!(letters.replay(&all, how).await.unwrap().stuck_keys, 1);
        let first = letters.get(listed[0].number).await.unwrap().unwrap();
        assert_eq!((first.state, first.replays), (Stuck, 3));

        // Mended, it goes, and so does everything behind it.
        let mend = Edit::Patch(serde_json::json!([{"op": "replace", "path": "/is", "value": "fine"}]));
        let edited = letters.edit(first.number, mend).await.unwrap();
        assert_eq!(
            &edited.event.payload[..],
            b"{\"is\":\"poison\"}",
            "the original stays"
        );
        let forced = ReplayLetters { force: true, ..how };
        assert_eq!(letters.replay(&all, forced).await.unwrap().applied, 4);
        parking.append(vec![poisonous("a", 7, false)]).await;
        let bus = Arc::clone(&parking.bus);
        rc_test::eventually(Duration::from_secs(10), "the key goes on", async || {
            bus.tail().await.unwrap() == 13
        })
        .await;
        running.end().await;
        let expect = HashMap::from([("a".to_owned(), 7), ("b".to_owned(), 6)]);
        assert_exact(&read_all(&parking.bus).await, &expect);
        assert!(letters.list(&all).await.unwrap().is_empty());

        // A relay that starts anew publishes none of it again.
        let mut running = parking.run();
        parking.append(vec![poisonous("a", 8, false)]).await;
        running.until(|status| status.published == 1).await;
        running.end().await;
        assert_eq!(parking.numbers("a").await, (1..=8).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn live_a_letter_that_is_given_up_leaves_its_number_behind() {
    for parking in Parking::both().await {
        let running = parking.poisoned().await;
        let letters = parking.letters();
        let first = letters.list(&LetterFilter::default()).await.unwrap()[0].number;
        assert_eq!(letters.drop(&LetterFilter::one(first)).await.unwrap(), 1);
        assert_eq!(parking.numbers("a").await, [1, 2, 3, 4, 5, 6]);
        running.end().await;
        let events = read_all(&parking.bus).await;
        let void = events
            .iter()
            .find(|event| (event.key.as_str(), event.kseq) == ("a", 3))
            .unwrap();
        assert_eq!((&*void.event_type, &void.payload[..]), (VOID, &b"{}"[..]));
    }
}

#[tokio::test]
async fn live_a_release_that_died_after_its_publish_is_not_repeated() {
    for parking in Parking::both().await {
        let running = parking.poisoned().await;
        running.end().await;
        let letters = parking.letters();
        let first = letters.list(&LetterFilter::default()).await.unwrap()[0].number;
        let mend = Edit::Payload(Bytes::from_static(b"{}"));
        let edited = letters.edit(first, mend).await.unwrap();
        // The publish happens, and its note does not.
        let parked = parking.source().parked().unwrap();
        assert!(parked.claim(first, "died").await.unwrap());
        parking
            .bus
            .publish(Publish {
                origin: origin_of("ingest"),
                expected: Cursor::default(),
                cursor: Cursor::new("died"),
                records: vec![Record {
                    origin_pos: edited.pos,
                    event: edited.current(),
                }],
            })
            .await
            .unwrap();
        // Another one claimed it too, and never published.
        assert!(parked.claim(first, "never").await.unwrap());
        let mut running = parking.run();
        running.until(|status| status.leading).await;
        assert_eq!(
            parking.numbers("a").await,
            [1, 2, 3, 4, 5, 6],
            "the relay lets the rest go"
        );
        running.end().await;
    }
}

#[tokio::test]
async fn live_two_who_release_at_once_publish_once() {
    for parking in Parking::both().await {
        let running = parking.poisoned().await;
        let first = parking.letters().list(&LetterFilter::default()).await.unwrap()[0].number;
        let mend = Edit::Payload(Bytes::from_static(b"{}"));
        parking.letters().edit(first, mend).await.unwrap();
        let mut people = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let letters = parking.letters();
            people.spawn(async move {
                let all = LetterFilter::default();
                letters
                    .replay(&all, ReplayLetters::default())
                    .await
                    .unwrap()
                    .applied
            });
        }
        people.join_all().await;
        assert_eq!(parking.numbers("a").await, [1, 2, 3, 4, 5, 6]);
        running.end().await;
    }
}

#[test]
fn only_what_is_behind_a_letter_waits() {
    let records: Vec<Record> = [("a", 1), ("a", 2), ("b", 1), ("a", 3), ("c", 4), ("d", 7)]
        .iter()
        .zip(1..)
        .map(|(&(key, kseq), origin_pos)| Record {
            origin_pos,
            event: event("acme", key, kseq),
        })
        .collect();
    let place = |index: usize| records[index].event.place();
    let known = HashSet::from([(place(5), 7)]);
    let held = HashSet::from([place(4)]);
    let decided = fates(&records, Some(1), &known, &held);
    use Fate::{Known, Publish, Refuse, Wait};
    assert_eq!(decided, [Publish, Refuse, Publish, Wait, Wait, Known]);
}

#[tokio::test]
async fn there_is_an_end_to_setting_aside() {
    let outbox = Outbox::new().await;
    let parked = outbox.source().parked().unwrap();
    let records = |from: u64| -> Vec<Record> {
        (from..from + 500)
            .map(|kseq| Record {
                origin_pos: kseq.cast_signed(),
                event: event("acme", "a", kseq),
            })
            .collect()
    };
    let refused = Refused {
        index: 0,
        place: String::new(),
        class: CLASS_REFUSED,
        code: "RC-EVT-010",
        why: "no".to_owned(),
    };
    let now = rc_model::Timestamp::from_unix_ms(0);
    let rest = parked.hold_back(records(1), Some(refused), now).await.unwrap();
    assert!(rest.is_empty());
    assert!(
        parked
            .hold_back(records(501), None, now)
            .await
            .unwrap()
            .is_empty()
    );
    let error = parked.hold_back(records(1_001), None, now).await.unwrap_err();
    assert_eq!(error.code(), "RC-EVT-013");
    // Nothing of the batch that did not fit was set aside.
    let filter = LetterFilter::default();
    assert_eq!(parked.letters(&filter, false).await.unwrap().len(), 1_000);
    // The same again is known.
    assert!(
        parked
            .hold_back(records(501), None, now)
            .await
            .unwrap()
            .is_empty()
    );
}
