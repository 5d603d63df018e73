//! Completeness and clocks, a source at a time: numbers are 1, 2, 3, ..., times hardly go back.

use std::collections::HashMap;
use std::time::Duration;

use super::FaultKind;
use crate::Source;

/// Sources that are followed; a log has one a service and installation.
const SOURCES_MAX: usize = 100_000;

pub(super) struct Sources {
    clock_back_max_ms: u64,
    last: HashMap<String, Last>,
    /// Entries of sources that are not followed.
    unfollowed: u64,
}

struct Last {
    seq: u64,
    /// Latest time so far.
    at_ms: u64,
}

impl Sources {
    pub(super) fn new(clock_back_max: Duration) -> Self {
        Self {
            clock_back_max_ms: u64::try_from(clock_back_max.as_millis()).unwrap_or(u64::MAX),
            last: HashMap::new(),
            unfollowed: 0,
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.last.len() as u64
    }

    /// Takes the next entry; gives what is wrong with it.
    pub(super) fn see(&mut self, source: &Source, at_ms: u64) -> Vec<(FaultKind, String)> {
        let mut faults = Vec::new();
        let Some(last) = self.last.get_mut(&source.id) else {
            if self.last.len() >= SOURCES_MAX {
                self.unfollowed += 1;
                if self.unfollowed == 1 {
                    faults.push((
                        FaultKind::Sequence,
                        format!("more than {SOURCES_MAX} sources: the numbers of others are not checked"),
                    ));
                }
                return faults;
            }
            if source.seq != 1 {
                faults.push((
                    FaultKind::Sequence,
                    format!("source `{}` begins with {}", source.id, source.seq),
                ));
            }
            let last = Last {
                seq: source.seq,
                at_ms,
            };
            self.last.insert(source.id.clone(), last);
            return faults;
        };
        if last.seq.checked_add(1) != Some(source.seq) {
            faults.push((
                FaultKind::Sequence,
                format!("source `{}` has {} after {}", source.id, source.seq, last.seq),
            ));
        }
        if last.at_ms.saturating_sub(at_ms) > self.clock_back_max_ms {
            faults.push((
                FaultKind::Clock,
                format!(
                    "the clock of source `{}` went back by {} ms",
                    source.id,
                    last.at_ms - at_ms
                ),
            ));
        }
        last.seq = source.seq;
        last.at_ms = last.at_ms.max(at_ms);
        faults
    }
}
