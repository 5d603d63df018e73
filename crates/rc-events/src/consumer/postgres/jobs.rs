//! The table of replays of history.

use std::num::NonZeroU32;

use rc_model::Timestamp;
use rc_store::{Error, SystemTx};
use tokio_postgres::Row;

use crate::bus::BusId;
use crate::consumer::books::JOBS_MAX;
use crate::consumer::rules;
use crate::event::Seq;
use crate::replay::{HistoryFilter, Job, JobState, NewJob, Plan};

const START: &str = "INSERT INTO consumer_jobs
        (consumer, bus, filter, rate, reason, plan, matched, first, at, upto, state, began_ms)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9, 'running', $10)";
const RUNNING: &str = "SELECT number, at, upto FROM consumer_jobs WHERE consumer = $1 AND state = 'running'";
const JOBS: &str =
    "SELECT number, bus, filter, rate, reason, plan, matched, first, at, upto, applied, failed,
        state, why, began_ms, ended_ms
     FROM consumer_jobs WHERE consumer = $1 ORDER BY number DESC LIMIT $2";
const ADVANCE: &str = "UPDATE consumer_jobs SET at = $4, applied = applied + $5, failed = failed + $6
     WHERE consumer = $1 AND number = $2 AND at = $3 AND state = 'running'";
const END: &str = "UPDATE consumer_jobs SET state = $3, why = $4, ended_ms = $5
     WHERE consumer = $1 AND number = $2 AND state = 'running'";

pub(super) async fn start(
    tx: &SystemTx<'_>,
    consumer: &str,
    job: &NewJob,
    now: Timestamp,
) -> Result<Job, Error> {
    if let Some(running) = tx.query_opt(RUNNING, &[&consumer]).await? {
        let (number, at, upto) = (running.try_get(0)?, running.try_get(1)?, running.try_get(2)?);
        return Err(rules::replays_already(consumer, number, at, upto).into());
    }
    tx.execute(
        START,
        &[
            &consumer,
            &job.plan.bus.as_str(),
            &job.replay.filter.to_row(),
            &job.replay.rate.map(|rate| i64::from(rate.get())),
            &job.replay.reason,
            &job.plan.hash,
            &job.plan.matched.cast_signed(),
            &job.plan.first,
            &job.plan.upto,
            &now.unix_ms(),
        ],
    )
    .await?;
    jobs(tx, consumer)
        .await?
        .into_iter()
        .next()
        .ok_or_else(|| crate::Error::damaged("a replay that was stored is not there").into())
}

pub(super) async fn jobs(tx: &SystemTx<'_>, consumer: &str) -> Result<Vec<Job>, Error> {
    tx.query(JOBS, &[&consumer, &JOBS_MAX])
        .await?
        .iter()
        .map(job_of)
        .collect()
}

fn job_of(row: &Row) -> Result<Job, Error> {
    let (filter, state): (&str, &str) = (row.try_get(2)?, row.try_get(12)?);
    let rate: Option<i64> = row.try_get(3)?;
    Ok(Job {
        number: row.try_get(0)?,
        filter: HistoryFilter::of_row(filter)?,
        rate: rate
            .and_then(|rate| u32::try_from(rate).ok())
            .and_then(NonZeroU32::new),
        reason: row.try_get(4)?,
        plan: Plan {
            bus: BusId::new(row.try_get::<_, String>(1)?),
            hash: row.try_get(5)?,
            matched: row.try_get::<_, i64>(6)?.cast_unsigned(),
            first: row.try_get(7)?,
            upto: row.try_get(9)?,
        },
        at: row.try_get(8)?,
        applied: row.try_get::<_, i64>(10)?.cast_unsigned(),
        failed: row.try_get::<_, i64>(11)?.cast_unsigned(),
        state: JobState::parse(state)
            .ok_or_else(|| crate::Error::damaged(format!("a replay has the state `{state}`")))?,
        why: row.try_get(13)?,
        began: Timestamp::from_unix_ms(row.try_get(14)?),
        ended: row.try_get::<_, Option<i64>>(15)?.map(Timestamp::from_unix_ms),
    })
}

/// Moves a replay with its effects.
pub(super) async fn advance(
    tx: &SystemTx<'_>,
    consumer: &str,
    job: i64,
    (from, upto): (Seq, Seq),
    applied: u64,
    failed: u64,
) -> Result<(), Error> {
    let (applied, failed) = (applied.cast_signed(), failed.cast_signed());
    let moved = tx
        .execute(ADVANCE, &[&consumer, &job, &from, &upto, &applied, &failed])
        .await?;
    if moved == 1 {
        Ok(())
    } else {
        Err(rules::job_moved(job, from).into())
    }
}

pub(super) async fn end(
    tx: &SystemTx<'_>,
    consumer: &str,
    number: i64,
    state: JobState,
    why: &str,
    now: Timestamp,
) -> Result<bool, Error> {
    let params: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
        [&consumer, &number, &state.as_str(), &why, &now.unix_ms()];
    Ok(tx.execute(END, &params).await? == 1)
}
