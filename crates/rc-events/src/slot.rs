//! The outbox in PostgreSQL, heard through a logical replication slot.
//!
//! The slot tells of commits at once, without polling; what is on the bus is known without it. The cursor is
//! the set of transactions that were published, so a slot that was dropped, invalidated or left behind by
//! a failover costs one reading of the log: everything that is visible and not in the set. An LSN is confirmed
//! to the server only when the bus has everything before it.

mod cursor;
mod rows;
mod settle;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rc_model::Timestamp;
use rc_store::{PgAddress, Postgres};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::bus::{Cursor, ReadLimit, Record};
use crate::lease::Epoch;
use crate::outbox::postgres::{PairCursor, PostgresSource, RowKey, Snapshot};
use crate::relay::{Backlog, Fetched, LastFetched, Parked, Pruned, Source};
use crate::replication::{Item, Lsn, Session, SlotHealth, Stream, diverged, pgoutput};
use crate::{BoxFuture, Error, faults};

use cursor::LISTED_MAX;
pub(crate) use cursor::{SlotCursor, SlotPlace};
use rows::{Batch, Columns};
pub(crate) use settle::{backlog, take_over};

/// How often an otherwise quiet database writes a little WAL, so that its slot moves on.
const HEARTBEAT_PAUSE: Duration = Duration::from_secs(10);

/// How often it is looked whether a standby has what is to be published.
const UNSEEN_PAUSE: Duration = Duration::from_millis(2);

/// Errors by which a slot says that it cannot give what it should: gone, invalidated, its WAL removed, its
/// publication made after what it has to decode.
const SLOT_GONE: [&str; 4] = ["42704", "55000", "58P01", "XX000"];

/// Reads the outbox of one service through a slot, for a relay.
pub struct SlotSource {
    /// Reads the log when the slot does not have it, and leads.
    pair: PostgresSource,
    db: Postgres,
    address: PgAddress,
    origin: String,
    /// Locked by the one relay that fetches.
    state: Mutex<State>,
    recoveries: AtomicU64,
}

/// Where the reader is.
struct State {
    /// The cursor that was given out last.
    from: Cursor,
    /// The same, read.
    at: SlotCursor,
    phase: Phase,
    /// The last batch, in case that it could not be published.
    last: LastFetched,
    beat_at: Instant,
    /// The slot failed in a way that opening it again does not mend.
    condemned: bool,
}

/// What is open. Taken out while it is worked with, so that a future that is dropped leaves nothing half
/// done behind.
enum Phase {
    Closed,
    /// The log is read up to a snapshot.
    Log(Log),
    Streaming(Box<Streaming>),
}

struct Log {
    session: Session,
    /// The slot, and from where it streams.
    place: SlotPlace,
    /// Whether the cursor and the slot together have everything, so that no snapshot is needed.
    whole: bool,
    /// What the slot does not give because it committed before; for a slot that was just made.
    before: Option<Snapshot>,
}

/// What a step of reading the log gave.
enum Logged {
    Events(Vec<Record>),
    /// What has to be visible is not yet.
    Waiting,
    /// The slot has all that is left.
    Finished,
}

struct Streaming {
    stream: Stream,
    columns: Option<Columns>,
    /// The transaction that is being read, and whether it is on the bus already.
    transaction: Transaction,
    /// A row that the last batch had no room for, and its transaction.
    held: Option<(u64, Record)>,
    /// Everything before it is on the bus, or is nothing of ours.
    reached: Lsn,
    /// Commits wait for a standby here.
    awaits_standby: bool,
    /// A batch of which some commit waits for a standby, and where the source is behind it.
    unseen: Option<(Batch, SlotCursor)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transaction {
    None,
    /// No row of it was seen.
    Begun,
    /// A row gave its number.
    Known {
        xid: u64,
        skip: bool,
    },
}

impl std::fmt::Debug for SlotSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlotSource")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl SlotSource {
    /// The outbox of the service `origin` in the schema of `db`, and `address`, the same database, for
    /// replication. The role needs the `REPLICATION` attribute and must own the outbox.
    #[must_use]
    pub fn new(db: Postgres, address: PgAddress, origin: &str) -> Self {
        Self {
            pair: PostgresSource::new(db.clone(), origin),
            db,
            address,
            origin: origin.to_owned(),
            state: Mutex::new(State {
                from: Cursor::default(),
                at: SlotCursor::start(),
                phase: Phase::Closed,
                last: LastFetched::default(),
                beat_at: Instant::now(),
                condemned: false,
            }),
            recoveries: AtomicU64::new(0),
        }
    }

    /// How often this process found its slot gone and read the log instead.
    #[must_use]
    pub fn recoveries(&self) -> u64 {
        self.recoveries.load(Ordering::Relaxed)
    }

    /// The slots of this source: one, as a rule.
    ///
    /// # Errors
    /// What the server says.
    pub async fn health(&self) -> Result<Vec<SlotHealth>, Error> {
        crate::replication::slots(&self.address, &self.prefix()).await
    }

    /// How the names of this source's slots begin: its own in the cluster.
    #[must_use]
    pub fn prefix(&self) -> String {
        slot_prefix(&self.origin, self.address.database(), self.db.schema())
    }

    fn publication(&self) -> String {
        format!("rc_{}_outbox", self.db.schema())
    }

    /// Opens the slot of the cursor, or makes one.
    async fn open(&self, at: &SlotCursor, condemned: bool) -> Result<Log, Error> {
        let mut session = Session::replicate(&self.address).await?;
        let mut asking = Session::ask(&self.address).await?;
        let server = session.server().await?;
        let known = at.slot.as_ref().filter(|place| place.system == server.system);
        if let Some(place) = known {
            diverged(&mut session, &server, place.timeline, place.lsn).await?;
        }
        let outbox = (self.db.schema().to_owned(), "outbox".to_owned());
        asking
            .publish_tables(&self.publication(), &[outbox], "insert")
            .await?;

        if let Some(place) = known {
            // First of all: whoever streams from it may still confirm, and what is confirmed it never gives again.
            asking.free_slot(&place.name).await?;
        }
        let mut found = None;
        for slot in asking.slots(&self.prefix()).await? {
            let ours = known.is_some_and(|place| place.name == slot.name);
            if ours && slot.usable() && !condemned {
                found = Some(slot);
            } else {
                // Of a relay that died before it published anything through it, or beyond use.
                tracing::warn!(
                    slot = slot.name,
                    status = slot.wal_status,
                    "dropped a slot that is of no use"
                );
                asking.drop_slot(&slot.name).await?;
            }
        }
        if let (Some(slot), Some(place)) = (found, known) {
            if slot.unbounded {
                tracing::warn!(
                    slot = slot.name,
                    "`max_slot_wal_keep_size` is not set: a relay that stays down fills the server's disk with WAL"
                );
            }
            let confirmed = slot.confirmed.unwrap_or_default();
            // Further than the bus: heartbeats while nothing was written, as a rule. Reading the log makes sure.
            let whole = confirmed <= place.lsn;
            let place = SlotPlace {
                timeline: server.timeline,
                ..place.clone()
            };
            return Ok(Log {
                session,
                place,
                whole,
                before: None,
            });
        }

        let name = format!("{}{:04x}", self.prefix(), fastrand::u16(..));
        let created = session.create_slot(&mut asking, &name).await?;
        faults::point("slot.after_create");
        let lost = at.slot.is_some();
        if lost {
            self.recoveries.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                origin = self.origin,
                slot = name,
                "the replication slot was gone; made a new one and reads the log for what it missed"
            );
        } else {
            tracing::info!(origin = self.origin, slot = name, "made a replication slot");
        }
        let whole = if lost {
            faults::mutated("slot.recreate_without_backfill")
        } else {
            faults::mutated("slot.skip_handover")
        };
        Ok(Log {
            session,
            place: SlotPlace {
                name,
                system: server.system,
                timeline: server.timeline,
                lsn: created.from,
            },
            whole,
            before: Some(created.before),
        })
    }

    /// The next events, and where the source is then. Leaves `at` alone when it fails.
    async fn advance(&self, state: &mut State, limit: ReadLimit) -> Result<Vec<Record>, Error> {
        loop {
            match std::mem::replace(&mut state.phase, Phase::Closed) {
                Phase::Closed => {
                    let log = self.open(&state.at, state.condemned).await?;
                    state.condemned = false;
                    state.phase = Phase::Log(log);
                }
                Phase::Log(mut log) => match self.read_log(&mut state.at, &mut log, limit).await? {
                    Logged::Events(records) => {
                        state.phase = Phase::Log(log);
                        return Ok(records);
                    }
                    Logged::Waiting => {
                        state.phase = Phase::Log(log);
                        return Ok(Vec::new());
                    }
                    Logged::Finished => {
                        let Log { session, place, .. } = log;
                        state.at.slot = Some(place.clone());
                        let stream = session
                            .stream(&place.name, place.lsn, &self.publication(), true)
                            .await
                            .inspect_err(|error| state.condemned = slot_gone(error))?;
                        state.phase = Phase::Streaming(Box::new(Streaming {
                            stream,
                            columns: None,
                            transaction: Transaction::None,
                            held: None,
                            reached: place.lsn,
                            awaits_standby: settle::awaits_standby(&self.db).await?,
                            unseen: None,
                        }));
                    }
                },
                Phase::Streaming(mut open) => {
                    let read = self.read_stream(state, &mut open, limit).await;
                    let records = read.inspect_err(|error| state.condemned = slot_gone(error))?;
                    state.phase = Phase::Streaming(open);
                    return Ok(records);
                }
            }
        }
    }

    /// Reads what the slot does not give.
    async fn read_log(&self, at: &mut SlotCursor, log: &mut Log, limit: ReadLimit) -> Result<Logged, Error> {
        loop {
            if at.open.is_none() {
                if log.whole {
                    return Ok(Logged::Finished);
                }
                let records = settle::finish_part(&self.db, at, limit).await?;
                if !records.is_empty() {
                    return Ok(Logged::Events(records));
                }
                if at.part.is_some() || !settle::fold(&self.db, at).await? {
                    return Ok(Logged::Waiting);
                }
                let (now, newest) = settle::now(&self.db).await?;
                // A commit stands in the WAL a moment before others see it. What a new slot leaves out
                // because it stands before its start must be visible, or neither would have it.
                if log.before.as_ref().is_some_and(|before| !now.covers(before)) {
                    return Ok(Logged::Waiting);
                }
                at.open = Some((at.done.up_to(&now, newest), RowKey::start()));
                at.slot = Some(log.place.clone());
                log.whole = true;
            }
            let fetched = self.pair.fetch(&at.pair().to_cursor(), limit).await?;
            let pair = PairCursor::parse(&fetched.cursor)?;
            (at.done, at.open) = (pair.done, pair.open);
            if !fetched.records.is_empty() {
                faults::point("slot.mid_handover");
                return Ok(Logged::Events(fetched.records));
            }
        }
    }

    async fn read_stream(
        &self,
        state: &mut State,
        open: &mut Streaming,
        limit: ReadLimit,
    ) -> Result<Vec<Record>, Error> {
        let mut at = state.at.clone();
        if at.more.len() >= LISTED_MAX && at.part.is_none() {
            settle::fold(&self.db, &mut at).await?;
        }
        // Whoever asks for what comes after the cursor has everything before it on the bus.
        open.stream.confirm(open.reached);
        open.stream.tend().await?;
        if state.beat_at.elapsed() >= HEARTBEAT_PAUSE {
            open.awaits_standby = settle::beat(&self.db).await?;
            state.beat_at = Instant::now();
        }
        if let Some((batch, at)) = open.unseen.take() {
            return self.once_seen(state, open, batch, at).await;
        }

        let mut batch = Batch::new(limit, open.reached);
        if let Some((xid, record)) = open.held.take() {
            at.part = Some((xid, record.origin_pos));
            batch.push(xid, record);
        }
        while !batch.full() {
            let Some(item) = open.stream.next().await? else {
                break;
            };
            let message = match item {
                Item::Reached(end) if open.transaction == Transaction::None => {
                    batch.reached = batch.reached.max(end);
                    continue;
                }
                Item::Reached(_) => continue,
                Item::Data { bytes, .. } => pgoutput::decode(bytes)?,
            };
            match message {
                pgoutput::Message::Begin(_) => open.transaction = Transaction::Begun,
                pgoutput::Message::Relation(relation) => open.columns = Some(Columns::of(&relation)?),
                pgoutput::Message::Insert { new, .. } => {
                    let columns = open
                        .columns
                        .as_ref()
                        .ok_or_else(|| Error::stream("a row of an unknown table"))?;
                    if let Transaction::Known { skip: true, .. } = open.transaction {
                        continue;
                    }
                    let xid = columns.xid(&new)?;
                    let skip = at.has(xid);
                    open.transaction = Transaction::Known { xid, skip };
                    let record = columns.record(&new)?;
                    let published = at
                        .part
                        .is_some_and(|(part, pos)| part == xid && record.origin_pos <= pos);
                    if skip || published {
                        continue;
                    }
                    if !batch.takes(&record) {
                        open.held = Some((xid, record));
                        break;
                    }
                    at.part = Some((xid, record.origin_pos));
                    batch.push(xid, record);
                }
                pgoutput::Message::Commit { end, .. } => {
                    if let Transaction::Known { xid, skip: false } = open.transaction {
                        at.more.push(xid);
                        at.part = None;
                        // Only what was published counts when another server takes over.
                        if let Some(place) = &mut at.slot {
                            place.lsn = place.lsn.max(end);
                        }
                    }
                    open.transaction = Transaction::None;
                    batch.reached = batch.reached.max(end);
                }
                pgoutput::Message::Origin
                | pgoutput::Message::Type
                | pgoutput::Message::Note
                | pgoutput::Message::Update { .. }
                | pgoutput::Message::Delete { .. }
                | pgoutput::Message::Truncate { .. } => {}
            }
        }
        if faults::mutated("slot.confirm_before_publish") {
            open.stream.confirm(batch.reached);
            open.stream.tend().await?;
        }
        self.once_seen(state, open, batch, at).await
    }

    /// The batch, if others see what it has. A commit stands in the WAL, and so in the stream, before a synchronous
    /// standby has it: should that one take over, the commit never was.
    async fn once_seen(
        &self,
        state: &mut State,
        open: &mut Streaming,
        batch: Batch,
        at: SlotCursor,
    ) -> Result<Vec<Record>, Error> {
        if open.awaits_standby && !settle::seen(&self.db, &batch.xids).await? {
            open.unseen = Some((batch, at));
            return Ok(Vec::new());
        }
        state.at = at;
        open.reached = batch.reached;
        Ok(batch.records)
    }
}

/// Whether the slot is beyond use; a fresh one and the log are the way out.
pub(crate) fn slot_gone(error: &Error) -> bool {
    matches!(error, Error::Replication(failure) if failure.is_state(&SLOT_GONE))
}

/// `rc_<origin>_<hash>_`: slots share one space of names in a cluster, of 63 characters each.
pub(crate) fn slot_prefix(origin: &str, database: &str, schema: &str) -> String {
    let readable: String = origin
        .chars()
        .take(32)
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    let whole = blake3::hash(format!("{database}\0{schema}\0{origin}").as_bytes());
    format!("rc_{readable}_{}_", &whole.to_hex()[..8])
}

impl Source for SlotSource {
    fn origin(&self) -> &str {
        &self.origin
    }

    fn lead(&self) -> BoxFuture<'_, Result<Option<Epoch>, Error>> {
        self.pair.lead()
    }

    fn step_down(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.state.lock().await.phase = Phase::Closed;
            self.pair.step_down().await
        })
    }

    fn parked(&self) -> Option<Arc<dyn Parked>> {
        self.pair.parked()
    }

    fn upkeep(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.pair.upkeep()
    }

    /// Asking for what comes after `cursor` says that everything before it is on the bus: the server may
    /// forget it then.
    fn fetch<'a>(&'a self, cursor: &'a Cursor, limit: ReadLimit) -> BoxFuture<'a, Result<Fetched, Error>> {
        Box::pin(async move {
            let mut state = self.state.lock().await;
            let state = &mut *state;
            if let Some(fetched) = state.last.again(cursor, limit) {
                // It could not be published. The connection stays, and nothing is confirmed.
                if let Phase::Streaming(mut open) = std::mem::replace(&mut state.phase, Phase::Closed)
                    && open.stream.tend().await.is_ok()
                {
                    state.phase = Phase::Streaming(open);
                }
                return Ok(fetched);
            }
            if state.from != *cursor || matches!(state.phase, Phase::Closed) {
                state.phase = Phase::Closed;
                state.at = SlotCursor::parse(cursor)?;
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
            let next = state.at.to_cursor();
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
                Phase::Streaming(open) if open.unseen.is_some() => {
                    tokio::time::sleep(idle.min(UNSEEN_PAUSE)).await;
                }
                Phase::Streaming(open) => {
                    // The next fetch meets the same error and says so.
                    if open.stream.wait(idle).await.is_err() {
                        state.phase = Phase::Closed;
                    }
                }
                Phase::Closed | Phase::Log(_) => tokio::time::sleep(idle).await,
            }
        })
    }

    fn backlog<'a>(&'a self, cursor: &'a Cursor) -> BoxFuture<'a, Result<Backlog, Error>> {
        Box::pin(async move { settle::backlog(&self.db, &SlotCursor::parse(cursor)?).await })
    }

    fn prune<'a>(
        &'a self,
        cursor: &'a Cursor,
        now: Timestamp,
        keep: Duration,
    ) -> BoxFuture<'a, Result<Pruned, Error>> {
        Box::pin(async move {
            let pair = SlotCursor::parse(cursor)?.pair().to_cursor();
            self.pair.prune(&pair, now, keep).await
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
