//! What can be measured, one module each.

mod events;
mod gateway;
mod ingest;
mod isolation;
pub(crate) mod mixed;
mod statements;
mod surge;
mod sustained;
mod telemetry;

use std::path::{Path, PathBuf};

use crate::failure::{Failure, Result};
use crate::figures::Measured;

/// A subject, by the name of its results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Subject {
    /// CPU time of a proxied request and what a noisy tenant costs others, beside nginx and HAProxy
    Gateway,
    /// Batches and singles, beside plain inserts and binary COPY
    Ingest,
    /// The relay to JetStream beside its peers, and the embedded log read again
    Events,
    /// What the outbox on PostgreSQL keeps after many events
    Kept,
    /// A minute of documents on the embedded store, and how far the search is behind
    Sustained,
    /// Reads, searches and writes together at 100,000 documents
    Mixed,
    /// CPU time with traces on against off
    Telemetry,
    /// The slowest statements beside those of a former build, on PostgreSQL
    Statements,
}

/// What every subject is told.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) rc: PathBuf,
    pub(crate) scratch: PathBuf,
    /// The peers of the gateway; without one, the gateway is measured alone.
    pub(crate) nginx: Option<PathBuf>,
    pub(crate) haproxy: Option<PathBuf>,
    /// The unpacked Debezium Server to compare with
    pub(crate) debezium: Option<PathBuf>,
    /// A former release build of `rc` to compare with
    pub(crate) former: Option<PathBuf>,
    /// Events after which the outbox is looked at; `None`: as many as the subject thinks right
    pub(crate) kept: Option<u64>,
    pub(crate) quick: bool,
}

impl Subject {
    pub(crate) fn measure(self, options: &Options) -> Result<Measured> {
        match self {
            Self::Gateway => gateway::measure(options),
            Self::Ingest => ingest::measure(options),
            Self::Events => events::measure(options),
            Self::Kept => events::measure_kept(options),
            Self::Sustained => sustained::measure(options),
            Self::Mixed => mixed::measure(options),
            Self::Telemetry => telemetry::measure(options),
            Self::Statements => statements::measure(options),
        }
    }
}

/// An error where `folder` lies in memory: a commit there waits for nothing.
fn require_real_disk(folder: &Path) -> Result<()> {
    /// `TMPFS_MAGIC` of linux/magic.h.
    const TMPFS: i64 = 0x0102_1994;
    if rustix::fs::statfs(folder)?.f_type == TMPFS {
        return Err(Failure::new(format!(
            "{} lies in memory, where a commit waits for nothing: set TMPDIR to a folder on a disk",
            folder.display()
        )));
    }
    Ok(())
}
