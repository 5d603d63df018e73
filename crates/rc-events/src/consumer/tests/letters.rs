//! What cannot be applied is set aside with its key's order, on both stores, and comes back in that order.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;

use super::*;
use crate::error::Poison;
use crate::event::Place;
use crate::letters::{Edit, LetterFilter, LetterState, Letters as _, ReplayLetters};
use crate::log::Log;
use crate::replay::{HistoryFilter, JobState, Replay};

/// Refuses some payloads by name, fails for others without saying why, and takes everything else.
pub(super) struct Picky {
    pub(super) effects: Arc<Effects>,
    /// Payloads that are named as poison.
    pub(super) poison: Mutex<HashSet<String>>,
    /// Payloads for which the store fails.
    pub(super) broken: Mutex<HashSet<String>>,
    /// Attempts of each event, by key and number.
    pub(super) attempts: Mutex<HashMap<(String, u64), u32>>,
    /// What came as a replay.
    pub(super) replayed: Mutex<Vec<(String, u64)>>,
}

impl Picky {
    pub(super) fn new(effects: Arc<Effects>) -> Arc<Self> {
        Arc::new(Self {
            effects,
            poison: Mutex::default(),
            broken: Mutex::default(),
            attempts: Mutex::default(),
            replayed: Mutex::default(),
        })
    }

    fn check(&self, fresh: &[&Event]) -> Result<(), Error> {
        let (poison, broken) = (self.poison.lock().unwrap(), self.broken.lock().unwrap());
        let text = |event: &Event| String::from_utf8_lossy(&event.payload).into_owned();
        let poisons: Vec<Poison> = fresh
            .iter()
            .filter(|event| poison.contains(&text(event)))
            .map(|event| {
                Poison::of(
                    event,
                    "decode",
                    format!("missing field `x` in event {}", event.kseq),
                )
            })
            .collect();
        if !poisons.is_empty() {
            return Err(Error::Poison(poisons.into()));
        }
        if fresh.iter().any(|event| broken.contains(&text(event))) {
            return Err(Error::invalid("something in the batch is wrong"));
        }
        Ok(())
    }

    fn note(&self, batch: &Batch, fresh: &[&Event]) {
        let mut attempts = self.attempts.lock().unwrap();
        for event in fresh {
            *attempts.entry((event.key.clone(), event.kseq)).or_default() += 1;
        }
        if batch.mode() == Mode::Replay {
            let mut replayed = self.replayed.lock().unwrap();
            replayed.extend(fresh.iter().map(|event| (event.key.clone(), event.kseq)));
        }
    }

    async fn apply_once(self: Arc<Self>, batch: Batch) -> Result<Applied, Error> {
        // What was applied before fails on the unique key: a replay of history changes nothing here.
        let replay = batch.mode() == Mode::Replay;
        match &self.effects.store {
            Store::Sqlite(db, _) => {
                let this = Arc::clone(&self);
                Ok(db
                    .write_alone("effects", move |conn| {
                        let admitted = sqlite::admit(conn, &batch)?;
                        this.note(&batch, &admitted.fresh);
                        this.check(&admitted.fresh)?;
                        for event in admitted.fresh.iter().filter(|_| !replay) {
                            conn.execute(INSERT_SQLITE, (&event.key, event.kseq.cast_signed()))?;
                        }
                        Ok(admitted.applied)
                    })
                    .await?)
            }
            Store::Postgres(db) => {
                let mut client = db.client().await?;
                let tx = client.system().await?;
                let admitted = postgres::admit(&tx, &batch).await?;
                self.note(&batch, &admitted.fresh);
                self.check(&admitted.fresh)?;
                for event in admitted.fresh.iter().filter(|_| !replay) {
                    tx.execute(INSERT_POSTGRES, &[&event.key, &event.kseq.cast_signed()])
                        .await?;
                }
                tx.commit().await?;
                Ok(admitted.applied)
            }
        }
    }
}

/// A projection needs an owner that its futures can keep.
struct Held(Arc<Picky>);

impl Projection for Held {
    fn name(&self) -> &str {
        "docs"
    }

    fn books(&self) -> Arc<dyn Books> {
        self.0.effects.books()
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, Error>> {
        Box::pin(Arc::clone(&self.0).apply_once(batch))
    }
}

pub(super) fn start(
    world: &World,
    picky: &Arc<Picky>,
    options: ConsumerOptions,
) -> (Running, ConsumerHandle) {
    let consumer = Consumer::with_options(
        Arc::clone(&world.bus),
        Arc::new(BusWake(Arc::clone(&world.bus))),
        Arc::new(Held(Arc::clone(picky))),
        options,
    );
    let (status, stop, handle) = (consumer.status(), CancellationToken::new(), consumer.handle());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(consumer.run(stop.clone()));
    (Running { status, stop, tasks }, handle)
}

fn with(key: &str, kseq: u64, payload: &str) -> NewEvent {
    NewEvent {
        payload: format!("{payload:?}").into(),
        ..event("acme", key, kseq)
    }
}

async fn worlds() -> [(World, Arc<Picky>); 2] {
    [
        (World::sqlite().await, Picky::new(Effects::sqlite().await)),
        (World::postgres().await, Picky::new(Effects::postgres().await)),
    ]
}

async fn states(handle: &ConsumerHandle) -> Vec<(String, u64, LetterState)> {
    let letters = handle.list(&LetterFilter::default()).await.unwrap();
    letters
        .into_iter()
        .map(|letter| (letter.event.key.clone(), letter.event.kseq, letter.state))
        .collect()
}

#[tokio::test]
async fn live_poison_parks_its_key_and_comes_back_in_order() {
    for (world, picky) in worlds().await {
        picky.poison.lock().unwrap().insert("\"bad\"".to_owned());
        let events = vec![
            with("a", 1, "good"),
            with("a", 2, "bad"),
            with("b", 1, "good"),
            with("a", 3, "good"),
        ];
        publish(&world, 0, events).await;
        let (mut running, handle) = start(&world, &picky, ConsumerOptions::default());
        running.until(|status| status.position == 4).await;
        publish(&world, 4, vec![with("a", 4, "good"), with("b", 2, "good")]).await;
        let status = running.until(|status| status.position == 6).await;
        assert_eq!((status.applied, status.parked), (3, 3), "{status:?}");
        assert_eq!(
            states(&handle).await,
            [
                ("a".to_owned(), 2, LetterState::Parked),
                ("a".to_owned(), 3, LetterState::Waiting),
                ("a".to_owned(), 4, LetterState::Waiting)
            ]
        );
        let letter = handle.list(&LetterFilter::default()).await.unwrap().remove(0);
        let letter = handle.get(letter.number).await.unwrap().unwrap();
        assert_eq!(
            (&*letter.class, &*letter.code, letter.attempts),
            ("decode", "RC-EVT-011", 1)
        );
        assert_eq!(letter.event, with("a", 2, "bad"), "as it came, with its trace");

        // It fails in the same way three times more, and needs force.
        let again = ReplayLetters::default();
        let (all, forced) = (
            LetterFilter::default(),
            ReplayLetters {
                force: true,
                rate: None,
            },
        );
        for round in 1..=3 {
            let report = handle.replay(&all, again).await.unwrap();
            assert_eq!(report.failed.len(), 1, "{report:?}");
            assert_eq!(report.failed[0].stuck, round == 3);
        }
        assert_eq!(handle.replay(&all, again).await.unwrap().stuck_keys, 1);

        // A patch that does not fit changes nothing; one that fits keeps the original.
        let patch =
            |value: &str| Edit::Patch(serde_json::json!([{"op": "replace", "path": "", "value": value}]));
        let odd = Edit::Patch(serde_json::json!([{"op": "remove", "path": "/x"}]));
        assert_eq!(
            handle.edit(letter.number, odd).await.unwrap_err().code(),
            "RC-EVT-015"
        );
        handle.edit(letter.number, patch("bad")).await.unwrap();
        assert_eq!(handle.replay(&all, forced).await.unwrap().failed.len(), 1);
        let edited = handle.edit(letter.number, patch("good")).await.unwrap();
        assert_eq!(edited.event.payload, letter.event.payload);
        let report = handle.replay(&all, again).await.unwrap();
        assert_eq!((report.applied, report.failed.len()), (3, 0), "{report:?}");
        assert_eq!(states(&handle).await, []);
        assert_eq!(picky.effects.in_order("a").await, [1, 2, 3, 4]);

        // The key is as if nothing had been.
        publish(&world, 6, vec![with("a", 5, "good")]).await;
        running.until(|status| status.position == 7).await;
        assert_eq!(picky.effects.in_order("a").await, [1, 2, 3, 4, 5]);
        running.end().await;
    }
}

#[tokio::test]
async fn live_a_dropped_letter_lets_the_others_go() {
    for (world, picky) in worlds().await {
        picky.poison.lock().unwrap().insert("\"bad\"".to_owned());
        let events = vec![
            with("a", 1, "bad"),
            with("a", 2, "good"),
            with("a", 3, "bad"),
            with("a", 4, "good"),
        ];
        publish(&world, 0, events).await;
        let (mut running, handle) = start(&world, &picky, ConsumerOptions::default());
        running.until(|status| status.position == 4).await;
        let first = handle.list(&LetterFilter::default()).await.unwrap()[0].number;
        let counts = handle.count(&LetterFilter::default()).await.unwrap();
        assert_eq!((counts.letters, counts.keys), (4, 1));
        assert_eq!(handle.drop(&LetterFilter::one(first)).await.unwrap(), 1);
        // 2 goes by itself, and 3, which waited, is found to be bad.
        rc_test::eventually(Duration::from_secs(10), "3 is parked", async || {
            states(&handle)
                .await
                .first()
                .is_some_and(|head| head.1 == 3 && head.2 == LetterState::Parked)
        })
        .await;
        assert_eq!(picky.effects.in_order("a").await, [2]);
        running.end().await;

        // Given up while the consumer is down: it goes on when it starts.
        let offline = ConsumerHandle::offline(
            Arc::clone(&world.bus),
            picky.effects.books(),
            rc_model::SystemClock::shared(),
        );
        let error = offline
            .replay(&LetterFilter::default(), ReplayLetters::default())
            .await;
        assert_eq!(error.unwrap_err().code(), "RC-EVT-017");
        let class = LetterFilter {
            class: Some("decode".to_owned()),
            ..LetterFilter::default()
        };
        assert_eq!(offline.drop(&class).await.unwrap(), 1);
        let (running, handle) = start(&world, &picky, ConsumerOptions::default());
        rc_test::eventually(Duration::from_secs(10), "all is gone", async || {
            states(&handle).await.is_empty()
        })
        .await;
        assert_eq!(picky.effects.in_order("a").await, [2, 4]);
        running.end().await;
    }
}

#[tokio::test]
async fn an_event_that_fails_without_a_name_is_found_and_gets_five_attempts() {
    let (world, picky) = (World::sqlite().await, Picky::new(Effects::sqlite().await));
    picky.broken.lock().unwrap().insert("\"odd\"".to_owned());
    let mut events: Vec<NewEvent> = (1..=100).map(|key| with(&format!("k{key}"), 1, "good")).collect();
    events[63] = with("k64", 1, "odd");
    publish(&world, 0, events).await;
    let (mut running, handle) = start(&world, &picky, ConsumerOptions::default());
    running.until(|status| status.position == 100).await;
    assert_eq!(
        states(&handle).await,
        [("k64".to_owned(), 1, LetterState::Parked)]
    );
    let letter = handle.list(&LetterFilter::default()).await.unwrap().remove(0);
    assert_eq!((&*letter.class, letter.attempts), ("unknown", ATTEMPTS_MAX));
    assert_eq!(picky.effects.count().await, 99);
    running.end().await;
}

#[tokio::test]
async fn an_outage_halts_the_consumer_and_parks_next_to_nothing() {
    let (world, picky) = (World::sqlite().await, Picky::new(Effects::sqlite().await));
    picky.broken.lock().unwrap().insert("\"good\"".to_owned());
    let options = ConsumerOptions {
        attempts_max: 1,
        ..ConsumerOptions::default()
    };
    let events = (1..=50).map(|key| with(&format!("k{key}"), 1, "good"));
    publish(&world, 0, events.collect()).await;
    let (mut running, handle) = start(&world, &picky, options);
    let stuck = |status: &ConsumerStatus| {
        matches!(
            &status.state,
            ConsumerState::Stuck {
                code: "RC-EVT-014",
                ..
            }
        )
    };
    running.until(stuck).await;
    assert!(states(&handle).await.len() <= 2, "{:?}", states(&handle).await);
    // The right is given back: all goes on by itself, also what was parked wrongly, when it is asked to.
    picky.broken.lock().unwrap().clear();
    running.until(|status| status.position == 50).await;
    handle
        .replay(&LetterFilter::default(), ReplayLetters::default())
        .await
        .unwrap();
    assert_eq!(picky.effects.count().await, 50);
    running.end().await;
}

#[tokio::test]
async fn under_halt_nothing_is_set_aside() {
    let (world, picky) = (World::sqlite().await, Picky::new(Effects::sqlite().await));
    picky.poison.lock().unwrap().insert("\"bad\"".to_owned());
    publish(&world, 0, vec![with("a", 1, "bad")]).await;
    let options = ConsumerOptions {
        policy: Policy::Halt,
        ..ConsumerOptions::default()
    };
    let (mut running, handle) = start(&world, &picky, options);
    running
        .until(|status| {
            matches!(
                &status.state,
                ConsumerState::Stuck {
                    code: "RC-EVT-011",
                    ..
                }
            )
        })
        .await;
    assert_eq!(states(&handle).await, []);
    running.end().await;
}

/// A log that has some of what is missing.
struct Kept(Mutex<Vec<NewEvent>>);

impl Log for Kept {
    fn range<'a>(
        &'a self,
        place: &'a Place,
        numbers: RangeInclusive<u64>,
        limit: ReadLimit,
    ) -> BoxFuture<'a, Result<Vec<NewEvent>, Error>> {
        let kept = self.0.lock().unwrap();
        let found = kept
            .iter()
            .filter(|event| event.place() == *place && numbers.contains(&event.kseq))
            .take(limit.rows.min(2))
            .cloned()
            .collect();
        Box::pin(async move { Ok(found) })
    }
}

#[tokio::test]
async fn live_a_gap_is_fetched_from_the_log_or_waits_for_its_repair() {
    for (world, picky) in worlds().await {
        let kept = (2..=6).map(|kseq| with("a", kseq, "kept")).collect();
        let options = ConsumerOptions {
            log: Some(Arc::new(Kept(Mutex::new(kept)))),
            ..ConsumerOptions::default()
        };
        let events = vec![
            with("a", 1, "good"),
            with("a", 7, "good"),
            with("b", 2, "good"),
            with("b", 3, "good"),
        ];
        publish(&world, 0, events).await;
        let (mut running, handle) = start(&world, &picky, options);
        running.until(|status| status.position == 4).await;
        assert_eq!(picky.effects.in_order("a").await, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(
            states(&handle).await,
            [
                ("b".to_owned(), 2, LetterState::Parked),
                ("b".to_owned(), 3, LetterState::Waiting)
            ]
        );
        let gap = LetterFilter {
            class: Some("gap".to_owned()),
            ..LetterFilter::default()
        };
        assert_eq!(handle.count(&gap).await.unwrap().letters, 1);
        // A repair publishes what was missing; the letters behind it go by themselves.
        publish(&world, 4, vec![with("b", 1, "good")]).await;
        running.until(|status| status.position == 5).await;
        rc_test::eventually(Duration::from_secs(10), "b is whole", async || {
            picky.effects.in_order("b").await == [1, 2, 3]
        })
        .await;
        assert_eq!(states(&handle).await, []);
        running.end().await;
    }
}

#[tokio::test]
async fn live_history_is_replayed_to_this_consumer_and_changes_no_number() {
    for (world, picky) in worlds().await {
        let events =
            (1_u64..=30).map(|kseq| with(if kseq % 2 == 0 { "a" } else { "b" }, kseq.div_ceil(2), "good"));
        publish(&world, 0, events.collect()).await;
        let (mut running, handle) = start(&world, &picky, ConsumerOptions::default());
        running.until(|status| status.position == 30).await;
        let mut replay = Replay {
            filter: HistoryFilter {
                key: Some("a".to_owned()),
                ..HistoryFilter::default()
            },
            rate: NonZeroU32::new(100),
            reason: "the read model was restored".to_owned(),
            plan: None,
        };
        let plan = handle.plan(&replay).await.unwrap();
        assert_eq!((plan.first, plan.upto, plan.matched), (0, 30, 15));
        // New events do not change the plan; another filter does.
        publish(&world, 30, vec![with("a", 16, "good")]).await;
        running.until(|status| status.position == 31).await;
        replay.plan = Some(plan.hash.clone());
        let other = Replay {
            filter: HistoryFilter::default(),
            ..replay.clone()
        };
        assert_eq!(handle.start(other).await.unwrap_err().code(), "RC-EVT-016");
        let job = handle.start(replay.clone()).await.unwrap();
        assert_eq!(
            handle.start(replay).await.unwrap_err().code(),
            "RC-EVT-016",
            "one at a time"
        );
        // The consumer starts anew in the middle: the job goes on where it was.
        running.end().await;
        let (running, handle) = start(&world, &picky, ConsumerOptions::default());
        rc_test::eventually(Duration::from_secs(20), "the replay is done", async || {
            handle.jobs().await.unwrap()[0].state == JobState::Done
        })
        .await;
        let done = handle.jobs().await.unwrap().remove(0);
        assert_eq!(
            (done.number, done.at, done.applied, done.failed),
            (job.number, 30, 15, 0)
        );
        let replayed: Vec<u64> = {
            let all = picky.replayed.lock().unwrap();
            all.iter()
                .filter(|(key, _)| key == "a")
                .map(|(_, kseq)| *kseq)
                .collect()
        };
        assert_eq!(replayed, (1..=15).collect::<Vec<u64>>(), "in order, each once");
        assert_eq!(world.bus.tail().await.unwrap(), 31, "nothing went to the bus");
        assert_eq!(picky.effects.count().await, 31);
        running.end().await;
    }
}

#[tokio::test]
async fn another_bus_is_read_from_its_start_and_skips_what_was_applied() {
    let (first, picky) = (World::sqlite().await, Picky::new(Effects::sqlite().await));
    let all: Vec<NewEvent> = (1..=5).map(|kseq| with("a", kseq, "good")).collect();
    publish(&first, 0, all[..3].to_vec()).await;
    let (mut running, _) = start(&first, &picky, ConsumerOptions::default());
    running.until(|status| status.position == 3).await;
    running.end().await;
    // Recreated and filled from the log anew: the same events, at other places.
    let second = World::sqlite().await;
    publish(&second, 0, vec![event("acme", "z", 1)]).await;
    publish(&second, 1, all).await;
    let (mut running, _) = start(&second, &picky, ConsumerOptions::default());
    let status = running.until(|status| status.position == 6).await;
    assert_eq!((status.applied, status.duplicates), (3, 3));
    assert_eq!(picky.effects.in_order("a").await, [1, 2, 3, 4, 5]);
    running.end().await;
}
