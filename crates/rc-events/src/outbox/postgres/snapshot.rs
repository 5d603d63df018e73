//! PostgreSQL's snapshots as text, `xmin:xmax:xip,xip,...`, and the cursor made of them.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::bus::Cursor;

/// Which transactions were visible at a moment: all below `xmax` that are not in `running`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) xmin: u64,
    pub(crate) xmax: u64,
    pub(crate) running: Vec<u64>,
}

impl Snapshot {
    /// Before the first transaction.
    pub(crate) fn start() -> Self {
        Self {
            xmin: 1,
            xmax: 1,
            running: Vec::new(),
        }
    }

    /// Reads a snapshot that the making of a slot exported: when nothing runs, its `xmax` may lie below its
    /// `xmin`, and everything below `xmin` has ended.
    pub(crate) fn parse_exported(text: &str) -> Result<Self, Error> {
        let mut snapshot = Self::read(text)?;
        snapshot.xmax = snapshot.xmax.max(snapshot.xmin);
        Ok(snapshot)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let snapshot = Self::read(text)?;
        if snapshot.xmin > snapshot.xmax {
            return Err(Error::damaged(format!("`{text}` is not a snapshot")));
        }
        Ok(snapshot)
    }

    fn read(text: &str) -> Result<Self, Error> {
        let broken = || Error::damaged(format!("`{text}` is not a snapshot"));
        let mut parts = text.split(':');
        let mut number = || parts.next().and_then(|part| part.parse().ok()).ok_or_else(broken);
        let (xmin, xmax) = (number()?, number()?);
        let running = match parts.next().ok_or_else(broken)? {
            "" => Vec::new(),
            list => list
                .split(',')
                .map(str::parse)
                .collect::<Result<_, _>>()
                .map_err(|error: std::num::ParseIntError| {
                    Error::damaged(format!("snapshot `{text}`: {error}"))
                })?,
        };
        if parts.next().is_some() {
            return Err(broken());
        }
        Ok(Self { xmin, xmax, running })
    }

    /// Whether what this transaction wrote was visible, given that it committed.
    pub(crate) fn sees(&self, xid: u64) -> bool {
        xid < self.xmax && !self.running.contains(&xid)
    }

    /// What `to` sees up to the transaction `newest`, which is on disk, or up to the end of this one. Above it
    /// are transactions of which the disk may have nothing, such as those that were rolled back: a server that
    /// recovers from a crash, or a standby that takes over, gives their numbers out again.
    pub(crate) fn up_to(&self, to: &Self, newest: u64) -> Self {
        let xmax = self.xmax.max(newest + 1);
        let running: Vec<u64> = to.running.iter().copied().filter(|xid| *xid < xmax).collect();
        Self {
            xmin: running.iter().copied().min().unwrap_or(xmax),
            xmax,
            running,
        }
    }

    /// Whether it sees everything that `earlier` sees.
    pub(crate) fn covers(&self, earlier: &Self) -> bool {
        self.xmax >= earlier.xmax && !self.running.iter().any(|xid| earlier.sees(*xid))
    }

    /// Whether anything can have committed between `self` and `later`.
    pub(crate) fn differs(&self, later: &Self) -> bool {
        self.xmax != later.xmax || self.running.iter().any(|xid| !later.running.contains(xid))
    }
}

impl std::fmt::Display for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:", self.xmin, self.xmax)?;
        for (index, xid) in self.running.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{xid}")?;
        }
        Ok(())
    }
}

/// The last row that was taken of an unfinished pair, by the order inside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RowKey {
    pub(crate) tenant: String,
    pub(crate) topic: String,
    pub(crate) key: String,
    pub(crate) kseq: i64,
}

impl RowKey {
    /// Before every row.
    pub(crate) fn start() -> Self {
        Self {
            tenant: String::new(),
            topic: String::new(),
            key: String::new(),
            kseq: 0,
        }
    }
}

/// Where a relay is: everything visible in `done` was taken, and of the pair (`done`, `to`) everything
/// up to `after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PairCursor {
    pub(crate) done: Snapshot,
    pub(crate) open: Option<(Snapshot, RowKey)>,
}

/// The cursor on the bus.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    done: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<RowKey>,
}

impl PairCursor {
    pub(crate) fn parse(cursor: &Cursor) -> Result<Self, Error> {
        if cursor.as_str().is_empty() {
            return Ok(Self {
                done: Snapshot::start(),
                open: None,
            });
        }
        let wire: Wire = serde_json::from_str(cursor.as_str()).map_err(|error| {
            Error::damaged(format!(
                "`{cursor}` is not a place in a PostgreSQL outbox: {error}"
            ))
        })?;
        let open = match (wire.to, wire.after) {
            (Some(to), Some(after)) => Some((Snapshot::parse(&to)?, after)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(Error::damaged(format!("`{cursor}` is half a place")));
            }
        };
        Ok(Self {
            done: Snapshot::parse(&wire.done)?,
            open,
        })
    }

    pub(crate) fn to_cursor(&self) -> Cursor {
        let (to, after) = match &self.open {
            Some((to, after)) => (Some(to.to_string()), Some(after.clone())),
            None => (None, None),
        };
        let wire = Wire {
            done: self.done.to_string(),
            to,
            after,
        };
        Cursor::new(serde_json::to_string(&wire).expect("strings and numbers are JSON"))
    }
}

#[cfg(test)]
mod tests;
