//! Latencies in fixed buckets, and the running quantiles of the stable arm.

/// Buckets of one doubling: a value is known to a sixteenth.
const PER_OCTAVE: u64 = 16;
const SUB_BITS: u32 = PER_OCTAVE.trailing_zeros();

/// How many there are: up to 2^36 µs, 19 hours.
pub const BUCKETS: usize = (PER_OCTAVE as usize) * (36 - SUB_BITS as usize + 1);

/// After so many seconds what is older counts half.
const HALF_LIFE_SECONDS: u64 = 60;

/// Fewest latencies of the stable arm from which quantiles are taken.
const SAMPLES_MIN: u64 = 200;

/// The bucket of a time. Buckets of equal width within a doubling; the last one takes everything beyond.
#[must_use]
pub fn bucket(micros: u64) -> u16 {
    let place = if micros < PER_OCTAVE {
        micros
    } else {
        let octave = micros.ilog2() - SUB_BITS;
        u64::from(octave) * PER_OCTAVE + (micros >> octave)
    };
    place.min(BUCKETS as u64 - 1) as u16
}

/// How many of the `counts` lie in buckets above `bucket`.
#[must_use]
pub fn above(counts: &[(u16, u64)], bucket: usize) -> u64 {
    counts
        .iter()
        .filter(|(place, _)| usize::from(*place) > bucket)
        .fold(0, |sum, (_, count)| sum.saturating_add(*count))
}

/// The stable arm's latencies of the last minutes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    counts: Vec<u64>,
    total: u64,
    seconds: u64,
}

impl Running {
    pub(crate) fn new(start: &[(u16, u64)]) -> Self {
        let mut running = Self {
            counts: vec![0; BUCKETS],
            total: 0,
            seconds: 0,
        };
        running.add(start);
        running
    }

    /// Takes one second; what is older slowly loses its say.
    pub(crate) fn observe(&mut self, counts: &[(u16, u64)]) {
        self.seconds += 1;
        if self.seconds.is_multiple_of(HALF_LIFE_SECONDS) {
            for count in &mut self.counts {
                *count /= 2;
            }
            self.total = self
                .counts
                .iter()
                .fold(0, |sum, count| sum.saturating_add(*count));
        }
        self.add(counts);
    }

    fn add(&mut self, counts: &[(u16, u64)]) {
        for (bucket, count) in counts {
            if let Some(sum) = self.counts.get_mut(usize::from(*bucket)) {
                *sum = sum.saturating_add(*count);
                self.total = self.total.saturating_add(*count);
            }
        }
    }

    /// The first bucket with `quantile` of all at or below it; `None` while too few are known.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<usize> {
        if self.total < SAMPLES_MIN {
            return None;
        }
        let rank = quantile * self.total as f64;
        let mut sum = 0_u64;
        self.counts.iter().position(|count| {
            sum = sum.saturating_add(*count);
            sum as f64 >= rank
        })
    }

    /// What is kept, as it is written down.
    pub(crate) fn sparse(&self) -> Vec<(u16, u64)> {
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(bucket, count)| (bucket as u16, *count))
            .collect()
    }
}

#[cfg(test)]
mod tests;
