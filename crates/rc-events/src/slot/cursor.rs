//! Where a slot source is: the set of transactions that are on the bus.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::bus::Cursor;
use crate::outbox::postgres::{PairCursor, RowKey, Snapshot};
use crate::replication::{Lsn, lsn_text};

/// Transactions that are listed one by one before they are folded into the snapshot.
pub(super) const LISTED_MAX: usize = 256;

/// Where a slot source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SlotCursor {
    /// Everything that this snapshot sees is on the bus.
    pub(crate) done: Snapshot,
    /// Of what it does not see, these transactions are.
    pub(crate) more: Vec<u64>,
    /// Of this transaction, the rows up to this position of the outbox.
    pub(crate) part: Option<(u64, i64)>,
    /// While the log is read: up to which snapshot, and where in it.
    pub(crate) open: Option<(Snapshot, RowKey)>,
    /// Which slot, and from where it gives everything that the above leaves out.
    pub(crate) slot: Option<SlotPlace>,
}

/// A place in the stream of one slot of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SlotPlace {
    pub(crate) name: String,
    pub(crate) system: String,
    pub(crate) timeline: u32,
    #[serde(with = "lsn_text")]
    pub(crate) lsn: Lsn,
}

/// The cursor on the bus.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    kind: Kind,
    done: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    more: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<(u64, i64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<RowKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slot: Option<SlotPlace>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Slot,
}

impl SlotCursor {
    /// Before everything.
    pub(crate) fn start() -> Self {
        Self {
            done: Snapshot::start(),
            more: Vec::new(),
            part: None,
            open: None,
            slot: None,
        }
    }

    /// Whether this reader wrote it; a pair reader's cursor has no kind.
    pub(crate) fn is_one(cursor: &Cursor) -> bool {
        cursor.as_str().starts_with("{\"kind\":\"slot\"")
    }

    /// Reads a cursor of this reader or of the pair reader.
    pub(crate) fn parse(cursor: &Cursor) -> Result<Self, Error> {
        if !Self::is_one(cursor) {
            let PairCursor { done, open } = PairCursor::parse(cursor)?;
            return Ok(Self {
                done,
                more: Vec::new(),
                part: None,
                open,
                slot: None,
            });
        }
        let broken = |why: String| Error::damaged(format!("`{cursor}` is not a place in a slot: {why}"));
        let wire: Wire = serde_json::from_str(cursor.as_str()).map_err(|error| broken(error.to_string()))?;
        let open = match (wire.to, wire.after) {
            (Some(to), Some(after)) => Some((Snapshot::parse(&to)?, after)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(broken("half a pair".to_owned())),
        };
        Ok(Self {
            done: Snapshot::parse(&wire.done)?,
            more: wire.more,
            part: wire.part,
            open,
            slot: wire.slot,
        })
    }

    pub(crate) fn to_cursor(&self) -> Cursor {
        let (to, after) = match &self.open {
            Some((to, after)) => (Some(to.to_string()), Some(after.clone())),
            None => (None, None),
        };
        let wire = Wire {
            kind: Kind::Slot,
            done: self.done.to_string(),
            more: self.more.clone(),
            part: self.part,
            to,
            after,
            slot: self.slot.clone(),
        };
        Cursor::new(serde_json::to_string(&wire).expect("strings and numbers are JSON"))
    }

    /// What the pair reader would have to know: everything but the list and the part.
    pub(crate) fn pair(&self) -> PairCursor {
        PairCursor {
            done: self.done.clone(),
            open: self.open.clone(),
        }
    }

    /// Whether all rows of a transaction are on the bus.
    pub(crate) fn has(&self, xid: u64) -> bool {
        self.done.sees(xid) || self.more.contains(&xid)
    }

    /// Folds the listed transactions into the snapshot. `now` is a current snapshot, and `written` are
    /// the transactions with visible rows that `done` does not see, up to [`Self::fold_to`].
    pub(crate) fn fold(&mut self, now: &Snapshot, written: &[u64]) {
        let listed: HashSet<u64> = self.more.iter().copied().collect();
        // What is not below the current end may be about to run; it stays in the list.
        let end = self.fold_to().min(now.xmax).max(self.done.xmax);
        let running = now.running.iter().chain(written).copied();
        let mut holes: Vec<u64> = running
            .filter(|xid| *xid < end && !listed.contains(xid) && !self.done.sees(*xid))
            .collect();
        holes.sort_unstable();
        holes.dedup();
        self.done = Snapshot {
            xmin: holes.first().copied().unwrap_or(end),
            xmax: end,
            running: holes,
        };
        self.more.retain(|xid| *xid >= end);
    }

    /// Behind the last listed transaction.
    pub(crate) fn fold_to(&self) -> u64 {
        self.more
            .iter()
            .max()
            .map_or(self.done.xmax, |xid| (xid + 1).max(self.done.xmax))
    }
}

#[cfg(test)]
mod tests;
