//! Change data capture: inserts, updates and deletes of any table as events, in order per row.
//!
//! What was in the tables before is read first, under snapshots of transactions that are kept in the cursor;
//! then the slot's stream, from before that reading, without the changes that a read row has already. A
//! change's number is its own place in the WAL; a row that was read has the place behind which all of the
//! slot's changes lie. There is nothing of ours in the user's database but a publication and a slot.
//!
//! A capture never guesses: a value that is not in the WAL is named in `unchanged`, one that is too large in
//! `omitted`, and a slot that has a gap stops the capture.

mod cursor;
mod read;
mod stream;
mod table;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rc_model::{Clock, SystemClock, TenantId, Timestamp};
use rc_store::PgAddress;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::bus::{Cursor, ReadLimit, Record};
use crate::lease::{Epoch, HEARTBEAT};
use crate::relay::{Backlog, Fetched, LastFetched, Pruned, Source};
use crate::replication::{Failure, Lsn, Server, Session, SlotHealth, diverged, literal};
use crate::slot::{SlotPlace, slot_gone, slot_prefix};
use crate::{BoxFuture, Error, faults};

use cursor::{CaptureCursor, Kind, SnapshotPlace};
use read::Reading;
use stream::Following;
use table::Table;

/// WAL that may pass without a change of the tables before the bus is told where the capture is. The server
/// keeps that much for a capture of quiet tables.
pub const IDLE_WAL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Slots of starts that came to nothing that are kept for a moment.
const UNBORN_SLOTS_MAX: usize = 2;

/// First key of the advisory lock by which captures lead (`RCCD`).
const LOCK_CLASS: i32 = 0x5243_4344;

/// A table by schema and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// `public`
    pub schema: String,
    /// `orders`
    pub table: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

impl FromStr for TableName {
    type Err = Error;

    /// `schema.table`, or a table of the schema `public`. As the catalogue has it: no quotes, case counts.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (schema, table) = text.split_once('.').unwrap_or(("public", text));
        if schema.is_empty() || table.is_empty() {
            return Err(Error::invalid(format!("`{text}` is not `schema.table`")));
        }
        Ok(Self {
            schema: schema.to_owned(),
            table: table.to_owned(),
        })
    }
}

/// What is captured, and how.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    /// The origin on the bus, and part of the slot's name. Another name is another capture.
    pub name: String,
    /// Which tables. A capture keeps its tables; to add one, start another capture.
    pub tables: Vec<TableName>,
    /// Whose rows they are, where no column says so.
    pub tenant: TenantId,
    /// The column that says whose a row is. A value that is no tenant's name counts as none.
    pub tenant_column: Option<String>,
    /// Whether rows that are there at the start are published too.
    pub snapshot: bool,
    /// Sets `REPLICA IDENTITY FULL`: whole rows before a change, and large values that it did not touch.
    pub replica_identity_full: bool,
    /// What to do when changes are lost: publish everything anew, or (`false`) stop and say so.
    pub resnapshot: bool,
    /// See [`IDLE_WAL_BYTES_MAX`].
    pub idle_wal_bytes_max: u64,
    /// When it is, for what has no time in the server's log: notices and signs of life.
    pub clock: Arc<dyn Clock>,
}

impl CaptureOptions {
    /// The defaults for a capture of these tables.
    #[must_use]
    pub fn new(name: &str, tables: Vec<TableName>, tenant: TenantId) -> Self {
        Self {
            name: name.to_owned(),
            tables,
            tenant,
            tenant_column: None,
            snapshot: true,
            replica_identity_full: false,
            resnapshot: false,
            idle_wal_bytes_max: IDLE_WAL_BYTES_MAX,
            clock: SystemClock::shared(),
        }
    }
}

/// Captures tables, for a [`crate::Relay`] to any bus.
pub struct CaptureSource {
    address: PgAddress,
    options: CaptureOptions,
    /// Locked by the one relay that fetches.
    state: Mutex<State>,
    /// The session that holds the leader's lock, and when it was last asked.
    leading: Mutex<Option<(Session, Instant)>>,
}

struct State {
    /// The cursor that was given out last.
    from: Cursor,
    /// The same, read; `None` before the first start.
    at: Option<CaptureCursor>,
    phase: Phase,
    /// The last batch, in case that it could not be published.
    last: LastFetched,
    /// Why the slot is beyond use.
    lost: Option<String>,
}

/// What is open. Taken out while it is worked with, so that a future that is dropped leaves nothing half
/// done behind.
enum Phase {
    Closed,
    Reading(Box<Reading>),
    Following(Box<Following>),
}

impl fmt::Debug for CaptureSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureSource")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl CaptureSource {
    /// A capture of the database at `address`. The role needs the `REPLICATION` attribute and must own the
    /// tables, for the publication.
    #[must_use]
    pub fn new(address: PgAddress, options: CaptureOptions) -> Self {
        Self {
            address,
            options,
            state: Mutex::new(State {
                from: Cursor::default(),
                at: None,
                phase: Phase::Closed,
                last: LastFetched::default(),
                lost: None,
            }),
            leading: Mutex::new(None),
        }
    }

    /// The slots of this capture: one, as a rule.
    ///
    /// # Errors
    /// What the server says.
    pub async fn health(&self) -> Result<Vec<SlotHealth>, Error> {
        crate::replication::slots(&self.address, &self.prefix()).await
    }

    /// How the names of this capture's slots begin.
    #[must_use]
    pub fn prefix(&self) -> String {
        slot_prefix(&self.options.name, self.address.database(), "capture")
    }

    fn publication(&self) -> String {
        self.prefix().trim_end_matches('_').to_owned()
    }

    /// The tables as they are.
    async fn look(&self, asking: &mut Session) -> Result<Vec<Table>, Error> {
        let mut tables = Vec::new();
        for name in &self.options.tables {
            tables.push(Table::look(asking, name, &self.options).await?);
        }
        if tables.is_empty() {
            return Err(Error::invalid("a capture has at least one table"));
        }
        Ok(tables)
    }

    /// Opens what the cursor needs next. Events: those of a start.
    async fn open(&self, state: &mut State) -> Result<Vec<Record>, Error> {
        let mut session = Session::replicate(&self.address).await?;
        let mut asking = Session::ask(&self.address).await?;
        let server = session.server().await?;
        let lost = match &state.at {
            Some(at) => {
                self.gap(&mut session, &mut asking, &server, at, state.lost.as_deref())
                    .await?
            }
            None => None,
        };
        if let Some(why) = &lost
            && !self.options.resnapshot
        {
            return Err(Failure::CaptureLost {
                capture: self.options.name.clone(),
                why: why.clone(),
            }
            .into());
        }
        match &state.at {
            Some(at) if lost.is_none() => {
                let tables = self.look(&mut asking).await?;
                let same = at.layouts.len() == tables.len()
                    && tables
                        .iter()
                        .all(|table| at.layouts.contains_key(&table.name.to_string()));
                if !same {
                    return Err(Error::invalid(format!(
                        "the capture `{}` has other tables than at its start; give another name to a capture of \
                         others",
                        self.options.name
                    )));
                }
                state.phase = match &at.snapshot {
                    Some(place) if place.table.is_some() => {
                        Phase::Reading(Box::new(Reading::new(asking, tables)))
                    }
                    _ => {
                        for slot in asking.slots(&self.prefix()).await? {
                            if slot.name != at.slot.name {
                                asking.drop_slot(&slot.name).await?;
                            }
                        }
                        asking.free_slot(&at.slot.name).await?;
                        let stream = session
                            .stream(&at.slot.name, at.slot.lsn, &self.publication(), false)
                            .await;
                        let stream = stream.inspect_err(|error| note_lost(&mut state.lost, error))?;
                        Phase::Following(Box::new(Following::new(stream, asking, tables, at)))
                    }
                };
                Ok(Vec::new())
            }
            _ => {
                self.start(state, &mut session, &mut asking, &server, lost.is_some())
                    .await
            }
        }
    }

    /// Why the slot does not have all that comes after the cursor, if so.
    async fn gap(
        &self,
        session: &mut Session,
        asking: &mut Session,
        server: &Server,
        at: &CaptureCursor,
        known: Option<&str>,
    ) -> Result<Option<String>, Error> {
        if let Some(known) = known {
            return Ok(Some(known.to_owned()));
        }
        if server.system != at.slot.system {
            return Ok(Some("this is another database cluster".to_owned()));
        }
        diverged(session, server, at.slot.timeline, at.slot.lsn).await?;
        let slots = asking.slots(&at.slot.name).await?;
        let Some(slot) = slots.first() else {
            return Ok(Some(format!("its slot `{}` does not exist", at.slot.name)));
        };
        if !slot.usable() {
            let status = slot.wal_status.as_deref().unwrap_or("unknown");
            return Ok(Some(format!(
                "its slot `{}` was invalidated (`{status}`)",
                slot.name
            )));
        }
        // Only what is on the bus is ever confirmed.
        let confirmed = slot.confirmed.unwrap_or_default();
        if confirmed > at.slot.lsn {
            return Ok(Some(format!(
                "its slot `{}` is at {confirmed}, and the bus at {}: somebody moved it, or made it anew",
                slot.name, at.slot.lsn
            )));
        }
        if slot.unbounded {
            tracing::warn!(
                slot = slot.name,
                "`max_slot_wal_keep_size` is not set: a capture that stays down fills the server's disk with WAL"
            );
        }
        Ok(None)
    }

    /// Makes slot and publication, and tells how the tables look: the first events.
    async fn start(
        &self,
        state: &mut State,
        session: &mut Session,
        asking: &mut Session,
        server: &Server,
        anew: bool,
    ) -> Result<Vec<Record>, Error> {
        let tables = self.look(asking).await?;
        if self.options.replica_identity_full {
            for table in &tables {
                let (schema, name) = (&table.name.schema, &table.name.table);
                let sql = format!(
                    "ALTER TABLE {}.{} REPLICA IDENTITY FULL",
                    crate::replication::ident(schema),
                    crate::replication::ident(name)
                );
                asking.query("failed to set the replica identity", &sql).await?;
            }
        }
        let mut names: Vec<(String, String)> = Vec::new();
        for table in &tables {
            names.push((table.name.schema.clone(), table.name.table.clone()));
        }
        asking
            .publish_tables(&self.publication(), &names, "insert, update, delete, truncate")
            .await?;
        // Of captures that died before they published anything. The last ones stay until the bus has named
        // one: a publish that is still on its way may do so.
        let mut others = asking.slots(&self.prefix()).await?;
        others.sort_by_key(|slot| slot.restart);
        for slot in others.iter().rev().skip(UNBORN_SLOTS_MAX) {
            asking.drop_slot(&slot.name).await?;
        }
        let name = format!("{}{:04x}", self.prefix(), fastrand::u16(..));
        let created = session.create_slot(asking, &name).await?;
        faults::point("slot.after_create");
        tracing::info!(
            capture = self.options.name,
            slot = name,
            anew,
            "made a replication slot"
        );
        state.lost = None;

        let first = tables.first().map(|table| table.name.to_string());
        let at = CaptureCursor {
            kind: Kind::Capture,
            slot: SlotPlace {
                name,
                system: server.system.clone(),
                timeline: server.timeline,
                lsn: created.from,
            },
            part: None,
            layouts: tables
                .iter()
                .map(|table| (table.name.to_string(), table.layout.hash()))
                .collect::<BTreeMap<_, _>>(),
            keys: tables
                .iter()
                .map(|table| (table.name.to_string(), table.key.clone()))
                .collect(),
            snapshot: (self.options.snapshot || anew).then(|| SnapshotPlace {
                number: created.restart,
                before: created.before.to_string(),
                table: first,
                reads: Vec::new(),
                end: Lsn(0),
            }),
        };
        let source = table::Source {
            system: &server.system,
            lsn: created.restart,
            n: 0,
            xid: None,
            time: self.options.clock.now(),
        };
        let mut records = Vec::new();
        for table in &tables {
            let tenant = || self.options.tenant.clone();
            if anew {
                records.push(table.notice(tenant(), table::RESYNC_KEY, "rc.cdc.resync.v1", source));
            }
            records.push(table.notice(tenant(), table::SCHEMA_KEY, "rc.cdc.schema.v1", source));
        }
        state.at = Some(at);
        Ok(records)
    }

    async fn advance(&self, state: &mut State, limit: ReadLimit) -> Result<Vec<Record>, Error> {
        loop {
            match (std::mem::replace(&mut state.phase, Phase::Closed), &mut state.at) {
                (Phase::Reading(mut reading), Some(at)) => {
                    match reading.step(&self.options, at, limit).await? {
                        read::Step::Events(records) => {
                            state.phase = Phase::Reading(reading);
                            return Ok(records);
                        }
                        read::Step::Waiting => {
                            state.phase = Phase::Reading(reading);
                            return Ok(Vec::new());
                        }
                        // The stream is opened next.
                        read::Step::Finished => {}
                    }
                }
                (Phase::Following(mut following), Some(at)) => {
                    let read = following.step(&self.options, at, limit).await;
                    let records = read.inspect_err(|error| note_lost(&mut state.lost, error))?;
                    state.phase = Phase::Following(following);
                    return Ok(records);
                }
                (Phase::Closed | Phase::Reading(_) | Phase::Following(_), _) => {
                    let records = self.open(state).await?;
                    if !records.is_empty() {
                        return Ok(records);
                    }
                }
            }
        }
    }

    /// Whether this process has the lock, or gets it.
    async fn hold(&self) -> Result<Option<Epoch>, Error> {
        let mut leading = self.leading.lock().await;
        if let Some((mut session, asked)) = leading.take() {
            if asked.elapsed() < HEARTBEAT {
                *leading = Some((session, asked));
                return Ok(Some(0));
            }
            // A session that died has lost the lock: somebody else may lead by now.
            if session.query("failed to ask", "SELECT 1").await.is_ok() {
                *leading = Some((session, Instant::now()));
                return Ok(Some(0));
            }
        }
        let mut session = Session::ask(&self.address).await?;
        let sql = format!(
            "SELECT pg_try_advisory_lock({LOCK_CLASS}, hashtext({}))",
            literal(&self.options.name)
        );
        let won = session.query("failed to take the lead", &sql).await?;
        if won.first(0) != Some("t") {
            return Ok(None);
        }
        *leading = Some((session, Instant::now()));
        Ok(Some(0))
    }
}

/// Remembers that a slot cannot be used any more.
fn note_lost(lost: &mut Option<String>, error: &Error) {
    if let Error::Replication(failure) = error
        && let Failure::CaptureLost { why, .. } = &**failure
    {
        *lost = Some(why.clone());
    } else if slot_gone(error) {
        *lost = Some(error.to_string());
    }
}

impl Source for CaptureSource {
    fn origin(&self) -> &str {
        &self.options.name
    }

    fn lead(&self) -> BoxFuture<'_, Result<Option<Epoch>, Error>> {
        Box::pin(self.hold())
    }

    fn step_down(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.state.lock().await.phase = Phase::Closed;
            *self.leading.lock().await = None;
            Ok(())
        })
    }

    /// Asking for what comes after `cursor` says that everything before it is on the bus: the server may
    /// forget it then.
    fn fetch<'a>(&'a self, cursor: &'a Cursor, limit: ReadLimit) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            let state = &mut *state;
            if let Some(fetched) = state.last.again(cursor, limit) {
                // It could not be published. The connection stays, and nothing is confirmed.
                if let Phase::Following(mut following) = std::mem::replace(&mut state.phase, Phase::Closed)
                    && following.tend().await.is_ok()
                {
                    state.phase = Phase::Following(following);
                }
                return Ok(fetched);
            }
            if state.from != *cursor || matches!(state.phase, Phase::Closed) {
                state.phase = Phase::Closed;
                state.at = CaptureCursor::parse(cursor)?;
                state.from = cursor.clone();
            }
            let before = state.at.clone();
            let records = match self.advance(state, limit).await {
                Ok(records) => records,
                Err(error) => {
                    state.phase = Phase::Closed;
                    state.at = before;
                    return Err(error);
                }
            };
            let next = state
                .at
                .as_ref()
                .map(CaptureCursor::to_cursor)
                .unwrap_or_default();
            let fetched = Fetched {
                records,
                cursor: next.clone(),
            };
            state.last.keep(cursor, &fetched);
            state.from = next;
            Ok(fetched)
        })
    }

    fn wait(&self, idle: Duration) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            match &mut state.phase {
                Phase::Following(following) => {
                    // The next fetch meets the same error and says so.
                    if following.wait(idle).await.is_err() {
                        state.phase = Phase::Closed;
                    }
                }
                Phase::Closed | Phase::Reading(_) => tokio::time::sleep(idle).await,
            }
        })
    }

    /// Rows that wait cannot be counted in the WAL; see [`Self::health`] for its bytes.
    fn backlog<'a>(&'a self, _cursor: &'a Cursor) -> BoxFuture<'a, Result<Backlog, Error>> {
        Box::pin(async { Ok(Backlog::default()) })
    }

    /// The tables are not ours.
    fn prune<'a>(
        &'a self,
        _cursor: &'a Cursor,
        _now: Timestamp,
        _keep: Duration,
    ) -> BoxFuture<'a, Result<Pruned, Error>> {
        Box::pin(async { Ok(Pruned::default()) })
    }
}

#[cfg(test)]
mod tests;
