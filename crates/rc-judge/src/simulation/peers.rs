//! What others decide with, on the same traffic. Own implementations, after their documentation.

use std::collections::VecDeque;

use crate::sample::{Second, Tally};

/// One arm's minute.
#[derive(Debug, Clone, Copy, Default)]
struct Minute {
    stable: Tally,
    canary: Tally,
}

/// "More than 2 % errors of the canary in 5 minutes, looked at each minute; the second time it is taken back":
/// `failureLimit: 1` of an analysis in Argo Rollouts.
#[derive(Debug, Default)]
pub(super) struct FixedThreshold {
    minutes: VecDeque<Minute>,
    current: Minute,
    failures: u32,
}

impl FixedThreshold {
    pub(super) fn observe(&mut self, second: &Second) -> bool {
        self.current.canary.add(second.canary.failures());
        if !minute_ends(second) {
            return false;
        }
        self.minutes.push_back(std::mem::take(&mut self.current));
        if self.minutes.len() > 5 {
            self.minutes.pop_front();
        }
        let mut all = Tally::default();
        for minute in &self.minutes {
            all.add(minute.canary);
        }
        self.failures += u32::from(all.rate() > 0.02);
        self.failures > 1
    }
}

/// Mann and Whitney's test on the minutes' error rates of one step, at its end, at 98 %: how Kayenta judges.
#[derive(Debug, Default)]
pub(super) struct MannWhitney {
    minutes: Vec<Minute>,
    current: Minute,
}

impl MannWhitney {
    pub(super) fn observe(&mut self, second: &Second, step_ends: bool) -> bool {
        self.current.stable.add(second.stable.failures());
        self.current.canary.add(second.canary.failures());
        if minute_ends(second) {
            self.minutes.push(std::mem::take(&mut self.current));
        }
        if !step_ends {
            return false;
        }
        let minutes = std::mem::take(&mut self.minutes);
        let rates = |arm: fn(&Minute) -> Tally| -> Vec<f64> {
            minutes.iter().map(|minute| arm(minute).rate()).collect()
        };
        is_higher(&rates(|minute| minute.canary), &rates(|minute| minute.stable))
    }
}

fn minute_ends(second: &Second) -> bool {
    second.at % 60 == 59
}

/// Whether `a` is higher than `b`: normal approximation with ties and continuity, one side of 98 %.
fn is_higher(a: &[f64], b: &[f64]) -> bool {
    /// The standard normal's 99 %.
    const Z: f64 = 2.326;
    let (n, m) = (a.len() as f64, b.len() as f64);
    let mut wins = 0.0;
    for x in a {
        for y in b {
            wins += match x.total_cmp(y) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    let mut all: Vec<f64> = a.iter().chain(b).copied().collect();
    all.sort_by(f64::total_cmp);
    let ties: f64 = all
        .chunk_by(|x, y| x == y)
        .map(|tied| {
            let tied = tied.len() as f64;
            tied * tied * tied - tied
        })
        .sum();
    let variance = n * m / 12.0 * (n + m + 1.0 - ties / ((n + m) * (n + m - 1.0)));
    variance > 0.0 && (wins - n * m / 2.0 - 0.5) / variance.sqrt() > Z
}
