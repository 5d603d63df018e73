//! A limit that finds itself, from how long the service takes to begin its answers.
//!
//! A state machine without I/O: samples in, a limit out, time as an argument. It looks at one window of samples
//! at a time. Of a window it takes the mean of the times without the slowest eighth: a queue inside the service delays
//! all requests, while a few slow ones move only the mean of all. A quantile would not do: equal requests queue in
//! batches, some of which wait a whole turn and some not at all.

/// Where the limit may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) floor: u32,
    pub(crate) ceiling: u32,
    pub(crate) initial: u32,
}

/// What one request shows about the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It began its answer.
    Answered,
    /// It said that it has too much to do, or was too slow.
    Overloaded,
}

/// One request's share in what is known.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// [`Adaptive::epoch`] when its seat was taken.
    pub(crate) epoch: u32,
    /// How long the service took to begin its answer.
    pub(crate) head_ns: u64,
    pub(crate) outcome: Outcome,
    /// Seats in use when the answer began.
    pub(crate) in_use: u32,
}

/// What the limit is made from, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Inputs {
    /// The least time that the service is known to need, `t0`.
    pub(crate) least_us: f64,
    /// The time in the latest window, `t`.
    pub(crate) latest_us: f64,
    /// Requests that waited inside the service in the latest window.
    pub(crate) queued: f64,
}

/// Most times that one window keeps.
const TIMES_MAX: usize = 512;
/// The slowest of so many are left out of a window's time.
const SLOW_PART: usize = 8;
/// Fewest samples of a window. It goes on until its mean is known to [`ERROR_MAX`], or [`TIMES_MAX`] are kept.
const SAMPLES_MIN: u32 = 64;
const ERROR_MAX: f64 = 0.04;
/// A window ends after so long with whatever it has, if that is at least [`SPARSE_SAMPLES_MIN`].
const SPARSE_WINDOW_NS: u64 = 2_000_000_000;
const SPARSE_SAMPLES_MIN: u32 = 8;
/// Waiting inside the service that hurts nobody (CoDel's target, RFC 8289): a service that answers in microseconds
/// is not worth a queue in front of it.
const HARMLESS_US: f64 = 5_000.0;
/// Windows in a row that must see a queue. The first may hold the moment in which the service changed.
const WINDOWS_TO_SHRINK: u32 = 2;
/// The smallest change of the limit whose effect shows.
const TRIAL_FACTOR: f64 = 0.8;
/// How often a full pool tries to do with fewer seats, to see whether `t0` is still true.
const PROBE_EVERY_NS: u64 = 10_000_000_000;
/// A window counts as full when so much of the limit was in use.
const FULL: f64 = 0.9;
const OVERLOADED_FACTOR: f64 = 0.9;

#[derive(Debug)]
pub(crate) struct Adaptive {
    bounds: Bounds,
    limit: f64,
    /// Counts the changes of the limit.
    epoch: u32,
    inputs: Inputs,
    window: Window,
    /// Windows in a row that saw a queue.
    queueing: u32,
    /// Grows in leaps until a first queue is seen.
    climbing: bool,
    trial: Option<Trial>,
    probed_ns: Option<u64>,
}

/// Fewer seats, on trial: what is lost by them says whether anybody waited in the service.
#[derive(Debug, Clone, Copy)]
struct Trial {
    limit: f64,
    seen: Seen,
    probe: bool,
}

/// What one window showed.
#[derive(Debug, Clone, Copy)]
struct Seen {
    time_us: f64,
    /// Mean of seats in use.
    seated: f64,
    /// Most seats in use at any moment.
    peak: u32,
}

#[derive(Debug)]
struct Window {
    begun_ns: Option<u64>,
    answered: u32,
    /// Samples that it needs.
    enough: u32,
    seated: u64,
    peak: u32,
    times_us: Box<[u32; TIMES_MAX]>,
}

impl Adaptive {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            limit: f64::from(bounds.initial.clamp(bounds.floor, bounds.ceiling)),
            bounds,
            epoch: 0,
            inputs: Inputs::default(),
            window: Window {
                begun_ns: None,
                answered: 0,
                enough: SAMPLES_MIN,
                seated: 0,
                peak: 0,
                times_us: Box::new([0; TIMES_MAX]),
            },
            queueing: 0,
            climbing: true,
            trial: None,
            probed_ns: None,
        }
    }

    pub(crate) fn limit(&self) -> u32 {
        // Within the bounds, which are 32 bits wide.
        self.limit as u32
    }

    /// What a request must remember from the moment it takes its seat.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(crate) fn inputs(&self) -> Inputs {
        self.inputs
    }

    /// Fits the limit to changed bounds; what is known of the service stays known.
    /// `true`: the limit may have changed.
    pub(crate) fn rebound(&mut self, bounds: Bounds) -> bool {
        let changed = bounds != self.bounds;
        if changed {
            self.bounds = bounds;
            self.set(self.limit);
        }
        changed
    }

    /// Takes one sample. `true`: the limit may have changed.
    pub(crate) fn sample(&mut self, sample: Sample, now_ns: u64) -> bool {
        // Its time belongs to a limit that is no more.
        if sample.epoch != self.epoch {
            return false;
        }
        if sample.outcome == Outcome::Overloaded {
            // With the pool half empty it is not the number of requests that is too much for the service.
            if f64::from(sample.in_use) < self.limit / 2.0 {
                return false;
            }
            self.climbing = false;
            self.trial = None;
            self.set(self.limit * OVERLOADED_FACTOR);
            return true;
        }
        let window = &mut self.window;
        // The first answer only opens the window: it says nothing about a rate.
        let Some(begun_ns) = window.begun_ns else {
            window.begun_ns = Some(now_ns);
            return false;
        };
        window.times_us[window.answered as usize % TIMES_MAX] =
            u32::try_from(sample.head_ns / 1_000).unwrap_or(u32::MAX);
        window.answered += 1;
        window.seated += u64::from(sample.in_use);
        window.peak = window.peak.max(sample.in_use);
        let took_ns = now_ns.saturating_sub(begun_ns);
        let enough = (2.0 * self.limit).max(f64::from(window.enough));
        let full = f64::from(window.answered) >= enough.min(TIMES_MAX as f64) && took_ns >= sample.head_ns;
        let sparse = took_ns >= SPARSE_WINDOW_NS && window.answered >= SPARSE_SAMPLES_MIN;
        if took_ns == 0 || !(full || sparse) {
            return false;
        }
        let (time_us, error) = window.time();
        if error > ERROR_MAX && !sparse && (window.answered as usize) < TIMES_MAX {
            window.enough = window.answered * 2;
            return false;
        }
        let seen = window.close(time_us, took_ns);
        self.decide(seen, now_ns)
    }

    fn decide(&mut self, seen: Seen, now_ns: u64) -> bool {
        self.inputs.latest_us = seen.time_us;
        if let Some(trial) = self.trial.take()
            && let Some(changed) = self.judge(trial, seen)
        {
            return changed;
        }
        self.learn(seen.time_us);
        let queued = seen.seated * (1.0 - self.inputs.least_us / seen.time_us);
        self.inputs.queued = queued.max(0.0);
        let alpha = (3.0 * self.limit.log10()).max(1.0);
        let beta = 2.0 * alpha;
        let delay_us = seen.time_us - self.inputs.least_us;
        if queued > beta && delay_us > HARMLESS_US {
            self.climbing = false;
            self.queueing += 1;
            if self.queueing < WINDOWS_TO_SHRINK {
                return false;
            }
            let without_queue = self.limit - (queued - (alpha + beta) / 2.0);
            let harmless = self.limit * (self.inputs.least_us + HARMLESS_US) / seen.time_us;
            let fewer = without_queue.max(harmless);
            self.attempt(
                fewer.clamp(self.limit / 2.0, self.limit * TRIAL_FACTOR),
                seen,
                false,
            );
            return true;
        }
        self.queueing = 0;
        let full = seen.seated >= self.limit * FULL;
        if queued < alpha || delay_us < HARMLESS_US / 2.0 {
            // Seats that nobody needs are no evidence that the service could bear more.
            if seen.seated < self.limit / 2.0 || seen.peak < self.limit() {
                return false;
            }
            let step = if self.climbing && full {
                self.limit / 2.0
            } else {
                (self.limit.sqrt() / 2.0).max(1.0)
            };
            let before = self.limit();
            self.set(self.limit + step);
            // At the ceiling there is nothing left to try but less.
            if self.limit() != before {
                return true;
            }
        }
        self.climbing = false;
        let due = self
            .probed_ns
            .is_none_or(|probed_ns| now_ns.saturating_sub(probed_ns) >= PROBE_EVERY_NS);
        // What is not longer than a harmless wait does not hide a harmful one.
        if full && due && seen.time_us > HARMLESS_US {
            self.probed_ns = Some(now_ns);
            self.attempt(self.limit * TRIAL_FACTOR, seen, true);
            return true;
        }
        false
    }

    /// Whether fewer seats cost throughput. Then nobody had waited inside the service: what looked like a queue is
    /// what the service takes. Throughput is seats by time (Little's law), so it fell with the seats if the time did
    /// not; counting answers would be less exact, as equal requests end in batches. `None`: this window is one like any
    /// other.
    fn judge(&mut self, trial: Trial, seen: Seen) -> Option<bool> {
        let seats = seen.seated / trial.seen.seated;
        if seats > 0.95 {
            return None; // The limit was not what kept requests back.
        }
        let queued = seen.time_us < trial.seen.time_us * f64::midpoint(1.0, seats);
        if !queued {
            self.inputs.least_us = seen.time_us;
            self.inputs.queued = 0.0;
            self.set(trial.limit);
            return Some(true);
        }
        self.learn(seen.time_us);
        if trial.probe && seen.time_us > HARMLESS_US && self.limit() > self.bounds.floor {
            // All that was found is that `t0` is too high. Go on until fewer seats cost something.
            self.attempt(self.limit * TRIAL_FACTOR, seen, true);
            return Some(true);
        }
        None
    }

    fn attempt(&mut self, limit: f64, seen: Seen, probe: bool) {
        self.trial = Some(Trial {
            limit: self.limit,
            seen,
            probe,
        });
        self.set(limit);
    }

    /// Much less is taken at once, a little less only by half: the least of many windows is luck.
    fn learn(&mut self, time_us: f64) {
        let least_us = &mut self.inputs.least_us;
        if *least_us == 0.0 || time_us < *least_us * TRIAL_FACTOR {
            *least_us = time_us;
        } else if time_us < *least_us {
            *least_us = f64::midpoint(*least_us, time_us);
        }
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(f64::from(self.bounds.floor), f64::from(self.bounds.ceiling));
        self.epoch = self.epoch.wrapping_add(1);
        self.queueing = 0;
        self.window.begun_ns = None;
        self.window.clear();
    }
}

impl Window {
    fn clear(&mut self) {
        self.answered = 0;
        self.enough = SAMPLES_MIN;
        self.seated = 0;
        self.peak = 0;
    }

    /// The mean of the times but for the slowest, and its standard error as a part of it.
    fn time(&mut self) -> (f64, f64) {
        let kept = (self.answered as usize).min(TIMES_MAX);
        let times = &mut self.times_us[..kept];
        let quick = kept - kept / SLOW_PART;
        times.select_nth_unstable(quick - 1);
        let (mut sum, mut squares) = (0.0, 0.0);
        for time_us in &times[..quick] {
            let time_us = f64::from(*time_us);
            sum += time_us;
            squares += time_us * time_us;
        }
        let count = quick as f64;
        let mean = (sum / count).max(1.0);
        let variance = (squares / count - mean * mean).max(0.0);
        (mean, (variance / count).sqrt() / mean)
    }

    /// Sums up and begins the next window where this one ends.
    fn close(&mut self, time_us: f64, took_ns: u64) -> Seen {
        let seen = Seen {
            time_us,
            seated: (self.seated as f64 / f64::from(self.answered)).max(1.0),
            peak: self.peak,
        };
        self.begun_ns = self.begun_ns.map(|begun_ns| begun_ns + took_ns);
        self.clear();
        seen
    }
}
