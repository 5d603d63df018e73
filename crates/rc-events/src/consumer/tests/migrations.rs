//! An upgrade from the former layout with data in it, and back.

use super::*;

const KEYS_SQLITE: &str = "INSERT INTO consumer_keys (consumer, tenant, topic, key, kseq, id)
     VALUES ('docs', 'acme', 'docs', 'a', 3, ?1)";
const KEYS_POSTGRES: &str = "INSERT INTO consumer_keys (consumer, tenant, topic, key, kseq, id)
     VALUES ('docs', 'acme', 'docs', 'a', 3, $1)";
const POSITION: &str = "INSERT INTO consumer_positions (consumer, seq) VALUES ('docs', 7)";
const READ: &str = "SELECT seq FROM consumer_positions WHERE consumer = 'docs'";

impl Effects {
    /// The former layout, with a position and a key in it.
    async fn go_down_and_fill(&self, id: uuid::Uuid) {
        match &self.store {
            Store::Sqlite(db, _) => {
                db.migrate_down(&sqlite::MIGRATIONS, 1).await.unwrap();
                let fill = db.write("fill", move |conn| {
                    conn.execute(KEYS_SQLITE, [&id.as_bytes()[..]])?;
                    conn.execute(POSITION, [])?;
                    Ok(())
                });
                fill.await.unwrap();
            }
            Store::Postgres(db) => {
                db.migrate_down(&postgres::MIGRATIONS, 1).await.unwrap();
                let mut client = db.client().await.unwrap();
                let tx = client.system().await.unwrap();
                tx.execute(KEYS_POSTGRES, &[&id]).await.unwrap();
                tx.execute(POSITION, &[]).await.unwrap();
                tx.commit().await.unwrap();
            }
        }
    }

    async fn up(&self) {
        match &self.store {
            Store::Sqlite(db, _) => db.migrate(&sqlite::MIGRATIONS).await.unwrap(),
            Store::Postgres(db) => db.migrate(&postgres::MIGRATIONS).await.unwrap(),
        };
    }

    /// Goes down, and says where the former layout stands.
    async fn down(&self) -> Seq {
        match &self.store {
            Store::Sqlite(db, _) => {
                db.migrate_down(&sqlite::MIGRATIONS, 1).await.unwrap();
                let read = db.read("position", |conn| Ok(conn.query_row(READ, [], |row| row.get(0))?));
                read.await.unwrap()
            }
            Store::Postgres(db) => {
                db.migrate_down(&postgres::MIGRATIONS, 1).await.unwrap();
                let mut client = db.client().await.unwrap();
                let tx = client.system().await.unwrap();
                tx.query_one(READ, &[]).await.unwrap().get(0)
            }
        }
    }
}

#[tokio::test]
async fn live_a_store_of_the_former_layout_goes_up_and_down_and_up_with_its_data() {
    for effects in Effects::both().await {
        effects.go_down_and_fill(event("acme", "a", 3).id).await;
        effects.up().await;
        assert_eq!(effects.position().await, 7);
        // The old numbers count: 3 is a duplicate, 4 is the next, 5 is poison and 6 waits behind it.
        let condemned = Condemned {
            class: "decode".into(),
            code: "RC-EVT-011".to_owned(),
            why: "no".to_owned(),
            attempts: 1,
        };
        let events = batch(8, (3..=6).map(|kseq| event("acme", "a", kseq)).collect());
        let poison = event("acme", "a", 5).id;
        let now = Timestamp::from_unix_ms(0);
        let condemning = Batch::follow("docs", BusId::new("bus"), 7, events, 11, now)
            .condemning([(poison, condemned)].into());
        let applied = effects.apply(condemning).await.unwrap();
        assert_eq!(
            (
                applied.duplicates,
                applied.applied,
                applied.parked,
                applied.waiting
            ),
            (1, 1, 1, 1)
        );
        // The former layout has no letters. It must read again from the first one, or the events were lost.
        assert_eq!(effects.down().await, 9);
        effects.up().await;
        assert_eq!(effects.position().await, 9);
        let events = batch(10, (5..=6).map(|kseq| event("acme", "a", kseq)).collect());
        let applied = effects.follow(9, events, 11).await.unwrap();
        assert_eq!(applied.applied, 2);
        assert_eq!(effects.in_order("a").await, [4, 5, 6]);
    }
}
