//! A consumer's positions, the last number of each key, its letters and its replays, in the consumer's own
//! SQLite file.

mod books;
mod handover;
mod jobs;
mod letters;

use std::collections::{HashMap, HashSet};

use rc_store::{Conn, Migration, Migrations};
use rusqlite::OptionalExtension as _;
use uuid::Uuid;

pub use books::SqliteBooks;
pub use handover::{key, keys_after, take_key};

use super::batch::{Admitted, Batch, Step};
use super::decide::{self, Decided, Known, Names, names};
use super::rules;
use crate::event::Seq;

/// The consumer's tables.
pub const MIGRATIONS: Migrations = Migrations::new(
    "consumer",
    &[
        Migration {
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
        },
        // An empty bus: the one that is there when the consumer starts; the former layout did not say.
        Migration {
            number: 2,
            name: "add_lanes_letters_jobs",
            up: "CREATE TABLE consumer_lanes (
    consumer TEXT NOT NULL,
    lane INTEGER NOT NULL,
    bus TEXT NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (consumer, lane)
) STRICT, WITHOUT ROWID;
INSERT INTO consumer_lanes (consumer, lane, bus, seq) SELECT consumer, 0, '', seq FROM consumer_positions;
DROP TABLE consumer_positions;
ALTER TABLE consumer_lanes RENAME TO consumer_positions;
ALTER TABLE consumer_keys ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
CREATE TABLE dead_letters (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    consumer TEXT NOT NULL,
    tenant TEXT NOT NULL,
    topic TEXT NOT NULL,
    key TEXT NOT NULL,
    kseq INTEGER NOT NULL,
    id BLOB NOT NULL,
    fingerprint BLOB NOT NULL,
    type TEXT NOT NULL,
    schema INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    traceparent TEXT,
    payload BLOB NOT NULL,
    numbering INTEGER NOT NULL,
    pos INTEGER NOT NULL,
    edited BLOB,
    state TEXT NOT NULL,
    class TEXT NOT NULL,
    code TEXT NOT NULL,
    why TEXT NOT NULL,
    error INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    replays INTEGER NOT NULL DEFAULT 0,
    same_error INTEGER NOT NULL DEFAULT 0,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX dead_letters_place ON dead_letters (consumer, tenant, topic, key, kseq);
CREATE TABLE consumer_jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    consumer TEXT NOT NULL,
    bus TEXT NOT NULL,
    filter TEXT NOT NULL,
    rate INTEGER,
    reason TEXT NOT NULL,
    plan TEXT NOT NULL,
    matched INTEGER NOT NULL,
    first INTEGER NOT NULL,
    at INTEGER NOT NULL,
    upto INTEGER NOT NULL,
    applied INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL,
    why TEXT NOT NULL DEFAULT '',
    began_ms INTEGER NOT NULL,
    ended_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX consumer_jobs_running ON consumer_jobs (consumer) WHERE state = 'running'",
            // The former layout has no letters: it reads the bus again from the first of them.
            down: "CREATE TABLE consumer_places (
    consumer TEXT PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO consumer_places (consumer, seq)
SELECT p.consumer, min(min(p.seq),
    coalesce((SELECT max(min(d.pos) - 1, 0) FROM dead_letters d
              WHERE d.consumer = p.consumer AND d.state <> 'skipped'), min(p.seq)))
FROM consumer_positions p GROUP BY p.consumer;
DROP TABLE consumer_positions;
ALTER TABLE consumer_places RENAME TO consumer_positions;
ALTER TABLE consumer_keys DROP COLUMN held;
DROP TABLE dead_letters;
DROP TABLE consumer_jobs",
        },
    ],
);

const POSITION: &str = "SELECT min(seq) FROM consumer_positions WHERE consumer = ?1";
const LANE: &str = "SELECT bus, seq FROM consumer_positions WHERE consumer = ?1 AND lane = ?2";
const SET_LANE: &str = "UPDATE consumer_positions SET seq = ?3 WHERE consumer = ?1 AND lane = ?2";
const FIRST_LANE: &str = "INSERT INTO consumer_positions (consumer, lane, bus, seq) VALUES (?1, ?2, ?3, 0)
     ON CONFLICT (consumer, lane) DO NOTHING";
const LAST: &str = "SELECT kseq, id, held FROM consumer_keys
     WHERE consumer = ?1 AND tenant = ?2 AND topic = ?3 AND key = ?4";
const SET_LAST: &str = "INSERT INTO consumer_keys (consumer, tenant, topic, key, kseq, id, held)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
     ON CONFLICT (consumer, tenant, topic, key)
     DO UPDATE SET kseq = excluded.kseq, id = excluded.id, held = excluded.held";

/// Where the consumer is: its lowest lane; 0 before the first event.
///
/// # Errors
/// As SQLite says.
pub fn position(conn: &Conn, consumer: &str) -> Result<Seq, rc_store::Error> {
    let seq: Option<Seq> = conn
        .prepare_cached(POSITION)?
        .query_row([consumer], |row| row.get(0))?;
    Ok(seq.unwrap_or(0))
}

/// Everything of [`super::Projection::apply`] but the effects: checks that nobody else has moved the
/// consumer, judges each event by its key's number, sets aside what cannot be applied and what waits behind
/// it, moves the position, and returns what must take effect, in order. Call it in the transaction that holds
/// the effects.
///
/// # Errors
/// [`crate::Error::Moved`], `Gap`, `Mismatch`, `Full` and others inside the store's
/// error: the transaction must be rolled back, which `?` in a store job does.
pub fn admit<'b>(conn: &Conn, batch: &'b Batch) -> Result<Admitted<'b>, rc_store::Error> {
    let decided = match &batch.step {
        Step::Follow { from, upto } => {
            stand(conn, batch, Some(*from))?;
            let decided = follow(conn, batch)?;
            conn.prepare_cached(SET_LANE)?
                .execute((&*batch.consumer, batch.lane.index, upto))?;
            decided
        }
        Step::Fill => {
            stand(conn, batch, None)?;
            follow(conn, batch)?
        }
        Step::Letter { number, last } => {
            stand(conn, batch, None)?;
            let held = letters::held(conn, batch, *number, *last)?;
            let known = match batch.events() {
                [event] => known_of(conn, &batch.consumer, names(event))?.unwrap_or_default(),
                _ => Known::default(),
            };
            let decided = decide::letter(batch, known, held)?;
            letters::remove(conn, *number)?;
            set_keys(conn, &batch.consumer, &decided)?;
            decided
        }
        Step::History {
            job,
            from,
            upto,
            failed,
        } => {
            let known = known(conn, batch)?;
            let decided = decide::history(batch, &known);
            jobs::advance(
                conn,
                batch,
                *job,
                (*from, *upto),
                decided.applied.applied,
                *failed,
            )?;
            decided
        }
    };
    Ok(Admitted {
        fresh: decided.fresh,
        applied: decided.applied,
    })
}

/// Checks that the lane stands at `from` on this bus; with `None`, that it is there.
fn stand(conn: &Conn, batch: &Batch, from: Option<Seq>) -> Result<(), rc_store::Error> {
    conn.prepare_cached(FIRST_LANE)?
        .execute((&*batch.consumer, batch.lane.index, batch.bus.as_str()))?;
    let (bus, stored): (String, Seq) = conn
        .prepare_cached(LANE)?
        .query_row((&*batch.consumer, batch.lane.index), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    Ok(rules::check_stand(batch, &bus, stored, from)?)
}

fn follow<'b>(conn: &Conn, batch: &'b Batch) -> Result<Decided<'b>, rc_store::Error> {
    let known = known(conn, batch)?;
    let mut open = HashMap::new();
    for (place, key) in &known {
        if key.has_letters() {
            open.insert(*place, letters::open(conn, &batch.consumer, *place)?);
        }
    }
    let decided = decide::follow(batch, known, open)?;
    if !decided.letters.is_empty() {
        letters::store(conn, batch, &decided.letters)?;
    }
    set_keys(conn, &batch.consumer, &decided)?;
    Ok(decided)
}

fn known<'b>(conn: &Conn, batch: &'b Batch) -> Result<HashMap<Names<'b>, Known>, rc_store::Error> {
    let mut known = HashMap::new();
    let mut unseen: HashSet<Names<'b>> = HashSet::new();
    for event in batch.events() {
        let place = names(event);
        if known.contains_key(&place) || unseen.contains(&place) {
            continue;
        }
        match known_of(conn, &batch.consumer, place)? {
            Some(key) => {
                known.insert(place, key);
            }
            None => {
                unseen.insert(place);
            }
        }
    }
    Ok(known)
}

fn known_of(conn: &Conn, consumer: &str, place: Names<'_>) -> Result<Option<Known>, rc_store::Error> {
    Ok(conn
        .prepare_cached(LAST)?
        .query_row((consumer, place.0, place.1, place.2), |row| {
            let id: [u8; 16] = row.get(1)?;
            Ok(Known {
                last: row.get::<_, i64>(0)?.cast_unsigned(),
                id: Uuid::from_bytes(id),
                held: row.get::<_, i64>(2)?.cast_unsigned(),
            })
        })
        .optional()?)
}

fn set_keys(conn: &Conn, consumer: &str, decided: &Decided<'_>) -> Result<(), rc_store::Error> {
    let mut set = conn.prepare_cached(SET_LAST)?;
    for (place, key) in &decided.keys {
        set.execute((
            consumer,
            place.0,
            place.1,
            place.2,
            key.last.cast_signed(),
            &key.id.as_bytes()[..],
            key.held.cast_signed(),
        ))?;
    }
    Ok(())
}
