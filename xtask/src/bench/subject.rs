//! What can be measured.

use serde::{Deserialize, Serialize};

use super::{Measured, Programs, ROUNDS_MIN, judge, load, platform, tree};
use crate::cx::Cx;
use crate::process::Stop;

/// What can be measured, by the name of its results, in the order of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Subject {
    /// Start, memory, `rc ingest`, until the last document is found
    Platform,
    /// CPU time of a proxied request and what a noisy tenant costs others, beside nginx and HAProxy (long)
    Gateway,
    /// Batches and singles on both stores, beside plain inserts and binary COPY
    Ingest,
    /// The relay to JetStream beside its peers, and the embedded log read again (long)
    Events,
    /// What the outbox on PostgreSQL keeps after 10^7 events (long)
    Kept,
    /// A minute of documents on the embedded store, and how far the search is behind
    Sustained,
    /// Reads, searches and writes together at 100,000 documents
    Mixed,
    /// CPU time with traces on against off
    Telemetry,
    /// The slowest statements on PostgreSQL beside those of the build of `--against`
    Statements,
    /// How often the judge of releases is wrong and how soon it is right, simulated
    Judge,
    /// A clean clone to a running platform, and `cargo check` after a change (many minutes)
    Build,
}

impl Subject {
    /// Those that are measured when none is named.
    pub(super) const USUAL: [Self; 5] = [
        Self::Platform,
        Self::Ingest,
        Self::Sustained,
        Self::Mixed,
        Self::Telemetry,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Gateway => "gateway",
            Self::Ingest => "ingest",
            Self::Events => "events",
            Self::Kept => "kept",
            Self::Sustained => "sustained",
            Self::Mixed => "mixed",
            Self::Telemetry => "telemetry",
            Self::Statements => "statements",
            Self::Judge => "judge",
            Self::Build => "build",
        }
    }

    /// About how long it takes on two cores.
    pub(super) fn minutes(self) -> f64 {
        match self {
            Self::Platform => 0.5,
            Self::Gateway => 60.0,
            Self::Ingest => 5.0,
            Self::Events => 26.0,
            Self::Kept => 15.0,
            Self::Sustained => 3.0,
            Self::Mixed => 6.5,
            Self::Telemetry => 3.0,
            Self::Statements => 10.0,
            Self::Judge => 4.0,
            Self::Build => 30.0,
        }
    }

    /// What measures it again.
    pub(super) fn command(self) -> String {
        match self {
            Self::Gateway | Self::Events | Self::Judge => format!("make bench-{}", self.name()),
            subject => format!("make bench ARGS={}", subject.name()),
        }
    }

    /// Whether `rc-bench` measures it.
    pub(super) fn is_load(self) -> bool {
        match self {
            Self::Gateway
            | Self::Ingest
            | Self::Events
            | Self::Kept
            | Self::Sustained
            | Self::Mixed
            | Self::Telemetry
            | Self::Statements => true,
            Self::Platform | Self::Judge | Self::Build => false,
        }
    }

    pub(super) fn measure(self, cx: &Cx, programs: &Programs, quick: bool) -> Result<Measured, Stop> {
        let rounds = if quick { 1 } else { ROUNDS_MIN };
        match self {
            Self::Platform => platform::measure(cx, rounds, &programs.rc),
            Self::Judge => judge::measure(rounds, &programs.rc, quick),
            Self::Build => tree::measure(cx, rounds),
            Self::Gateway
            | Self::Ingest
            | Self::Events
            | Self::Kept
            | Self::Sustained
            | Self::Mixed
            | Self::Telemetry
            | Self::Statements => load::measure(cx, self, programs, quick),
        }
    }
}
