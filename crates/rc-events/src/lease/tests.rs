//! Two holders against a real server. Time is moved in the row and in the holder, never waited for.

use rc_store::PostgresOptions;

use super::*;

async fn store() -> Postgres {
    let database = rc_test::Postgres::start().fresh_database();
    let db = Postgres::connect(&database.url, &PostgresOptions::new("lease", "public")).unwrap();
    sql(&db, LEASES).await;
    db
}

async fn sql(db: &Postgres, sql: &str) {
    db.client().await.unwrap().simple(sql).await.unwrap();
}

impl Lease {
    /// As if so much time had passed since the row was last looked at.
    async fn aged(&self, by: Duration) {
        let mut seen = self.seen.lock().await;
        *seen = match *seen {
            Seen::Nothing => Seen::Nothing,
            Seen::Ours(epoch, since) => Seen::Ours(epoch, since - by),
            Seen::Theirs(epoch, beat, since) => Seen::Theirs(epoch, beat, since - by),
        };
    }
}

#[tokio::test]
async fn live_one_holds_and_the_next_has_a_higher_epoch() {
    let db = store().await;
    let (first, second) = (Lease::new(db.clone(), "relay"), Lease::new(db.clone(), "relay"));
    assert_eq!(first.hold().await.unwrap(), Some(1));
    assert_eq!(second.hold().await.unwrap(), None);
    first.aged(HEARTBEAT).await;
    assert_eq!(
        first.hold().await.unwrap(),
        Some(1),
        "a heartbeat keeps the epoch"
    );
    first.release().await.unwrap();
    assert_eq!(second.hold().await.unwrap(), Some(2));
    assert_eq!(first.hold().await.unwrap(), None);
    assert_eq!(Lease::new(db, "other").hold().await.unwrap(), Some(1));
}

#[tokio::test]
async fn live_a_holder_that_was_stopped_finds_its_lease_taken() {
    let db = store().await;
    let (stopped, other) = (Lease::new(db.clone(), "relay"), Lease::new(db.clone(), "relay"));
    assert_eq!(stopped.hold().await.unwrap(), Some(1));
    sql(
        &db,
        "UPDATE leases SET until = clock_timestamp() - interval '1 second'",
    )
    .await;
    assert_eq!(other.hold().await.unwrap(), Some(2));
    stopped.aged(Duration::from_secs(30)).await;
    assert_eq!(stopped.hold().await.unwrap(), None);
}

#[tokio::test]
async fn live_a_clock_that_was_set_back_keeps_a_dead_holder_for_no_longer() {
    let db = store().await;
    let (dead, follower) = (Lease::new(db.clone(), "relay"), Lease::new(db.clone(), "relay"));
    assert_eq!(dead.hold().await.unwrap(), Some(1));
    // The clock went back by a day after the holder's last beat.
    sql(
        &db,
        "UPDATE leases SET until = clock_timestamp() + interval '1 day'",
    )
    .await;
    assert_eq!(follower.hold().await.unwrap(), None);
    follower.aged(LEASE_TIME).await;
    assert_eq!(follower.hold().await.unwrap(), Some(2));
}

#[tokio::test]
async fn live_a_beat_that_came_meanwhile_keeps_the_lease() {
    let db = store().await;
    let (alive, follower) = (Lease::new(db.clone(), "relay"), Lease::new(db.clone(), "relay"));
    assert_eq!(alive.hold().await.unwrap(), Some(1));
    sql(
        &db,
        "UPDATE leases SET until = clock_timestamp() + interval '1 day'",
    )
    .await;
    assert_eq!(follower.hold().await.unwrap(), None);
    follower.aged(LEASE_TIME).await;
    alive.aged(HEARTBEAT).await;
    assert_eq!(alive.hold().await.unwrap(), Some(1));
    sql(
        &db,
        "UPDATE leases SET until = clock_timestamp() + interval '1 day'",
    )
    .await;
    assert_eq!(follower.hold().await.unwrap(), None);
}

#[tokio::test]
async fn live_many_that_start_at_once_have_one_holder() {
    let db = store().await;
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let lease = Lease::new(db.clone(), "relay");
        racers.spawn(async move { lease.hold().await.unwrap() });
    }
    let held = racers.join_all().await;
    assert_eq!(held.iter().flatten().count(), 1, "{held:?}");
}
