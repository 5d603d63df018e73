//! The same kind of evidence for benchmarks: is the new build slower than the old one by more than is allowed?
//!
//! Samples come in pairs that were measured side by side and by turns (ABBA), because two series from one machine differ
//! by more than most changes do. Which of a pair is slower is a coin; the evidence may be looked at after each pair.

use serde::Serialize;

use crate::evidence::log_mean;

/// How often the slower side may win, with equal weights.
const COINS: [f64; 6] = [0.6, 0.7, 0.8, 0.9, 0.95, 0.99];

/// One pair: times, or anything else of which less is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    pub base: f64,
    pub head: f64,
}

/// What the pairs say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Speed {
    /// The head takes more than is allowed.
    Slower,
    /// It does not.
    WithinBudget,
    /// More pairs are needed.
    Undecided,
}

/// The answer with its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    pub speed: Speed,
    pub pairs: usize,
    /// The median of head over base.
    pub ratio: f64,
    /// Evidence that more than half of the pairs are over the budget, and that less than half are.
    pub log_e_slower: f64,
    pub log_e_within: f64,
}

/// Why pairs cannot be compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CompareError {
    #[error("pair {pair} has `{value}`: a sample is a number above 0")]
    NotPositive { pair: usize, value: f64 },
    #[error("a budget of `{budget}` is no ratio above 0")]
    Budget { budget: f64 },
    #[error("an error rate of `{alpha}` does not lie between 0 and 1")]
    Alpha { alpha: f64 },
}

/// Compares `pairs` with the budget: `1.05` allows the head 5 % more.
///
/// Of heads whose median ratio is the budget or less at most `alpha` are ever called slower, and of those whose is the
/// budget or more at most `alpha` are ever called within it, however often one looks while pairs are added; the
/// condition is that which build goes first in a pair is balanced. Nine pairs that agree decide at 1 %.
///
/// # Errors
/// Samples that are no positive numbers: a tool that drops them hides the clearest regressions.
pub fn compare(pairs: &[Pair], budget: f64, alpha: f64) -> Result<Comparison, CompareError> {
    if !(budget.is_finite() && budget > 0.0) {
        return Err(CompareError::Budget { budget });
    }
    if !(alpha > 0.0 && alpha < 1.0) {
        return Err(CompareError::Alpha { alpha });
    }
    let mut ratios = Vec::with_capacity(pairs.len());
    for (place, pair) in pairs.iter().enumerate() {
        for value in [pair.base, pair.head] {
            if !(value.is_finite() && value > 0.0) {
                return Err(CompareError::NotPositive {
                    pair: place + 1,
                    value,
                });
            }
        }
        ratios.push(pair.head / pair.base);
    }
    // A ratio of exactly the budget speaks for neither.
    let over = ratios.iter().filter(|ratio| **ratio > budget).count();
    let under = ratios.iter().filter(|ratio| **ratio < budget).count();
    let log_e_slower = coins(over, ratios.len() - over);
    let log_e_within = coins(under, ratios.len() - under);
    let threshold = -alpha.ln();
    ratios.sort_by(f64::total_cmp);
    Ok(Comparison {
        speed: match (log_e_slower >= threshold, log_e_within >= threshold) {
            (true, _) => Speed::Slower,
            (false, true) => Speed::WithinBudget,
            (false, false) => Speed::Undecided,
        },
        pairs: pairs.len(),
        ratio: ratios.get(ratios.len() / 2).copied().unwrap_or(1.0),
        log_e_slower,
        log_e_within,
    })
}

/// Evidence against a coin that falls on "for" at most half of the time.
fn coins(for_it: usize, against: usize) -> f64 {
    let each = 1.0 / COINS.len() as f64;
    let one = |coin: f64| {
        let log = for_it as f64 * (2.0 * coin).ln() + against as f64 * (2.0 * (1.0 - coin)).ln();
        (each, log)
    };
    log_mean(COINS.into_iter().map(one))
}

#[cfg(test)]
mod tests;
