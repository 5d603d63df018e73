//! Where a capture is: in its slot, in a transaction, in its snapshot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::bus::Cursor;
use crate::outbox::postgres::Snapshot;
use crate::replication::{Lsn, lsn_text};
use crate::slot::SlotPlace;

/// Where a capture is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaptureCursor {
    pub(super) kind: Kind,
    /// The slot, and the place before which every commit is on the bus.
    pub(super) slot: SlotPlace,
    /// Of the next transaction, what is on the bus already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<Part>,
    /// How each table looked in the last event about it: a hash of names and types.
    pub(super) layouts: BTreeMap<String, String>,
    /// The key columns of each table as they were called at the slot's place. The WAL of a table with full rows does
    /// not say which they are, and the catalogue only what they are called now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) keys: BTreeMap<String, Vec<String>>,
    /// While rows that were there before are read, and until the stream is behind that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) snapshot: Option<SnapshotPlace>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Capture,
}

/// The last event of a transaction that is not wholly on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// Which transaction: where its commit stands.
    #[serde(with = "lsn_text")]
    pub(super) commit: Lsn,
    /// The change's place.
    #[serde(with = "lsn_text")]
    pub(super) at: Lsn,
    /// Which event of that place: one record of the WAL can hold many rows.
    pub(super) n: u32,
}

/// Reading what was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SnapshotPlace {
    /// The number of every row that is read: below that of every change that the slot gives.
    #[serde(with = "lsn_text")]
    pub(super) number: Lsn,
    /// What the slot does not give; every read must see it.
    pub(super) before: String,
    /// The table that is being read; `None`: all are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) table: Option<String>,
    /// What was read under which snapshot, in the order of reading.
    pub(super) reads: Vec<Read>,
    /// Where the WAL ended when all was read: what commits behind it no read has seen.
    #[serde(with = "lsn_text")]
    pub(super) end: Lsn,
}

/// Keys of one table that were read under one snapshot: behind those of the read before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Read {
    pub(super) table: String,
    /// The last key; `None`: to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) upto: Option<Vec<String>>,
    pub(super) seen: String,
}

/// Whether a change is in what was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    Yes,
    No,
    /// It depends on whether the change's key is at most this one.
    UpTo(Vec<String>),
}

impl CaptureCursor {
    pub(super) fn parse(cursor: &Cursor) -> Result<Option<Self>, Error> {
        if cursor.as_str().is_empty() {
            return Ok(None);
        }
        serde_json::from_str(cursor.as_str())
            .map(Some)
            .map_err(|error| Error::damaged(format!("`{cursor}` is not a place in a capture: {error}")))
    }

    pub(super) fn to_cursor(&self) -> Cursor {
        Cursor::new(serde_json::to_string(self).expect("strings and numbers are JSON"))
    }
}

impl SnapshotPlace {
    /// The last key of `table` that was read, and whether all of it was.
    pub(super) fn after(&self, table: &str) -> (Option<&Vec<String>>, bool) {
        match self.reads.iter().rfind(|read| read.table == table) {
            Some(read) => (read.upto.as_ref(), read.upto.is_none()),
            None => (None, false),
        }
    }

    /// Notes that `table` was read up to a key under `seen`.
    pub(super) fn note(&mut self, table: &str, upto: Option<Vec<String>>, seen: &Snapshot) {
        let seen = seen.to_string();
        match self.reads.last_mut() {
            Some(read) if read.table == table && read.seen == seen => read.upto = upto,
            _ => self.reads.push(Read {
                table: table.to_owned(),
                upto,
                seen,
            }),
        }
    }

    /// Whether a change of `table` by the transaction with the lower half `xid` was read.
    pub(super) fn has(&self, table: &str, xid: u32) -> Result<Seen, Error> {
        let mut upto = None;
        for read in self.reads.iter().filter(|read| read.table == table) {
            let seen = Snapshot::parse(&read.seen)?;
            if seen.sees(widen(xid, seen.xmax)) {
                // Later snapshots see what earlier ones saw.
                return Ok(upto.map_or(Seen::Yes, Seen::UpTo));
            }
            upto.clone_from(&read.upto);
        }
        Ok(Seen::No)
    }
}

/// The transaction number nearest to `near` that ends in `xid`.
fn widen(xid: u32, near: u64) -> u64 {
    let low = u32::try_from(near & u64::from(u32::MAX)).expect("masked");
    near.wrapping_add_signed(i64::from(xid.wrapping_sub(low).cast_signed()))
}

#[cfg(test)]
mod tests;
