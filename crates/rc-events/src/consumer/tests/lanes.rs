//! Lanes on PostgreSQL: side by side, and each key in its order.

use std::collections::BTreeMap;

use super::*;

const KEYS: u64 = 24;
const EACH: u64 = 40;

/// Takes a random time for each batch, and fails now and then before or after its commit.
struct Shaky(Arc<Effects>);

impl Projection for Shaky {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn books(&self) -> Arc<dyn Books> {
        self.0.books()
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, Error>> {
        Box::pin(async move {
            let lost = || {
                let retry_after = Duration::from_millis(1);
                rc_store::Error::new(rc_store::ErrorKind::Unavailable { retry_after }, "no answer")
            };
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..15))).await;
            match fastrand::u32(0..12) {
                0 => Err(lost().into()),
                1 => {
                    self.0.apply_once(batch).await?;
                    Err(lost().into())
                }
                _ => self.0.apply_once(batch).await,
            }
        })
    }
}

fn start(world: &World, effects: &Arc<Effects>, lanes: u16) -> Running {
    let consumer = Consumer::with_options(
        Arc::clone(&world.bus),
        Arc::new(BusWake(Arc::clone(&world.bus))),
        Arc::new(Shaky(Arc::clone(effects))),
        ConsumerOptions {
            lanes,
            ..ConsumerOptions::default()
        },
    );
    let (status, stop) = (consumer.status(), CancellationToken::new());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(consumer.run(stop.clone()));
    Running { status, stop, tasks }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_each_key_keeps_its_order_over_four_lanes_through_failures_and_another_number_of_lanes() {
    let (world, effects) = (World::postgres().await, Effects::postgres().await);
    let mut next: BTreeMap<u64, u64> = (0..KEYS).map(|key| (key, 1)).collect();
    let mut published = 0;
    let mut more = async |world: &World, rounds: u64| {
        for _ in 0..rounds {
            let events: Vec<NewEvent> = next
                .iter_mut()
                .map(|(key, kseq)| {
                    *kseq += 1;
                    event("acme", &format!("k{key}"), *kseq - 1)
                })
                .collect();
            publish(world, published, events).await;
            published += i64::try_from(KEYS).unwrap();
        }
        published
    };
    // 4 lanes, then 3, then 1: the positions of the old ones mean nothing to the new ones.
    let mut running = start(&world, &effects, 4);
    let half = more(&world, EACH / 2).await;
    running.until(|status| status.position > half / 2).await;
    running.end().await;
    let mut running = start(&world, &effects, 3);
    let upto = more(&world, EACH / 4).await;
    running.until(|status| status.position == upto).await;
    running.end().await;
    let mut running = start(&world, &effects, 1);
    let upto = more(&world, EACH / 4).await;
    running.until(|status| status.position == upto).await;
    running.end().await;
    for key in 0..KEYS {
        let numbers = effects.in_order(&format!("k{key}")).await;
        assert_eq!(numbers, (1..=EACH).collect::<Vec<u64>>(), "key {key}");
    }
}
