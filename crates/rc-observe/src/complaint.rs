//! Lines in the log about a disk or a receiver that takes nothing: spans come by the thousand, lines must not.

use std::time::Duration;

use rc_model::clock::monotonic_ns;

/// At most one line in this time about the same thing.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// When the last line was written.
#[derive(Debug, Default)]
pub(crate) struct Complaint(Option<u64>);

impl Complaint {
    /// Whether a line is due; it is then taken for written.
    pub(crate) fn due(&mut self) -> bool {
        self.due_at(monotonic_ns())
    }

    fn due_at(&mut self, now_ns: u64) -> bool {
        let rested = |last: u64| u128::from(now_ns.saturating_sub(last)) >= COMPLAIN_EVERY.as_nanos();
        let due = self.0.is_none_or(rested);
        if due {
            self.0 = Some(now_ns);
        }
        due
    }
}

#[cfg(test)]
mod tests;
