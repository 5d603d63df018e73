//! Tells an outage from bad events, so that an outage does not fill the dead letters.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

/// How far back it looks.
const WINDOW: Duration = Duration::from_secs(60);

/// Keys that may be set aside in any case.
const KEYS_MIN: usize = 10;

/// Of the keys of the window, one in so many may be set aside: 20 %.
const SHARE: usize = 5;

/// Keys that are told apart; more count as so many.
const KEYS_MAX: usize = 8_192;

/// Events in a row that fail for no known reason while none takes effect.
const UNEXPLAINED_MAX: usize = 3;

/// Counts keys that come and keys that are set aside.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Keys of the current half of the window, and of the half before.
    seen: [HashSet<u64>; 2],
    turned: Option<Instant>,
    parked: HashMap<u64, Instant>,
    unexplained: HashSet<u64>,
    open: Option<String>,
}

impl Breaker {
    /// Events of these keys came.
    pub(super) fn saw(&mut self, keys: impl Iterator<Item = u64>, now: Instant) {
        let turned = *self.turned.get_or_insert(now);
        if now.duration_since(turned) >= WINDOW / 2 {
            self.seen.swap(0, 1);
            self.seen[0].clear();
            self.turned = Some(now);
        }
        for key in keys {
            if self.seen[0].len() >= KEYS_MAX {
                return;
            }
            self.seen[0].insert(key);
        }
    }

    /// Whether an event of `key` may be set aside. `why` is its error, `explained` whether somebody named the
    /// event.
    ///
    /// # Errors
    /// Why the consumer must halt instead.
    pub(super) fn park(&mut self, key: u64, explained: bool, why: &str, now: Instant) -> Result<(), String> {
        if let Some(open) = &self.open {
            return Err(open.clone());
        }
        self.parked.retain(|_, at| now.duration_since(*at) < WINDOW);
        self.parked.insert(key, now);
        if !explained {
            self.unexplained.insert(key);
        }
        let parked = self.parked.len();
        let seen = self.seen[0].union(&self.seen[1]).count().max(parked);
        let open = if parked >= KEYS_MIN && parked * SHARE > seen {
            format!("{parked} of the {seen} keys of the last minute failed; the last one with: {why}")
        } else if self.unexplained.len() >= UNEXPLAINED_MAX {
            format!(
                "{} events in a row failed and none took effect between; the last one with: {why}",
                self.unexplained.len()
            )
        } else {
            return Ok(());
        };
        self.open = Some(open.clone());
        Err(open)
    }

    /// An event took effect: what fails is not everything.
    pub(super) fn applied(&mut self) {
        self.unexplained.clear();
        self.open = None;
    }

    /// A person says that the events are bad.
    pub(super) fn close(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests;
