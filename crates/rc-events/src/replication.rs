//! PostgreSQL's logical replication: the protocol, pgoutput, slots and their health.
//!
//! It knows nothing of outboxes and events: it hands over changes with their places in the WAL, and
//! confirms places that somebody else made durable. There is no task behind it; whoever asks for changes
//! also keeps the connection alive.

mod failure;
pub mod pgoutput;
mod session;
mod slots;
mod stream;
mod wire;

use std::fmt;

use crate::Error;

pub use failure::Failure;
pub(crate) use session::{Session, text};
pub(crate) use slots::{Server, diverged};
pub use slots::{SlotHealth, slots};
pub(crate) use stream::{EPOCH_MS, Item, Stream};

/// A place in the write-ahead log: a byte count since the cluster was made. It means nothing in another
/// cluster, and on another timeline only up to where that one branched off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Reads `16/B374D848`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.split_once('/')?;
        let part = |text: &str| u32::from_str_radix(text, 16).ok().map(u64::from);
        Some(Self((part(high)? << 32) | part(low)?))
    }

    pub(crate) fn read(text: &str) -> Result<Self, Error> {
        Self::parse(text).ok_or_else(|| Error::damaged(format!("`{text}` is not a place in the WAL")))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// A name as an SQL identifier.
pub(crate) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as an SQL literal; the sessions have `standard_conforming_strings` on.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Places as text, for cursors: `#[serde(with = "lsn_text")]`.
pub(crate) mod lsn_text {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use super::Lsn;

    pub(crate) fn serialize<S: Serializer>(lsn: &Lsn, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(lsn)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Lsn, D::Error> {
        let text = String::deserialize(from)?;
        Lsn::parse(&text).ok_or_else(|| de::Error::custom(format!("`{text}` is not a place in the WAL")))
    }
}

#[cfg(test)]
mod tests;
