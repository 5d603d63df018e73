//! [`Books`] in SQLite.

use bytes::Bytes;
use rc_model::Timestamp;
use rc_store::{Conn, Sqlite};

use super::{jobs, letters};
use crate::bus::BusId;
use crate::consumer::batch::Condemned;
use crate::consumer::books::{Books, Entered, Head};
use crate::consumer::rules;
use crate::event::{Place, Seq};
use crate::letters::{Letter, LetterCounts, LetterFailed, LetterFilter};
use crate::replay::{Job, JobState, NewJob};
use crate::{BoxFuture, Error};

const LANES: &str = "SELECT lane, bus, seq FROM consumer_positions WHERE consumer = ?1 ORDER BY lane";
const CLEAR: &str = "DELETE FROM consumer_positions WHERE consumer = ?1";
const PUT: &str = "INSERT INTO consumer_positions (consumer, lane, bus, seq) VALUES (?1, ?2, ?3, ?4)";

/// A consumer's books in its own SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteBooks {
    db: Sqlite,
    consumer: String,
}

impl SqliteBooks {
    /// The books of `consumer` in `db`, whose tables are [`super::MIGRATIONS`].
    #[must_use]
    pub fn new(db: Sqlite, consumer: impl Into<String>) -> Self {
        Self {
            db,
            consumer: consumer.into(),
        }
    }

    fn read<T: Send + 'static>(
        &self,
        op: &'static str,
        job: impl FnOnce(&Conn, &str) -> Result<T, rc_store::Error> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, Error>> {
        let consumer = self.consumer.clone();
        Box::pin(async move { Ok(self.db.read(op, move |conn| job(conn, &consumer)).await?) })
    }

    fn write<T: Send + 'static>(
        &self,
        op: &'static str,
        job: impl FnOnce(&Conn, &str) -> Result<T, rc_store::Error> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, Error>> {
        let consumer = self.consumer.clone();
        Box::pin(async move { Ok(self.db.write(op, move |conn| job(conn, &consumer)).await?) })
    }
}

fn lanes(conn: &Conn, consumer: &str) -> Result<Vec<(String, Seq)>, rc_store::Error> {
    let mut select = conn.prepare_cached(LANES)?;
    let rows = select.query_map([consumer], |row| Ok((row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn enter(
    conn: &Conn,
    consumer: &str,
    bus: &BusId,
    count: u16,
    start: Seq,
) -> Result<Entered, rc_store::Error> {
    let stored = lanes(conn, consumer)?;
    let (entered, write) = rules::enter(&stored, bus, count, start);
    if write {
        conn.prepare_cached(CLEAR)?.execute([consumer])?;
        let mut put = conn.prepare_cached(PUT)?;
        for (lane, seq) in (0_u16..).zip(&entered.positions) {
            put.execute((consumer, lane, bus.as_str(), seq))?;
        }
    }
    Ok(entered)
}

impl Books for SqliteBooks {
    fn consumer(&self) -> &str {
        &self.consumer
    }

    fn enter<'a>(&'a self, bus: &'a BusId, lanes: u16, start: Seq) -> BoxFuture<'a, Result<Entered, Error>> {
        let bus = bus.clone();
        self.write("consumer.enter", move |conn, consumer| {
            enter(conn, consumer, &bus, lanes, start)
        })
    }

    fn position(&self) -> BoxFuture<'_, Result<Option<(BusId, Seq)>, Error>> {
        self.read("consumer.position", |conn, consumer| {
            let lanes = lanes(conn, consumer)?;
            let lowest = lanes.into_iter().min_by_key(|(_, seq)| *seq);
            Ok(lowest.map(|(bus, seq)| (BusId::new(bus), seq)))
        })
    }

    fn list<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<Vec<Letter>, Error>> {
        let filter = filter.clone();
        self.read("letters.list", move |conn, consumer| {
            letters::list(conn, consumer, &filter)
        })
    }

    fn get(&self, number: i64) -> BoxFuture<'_, Result<Option<Letter>, Error>> {
        self.read("letters.get", move |conn, consumer| {
            letters::get(conn, consumer, number)
        })
    }

    fn count<'a>(&'a self, filter: &'a LetterFilter) -> BoxFuture<'a, Result<LetterCounts, Error>> {
        let filter = filter.clone();
        self.read("letters.count", move |conn, consumer| {
            letters::count(conn, consumer, &filter)
        })
    }

    fn head<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<Option<Head>, Error>> {
        let place = place.clone();
        self.read("letters.head", move |conn, consumer| {
            letters::head(conn, consumer, &place)
        })
    }

    fn ready(&self) -> BoxFuture<'_, Result<Vec<Place>, Error>> {
        self.read("letters.ready", letters::ready)
    }

    fn set_edited(
        &self,
        number: i64,
        last: Timestamp,
        edited: Option<Bytes>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, Error>> {
        self.write("letters.edit", move |conn, consumer| {
            letters::set_edited(conn, consumer, (number, last), edited.as_deref(), now)
        })
    }

    fn failed<'a>(
        &'a self,
        number: i64,
        why: &'a Condemned,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<LetterFailed, Error>> {
        let why = why.clone();
        self.write("letters.failed", move |conn, consumer| {
            letters::failed(conn, consumer, number, &why, now)
        })
    }

    fn give_up<'a>(&'a self, filter: &'a LetterFilter, now: Timestamp) -> BoxFuture<'a, Result<u64, Error>> {
        let filter = filter.clone();
        self.write("letters.drop", move |conn, consumer| {
            letters::give_up(conn, consumer, &filter, now)
        })
    }

    fn start<'a>(&'a self, job: &'a NewJob, now: Timestamp) -> BoxFuture<'a, Result<Job, Error>> {
        let job = job.clone();
        self.write("replay.start", move |conn, consumer| {
            jobs::start(conn, consumer, &job, now)
        })
    }

    fn jobs(&self) -> BoxFuture<'_, Result<Vec<Job>, Error>> {
        self.read("replay.list", jobs::jobs)
    }

    fn end<'a>(
        &'a self,
        number: i64,
        state: JobState,
        why: &'a str,
        now: Timestamp,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        let why = why.to_owned();
        self.write("replay.end", move |conn, consumer| {
            jobs::end(conn, consumer, number, state, &why, now)
        })
    }
}
