//! Parked events in SQLite: table `outbox_parked` beside the outbox.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use rc_model::Timestamp;
use rc_store::{Conn, Sqlite};
use rusqlite::{OptionalExtension as _, Row, params};

use super::{Fate, Parked, check_room, fates, reason};
use crate::bus::Record;
use crate::error::Refused;
use crate::event::Place;
use crate::letters::{Letter, LetterFilter, LetterState};
use crate::{BoxFuture, Error, faults};

/// The table; see `rc_outbox::postgres::PARKED`.
pub(crate) const TABLE: &str = "CREATE TABLE outbox_parked (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    origin TEXT NOT NULL,
    pos INTEGER NOT NULL,
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
    edited BLOB,
    state TEXT NOT NULL,
    class TEXT NOT NULL,
    code TEXT NOT NULL,
    why TEXT NOT NULL,
    replays INTEGER NOT NULL DEFAULT 0,
    same_error INTEGER NOT NULL DEFAULT 0,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    releases TEXT NOT NULL DEFAULT '',
    UNIQUE (origin, tenant, topic, key, kseq)
) STRICT";

const COLUMNS: &str =
    "number, pos, tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent,
    CASE WHEN ?2 THEN payload ELSE x'' END, CASE WHEN ?2 THEN edited END,
    state, class, code, why, replays, same_error, first_ms, last_ms";

const ANY: &str = "SELECT EXISTS (SELECT 1 FROM outbox_parked WHERE origin = ?1)";
const KNOWN: &str = "SELECT kseq, state <> 'gone' FROM outbox_parked
     WHERE origin = ?1 AND tenant = ?2 AND topic = ?3 AND key = ?4";
const COUNT: &str = "SELECT count(*) FROM outbox_parked WHERE origin = ?1 AND state <> 'gone'";
const PARK: &str = "INSERT INTO outbox_parked
        (origin, pos, tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload,
         state, class, code, why, first_ms, last_ms)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?18)";
const LETTERS: &str = " FROM outbox_parked
     WHERE origin = ?1 AND state <> 'gone' AND number > ?3
       AND (?4 = '' OR instr(?4, ',' || number || ',') > 0)
       AND (?5 IS NULL OR tenant = ?5) AND (?6 IS NULL OR topic = ?6)
       AND (?7 IS NULL OR key = ?7) AND (?8 IS NULL OR type = ?8)
       AND (?9 IS NULL OR class = ?9) AND (?10 IS NULL OR state = ?10)
       AND (?11 IS NULL OR first_ms >= ?11) AND (?12 IS NULL OR first_ms < ?12)
     ORDER BY number LIMIT ?13";
const FIRST: &str = " FROM outbox_parked WHERE origin = ?1 AND state <> 'gone'
       AND tenant = ?3 AND topic = ?4 AND key = ?5 ORDER BY kseq LIMIT 1";
const CLAIM: &str = "UPDATE outbox_parked SET releases = releases || ' ' || ?3
     WHERE origin = ?1 AND number = ?2 AND state <> 'gone'";
const SETTLE: &str = "UPDATE outbox_parked SET state = 'gone', last_ms = ?3, payload = x'', edited = NULL
     WHERE origin = ?1 AND state <> 'gone' AND instr(releases, ?2) > 0";
const UPDATE: &str = "UPDATE outbox_parked SET state = ?3, class = ?4, code = ?5, why = ?6, replays = ?7,
        same_error = ?8, last_ms = ?9, edited = CASE WHEN ?10 THEN ?11 ELSE edited END
     WHERE origin = ?1 AND number = ?2 AND state <> 'gone'";
const SWEEP: &str = "DELETE FROM outbox_parked WHERE origin = ?1 AND state = 'gone'
       AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.pos = outbox_parked.pos)";

/// The parked events of one origin.
#[derive(Debug, Clone)]
pub(crate) struct SqliteParked {
    db: Sqlite,
    origin: String,
}

impl SqliteParked {
    pub(crate) fn new(db: Sqlite, origin: &str) -> Self {
        Self {
            db,
            origin: origin.to_owned(),
        }
    }
}

/// The numbers of a filter as a text in which each stands between commas; empty for any.
pub(super) fn numbers(filter: &LetterFilter) -> String {
    if filter.numbers.is_empty() {
        return String::new();
    }
    let mut text = String::from(",");
    for number in &filter.numbers {
        text.push_str(&format!("{number},"));
    }
    text
}

fn tried() -> impl FnOnce(rc_store::Error) -> Error {
    Error::from_store("failed to reach the relay's letters")
}

impl Parked for SqliteParked {
    fn any(&self) -> BoxFuture<'_, Result<bool, Error>> {
        let origin = self.origin.clone();
        Box::pin(async move {
            self.db
                .read("parked.any", move |conn| {
                    Ok(conn.prepare_cached(ANY)?.query_row([origin], |row| row.get(0))?)
                })
                .await
                .map_err(tried())
        })
    }

    fn hold_back(
        &self,
        records: Vec<Record>,
        refused: Option<Refused>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<Vec<Record>, Error>> {
        let origin = self.origin.clone();
        Box::pin(async move {
            faults::point("relay.before_park");
            let publish = self
                .db
                .write_alone("parked.hold_back", move |conn| {
                    park(conn, &origin, records, refused.as_ref(), now)
                })
                .await
                .map_err(Error::from_store("failed to set events aside"))?;
            faults::point("relay.after_park");
            Ok(publish)
        })
    }

    fn letters<'a>(
        &'a self,
        filter: &'a LetterFilter,
        whole: bool,
    ) -> BoxFuture<'a, Result<Vec<Letter>, Error>> {
        let (origin, filter) = (self.origin.clone(), filter.clone());
        Box::pin(async move {
            self.db
                .read("parked.letters", move |conn| {
                    let mut select = conn.prepare_cached(&format!("SELECT {COLUMNS}{LETTERS}"))?;
                    let mut rows = select.query(params![
                        origin,
                        whole,
                        filter.after,
                        numbers(&filter),
                        filter.tenant.as_ref().map(|tenant| tenant.as_str()),
                        filter.topic,
                        filter.key,
                        filter.event_type,
                        filter.class,
                        filter.state.map(|state| state.as_str()),
                        filter.since.map(|at| at.unix_ms()),
                        filter.until.map(|at| at.unix_ms()),
                        i64::try_from(filter.rows()).unwrap_or(i64::MAX),
                    ])?;
                    let mut letters = Vec::new();
                    while let Some(row) = rows.next()? {
                        letters.push(letter_of(row, &origin)?);
                    }
                    Ok(letters)
                })
                .await
                .map_err(tried())
        })
    }

    fn first<'a>(&'a self, place: &'a Place) -> BoxFuture<'a, Result<Option<Letter>, Error>> {
        let (origin, place) = (self.origin.clone(), place.clone());
        Box::pin(async move {
            self.db
                .read("parked.first", move |conn| {
                    let mut select = conn.prepare_cached(&format!("SELECT {COLUMNS}{FIRST}"))?;
                    let key = params![origin, true, place.tenant.as_str(), &*place.topic, place.key];
                    let mut rows = select.query(key)?;
                    Ok(match rows.next()? {
                        Some(row) => Some(letter_of(row, &origin)?),
                        None => None,
                    })
                })
                .await
                .map_err(tried())
        })
    }

    fn claim<'a>(&'a self, number: i64, token: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
        let (origin, token) = (self.origin.clone(), token.to_owned());
        Box::pin(async move {
            self.db
                .write("parked.claim", move |conn| {
                    Ok(conn.prepare_cached(CLAIM)?.execute((origin, number, token))? == 1)
                })
                .await
                .map_err(tried())
        })
    }

    fn settle<'a>(&'a self, token: &'a str, now: Timestamp) -> BoxFuture<'a, Result<(), Error>> {
        let (origin, token) = (self.origin.clone(), token.to_owned());
        Box::pin(async move {
            self.db
                .write("parked.settle", move |conn| {
                    conn.prepare_cached(SETTLE)?
                        .execute((origin, token, now.unix_ms()))?;
                    Ok(())
                })
                .await
                .map_err(tried())
        })
    }

    fn update<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), Error>> {
        let (origin, letter) = (self.origin.clone(), letter.clone());
        Box::pin(async move {
            let number = letter.number;
            let changed = self
                .db
                .write("parked.update", move |conn| {
                    // A letter that was listed without its payload must not lose its edit.
                    let whole = !letter.event.payload.is_empty();
                    Ok(conn.prepare_cached(UPDATE)?.execute(params![
                        origin,
                        letter.number,
                        letter.state.as_str(),
                        &*letter.class,
                        letter.code,
                        letter.why,
                        letter.replays,
                        letter.same_error,
                        letter.last.unix_ms(),
                        whole,
                        letter.edited.as_deref(),
                    ])?)
                })
                .await
                .map_err(tried())?;
            if changed == 0 {
                return Err(Error::letter(format!("letter {number} is gone")));
            }
            Ok(())
        })
    }

    fn sweep(&self) -> BoxFuture<'_, Result<(), Error>> {
        let origin = self.origin.clone();
        Box::pin(async move {
            self.db
                .write("parked.sweep", move |conn| {
                    conn.prepare_cached(SWEEP)?.execute([origin])?;
                    Ok(())
                })
                .await
                .map_err(tried())
        })
    }
}

fn park(
    conn: &Conn,
    origin: &str,
    records: Vec<Record>,
    refused: Option<&Refused>,
    now: Timestamp,
) -> Result<Vec<Record>, rc_store::Error> {
    let (mut known, mut held) = (HashSet::new(), HashSet::new());
    let mut of_key: HashMap<Place, u64> = HashMap::new();
    let places: HashSet<Place> = records.iter().map(|record| record.event.place()).collect();
    for place in places {
        let mut select = conn.prepare_cached(KNOWN)?;
        let mut rows = select.query((origin, place.tenant.as_str(), &*place.topic, &place.key))?;
        while let Some(row) = rows.next()? {
            known.insert((place.clone(), row.get::<_, i64>(0)?.cast_unsigned()));
            if row.get(1)? {
                held.insert(place.clone());
                *of_key.entry(place.clone()).or_default() += 1;
            }
        }
    }
    let all: Option<i64> = conn
        .prepare_cached(COUNT)?
        .query_row([origin], |row| row.get(0))
        .optional()?;
    let mut all = all.unwrap_or(0).cast_unsigned();
    let fates = fates(&records, refused.map(|refused| refused.index), &known, &held);
    let mut publish = Vec::new();
    for (record, fate) in records.into_iter().zip(fates) {
        match fate {
            Fate::Publish => publish.push(record),
            Fate::Known => {}
            Fate::Refuse | Fate::Wait => {
                let of_key = of_key.entry(record.event.place()).or_default();
                *of_key += 1;
                all += 1;
                check_room(all, *of_key)?;
                insert(conn, origin, &record, fate, refused, now)?;
            }
        }
    }
    Ok(publish)
}

fn insert(
    conn: &Conn,
    origin: &str,
    record: &Record,
    fate: Fate,
    refused: Option<&Refused>,
    now: Timestamp,
) -> Result<(), rc_store::Error> {
    let event = &record.event;
    let (state, class, code, why) = reason(fate, refused);
    conn.prepare_cached(PARK)?.execute(params![
        origin,
        record.origin_pos,
        event.tenant.as_str(),
        &*event.topic,
        event.key,
        event.kseq.cast_signed(),
        &event.id.as_bytes()[..],
        &event.fingerprint[..],
        &*event.event_type,
        event.schema,
        event.time.unix_ms(),
        event.trace.map(|trace| trace.to_string()),
        &event.payload[..],
        state.as_str(),
        class,
        code,
        why,
        now.unix_ms(),
    ])?;
    Ok(())
}

fn letter_of(row: &Row<'_>, origin: &str) -> Result<Letter, rc_store::Error> {
    let state: String = row.get(14)?;
    Ok(Letter {
        number: row.get(0)?,
        holder: origin.to_owned(),
        pos: row.get(1)?,
        event: crate::bus::sqlite::event_of(row, 2)?,
        edited: row.get::<_, Option<Vec<u8>>>(13)?.map(Bytes::from),
        state: LetterState::parse(&state)
            .ok_or_else(|| Error::damaged(format!("a letter in state `{state}`")))?,
        class: Cow::Owned(row.get(15)?),
        code: row.get(16)?,
        why: row.get(17)?,
        attempts: 1,
        replays: row.get(18)?,
        same_error: row.get(19)?,
        first: Timestamp::from_unix_ms(row.get(20)?),
        last: Timestamp::from_unix_ms(row.get(21)?),
    })
}
