//! What is known before a rollout: how clumped the stable version's errors are, and how long it takes.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::latency::{BUCKETS, Running};
use crate::sample::Arm;

/// Seconds of one window whose counts are compared.
const WINDOW_SECONDS: u64 = 10;
/// Windows of one hour.
const WINDOWS_PER_HOUR: u64 = 360;
/// Fewest windows from which an hour's dispersion is taken: ten minutes.
const WINDOWS_MIN: u64 = 60;
/// Hours that are kept.
const HOURS: usize = 24;
/// The dispersion of a service whose history nobody knows.
const UNKNOWN_MILLI: u64 = 5_000;
/// Slow, for the dispersion of latencies: above this quantile of the minutes before.
const SLOW_QUANTILE: f64 = 0.95;

/// What the judge takes from history, in whole numbers, as it stands in records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Hours of history behind it; with 0 the dispersions are guesses.
    pub hours: u64,
    /// How many errors come together, in thousandths, at least 1,000: the 90th percentile of the hours.
    pub error_dispersion_milli: u64,
    /// The same of slow requests.
    pub slow_dispersion_milli: u64,
    /// Errors of all requests, in parts per million.
    pub error_ppm: u64,
    /// Latencies of the last minutes, as in [`Arm::latency`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latency: Vec<(u16, u64)>,
}

impl Baseline {
    /// Of a service without history: five errors come together.
    #[must_use]
    pub fn unknown() -> Self {
        Self {
            hours: 0,
            error_dispersion_milli: UNKNOWN_MILLI,
            slow_dispersion_milli: UNKNOWN_MILLI,
            error_ppm: 0,
            latency: Vec::new(),
        }
    }
}

/// Collects the stable version's seconds before a rollout.
#[derive(Debug, Clone)]
pub struct History {
    window: Window,
    errors: Dispersion,
    slow: Dispersion,
    /// Dispersions of errors and of slow requests of whole hours, the newest last.
    hours: VecDeque<(f64, f64)>,
    running: Running,
    requests: u64,
    bad: u64,
}

#[derive(Debug, Clone, Default)]
struct Window {
    seconds: u64,
    requests: u64,
    bad: u64,
    slow: u64,
}

impl Default for History {
    fn default() -> Self {
        Self {
            window: Window::default(),
            errors: Dispersion::default(),
            slow: Dispersion::default(),
            hours: VecDeque::with_capacity(HOURS),
            running: Running::new(&[]),
            requests: 0,
            bad: 0,
        }
    }
}

impl History {
    /// Takes one second of the stable version.
    pub fn observe(&mut self, stable: &Arm) {
        let threshold = self.running.quantile(SLOW_QUANTILE).unwrap_or(BUCKETS);
        let failures = stable.failures();
        let window = &mut self.window;
        window.seconds += 1;
        window.requests = window.requests.saturating_add(failures.requests);
        window.bad = window.bad.saturating_add(failures.bad);
        window.slow = window.slow.saturating_add(stable.slower_than(threshold).bad);
        self.running.observe(&stable.latency);
        if window.seconds == WINDOW_SECONDS {
            let Window {
                requests, bad, slow, ..
            } = std::mem::take(window);
            self.observe_window(requests, bad, slow);
        }
    }

    /// Takes the counts of ten seconds at once.
    pub(crate) fn observe_window(&mut self, requests: u64, bad: u64, slow: u64) {
        self.requests = self.requests.saturating_add(requests);
        self.bad = self.bad.saturating_add(bad);
        self.errors.observe(requests, bad);
        self.slow.observe(requests, slow);
        if self.errors.windows == WINDOWS_PER_HOUR {
            if self.hours.len() == HOURS {
                self.hours.pop_front();
            }
            let errors = std::mem::take(&mut self.errors).estimate();
            self.hours
                .push_back((errors, std::mem::take(&mut self.slow).estimate()));
        }
    }

    /// What it comes to. An hour that has begun counts after ten minutes.
    #[must_use]
    pub fn baseline(&self) -> Baseline {
        let mut hours: Vec<(f64, f64)> = self.hours.iter().copied().collect();
        if self.errors.windows >= WINDOWS_MIN {
            hours.push((self.errors.estimate(), self.slow.estimate()));
        }
        let guess = Baseline::unknown();
        let error_rate = if self.requests == 0 {
            0.0
        } else {
            self.bad as f64 / self.requests as f64
        };
        Baseline {
            hours: hours.len() as u64,
            error_dispersion_milli: high(hours.iter().map(|hour| hour.0))
                .unwrap_or(guess.error_dispersion_milli),
            slow_dispersion_milli: high(hours.iter().map(|hour| hour.1))
                .unwrap_or(guess.slow_dispersion_milli),
            error_ppm: (error_rate * 1e6).round() as u64,
            latency: self.running.sparse(),
        }
    }
}

/// The 90th percentile in thousandths: one bad hour of ten, an outage say, has no say.
fn high(values: impl Iterator<Item = f64>) -> Option<u64> {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * 9).div_ceil(10).checked_sub(1)?;
    Some((sorted[rank] * 1000.0).round() as u64)
}

/// Pearson's dispersion of counts: their squared distances from what the hour's rate expects, over what chance would
/// make of them. It follows the number of requests, so that a busy quarter of an hour is no clump.
#[derive(Debug, Clone, Default)]
struct Dispersion {
    windows: u64,
    requests: f64,
    bad: f64,
    /// Sum of `bad * bad / requests` over windows.
    squares: f64,
}

impl Dispersion {
    fn observe(&mut self, requests: u64, bad: u64) {
        self.windows += 1;
        if requests > 0 {
            let (requests, bad) = (requests as f64, bad as f64);
            self.requests += requests;
            self.bad += bad;
            self.squares += bad * bad / requests;
        }
    }

    /// At least 1; what chance explains is 1.
    fn estimate(&self) -> f64 {
        if self.bad == 0.0 || self.windows < 2 {
            return 1.0;
        }
        let free = (self.windows - 1) as f64;
        let value = (self.squares * self.requests / self.bad - self.bad) / free;
        // Two standard errors of the estimate for independent events.
        let mean = self.bad / self.windows as f64;
        let chance = 2.0 * ((2.0 + 1.0 / mean) / free).sqrt();
        if value <= 1.0 + chance { 1.0 } else { value }
    }
}

#[cfg(test)]
mod tests;
