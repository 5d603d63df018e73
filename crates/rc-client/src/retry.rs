//! When to try again, how long to wait, and when to stop trying.
//!
//! Pure: time and randomness come in as arguments.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use rc_model::{Problem, Timestamp};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// The server's own wait is stretched by up to this share, so that clients do not come back together.
const SERVER_WAIT_JITTER: f64 = 0.25;

/// How waits between attempts grow: full jitter, uniformly in `0..=min(cap, base * 2^n)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait's upper end.
    pub base: Duration,
    /// No wait is longer.
    pub cap: Duration,
    /// Attempts of one call, the first included.
    pub attempts_max: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(100),
            cap: Duration::from_secs(30),
            attempts_max: 8,
        }
    }
}

impl Backoff {
    /// The wait after `attempts` failed attempts (1 after the first); `random` is in `0.0..1.0`.
    #[must_use]
    pub fn wait(&self, attempts: u32, random: f64) -> Duration {
        let doubled = self
            .base
            .saturating_mul(1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.cap).mul_f64(random.clamp(0.0, 1.0))
    }
}

/// The wait before the next attempt: never less than the server asked for, and spread beyond it.
pub(crate) fn next_wait(backoff: &Backoff, attempts: u32, server: Option<Duration>, random: f64) -> Duration {
    let own = backoff.wait(attempts, random);
    match server {
        // What the server computed is the real wait; our own doubling adds nothing but spread.
        Some(asked) => asked
            .saturating_add(asked.mul_f64(SERVER_WAIT_JITTER * random))
            .max(own.min(backoff.base)),
        None => own,
    }
}

/// What the client does with an attempt's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The answer stands, good or bad.
    Final,
    /// It may be better next time.
    Again,
}

/// The tenant's storage is full: somebody has to make room, time alone does not.
const OVER_QUOTA: &str = "RC-ING-034";

/// Judges a status. 409 is only worth another try when the server says how long to wait: then the same
/// key is being worked on right now.
pub(crate) fn judge(status: StatusCode, server_wait: Option<Duration>, problem: Option<&Problem>) -> Verdict {
    if problem.is_some_and(|problem| problem.code == OVER_QUOTA) {
        return Verdict::Final;
    }
    match status.as_u16() {
        408 | 425 | 429 | 502 | 503 | 504 => Verdict::Again,
        409 if server_wait.is_some() => Verdict::Again,
        _ => Verdict::Final,
    }
}

/// How long the server asks to wait: the problem's `retry_after_ms`, else `Retry-After` in seconds or as
/// an HTTP date.
pub(crate) fn server_wait(
    headers: &HeaderMap,
    problem: Option<&Problem>,
    now: Timestamp,
) -> Option<Duration> {
    if let Some(ms) = problem.and_then(|problem| problem.retry_after_ms) {
        return Some(Duration::from_millis(ms));
    }
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    let at = Timestamp::from_unix_ms(i64::try_from(date.unix_timestamp_nanos() / 1_000_000).ok()?);
    Some(at.since(now))
}

/// How many retries there may be for the requests made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BudgetPolicy {
    /// Retries per request over the window, 0 to 1.
    pub share: f64,
    /// Retries in a window that are always allowed, so that a client with few requests can retry at all.
    pub minimum: u32,
}

impl Default for BudgetPolicy {
    fn default() -> Self {
        Self {
            share: 0.1,
            minimum: 10,
        }
    }
}

const WINDOW_SECONDS: usize = 10;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// Counts requests and retries over the last 10 s; a retry that the budget does not cover is not made.
///
/// Retries without a budget turn a short outage into a long one: every client doubles its load when the
/// server can bear it least.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    policy: BudgetPolicy,
    /// One slot a second: which second it counts, its requests, its retries.
    slots: [(u64, u32, u32); WINDOW_SECONDS],
}

impl RetryBudget {
    pub(crate) fn new(policy: BudgetPolicy) -> Self {
        Self {
            policy,
            slots: [(0, 0, 0); WINDOW_SECONDS],
        }
    }

    fn slot(&mut self, now_ns: u64) -> &mut (u64, u32, u32) {
        let second = now_ns / NS_PER_SECOND;
        let index = usize::try_from(second % WINDOW_SECONDS as u64).expect("a remainder below 10 fits");
        let slot = &mut self.slots[index];
        if slot.0 != second {
            *slot = (second, 0, 0);
        }
        slot
    }

    /// Counts a request (not its retries).
    pub(crate) fn request(&mut self, now_ns: u64) {
        let slot = self.slot(now_ns);
        slot.1 = slot.1.saturating_add(1);
    }

    /// Takes a retry out of the budget; false when there is none left.
    pub(crate) fn take(&mut self, now_ns: u64) -> bool {
        let second = now_ns / NS_PER_SECOND;
        let oldest = second.saturating_sub(WINDOW_SECONDS as u64 - 1);
        let (requests, retries) = self
            .slots
            .iter()
            .filter(|slot| slot.0 >= oldest)
            .fold((0_u64, 0_u64), |sum, slot| {
                (sum.0 + u64::from(slot.1), sum.1 + u64::from(slot.2))
            });
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of ten seconds are far below 2^52"
        )]
        let allowed = requests as f64 * self.policy.share + f64::from(self.policy.minimum);
        #[expect(clippy::cast_precision_loss, reason = "as above")]
        if retries as f64 + 1.0 > allowed {
            return false;
        }
        let slot = self.slot(now_ns);
        slot.2 = slot.2.saturating_add(1);
        true
    }
}

#[cfg(test)]
mod tests;
