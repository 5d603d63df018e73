//! A consumer's position and the last number of each key, in the consumer's own SQLite file.

use rc_store::{Conn, Migration, Migrations};
use rusqlite::OptionalExtension as _;

use super::{Verdict, gap, judge, mismatch};
use crate::Error;
use crate::error::Moved;
use crate::event::{Event, Seq};

/// The consumer's tables.
pub const MIGRATIONS: Migrations = Migrations::new(
    "consumer",
    &[Migration {
        number: 1,
        name: "create_consumer",
        up: "CREATE TABLE consumer_positions (
    consumer TEXT PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE consumer_keys (
    consumer TEXT NOT NULL,
    tenant TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    kseq INTEGER NOT NULL,
    id BLOB NOT NULL,
    PRIMARY KEY (consumer, tenant, topic, key)
) STRICT, WITHOUT ROWID",
        down: "DROP TABLE consumer_positions; DROP TABLE consumer_keys",
    }],
);

const POSITION: &str = "SELECT seq FROM consumer_positions WHERE consumer = ?1";
const SET_POSITION: &str = "INSERT INTO consumer_positions (consumer, seq) VALUES (?1, ?2)
     ON CONFLICT (consumer) DO UPDATE SET seq = excluded.seq";
const LAST: &str =
    "SELECT kseq, id FROM consumer_keys WHERE consumer = ?1 AND tenant = ?2 AND topic = ?3 AND key = ?4";
const SET_LAST: &str = "INSERT INTO consumer_keys (consumer, tenant, topic, key, kseq, id)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6)
     ON CONFLICT (consumer, tenant, topic, key) DO UPDATE SET kseq = excluded.kseq, id = excluded.id";

/// Where the consumer is; for [`super::Projection::position`].
///
/// # Errors
/// As SQLite says.
pub fn position(conn: &Conn, consumer: &str) -> Result<Seq, rc_store::Error> {
    let seq = conn
        .prepare_cached(POSITION)?
        .query_row([consumer], |row| row.get(0))
        .optional()?;
    Ok(seq.unwrap_or(0))
}

/// Everything of [`super::Projection::apply`] but the effects: checks that the consumer is at `from`,
/// moves it to `upto`, judges each event by its key's number, and returns those that must take effect, in
/// order. Call it in the transaction that holds the effects.
///
/// # Errors
/// [`Error::Moved`], [`Error::Gap`] or [`Error::Mismatch`] inside the store's error: the transaction must
/// be rolled back, which `?` in a store job does.
pub fn admit<'e>(
    conn: &Conn,
    consumer: &str,
    from: Seq,
    events: &'e [Event],
    upto: Seq,
) -> Result<Vec<&'e Event>, rc_store::Error> {
    let stored = position(conn, consumer)?;
    if stored != from {
        return Err(Error::Moved(Box::new(Moved {
            consumer: consumer.to_owned(),
            expected: from,
            stored,
        }))
        .into());
    }
    let mut last = conn.prepare_cached(LAST)?;
    let mut set_last = conn.prepare_cached(SET_LAST)?;
    let mut fresh = Vec::with_capacity(events.len());
    for event in events {
        let place = (consumer, event.tenant.as_str(), &*event.topic, event.key.as_str());
        let known: Option<(i64, Vec<u8>)> = last
            .query_row(place, |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (seen, id) = known.unwrap_or_default();
        let seen = seen.cast_unsigned();
        match judge(seen, event.kseq, event.numbering) {
            Verdict::Apply => {
                set_last.execute((
                    place.0,
                    place.1,
                    place.2,
                    place.3,
                    event.kseq.cast_signed(),
                    &event.id.as_bytes()[..],
                ))?;
                fresh.push(event);
            }
            Verdict::Duplicate if event.kseq == seen && id != event.id.as_bytes() => {
                return Err(mismatch(event).into());
            }
            Verdict::Duplicate => {}
            Verdict::Gap => return Err(gap(event, seen).into()),
        }
    }
    conn.prepare_cached(SET_POSITION)?.execute((consumer, upto))?;
    Ok(fresh)
}
