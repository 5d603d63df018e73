//! [`Books`] in PostgreSQL.

use bytes::Bytes;
use rc_model::Timestamp;
use rc_store::{Postgres, SystemTx};

use super::{jobs, letters};
use crate::bus::BusId;
use crate::consumer::batch::Condemned;
use crate::consumer::books::{Books, Entered, Head};
use crate::consumer::rules;
use crate::event::{Place, Seq};
use crate::letters::{Letter, LetterCounts, LetterFailed, LetterFilter};
use crate::replay::{Job, JobState, NewJob};
use crate::{BoxFuture, Error};

const LANES: &str = "SELECT lane, bus, seq FROM consumer_positions WHERE consumer = $1 ORDER BY lane";
const LOCK_LANES: &str =
    "SELECT lane, bus, seq FROM consumer_positions WHERE consumer = $1 ORDER BY lane FOR UPDATE";
const CLEAR: &str = "DELETE FROM consumer_positions WHERE consumer = $1";
const PUT: &str = "INSERT INTO consumer_positions (consumer, lane, bus, seq)
     SELECT $1, n - 1, $2, seq FROM unnest($3::bigint[]) WITH ORDINALITY AS p (seq, n)";

/// A consumer's books in its own PostgreSQL schema.
#[derive(Debug, Clone)]
pub struct PostgresBooks {
    db: Postgres,
    consumer: String,
}

impl PostgresBooks {
    /// The books of `consumer` in `db`, whose tables are [`super::MIGRATIONS`].
    #[must_use]
    pub fn new(db: Postgres, consumer: impl Into<String>) -> Self {
        Self {
            db,
            consumer: consumer.into(),
        }
    }
}

async fn lanes(tx: &SystemTx<'_>, sql: &str, consumer: &str) -> Result<Vec<(String, Seq)>, rc_store::Error> {
    let rows = tx.query(sql, &[&consumer]).await?;
    rows.iter()
        .map(|row| Ok((row.try_get(1)?, row.try_get(2)?)))
        .collect()
}

/// Runs `$work` in a transaction that sees every tenant, and commits it.
macro_rules! in_tx {
    ($books:expr, |$tx:ident| $work:expr) => {
        Box::pin(async move {
            let done = async {
                let mut client = $books.db.client().await?;
                let $tx = client.system().await?;
                let done = $work?;
                $tx.commit().await?;
                Ok::<_, rc_store::Error>(done)
            };
            done.await.map_err(Error::from)
        })
    };
}

impl Books for PostgresBooks {
    fn consumer(&self) -> &str {
        &self.consumer
    }

    fn enter<'a>(&'a self, bus: &'a BusId, count: u16, start: Seq) -> BoxFuture<'a, Result<Entered, Error>> {
        in_tx!(self, |tx| {
            let stored = lanes(&tx, LOCK_LANES, &self.consumer).await?;
            let (entered, write) = rules::enter(&stored, bus, count, start);
            if write {
                tx.execute(CLEAR, &[&self.consumer]).await?;
                tx.execute(PUT, &[&self.consumer, &bus.as_str(), &entered.positions])
                    .await?;
            }
            Ok::<_, rc_store::Error>(entered)
        })
    }

    fn position(&self) -> BoxFuture<'_, Result<Option<(BusId, Seq)>, Error>> {
        in_tx!(self, |tx| {
            let lanes = lanes(&tx, LANES, &self.consumer).await?;
            let lowest = lanes.into_iter().min_by_key(|(_, seq)| *seq);
            Ok::<_, rc_store::Error>(lowest.map(|(bus, seq)| (BusId::new(bus), seq)))
        })
    }

    fn list<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<Vec<Letter>, Error>> {
        in_tx!(self, |tx| letters::list(&tx, &self.consumer, filter).await)
    }

    fn get(&self, number: i64) -> BoxFuture<'_, Result<Option<Letter>, Error>> {
        in_tx!(self, |tx| letters::get(&tx, &self.consumer, number).await)
    }

    fn count<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<LetterCounts, Error>> {
        in_tx!(self, |tx| letters::count(&tx, &self.consumer, filter).await)
    }

    fn head<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<Option<Head>, Error>> {
        in_tx!(self, |tx| letters::head(&tx, &self.consumer, place).await)
    }

    fn ready(&self) -> BoxFuture<'_, Result<Vec<Place>, Error>> {
        in_tx!(self, |tx| letters::ready(&tx, &self.consumer).await)
    }

    fn set_edited(
        &self,
        number: i64,
        last: Timestamp,
        edited: Option<Bytes>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, Error>> {
        in_tx!(self, |tx| {
            letters::set_edited(&tx, &self.consumer, (number, last), edited.as_deref(), now).await
        })
    }

    fn failed<'a>(
        &'a self,
        number: i64,
        why: &'a Condemned,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<LetterFailed, Error>> {
        in_tx!(self, |tx| letters::failed(&tx, &self.consumer, number, why, now)
            .await)
    }

    fn give_up<'a>(&'a self, filter: &'a LetterFilter, now: Timestamp) -> BoxFuture<'a, Result<u64, Error>> {
        in_tx!(self, |tx| letters::give_up(&tx, &self.consumer, filter, now)
            .await)
    }

    fn start<'a>(&'a self, job: &'a NewJob, now: Timestamp) -> BoxFuture<'a, Result<Job, Error>> {
        in_tx!(self, |tx| jobs::start(&tx, &self.consumer, job, now).await)
    }

    fn jobs(&self) -> BoxFuture<'_, Result<Vec<Job>, Error>> {
        in_tx!(self, |tx| jobs::jobs(&tx, &self.consumer).await)
    }

    fn end<'a>(
        &'a self,
        number: i64,
        state: JobState,
        why: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        in_tx!(self, |tx| jobs::end(&tx, &self.consumer, number, state, why, now)
            .await)
    }
}
