//! Random counts from a seed.

use std::f64::consts::TAU;

/// The largest mean that is drawn in one go: `exp(-500)` is still a number.
const MEAN_MAX: f64 = 500.0;

pub(super) struct Draw(fastrand::Rng);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// Between 0 and 1.
    pub(super) fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// A count with this mean, by inversion.
    pub(super) fn poisson(&mut self, mean: f64) -> u64 {
        if mean <= 0.0 {
            return 0;
        }
        if mean > MEAN_MAX {
            return self.poisson(mean / 2.0) + self.poisson(mean / 2.0);
        }
        let mut left = self.unit();
        let mut term = (-mean).exp();
        let mut count = 0;
        // The terms add up to 1 only as far as floats go: far out there is nothing left to wait for.
        while left > term && (count as f64) < mean + 60.0 + 12.0 * mean.sqrt() {
            left -= term;
            count += 1;
            term *= mean / count as f64;
        }
        count
    }

    /// How many of `n` have what each has with `chance`, by inversion.
    pub(super) fn binomial(&mut self, n: u64, chance: f64) -> u64 {
        if n == 0 || chance <= 0.0 {
            return 0;
        }
        if chance >= 1.0 {
            return n;
        }
        if chance > 0.5 {
            return n - self.binomial(n, 1.0 - chance);
        }
        if n as f64 * chance > MEAN_MAX {
            return self.binomial(n / 2, chance) + self.binomial(n - n / 2, chance);
        }
        let odds = chance / (1.0 - chance);
        let mut left = self.unit();
        let mut term = (n as f64 * (-chance).ln_1p()).exp();
        let mut count = 0;
        while left > term && count < n {
            left -= term;
            count += 1;
            term *= odds * (n - count + 1) as f64 / count as f64;
        }
        count
    }

    /// Standard normal (Box and Muller).
    pub(super) fn normal(&mut self) -> f64 {
        let (a, b) = (1.0 - self.unit(), self.unit());
        (-2.0 * a.ln()).sqrt() * (TAU * b).cos()
    }
}
