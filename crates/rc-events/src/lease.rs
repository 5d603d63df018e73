//! A lease: which of several processes does a piece of work, for as long as it says so.
//!
//! It saves work and keeps nobody out: a holder that was stopped for a minute believes in its lease until it
//! asks again. What must not happen twice is guarded where it happens, by the bus's cursor.
//!
//! No clock is trusted alone. The row says until when the holder keeps it by the database's clock, so that a
//! process that starts finds at once what has run out; and a follower that has seen the same beat for
//! [`LEASE_TIME`] of its own monotonic time takes over whatever the clocks say.

use std::time::Duration;

use rc_store::Postgres;
use tokio::sync::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use crate::Error;

/// How often a holder says that it is alive.
pub const HEARTBEAT: Duration = Duration::from_secs(2);

/// How long a holder that says nothing keeps its lease.
pub const LEASE_TIME: Duration = Duration::from_secs(6);

/// Which holding of a lease it is: one higher with every change of hands.
pub type Epoch = u64;

/// The table of leases, for migrations. Idempotent.
pub const LEASES: &str = rc_outbox::postgres::LEASES;

/// Keeps what is ours, takes what is free, has run out, or was seen to stand still (`$4`, `$5`).
const HOLD: &str = "INSERT INTO leases AS l (name, owner, epoch, beat, until)
     VALUES ($1, $2, 1, 1, clock_timestamp() + $3::bigint * interval '1 millisecond')
     ON CONFLICT (name) DO UPDATE SET
        owner = excluded.owner, beat = l.beat + 1, until = excluded.until,
        epoch = CASE WHEN l.owner = excluded.owner THEN l.epoch ELSE l.epoch + 1 END
      WHERE l.owner = excluded.owner OR l.until < clock_timestamp() OR (l.epoch = $4 AND l.beat = $5)
     RETURNING epoch";
const LOOK: &str = "SELECT epoch, beat FROM leases WHERE name = $1";
/// The epoch stays, so that the next holder's is higher.
const RELEASE: &str = "UPDATE leases SET until = '-infinity', beat = beat + 1 WHERE name = $1 AND owner = $2";

/// One process's view of a lease in a PostgreSQL schema that has [`LEASES`].
#[derive(Debug)]
pub struct Lease {
    db: Postgres,
    name: String,
    owner: String,
    /// Locked by the one task that asks.
    seen: Mutex<Seen>,
}

/// What was last seen of the row.
#[derive(Debug, Clone, Copy)]
enum Seen {
    Nothing,
    /// It is ours, and said so at this time.
    Ours(Epoch, Instant),
    /// Somebody else's beat, and since when it is the same.
    Theirs(i64, i64, Instant),
}

impl Lease {
    /// The lease `name`. Every value made is a holder of its own, also in one process.
    #[must_use]
    pub fn new(db: Postgres, name: &str) -> Self {
        Self {
            db,
            name: name.to_owned(),
            owner: Uuid::now_v7().to_string(),
            seen: Mutex::new(Seen::Nothing),
        }
    }

    /// Holds the lease or tries to: its epoch, or `None` while somebody else has it. Cheap between two
    /// heartbeats: the database is not asked then.
    ///
    /// # Errors
    /// What the store says; the lease is not held then.
    pub async fn hold(&self) -> Result<Option<Epoch>, Error> {
        let mut seen = self.seen.lock().await;
        if let Seen::Ours(epoch, since) = *seen
            && since.elapsed() < HEARTBEAT
        {
            return Ok(Some(epoch));
        }
        let before = std::mem::replace(&mut *seen, Seen::Nothing);
        *seen = self
            .ask(before)
            .await
            .map_err(Error::from_store("failed to hold the lease"))?;
        Ok(match *seen {
            Seen::Ours(epoch, _) => Some(epoch),
            Seen::Nothing | Seen::Theirs(..) => None,
        })
    }

    /// Gives the lease up, so that nobody has to wait until it runs out.
    ///
    /// # Errors
    /// What the store says; the lease then runs out by itself.
    pub async fn release(&self) -> Result<(), Error> {
        let mut seen = self.seen.lock().await;
        *seen = Seen::Nothing;
        let release = async {
            let mut client = self.db.client().await?;
            let tx = client.system().await?;
            tx.execute(RELEASE, &[&self.name, &self.owner]).await?;
            tx.commit().await
        };
        release
            .await
            .map_err(Error::from_store("failed to give the lease up"))
    }

    async fn ask(&self, before: Seen) -> Result<Seen, rc_store::Error> {
        // The time before the question: an answer that took long is as old as the question.
        let asked = Instant::now();
        let (epoch, beat) = match before {
            Seen::Theirs(epoch, beat, since) if since.elapsed() >= LEASE_TIME => (epoch, beat),
            Seen::Nothing | Seen::Ours(..) | Seen::Theirs(..) => (-1, -1),
        };
        let lasts_ms = i64::try_from(LEASE_TIME.as_millis()).unwrap_or(i64::MAX);
        let mut client = self.db.client().await?;
        let tx = client.system().await?;
        let held = tx
            .query_opt(HOLD, &[&self.name, &self.owner, &lasts_ms, &epoch, &beat])
            .await?;
        if let Some(row) = held {
            let epoch: i64 = row.try_get(0)?;
            tx.commit().await?;
            return Ok(Seen::Ours(epoch.cast_unsigned(), asked));
        }
        let row = tx.query_one(LOOK, &[&self.name]).await?;
        let (epoch, beat): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let since = match before {
            Seen::Theirs(old_epoch, old_beat, since) if (old_epoch, old_beat) == (epoch, beat) => since,
            Seen::Nothing | Seen::Ours(..) | Seen::Theirs(..) => asked,
        };
        Ok(Seen::Theirs(epoch, beat, since))
    }
}

#[cfg(test)]
mod tests;
