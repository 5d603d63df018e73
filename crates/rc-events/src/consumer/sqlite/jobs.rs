//! The table of replays of history.

use std::num::NonZeroU32;

use rc_model::Timestamp;
use rc_store::{Conn, Error};
use rusqlite::{OptionalExtension as _, Row};

use crate::bus::BusId;
use crate::consumer::batch::Batch;
use crate::consumer::books::JOBS_MAX;
use crate::consumer::rules;
use crate::event::Seq;
use crate::replay::{HistoryFilter, Job, JobState, NewJob, Plan};

const START: &str = "INSERT INTO consumer_jobs
        (consumer, bus, filter, rate, reason, plan, matched, first, at, upto, state, began_ms)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, 'running', ?10)";
const RUNNING: &str = "SELECT number, at, upto FROM consumer_jobs WHERE consumer = ?1 AND state = 'running'";
const JOBS: &str =
    "SELECT number, bus, filter, rate, reason, plan, matched, first, at, upto, applied, failed,
        state, why, began_ms, ended_ms
     FROM consumer_jobs WHERE consumer = ?1 ORDER BY number DESC LIMIT ?2";
const ADVANCE: &str = "UPDATE consumer_jobs SET at = ?4, applied = applied + ?5, failed = failed + ?6
     WHERE consumer = ?1 AND number = ?2 AND at = ?3 AND state = 'running'";
const END: &str = "UPDATE consumer_jobs SET state = ?3, why = ?4, ended_ms = ?5
     WHERE consumer = ?1 AND number = ?2 AND state = 'running'";

pub(super) fn start(conn: &Conn, consumer: &str, job: &NewJob, now: Timestamp) -> Result<Job, Error> {
    let running: Option<(i64, Seq, Seq)> = conn
        .prepare_cached(RUNNING)?
        .query_row([consumer], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    if let Some((number, at, upto)) = running {
        return Err(rules::replays_already(consumer, number, at, upto).into());
    }
    conn.prepare_cached(START)?.execute((
        consumer,
        job.plan.bus.as_str(),
        job.replay.filter.to_row(),
        job.replay.rate.map(NonZeroU32::get),
        &job.replay.reason,
        &job.plan.hash,
        job.plan.matched.cast_signed(),
        job.plan.first,
        job.plan.upto,
        now.unix_ms(),
    ))?;
    jobs(conn, consumer)?
        .into_iter()
        .next()
        .ok_or_else(|| crate::Error::damaged("a replay that was stored is not there").into())
}

pub(super) fn jobs(conn: &Conn, consumer: &str) -> Result<Vec<Job>, Error> {
    let mut select = conn.prepare_cached(JOBS)?;
    let mut rows = select.query((consumer, JOBS_MAX))?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        jobs.push(job_of(row)?);
    }
    Ok(jobs)
}

fn job_of(row: &Row<'_>) -> Result<Job, Error> {
    let (filter, state): (String, String) = (row.get(2)?, row.get(12)?);
    Ok(Job {
        number: row.get(0)?,
        filter: HistoryFilter::of_row(&filter)?,
        rate: row.get::<_, Option<u32>>(3)?.and_then(NonZeroU32::new),
        reason: row.get(4)?,
        plan: Plan {
            bus: BusId::new(row.get::<_, String>(1)?),
            hash: row.get(5)?,
            matched: row.get::<_, i64>(6)?.cast_unsigned(),
            first: row.get(7)?,
            upto: row.get(9)?,
        },
        at: row.get(8)?,
        applied: row.get::<_, i64>(10)?.cast_unsigned(),
        failed: row.get::<_, i64>(11)?.cast_unsigned(),
        state: JobState::parse(&state)
            .ok_or_else(|| crate::Error::damaged(format!("a replay has the state `{state}`")))?,
        why: row.get(13)?,
        began: Timestamp::from_unix_ms(row.get(14)?),
        ended: row.get::<_, Option<i64>>(15)?.map(Timestamp::from_unix_ms),
    })
}

/// Moves a replay with its effects.
pub(super) fn advance(
    conn: &Conn,
    batch: &Batch,
    job: i64,
    (from, upto): (Seq, Seq),
    applied: u64,
    failed: u64,
) -> Result<(), Error> {
    let moved = conn.prepare_cached(ADVANCE)?.execute((
        &*batch.consumer,
        job,
        from,
        upto,
        applied.cast_signed(),
        failed.cast_signed(),
    ))?;
    if moved == 1 {
        Ok(())
    } else {
        Err(rules::job_moved(job, from).into())
    }
}

pub(super) fn end(
    conn: &Conn,
    consumer: &str,
    number: i64,
    state: JobState,
    why: &str,
    now: Timestamp,
) -> Result<bool, Error> {
    let ended = conn
        .prepare_cached(END)?
        .execute((consumer, number, state.as_str(), why, now.unix_ms()))?;
    Ok(ended == 1)
}
