//! Slots: making, finding and dropping them, and how they are.

use rc_store::PgAddress;

use super::session::{LONG_ANSWER_TIME_MAX, Session, text};
use super::{Failure, Lsn, ident, literal};
use crate::Error;
use crate::outbox::postgres::Snapshot;

/// The first version with slots that a standby takes over.
const FAILOVER_VERSION: u32 = 170_000;

/// How a slot is, for metrics and people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotHealth {
    /// Its name.
    pub name: String,
    /// The process that streams from it.
    pub active_pid: Option<u32>,
    /// The oldest WAL that the server keeps for it.
    pub restart: Option<Lsn>,
    /// Everything before this place is on the bus.
    pub confirmed: Option<Lsn>,
    /// Bytes of WAL that the server keeps for it.
    pub retained_bytes: u64,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub wal_status: Option<String>,
    /// Bytes of WAL until it is in danger of being lost; `None`: no limit is set.
    pub safe_wal_bytes: Option<i64>,
    /// `max_slot_wal_keep_size` is not set: a slot that nobody reads fills the server's disk.
    pub unbounded: bool,
}

impl SlotHealth {
    /// Whether it can still be streamed from.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.wal_status.as_deref().is_some_and(|status| status != "lost") && self.confirmed.is_some()
    }
}

/// The slots of the database of `address` whose names start with `prefix`.
///
/// # Errors
/// What the server says.
pub async fn slots(address: &PgAddress, prefix: &str) -> Result<Vec<SlotHealth>, Error> {
    Session::ask(address).await?.slots(prefix).await
}

/// Which server it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) system: String,
    pub(crate) timeline: u32,
    /// Where its WAL ends.
    pub(crate) end: Lsn,
}

/// A slot that was just made.
#[derive(Debug)]
pub(crate) struct Created {
    /// It gives what commits after this place.
    pub(crate) from: Lsn,
    /// No change that it gives stands before this place.
    pub(crate) restart: Lsn,
    /// What had committed before `from`.
    pub(crate) before: Snapshot,
}

impl Session {
    /// Which server it is; in replication mode only.
    pub(crate) async fn server(&mut self) -> Result<Server, Error> {
        let answer = self
            .query("failed to identify the server", "IDENTIFY_SYSTEM")
            .await?;
        let field = |at| answer.first(at).unwrap_or_default();
        Ok(Server {
            system: field(0).to_owned(),
            timeline: field(1)
                .parse()
                .map_err(|error| Error::damaged(format!("the server's timeline: {error}")))?,
            end: Lsn::read(field(2))?,
        })
    }

    /// The slots of this database whose names start with `prefix`.
    pub(crate) async fn slots(&mut self, prefix: &str) -> Result<Vec<SlotHealth>, Error> {
        let sql = format!(
            "SELECT slot_name, active_pid, restart_lsn, confirmed_flush_lsn,
                    greatest(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                        ELSE pg_current_wal_insert_lsn() END, restart_lsn), 0)::bigint,
                    wal_status, safe_wal_size, current_setting('max_slot_wal_keep_size')
               FROM pg_replication_slots
              WHERE database = current_database() AND starts_with(slot_name, {}) ORDER BY slot_name",
            literal(prefix)
        );
        let answer = self.query("failed to look at the slots", &sql).await?;
        let mut slots = Vec::with_capacity(answer.rows.len());
        for row in &answer.rows {
            slots.push(SlotHealth {
                name: text(row, 0).unwrap_or_default().to_owned(),
                active_pid: text(row, 1).and_then(|pid| pid.parse().ok()),
                restart: text(row, 2).map(Lsn::read).transpose()?,
                confirmed: text(row, 3).map(Lsn::read).transpose()?,
                retained_bytes: text(row, 4).and_then(|bytes| bytes.parse().ok()).unwrap_or(0),
                wal_status: text(row, 5).map(str::to_owned),
                safe_wal_bytes: text(row, 6).and_then(|bytes| bytes.parse().ok()),
                unbounded: text(row, 7) == Some("-1"),
            });
        }
        Ok(slots)
    }

    /// Makes a slot and learns what came before it. Waits for the transactions that run. In replication
    /// mode only, and `other` asks beside it.
    pub(crate) async fn create_slot(&mut self, other: &mut Self, name: &str) -> Result<Created, Error> {
        let tried = "failed to make a replication slot";
        let version = other.query(tried, "SHOW server_version_num").await?;
        let version: u32 = version.first(0).and_then(|text| text.parse().ok()).unwrap_or(0);
        let options = if version >= FAILOVER_VERSION {
            "(SNAPSHOT 'export', FAILOVER)"
        } else {
            "EXPORT_SNAPSHOT"
        };
        let sql = format!(
            "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput {options}",
            ident(name)
        );
        let made = self.query_within(LONG_ANSWER_TIME_MAX, tried, &sql).await?;
        let from = Lsn::read(made.first(1).unwrap_or_default())?;
        let exported = made.first(2).unwrap_or_default().to_owned();
        let sql = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
            literal(&exported)
        );
        other.query(tried, &sql).await?;
        let before = other.query(tried, "SELECT pg_current_snapshot()").await?;
        let before = Snapshot::parse_exported(before.first(0).unwrap_or_default())?;
        other.query(tried, "COMMIT").await?;
        let restart = other
            .slots(name)
            .await?
            .pop()
            .and_then(|slot| slot.restart)
            .unwrap_or(from);
        Ok(Created {
            from,
            restart,
            before,
        })
    }

    /// Drops a slot, and ends who streams from it: a relay that was stopped and no longer leads.
    pub(crate) async fn drop_slot(&mut self, name: &str) -> Result<(), Error> {
        self.free_slot(name).await?;
        let sql = format!("SELECT pg_drop_replication_slot({})", literal(name));
        self.query("failed to drop a replication slot", &sql).await?;
        Ok(())
    }

    /// Ends who streams from the slot, and waits until it is free.
    pub(crate) async fn free_slot(&mut self, name: &str) -> Result<(), Error> {
        const ATTEMPTS: u32 = 100;
        const PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
        let sql = format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
              WHERE slot_name = {} AND active_pid IS NOT NULL",
            literal(name)
        );
        for _ in 0..ATTEMPTS {
            if self
                .query("failed to free a replication slot", &sql)
                .await?
                .rows
                .is_empty()
            {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Sees to it that a publication of exactly these tables exists.
    pub(crate) async fn publish_tables(
        &mut self,
        name: &str,
        tables: &[(String, String)],
        operations: &str,
    ) -> Result<(), Error> {
        let tried = "failed to make the publication";
        let listed: Vec<String> = tables
            .iter()
            .map(|(schema, table)| format!("{}.{}", ident(schema), ident(table)))
            .collect();
        let listed = listed.join(", ");
        let exists = format!("SELECT 1 FROM pg_publication WHERE pubname = {}", literal(name));
        if self.query(tried, &exists).await?.rows.is_empty() {
            let sql = format!(
                "CREATE PUBLICATION {} FOR TABLE {listed}
                 WITH (publish = {}, publish_via_partition_root = true)",
                ident(name),
                literal(operations)
            );
            self.query(tried, &sql).await?;
            return Ok(());
        }
        let sql = format!(
            "SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = {} ORDER BY 1, 2",
            literal(name)
        );
        let has = self.query(tried, &sql).await?;
        let same = has.rows.len() == tables.len()
            && tables.iter().all(|(schema, table)| {
                has.rows
                    .iter()
                    .any(|row| text(row, 0) == Some(schema) && text(row, 1) == Some(table))
            });
        if !same {
            self.query(
                tried,
                &format!("ALTER PUBLICATION {} SET TABLE {listed}", ident(name)),
            )
            .await?;
        }
        Ok(())
    }

    /// Where this server's history left the timeline `timeline`; in replication mode only.
    pub(crate) async fn branched_at(&mut self, timeline: u32, now: u32) -> Result<Option<Lsn>, Error> {
        let answer = self
            .query(
                "failed to read the server's history",
                &format!("TIMELINE_HISTORY {now}"),
            )
            .await?;
        Ok(branch(answer.first(1).unwrap_or_default(), timeline))
    }
}

/// In a history file, lines of `timeline, end, reason`, where `timeline` ended.
pub(super) fn branch(history: &str, timeline: u32) -> Option<Lsn> {
    history.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let number: u32 = fields.next()?.parse().ok()?;
        (number == timeline).then(|| Lsn::parse(fields.next()?)).flatten()
    })
}

/// Refuses a server that took over without what was published.
pub(crate) async fn diverged(
    session: &mut Session,
    server: &Server,
    timeline: u32,
    published: Lsn,
) -> Result<(), Error> {
    let branched = if server.timeline == timeline {
        // A server whose disk was put back.
        server.end
    } else {
        session
            .branched_at(timeline, server.timeline)
            .await?
            .unwrap_or(Lsn(0))
    };
    if published > branched {
        Err(Failure::Diverged { published, branched }.into())
    } else {
        Ok(())
    }
}
