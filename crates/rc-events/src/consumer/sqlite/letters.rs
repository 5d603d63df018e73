//! The table of letters.

use std::collections::HashSet;

use bytes::Bytes;
use rc_model::{TenantId, Timestamp};
use rc_store::{Conn, Error};
use rusqlite::{OptionalExtension as _, Row, named_params};
use serde_json::json;

use crate::bus::sqlite::event_of;
use crate::consumer::batch::{Batch, Condemned};
use crate::consumer::books::{Head, READY_MAX};
use crate::consumer::decide::{Held, Names, NewLetter};
use crate::consumer::rules;
use crate::event::{Numbering, Place};
use crate::letters::{
    Letter, LetterCounts, LetterFailed, LetterFilter, LetterState, SAME_ERROR_MAX, error_fingerprint,
};

// Every statement by place uses `dead_letters_place`; the others look at all letters of a consumer, of which
// there are at most `LETTERS_MAX`.
const INSERT: &str = "INSERT INTO dead_letters
        (consumer, tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload,
         numbering, pos, state, class, code, why, error, attempts, first_ms, last_ms)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20,
             ?21, ?21)";
const HOW_MANY: &str = "SELECT count(*) FROM dead_letters WHERE consumer = ?1";
const FORGET: &str = "DELETE FROM dead_letters WHERE number IN
     (SELECT number FROM dead_letters WHERE consumer = ?1 AND state = 'skipped' ORDER BY number LIMIT ?2)";
const OPEN: &str = "SELECT kseq FROM dead_letters
     WHERE consumer = ?1 AND tenant = ?2 AND topic = ?3 AND key = ?4 AND state <> 'skipped'";
const OF_NUMBER: &str = "SELECT tenant, topic, key, state, last_ms FROM dead_letters
     WHERE consumer = ?1 AND number = ?2";
const ENDS: &str = "SELECT min(kseq), count(*) FROM dead_letters
     WHERE consumer = ?1 AND tenant = ?2 AND topic = ?3 AND key = ?4 AND state <> 'skipped'";
const REMOVE: &str = "DELETE FROM dead_letters WHERE number = ?1";
const LIST: &str =
    "SELECT number, consumer, pos, CASE WHEN edited IS NULL THEN NULL ELSE x'' END, state, class,
        code, why, attempts, replays, same_error, first_ms, last_ms, numbering,
        tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, x''
     FROM dead_letters
     WHERE consumer = :consumer AND number > :after
       AND (:numbers IS NULL OR number IN (SELECT value FROM json_each(:numbers)))
       AND (:tenant IS NULL OR tenant = :tenant) AND (:topic IS NULL OR topic = :topic)
       AND (:key IS NULL OR key = :key) AND (:type IS NULL OR type = :type)
       AND (:class IS NULL OR class = :class) AND (:state IS NULL OR state = :state)
       AND (:since IS NULL OR first_ms >= :since) AND (:until IS NULL OR first_ms < :until)
     ORDER BY number LIMIT :rows";
const COUNT: &str = "SELECT state, class, count(*), min(first_ms) FROM dead_letters
     WHERE consumer = :consumer
       AND (:numbers IS NULL OR number IN (SELECT value FROM json_each(:numbers)))
       AND (:tenant IS NULL OR tenant = :tenant) AND (:topic IS NULL OR topic = :topic)
       AND (:key IS NULL OR key = :key) AND (:type IS NULL OR type = :type)
       AND (:class IS NULL OR class = :class) AND (:state IS NULL OR state = :state)
       AND (:since IS NULL OR first_ms >= :since) AND (:until IS NULL OR first_ms < :until)
     GROUP BY state, class";
const KEYS: &str = "SELECT count(*) FROM (SELECT DISTINCT tenant, topic, key FROM dead_letters
     WHERE consumer = :consumer
       AND (:numbers IS NULL OR number IN (SELECT value FROM json_each(:numbers)))
       AND (:tenant IS NULL OR tenant = :tenant) AND (:topic IS NULL OR topic = :topic)
       AND (:key IS NULL OR key = :key) AND (:type IS NULL OR type = :type)
       AND (:class IS NULL OR class = :class) AND (:state IS NULL OR state = :state)
       AND (:since IS NULL OR first_ms >= :since) AND (:until IS NULL OR first_ms < :until))";
const GET: &str =
    "SELECT number, consumer, pos, edited, state, class, code, why, attempts, replays, same_error,
        first_ms, last_ms, numbering,
        tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload
     FROM dead_letters WHERE consumer = ?1 AND number = ?2";
const HEAD: &str = "SELECT d.number, d.consumer, pos, edited, state, class, code, why, attempts, replays,
        same_error, first_ms, last_ms, numbering,
        d.tenant, d.topic, d.key, d.kseq, d.id, fingerprint, type, schema, time_ms, traceparent, payload,
        coalesce(k.kseq, 0)
     FROM dead_letters d LEFT JOIN consumer_keys k
       ON k.consumer = d.consumer AND k.tenant = d.tenant AND k.topic = d.topic AND k.key = d.key
     WHERE d.consumer = ?1 AND d.tenant = ?2 AND d.topic = ?3 AND d.key = ?4 AND state <> 'skipped'
     ORDER BY d.kseq LIMIT 1";
const READY: &str = "SELECT d.tenant, d.topic, d.key
     FROM dead_letters d JOIN consumer_keys k
       ON k.consumer = d.consumer AND k.tenant = d.tenant AND k.topic = d.topic AND k.key = d.key
     WHERE d.consumer = ?1
       AND (d.state IN ('waiting', 'dropped')
            OR (d.state = 'parked' AND d.class = 'gap' AND d.kseq <= k.kseq + 1))
       AND d.kseq = (SELECT min(e.kseq) FROM dead_letters e
                     WHERE e.consumer = d.consumer AND e.tenant = d.tenant AND e.topic = d.topic
                       AND e.key = d.key AND e.state <> 'skipped')
     ORDER BY d.number LIMIT ?2";
const EDIT: &str = "UPDATE dead_letters SET edited = ?4, same_error = 0, last_ms = max(?5, last_ms + 1),
        state = CASE state WHEN 'stuck' THEN 'parked' ELSE state END
     WHERE consumer = ?1 AND number = ?2 AND last_ms = ?3 AND state <> 'dropped'";
const ERROR: &str = "SELECT error, same_error FROM dead_letters WHERE consumer = ?1 AND number = ?2";
const FAIL: &str = "UPDATE dead_letters SET state = CASE state WHEN 'skipped' THEN state ELSE ?3 END,
        class = ?4, code = ?5, why = ?6, error = ?7, same_error = ?8, replays = replays + 1,
        last_ms = max(?9, last_ms + 1)
     WHERE consumer = ?1 AND number = ?2";
const DROP: &str = "UPDATE dead_letters SET state = 'dropped', last_ms = max(?3, last_ms + 1)
     WHERE consumer = ?1 AND number = ?2 AND state NOT IN ('dropped', 'skipped')";

pub(super) fn store(conn: &Conn, batch: &Batch, letters: &[NewLetter<'_>]) -> Result<(), Error> {
    let stored: i64 = conn
        .prepare_cached(HOW_MANY)?
        .query_row([&*batch.consumer], |row| row.get(0))?;
    let over = rules::letters_over(batch, stored, letters.len());
    if over > 0 {
        // What was skipped is only remembered: it makes room.
        let forgotten = conn.prepare_cached(FORGET)?.execute((&*batch.consumer, over))?;
        rules::check_room(batch, over, forgotten as u64)?;
    }
    let mut insert = conn.prepare_cached(INSERT)?;
    for letter in letters {
        let event = letter.event;
        let trace = event.trace.map(|trace| trace.encode());
        let trace = trace
            .as_ref()
            .map(|text| std::str::from_utf8(text).expect("a traceparent is ASCII"));
        insert.execute(rusqlite::params![
            &*batch.consumer,
            event.tenant.as_str(),
            &*event.topic,
            event.key,
            event.kseq.cast_signed(),
            &event.id.as_bytes()[..],
            &event.fingerprint[..],
            &*event.event_type,
            event.schema,
            event.time.unix_ms(),
            trace,
            &event.payload[..],
            event.numbering.code(),
            event.pos,
            letter.state.as_str(),
            letter.class,
            letter.code,
            letter.why,
            error_fingerprint(letter.class, letter.code, letter.why),
            letter.attempts,
            batch.now.unix_ms(),
        ])?;
    }
    Ok(())
}

pub(super) fn open(conn: &Conn, consumer: &str, place: Names<'_>) -> Result<HashSet<u64>, Error> {
    let mut select = conn.prepare_cached(OPEN)?;
    let rows = select.query_map((consumer, place.0, place.1, place.2), |row| {
        Ok(row.get::<_, i64>(0)?.cast_unsigned())
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The letter that is to be applied, as it was at `last`.
pub(super) fn held(conn: &Conn, batch: &Batch, number: i64, last: Timestamp) -> Result<Held, Error> {
    let found: Option<([String; 3], String, i64)> = conn
        .prepare_cached(OF_NUMBER)?
        .query_row((&*batch.consumer, number), |row| {
            Ok(([row.get(0)?, row.get(1)?, row.get(2)?], row.get(3)?, row.get(4)?))
        })
        .optional()?;
    let Some(([tenant, topic, key], state, _)) = found.filter(|(_, _, last_ms)| *last_ms == last.unix_ms())
    else {
        return Err(rules::letter_changed(number).into());
    };
    let (lowest, open): (Option<i64>, i64) = conn
        .prepare_cached(ENDS)?
        .query_row((&*batch.consumer, tenant, topic, key), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    Ok(Held {
        state: state_of(&state)?,
        lowest: lowest.map(i64::cast_unsigned),
        more: open > 1,
    })
}

pub(super) fn remove(conn: &Conn, number: i64) -> Result<(), Error> {
    conn.prepare_cached(REMOVE)?.execute([number])?;
    Ok(())
}

fn state_of(word: &str) -> Result<LetterState, Error> {
    LetterState::parse(word)
        .ok_or_else(|| crate::Error::damaged(format!("a dead letter has the state `{word}`")).into())
}

fn letter_of(row: &Row<'_>) -> Result<Letter, Error> {
    let numbering: i16 = row.get(13)?;
    let mut event = event_of(row, 14)?;
    event.numbering = Numbering::of_code(numbering)
        .ok_or_else(|| crate::Error::damaged(format!("a dead letter of numbering {numbering}")))?;
    let state: String = row.get(4)?;
    Ok(Letter {
        number: row.get(0)?,
        holder: row.get(1)?,
        pos: row.get(2)?,
        edited: row.get::<_, Option<Vec<u8>>>(3)?.map(Bytes::from),
        state: state_of(&state)?,
        class: row.get::<_, String>(5)?.into(),
        code: row.get(6)?,
        why: row.get(7)?,
        attempts: row.get(8)?,
        replays: row.get(9)?,
        same_error: row.get(10)?,
        first: Timestamp::from_unix_ms(row.get(11)?),
        last: Timestamp::from_unix_ms(row.get(12)?),
        event,
    })
}

/// The parameters of a filter, as the statements name them.
macro_rules! filter_params {
    ($consumer:expr, $filter:expr, $numbers:expr $(, $extra:literal: $value:expr)*) => {
        named_params! {
            ":consumer": $consumer,
            ":numbers": $numbers,
            ":tenant": $filter.tenant.as_ref().map(TenantId::as_str),
            ":topic": $filter.topic,
            ":key": $filter.key,
            ":type": $filter.event_type,
            ":class": $filter.class,
            ":state": $filter.state.map(LetterState::as_str),
            ":since": $filter.since.map(Timestamp::unix_ms),
            ":until": $filter.until.map(Timestamp::unix_ms),
            $($extra: $value,)*
        }
    };
}

fn numbers(filter: &LetterFilter) -> Option<String> {
    (!filter.numbers.is_empty()).then(|| json!(filter.numbers).to_string())
}

pub(super) fn list(conn: &Conn, consumer: &str, filter: &LetterFilter) -> Result<Vec<Letter>, Error> {
    let numbers = numbers(filter);
    let rows_max = i64::try_from(filter.rows()).unwrap_or(i64::MAX);
    let mut select = conn.prepare_cached(LIST)?;
    let mut rows = select.query(filter_params!(
        consumer, filter, numbers, ":after": filter.after, ":rows": rows_max
    ))?;
    let mut letters = Vec::new();
    while let Some(row) = rows.next()? {
        letters.push(letter_of(row)?);
    }
    Ok(letters)
}

pub(super) fn count(conn: &Conn, consumer: &str, filter: &LetterFilter) -> Result<LetterCounts, Error> {
    let numbers = numbers(filter);
    let mut counts = LetterCounts::default();
    let mut select = conn.prepare_cached(COUNT)?;
    let mut rows = select.query(filter_params!(consumer, filter, numbers))?;
    while let Some(row) = rows.next()? {
        let state: String = row.get(0)?;
        let letters = row.get::<_, i64>(2)?.cast_unsigned();
        let oldest = Timestamp::from_unix_ms(row.get(3)?);
        counts.letters += letters;
        counts.oldest = Some(counts.oldest.map_or(oldest, |known| known.min(oldest)));
        counts.of.push((state_of(&state)?, row.get(1)?, letters));
    }
    counts.keys = conn
        .prepare_cached(KEYS)?
        .query_row(filter_params!(consumer, filter, numbers), |row| {
            row.get::<_, i64>(0)
        })?
        .cast_unsigned();
    Ok(counts)
}

pub(super) fn get(conn: &Conn, consumer: &str, number: i64) -> Result<Option<Letter>, Error> {
    let mut select = conn.prepare_cached(GET)?;
    let mut rows = select.query((consumer, number))?;
    rows.next()?.map(letter_of).transpose()
}

pub(super) fn head(conn: &Conn, consumer: &str, place: &Place) -> Result<Option<Head>, Error> {
    let mut select = conn.prepare_cached(HEAD)?;
    let mut rows = select.query((consumer, place.tenant.as_str(), &*place.topic, &place.key))?;
    rows.next()?
        .map(|row| {
            Ok(Head {
                letter: letter_of(row)?,
                last: row.get::<_, i64>(25)?.cast_unsigned(),
            })
        })
        .transpose()
}

pub(super) fn ready(conn: &Conn, consumer: &str) -> Result<Vec<Place>, Error> {
    let mut select = conn.prepare_cached(READY)?;
    let mut rows = select.query((consumer, READY_MAX))?;
    let mut places = Vec::new();
    while let Some(row) = rows.next()? {
        let tenant: String = row.get(0)?;
        places.push(Place {
            tenant: TenantId::new(&tenant)
                .map_err(|error| crate::Error::damaged(format!("tenant `{tenant}`: {error}")))?,
            topic: row.get::<_, String>(1)?.into(),
            key: row.get(2)?,
        });
    }
    Ok(places)
}

pub(super) fn set_edited(
    conn: &Conn,
    consumer: &str,
    (number, last): (i64, Timestamp),
    edited: Option<&[u8]>,
    now: Timestamp,
) -> Result<bool, Error> {
    let changed =
        conn.prepare_cached(EDIT)?
            .execute((consumer, number, last.unix_ms(), edited, now.unix_ms()))?;
    Ok(changed == 1)
}

pub(super) fn failed(
    conn: &Conn,
    consumer: &str,
    number: i64,
    why: &Condemned,
    now: Timestamp,
) -> Result<LetterFailed, Error> {
    let known: Option<(i64, u32)> = conn
        .prepare_cached(ERROR)?
        .query_row((consumer, number), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((error, same_error)) = known else {
        return Err(rules::letter_changed(number).into());
    };
    let found = error_fingerprint(&why.class, &why.code, &why.why);
    let same_error = if found == error { same_error + 1 } else { 1 };
    let stuck = same_error >= SAME_ERROR_MAX;
    let state = if stuck {
        LetterState::Stuck
    } else {
        LetterState::Parked
    };
    conn.prepare_cached(FAIL)?.execute((
        consumer,
        number,
        state.as_str(),
        &*why.class,
        &why.code,
        &why.why,
        found,
        same_error,
        now.unix_ms(),
    ))?;
    Ok(LetterFailed {
        number,
        code: why.code.clone(),
        why: why.why.clone(),
        stuck,
    })
}

pub(super) fn give_up(
    conn: &Conn,
    consumer: &str,
    filter: &LetterFilter,
    now: Timestamp,
) -> Result<u64, Error> {
    let mut given_up = 0;
    for letter in list(conn, consumer, filter)? {
        given_up += match letter.state {
            LetterState::Dropped => 0,
            LetterState::Skipped => conn.prepare_cached(REMOVE)?.execute([letter.number])?,
            LetterState::Parked | LetterState::Waiting | LetterState::Stuck => conn
                .prepare_cached(DROP)?
                .execute((consumer, letter.number, now.unix_ms()))?,
        } as u64;
    }
    Ok(given_up)
}
