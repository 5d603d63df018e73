//! The table of letters.

use std::collections::HashSet;

use bytes::Bytes;
use rc_model::{TenantId, Timestamp};
use rc_store::{Error, SystemTx};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::bus::postgres::event_of;
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
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
             $21, $21)";
const HOW_MANY: &str = "SELECT count(*) FROM dead_letters WHERE consumer = $1";
const FORGET: &str = "DELETE FROM dead_letters WHERE number IN
     (SELECT number FROM dead_letters WHERE consumer = $1 AND state = 'skipped' ORDER BY number LIMIT $2)";
const OPEN: &str = "SELECT kseq FROM dead_letters
     WHERE consumer = $1 AND tenant = $2 AND topic = $3 AND key = $4 AND state <> 'skipped'";
const OF_NUMBER: &str = "SELECT tenant, topic, key, state, last_ms FROM dead_letters
     WHERE consumer = $1 AND number = $2 FOR UPDATE";
const ENDS: &str = "SELECT min(kseq), count(*) FROM dead_letters
     WHERE consumer = $1 AND tenant = $2 AND topic = $3 AND key = $4 AND state <> 'skipped'";
const REMOVE: &str = "DELETE FROM dead_letters WHERE number = $1";
const LIST: &str =
    "SELECT number, consumer, pos, CASE WHEN edited IS NULL THEN NULL ELSE ''::bytea END, state, class,
        code, why, attempts, replays, same_error, first_ms, last_ms, numbering,
        tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, ''::bytea
     FROM dead_letters
     WHERE consumer = $1 AND number > $11
       AND ($2::bigint[] IS NULL OR number = ANY ($2))
       AND ($3::text IS NULL OR tenant = $3) AND ($4::text IS NULL OR topic = $4)
       AND ($5::text IS NULL OR key = $5) AND ($6::text IS NULL OR type = $6)
       AND ($7::text IS NULL OR class = $7) AND ($8::text IS NULL OR state = $8)
       AND ($9::bigint IS NULL OR first_ms >= $9) AND ($10::bigint IS NULL OR first_ms < $10)
     ORDER BY number LIMIT $12";
const COUNT: &str = "SELECT state, class, count(*), min(first_ms) FROM dead_letters
     WHERE consumer = $1
       AND ($2::bigint[] IS NULL OR number = ANY ($2))
       AND ($3::text IS NULL OR tenant = $3) AND ($4::text IS NULL OR topic = $4)
       AND ($5::text IS NULL OR key = $5) AND ($6::text IS NULL OR type = $6)
       AND ($7::text IS NULL OR class = $7) AND ($8::text IS NULL OR state = $8)
       AND ($9::bigint IS NULL OR first_ms >= $9) AND ($10::bigint IS NULL OR first_ms < $10)
     GROUP BY state, class";
const KEYS: &str = "SELECT count(*) FROM (SELECT DISTINCT tenant, topic, key FROM dead_letters
     WHERE consumer = $1
       AND ($2::bigint[] IS NULL OR number = ANY ($2))
       AND ($3::text IS NULL OR tenant = $3) AND ($4::text IS NULL OR topic = $4)
       AND ($5::text IS NULL OR key = $5) AND ($6::text IS NULL OR type = $6)
       AND ($7::text IS NULL OR class = $7) AND ($8::text IS NULL OR state = $8)
       AND ($9::bigint IS NULL OR first_ms >= $9) AND ($10::bigint IS NULL OR first_ms < $10)) AS keys";
const GET: &str =
    "SELECT number, consumer, pos, edited, state, class, code, why, attempts, replays, same_error,
        first_ms, last_ms, numbering,
        tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, traceparent, payload
     FROM dead_letters WHERE consumer = $1 AND number = $2";
const HEAD: &str = "SELECT d.number, d.consumer, pos, edited, state, class, code, why, attempts, replays,
        same_error, first_ms, last_ms, numbering,
        d.tenant, d.topic, d.key, d.kseq, d.id, fingerprint, type, schema, time_ms, traceparent, payload,
        coalesce(k.kseq, 0)
     FROM dead_letters d LEFT JOIN consumer_keys k
       ON k.consumer = d.consumer AND k.tenant = d.tenant AND k.topic = d.topic AND k.key = d.key
     WHERE d.consumer = $1 AND d.tenant = $2 AND d.topic = $3 AND d.key = $4 AND state <> 'skipped'
     ORDER BY d.kseq LIMIT 1";
const READY: &str = "SELECT d.tenant, d.topic, d.key
     FROM dead_letters d JOIN consumer_keys k
       ON k.consumer = d.consumer AND k.tenant = d.tenant AND k.topic = d.topic AND k.key = d.key
     WHERE d.consumer = $1
       AND (d.state IN ('waiting', 'dropped')
            OR (d.state = 'parked' AND d.class = 'gap' AND d.kseq <= k.kseq + 1))
       AND d.kseq = (SELECT min(e.kseq) FROM dead_letters e
                     WHERE e.consumer = d.consumer AND e.tenant = d.tenant AND e.topic = d.topic
                       AND e.key = d.key AND e.state <> 'skipped')
     ORDER BY d.number LIMIT $2";
const EDIT: &str = "UPDATE dead_letters SET edited = $4, same_error = 0, last_ms = greatest($5, last_ms + 1),
        state = CASE state WHEN 'stuck' THEN 'parked' ELSE state END
     WHERE consumer = $1 AND number = $2 AND last_ms = $3 AND state <> 'dropped'";
const ERROR: &str = "SELECT error, same_error FROM dead_letters WHERE consumer = $1 AND number = $2";
const FAIL: &str = "UPDATE dead_letters SET state = CASE state WHEN 'skipped' THEN state ELSE $3 END,
        class = $4, code = $5, why = $6, error = $7, same_error = $8, replays = replays + 1,
        last_ms = greatest($9, last_ms + 1)
     WHERE consumer = $1 AND number = $2";
const DROP: &str = "UPDATE dead_letters SET state = 'dropped', last_ms = greatest($3, last_ms + 1)
     WHERE consumer = $1 AND number = $2 AND state NOT IN ('dropped', 'skipped')";

pub(super) async fn store(tx: &SystemTx<'_>, batch: &Batch, letters: &[NewLetter<'_>]) -> Result<(), Error> {
    let consumer = &*batch.consumer;
    let stored: i64 = tx.query_one(HOW_MANY, &[&consumer]).await?.try_get(0)?;
    let over = rules::letters_over(batch, stored, letters.len());
    if over > 0 {
        // What was skipped is only remembered: it makes room.
        let forgotten = tx.execute(FORGET, &[&consumer, &over]).await?;
        rules::check_room(batch, over, forgotten)?;
    }
    for letter in letters {
        let event = letter.event;
        let trace = event.trace.map(|trace| trace.encode());
        let trace = trace
            .as_ref()
            .map(|text| std::str::from_utf8(text).expect("a traceparent is ASCII"));
        // PostgreSQL has no U+0000 in text, and an error may quote what it met.
        let why = letter.why.replace('\0', "\u{fffd}");
        tx.execute(
            INSERT,
            &[
                &consumer,
                &event.tenant.as_str(),
                &&*event.topic,
                &event.key,
                &event.kseq.cast_signed(),
                &event.id,
                &&event.fingerprint[..],
                &&*event.event_type,
                &i32::from(event.schema),
                &event.time.unix_ms(),
                &trace,
                &&event.payload[..],
                &event.numbering.code(),
                &event.pos,
                &letter.state.as_str(),
                &letter.class,
                &letter.code,
                &why,
                &error_fingerprint(letter.class, letter.code, letter.why),
                &i64::from(letter.attempts),
                &batch.now.unix_ms(),
            ],
        )
        .await?;
    }
    Ok(())
}

pub(super) async fn open(tx: &SystemTx<'_>, consumer: &str, place: Names<'_>) -> Result<HashSet<u64>, Error> {
    let rows = tx.query(OPEN, &[&consumer, &place.0, &place.1, &place.2]).await?;
    rows.iter()
        .map(|row| Ok(row.try_get::<_, i64>(0)?.cast_unsigned()))
        .collect()
}

/// The letter that is to be applied, as it was at `last`.
pub(super) async fn held(
    tx: &SystemTx<'_>,
    consumer: &str,
    number: i64,
    last: Timestamp,
) -> Result<Held, Error> {
    let Some(row) = tx.query_opt(OF_NUMBER, &[&consumer, &number]).await? else {
        return Err(rules::letter_changed(number).into());
    };
    if row.try_get::<_, i64>(4)? != last.unix_ms() {
        return Err(rules::letter_changed(number).into());
    }
    let (tenant, topic, key): (&str, &str, &str) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let ends = tx.query_one(ENDS, &[&consumer, &tenant, &topic, &key]).await?;
    Ok(Held {
        state: state_of(row.try_get(3)?)?,
        lowest: ends.try_get::<_, Option<i64>>(0)?.map(i64::cast_unsigned),
        more: ends.try_get::<_, i64>(1)? > 1,
    })
}

pub(super) async fn remove(tx: &SystemTx<'_>, number: i64) -> Result<(), Error> {
    tx.execute(REMOVE, &[&number]).await?;
    Ok(())
}

fn state_of(word: &str) -> Result<LetterState, Error> {
    LetterState::parse(word)
        .ok_or_else(|| crate::Error::damaged(format!("a dead letter has the state `{word}`")).into())
}

fn small(count: i64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn letter_of(row: &Row) -> Result<Letter, Error> {
    let numbering: i16 = row.try_get(13)?;
    let mut event = event_of(row, 14)?;
    event.numbering = Numbering::of_code(numbering)
        .ok_or_else(|| crate::Error::damaged(format!("a dead letter of numbering {numbering}")))?;
    Ok(Letter {
        number: row.try_get(0)?,
        holder: row.try_get(1)?,
        pos: row.try_get(2)?,
        edited: row.try_get::<_, Option<Vec<u8>>>(3)?.map(Bytes::from),
        state: state_of(row.try_get(4)?)?,
        class: row.try_get::<_, String>(5)?.into(),
        code: row.try_get(6)?,
        why: row.try_get(7)?,
        attempts: small(row.try_get(8)?),
        replays: small(row.try_get(9)?),
        same_error: small(row.try_get(10)?),
        first: Timestamp::from_unix_ms(row.try_get(11)?),
        last: Timestamp::from_unix_ms(row.try_get(12)?),
        event,
    })
}

/// The parameters of a filter, in the order of the statements.
struct Params<'f> {
    consumer: &'f str,
    numbers: Option<&'f [i64]>,
    tenant: Option<&'f str>,
    state: Option<&'static str>,
    since: Option<i64>,
    until: Option<i64>,
    filter: &'f LetterFilter,
}

impl<'f> Params<'f> {
    fn of(consumer: &'f str, filter: &'f LetterFilter) -> Self {
        Self {
            consumer,
            numbers: (!filter.numbers.is_empty()).then_some(&filter.numbers),
            tenant: filter.tenant.as_ref().map(TenantId::as_str),
            state: filter.state.map(LetterState::as_str),
            since: filter.since.map(Timestamp::unix_ms),
            until: filter.until.map(Timestamp::unix_ms),
            filter,
        }
    }

    fn list(&self) -> [&(dyn ToSql + Sync); 10] {
        [
            &self.consumer,
            &self.numbers,
            &self.tenant,
            &self.filter.topic,
            &self.filter.key,
            &self.filter.event_type,
            &self.filter.class,
            &self.state,
            &self.since,
            &self.until,
        ]
    }
}

pub(super) async fn list(
    tx: &SystemTx<'_>,
    consumer: &str,
    filter: &LetterFilter,
) -> Result<Vec<Letter>, Error> {
    let rows_max = i64::try_from(filter.rows()).unwrap_or(i64::MAX);
    let params = Params::of(consumer, filter);
    let mut all = params.list().to_vec();
    all.extend([&filter.after as &(dyn ToSql + Sync), &rows_max]);
    tx.query(LIST, &all).await?.iter().map(letter_of).collect()
}

pub(super) async fn count(
    tx: &SystemTx<'_>,
    consumer: &str,
    filter: &LetterFilter,
) -> Result<LetterCounts, Error> {
    let params = Params::of(consumer, filter);
    let mut counts = LetterCounts::default();
    for row in tx.query(COUNT, &params.list()).await? {
        let letters = row.try_get::<_, i64>(2)?.cast_unsigned();
        let oldest = Timestamp::from_unix_ms(row.try_get(3)?);
        counts.letters += letters;
        counts.oldest = Some(counts.oldest.map_or(oldest, |known| known.min(oldest)));
        counts
            .of
            .push((state_of(row.try_get(0)?)?, row.try_get(1)?, letters));
    }
    let keys: i64 = tx.query_one(KEYS, &params.list()).await?.try_get(0)?;
    counts.keys = keys.cast_unsigned();
    Ok(counts)
}

pub(super) async fn get(tx: &SystemTx<'_>, consumer: &str, number: i64) -> Result<Option<Letter>, Error> {
    let row = tx.query_opt(GET, &[&consumer, &number]).await?;
    row.as_ref().map(letter_of).transpose()
}

pub(super) async fn head(tx: &SystemTx<'_>, consumer: &str, place: &Place) -> Result<Option<Head>, Error> {
    let row = tx
        .query_opt(
            HEAD,
            &[&consumer, &place.tenant.as_str(), &&*place.topic, &place.key],
        )
        .await?;
    row.map(|row| {
        Ok(Head {
            letter: letter_of(&row)?,
            last: row.try_get::<_, i64>(25)?.cast_unsigned(),
        })
    })
    .transpose()
}

pub(super) async fn ready(tx: &SystemTx<'_>, consumer: &str) -> Result<Vec<Place>, Error> {
    let mut places = Vec::new();
    for row in tx.query(READY, &[&consumer, &READY_MAX]).await? {
        let tenant: &str = row.try_get(0)?;
        places.push(Place {
            tenant: TenantId::new(tenant)
                .map_err(|error| crate::Error::damaged(format!("tenant `{tenant}`: {error}")))?,
            topic: row.try_get::<_, String>(1)?.into(),
            key: row.try_get(2)?,
        });
    }
    Ok(places)
}

pub(super) async fn set_edited(
    tx: &SystemTx<'_>,
    consumer: &str,
    (number, last): (i64, Timestamp),
    edited: Option<&[u8]>,
    now: Timestamp,
) -> Result<bool, Error> {
    let changed = tx
        .execute(
            EDIT,
            &[&consumer, &number, &last.unix_ms(), &edited, &now.unix_ms()],
        )
        .await?;
    Ok(changed == 1)
}

pub(super) async fn failed(
    tx: &SystemTx<'_>,
    consumer: &str,
    number: i64,
    why: &Condemned,
    now: Timestamp,
) -> Result<LetterFailed, Error> {
    let Some(row) = tx.query_opt(ERROR, &[&consumer, &number]).await? else {
        return Err(rules::letter_changed(number).into());
    };
    let (error, same_error): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let found = error_fingerprint(&why.class, &why.code, &why.why);
    let same_error = if found == error { same_error + 1 } else { 1 };
    let stuck = same_error >= i64::from(SAME_ERROR_MAX);
    let state = if stuck {
        LetterState::Stuck
    } else {
        LetterState::Parked
    };
    let text = why.why.replace('\0', "\u{fffd}");
    tx.execute(
        FAIL,
        &[
            &consumer,
            &number,
            &state.as_str(),
            &&*why.class,
            &why.code,
            &text,
            &found,
            &same_error,
            &now.unix_ms(),
        ],
    )
    .await?;
    Ok(LetterFailed {
        number,
        code: why.code.clone(),
        why: why.why.clone(),
        stuck,
    })
}

pub(super) async fn give_up(
    tx: &SystemTx<'_>,
    consumer: &str,
    filter: &LetterFilter,
    now: Timestamp,
) -> Result<u64, Error> {
    let mut given_up = 0;
    for letter in list(tx, consumer, filter).await? {
        given_up += match letter.state {
            LetterState::Dropped => 0,
            LetterState::Skipped => tx.execute(REMOVE, &[&letter.number]).await?,
            LetterState::Parked | LetterState::Waiting | LetterState::Stuck => {
                tx.execute(DROP, &[&consumer, &letter.number, &now.unix_ms()])
                    .await?
            }
        };
    }
    Ok(given_up)
}
