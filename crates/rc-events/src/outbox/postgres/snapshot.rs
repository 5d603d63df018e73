//! PostgreSQL's snapshots as text, `xmin:xmax:xip,xip,...`, and the cursor made of them.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::bus::Cursor;

/// Which transactions were visible at a moment: all below `xmax` that are not in `running`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) xmin: u64,
    pub(super) xmax: u64,
    pub(super) running: Vec<u64>,
}

impl Snapshot {
    /// Before the first transaction.
    pub(super) fn start() -> Self {
        Self {
            xmin: 1,
            xmax: 1,
            running: Vec::new(),
        }
    }

    pub(super) fn parse(text: &str) -> Result<Self, Error> {
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
        if parts.next().is_some() || xmin > xmax {
            return Err(broken());
        }
        Ok(Self { xmin, xmax, running })
    }

    /// Whether anything can have committed between `self` and `later`.
    pub(super) fn differs(&self, later: &Self) -> bool {
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
pub(super) struct RowKey {
    pub(super) tenant: String,
    pub(super) topic: String,
    pub(super) key: String,
    pub(super) kseq: i64,
}

/// Where a relay is: everything visible in `done` was taken, and of the pair (`done`, `to`) everything
/// up to `after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PairCursor {
    pub(super) done: Snapshot,
    pub(super) open: Option<(Snapshot, RowKey)>,
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
    pub(super) fn parse(cursor: &Cursor) -> Result<Self, Error> {
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

    pub(super) fn to_cursor(&self) -> Cursor {
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
mod tests {
    use super::*;

    #[test]
    fn snapshots_round_trip() {
        for text in ["10:20:", "10:20:10,14,19", "1:1:"] {
            assert_eq!(Snapshot::parse(text).unwrap().to_string(), text);
        }
        for bad in [
            "",
            "10",
            "10:20",
            "20:10:",
            "a:b:",
            "10:20:x",
            "10:20:1:2",
            "10:20:,",
        ] {
            assert_eq!(Snapshot::parse(bad).unwrap_err().code(), "RC-EVT-008", "{bad}");
        }
    }

    #[test]
    fn only_a_change_of_visibility_is_a_difference() {
        let at = |text| Snapshot::parse(text).unwrap();
        assert!(!at("10:20:10,14").differs(&at("10:20:10,14")));
        assert!(at("10:20:10,14").differs(&at("14:20:14")));
        assert!(at("10:20:10").differs(&at("10:21:10")));
    }

    #[test]
    fn cursors_round_trip() {
        let whole = PairCursor {
            done: Snapshot::parse("10:20:12").unwrap(),
            open: None,
        };
        let part = PairCursor {
            open: Some((
                Snapshot::parse("20:30:").unwrap(),
                RowKey {
                    tenant: "acme".to_owned(),
                    topic: "docs".to_owned(),
                    key: "with \"quotes\" and ,".to_owned(),
                    kseq: 7,
                },
            )),
            ..whole.clone()
        };
        for cursor in [whole, part] {
            assert_eq!(PairCursor::parse(&cursor.to_cursor()).unwrap(), cursor);
        }
        for bad in ["7", "{}", "{\"done\":\"1:1:\",\"to\":\"2:2:\"}"] {
            PairCursor::parse(&Cursor::new(bad)).unwrap_err();
        }
    }
}
