//! Spreading requests over what the server says is left, instead of running into its limit.
//!
//! Pure: time comes in as an argument. State is kept per resource, since one limit's shortage must not
//! slow calls that it does not cover.

use std::time::Duration;

use http::HeaderMap;

/// A gap below the timer's resolution is no gap.
const GAP_MIN: Duration = Duration::from_millis(1);

/// No gap is longer: a server that says "one a day" must not park a client for good.
const GAP_MAX: Duration = Duration::from_secs(30);

/// The turns of one resource.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    /// When the next turn is, from what the server says is left.
    next_ns: u64,
    gap_ns: u64,
    /// No turns before this, from a refusal. News that is older than the refusal does not end it.
    paused_until_ns: u64,
}

impl Pacer {
    /// Takes a turn at `now_ns`, or says how long to wait before asking again.
    pub(crate) fn turn(&mut self, now_ns: u64) -> Option<Duration> {
        let open_ns = self.next_ns.max(self.paused_until_ns);
        if now_ns < open_ns {
            return Some(Duration::from_nanos(open_ns - now_ns));
        }
        self.next_ns = now_ns.saturating_add(self.gap_ns);
        None
    }

    /// Learns what is left: `r` requests for the next `t` seconds are spread evenly.
    pub(crate) fn left(&mut self, now_ns: u64, left: Left) {
        let window = Duration::from_secs(left.seconds).min(GAP_MAX);
        if left.requests == 0 {
            self.gap_ns = 0;
            self.next_ns = now_ns.saturating_add(nanos(window));
            return;
        }
        let gap = window / u32::try_from(left.requests).unwrap_or(u32::MAX);
        self.gap_ns = if gap < GAP_MIN { 0 } else { nanos(gap) };
        // An earlier, longer gap must not outlive the news that there is room.
        self.next_ns = self.next_ns.min(now_ns.saturating_add(self.gap_ns));
    }

    /// No turns for `wait`: the server refused.
    pub(crate) fn pause(&mut self, now_ns: u64, wait: Duration) {
        self.paused_until_ns = self
            .paused_until_ns
            .max(now_ns.saturating_add(nanos(wait.min(GAP_MAX))));
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// What the server says is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    /// Requests.
    pub(crate) requests: u64,
    /// Seconds until the limit is whole again.
    pub(crate) seconds: u64,
}

/// Reads `RateLimit` (draft-ietf-httpapi-ratelimit-headers: `"default";r=50;t=30`, several policies in a
/// list) or the older `X-RateLimit-Remaining` and `-Reset`; of several policies the tightest.
pub(crate) fn read_left(headers: &HeaderMap) -> Option<Left> {
    let listed = headers
        .get_all("ratelimit")
        .iter()
        .filter_map(|value| value.to_str().ok());
    let tightest = listed.flat_map(policies).min_by(|a, b| {
        // a.r/a.t < b.r/b.t without division
        let (a, b) = (
            u128::from(a.requests) * u128::from(b.seconds),
            u128::from(b.requests) * u128::from(a.seconds),
        );
        a.cmp(&b)
    });
    tightest.or_else(|| {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
        Some(Left {
            requests: number("x-ratelimit-remaining")?,
            seconds: number("x-ratelimit-reset")?,
        })
    })
}

/// The members of one structured list; a member without both `r` and `t` says nothing we can use.
fn policies(list: &str) -> Vec<Left> {
    let mut found = Vec::new();
    let mut quoted = false;
    for member in list.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    }) {
        let after_name = match member.rsplit_once('"') {
            Some((_, parameters)) => parameters,
            None => member,
        };
        let mut left = (None, None);
        for parameter in after_name.split(';') {
            match parameter.trim().split_once('=') {
                Some(("r", value)) => left.0 = value.trim().parse().ok(),
                Some(("t", value)) => left.1 = value.trim().parse().ok(),
                _ => {}
            }
        }
        if let (Some(requests), Some(seconds)) = left {
            found.push(Left { requests, seconds });
        }
    }
    found
}

#[cfg(test)]
mod tests;
