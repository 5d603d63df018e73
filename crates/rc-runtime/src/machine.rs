//! Every decision about one service, without input or output: what happened goes in with the time, what to
//! do comes out.
//!
//! The machine never sleeps and never looks at a clock; [`Machine::deadline`] says when it wants to hear
//! [`Input::Tick`].

use std::collections::VecDeque;
use std::time::Duration;

use crate::exit::Cause;
use crate::status::State;

/// How a service is treated when it does not behave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The pause before the first restart; it doubles with every further one.
    pub backoff_first: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// So many ends by themselves within `crash_window` are a crash loop.
    pub crash_exits: usize,
    /// See `crash_exits`. An instance that lives longer than this starts with a clean record.
    pub crash_window: Duration,
    /// How long an instance may take to become ready.
    pub ready_timeout: Duration,
    /// How long a stopped instance may take to end before it is killed.
    pub drain: Duration,
    /// So many failed probes in a row make a ready service unready; one good probe makes it ready again.
    pub unready_probes: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            // With these, a service that ends at once gets its verdict after about 1.5 s of pauses.
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_secs(15),
            crash_exits: 5,
            crash_window: Duration::from_secs(60),
            ready_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(10),
            unready_probes: 3,
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// All services that this one needs are ready.
    NeedsReady,
    /// A probe succeeded.
    ProbeOk,
    /// A probe failed, with its reason.
    ProbeFailed(String),
    /// The instance is no more, or could not be started.
    Ended(Cause),
    /// The service's specification changed: begin anew.
    Replace,
    /// End for good.
    Stop,
    /// End for good without letting it finish its work.
    StopNow,
    /// Time passed.
    Tick,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Start an instance.
    Start,
    /// Ask the instance to finish its work and end.
    Terminate,
    /// Kill the instance.
    Kill,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Waiting,
    Starting { late_at: u64 },
    Ready { failed_probes: u32 },
    Unready,
    BackingOff { until: u64 },
    CrashLooped,
    Stopping { kill_at: Option<u64>, then: Then },
    Stopped,
}

/// What follows the end of a stopping instance.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Then {
    /// Nothing: it was asked to end.
    Stop,
    /// Start again under the new specification.
    Fresh,
    /// It counts as an end by itself, for this reason.
    Fail(Cause),
}

/// One service's state and record.
#[derive(Debug)]
pub struct Machine {
    policy: Policy,
    phase: Phase,
    /// When instances ended by themselves, within the crash window; at most `crash_exits` entries.
    exits: VecDeque<u64>,
    restarts: u32,
    /// What the last failed probe said.
    last_probe: String,
    last_cause: Option<Cause>,
    random: fastrand::Rng,
}

impl Machine {
    /// A service that was never started. `seed` feeds the jitter of its pauses.
    #[must_use]
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            phase: Phase::Waiting,
            exits: VecDeque::new(),
            restarts: 0,
            last_probe: String::new(),
            last_cause: None,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Where the service stands.
    #[must_use]
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Waiting => State::Waiting,
            Phase::Starting { .. } => State::Starting,
            Phase::Ready { .. } => State::Ready,
            Phase::Unready => State::Unready,
            Phase::BackingOff { .. } => State::BackingOff,
            Phase::CrashLooped => State::CrashLooped,
            Phase::Stopping { .. } => State::Stopping,
            Phase::Stopped => State::Stopped,
        }
    }

    /// How often the service was started again after it had ended by itself.
    #[must_use]
    pub fn restarts(&self) -> u32 {
        self.restarts
    }

    /// Why the last instance ended.
    #[must_use]
    pub fn last_cause(&self) -> Option<&Cause> {
        self.last_cause.as_ref()
    }

    /// What the last failed probe said; empty when the last probe succeeded.
    #[must_use]
    pub fn last_probe(&self) -> &str {
        &self.last_probe
    }

    /// Whether the instance should be probed.
    #[must_use]
    pub fn probed(&self) -> bool {
        matches!(
            self.phase,
            Phase::Starting { .. } | Phase::Ready { .. } | Phase::Unready
        )
    }

    /// Takes a new policy, from the next decision on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// When the machine wants to hear [`Input::Tick`], on the clock that `step` gets its `now` from.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        match self.phase {
            Phase::Starting { late_at } => Some(late_at),
            Phase::BackingOff { until } => Some(until),
            Phase::Stopping { kill_at, .. } => kill_at,
            Phase::Waiting | Phase::Ready { .. } | Phase::Unready | Phase::CrashLooped | Phase::Stopped => {
                None
            }
        }
    }

    /// Takes in what happened at `now` (nanoseconds on a monotonic clock) and says what to do.
    ///
    /// An input that means nothing in the present state (a late probe, a second stop) changes nothing.
    pub fn step(&mut self, input: Input, now: u64) -> Option<Effect> {
        match input {
            Input::NeedsReady => self.needs_ready(now),
            Input::ProbeOk => {
                if self.probed() {
                    self.last_probe.clear();
                    self.phase = Phase::Ready { failed_probes: 0 };
                }
                None
            }
            Input::ProbeFailed(reason) => {
                self.probe_failed(reason);
                None
            }
            Input::Ended(cause) => {
                self.ended(cause, now);
                None
            }
            Input::Replace => self.replace(now),
            Input::Stop => self.stop(now),
            Input::StopNow => self.stop_now(),
            Input::Tick => self.tick(now),
        }
    }

    fn needs_ready(&mut self, now: u64) -> Option<Effect> {
        match self.phase {
            Phase::Waiting => Some(self.start(now)),
            Phase::Starting { .. }
            | Phase::Ready { .. }
            | Phase::Unready
            | Phase::BackingOff { .. }
            | Phase::CrashLooped
            | Phase::Stopping { .. }
            | Phase::Stopped => None,
        }
    }

    fn start(&mut self, now: u64) -> Effect {
        self.last_probe.clear();
        self.phase = Phase::Starting {
            late_at: after(now, self.policy.ready_timeout),
        };
        Effect::Start
    }

    fn probe_failed(&mut self, reason: String) {
        match &mut self.phase {
            Phase::Ready { failed_probes } => {
                self.last_probe = reason;
                *failed_probes += 1;
                if *failed_probes >= self.policy.unready_probes {
                    self.phase = Phase::Unready;
                }
            }
            Phase::Starting { .. } | Phase::Unready => self.last_probe = reason,
            Phase::Waiting
            | Phase::BackingOff { .. }
            | Phase::CrashLooped
            | Phase::Stopping { .. }
            | Phase::Stopped => {}
        }
    }

    fn ended(&mut self, cause: Cause, now: u64) {
        match std::mem::replace(&mut self.phase, Phase::Stopped) {
            Phase::Starting { .. } | Phase::Ready { .. } | Phase::Unready => self.failed(cause, now),
            Phase::Stopping { then, .. } => match then {
                Then::Stop => self.last_cause = Some(cause),
                Then::Fresh => self.begin_anew(),
                Then::Fail(late) => self.failed(late, now),
            },
            // No instance runs in these; nothing can end.
            same @ (Phase::Waiting | Phase::BackingOff { .. } | Phase::CrashLooped | Phase::Stopped) => {
                self.phase = same;
            }
        }
    }

    /// An end that nobody asked for.
    fn failed(&mut self, cause: Cause, now: u64) {
        self.last_cause = Some(cause);
        let window = nanos(self.policy.crash_window);
        self.exits.retain(|at| now.saturating_sub(*at) < window);
        self.exits.push_back(now);
        if self.exits.len() >= self.policy.crash_exits {
            self.phase = Phase::CrashLooped;
            return;
        }
        let doublings = u32::try_from(self.exits.len() - 1).unwrap_or(u32::MAX);
        let pause = self
            .policy
            .backoff_first
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(self.policy.backoff_max);
        // Up to a quarter off, so that services that fell together do not come back together.
        let pause = pause.mul_f64(1.0 - 0.25 * self.random.f64());
        self.phase = Phase::BackingOff {
            until: after(now, pause),
        };
    }

    fn begin_anew(&mut self) {
        self.exits.clear();
        self.restarts = 0;
        self.last_probe.clear();
        self.last_cause = None;
        self.phase = Phase::Waiting;
    }

    fn terminate(&mut self, now: u64, then: Then) -> Effect {
        self.phase = Phase::Stopping {
            kill_at: Some(after(now, self.policy.drain)),
            then,
        };
        Effect::Terminate
    }

    fn replace(&mut self, now: u64) -> Option<Effect> {
        match &mut self.phase {
            Phase::Starting { .. } | Phase::Ready { .. } | Phase::Unready => {
                Some(self.terminate(now, Then::Fresh))
            }
            Phase::Waiting | Phase::BackingOff { .. } | Phase::CrashLooped => {
                self.begin_anew();
                None
            }
            Phase::Stopping { then, .. } => {
                if *then != Then::Stop {
                    *then = Then::Fresh;
                }
                None
            }
            Phase::Stopped => None,
        }
    }

    fn stop(&mut self, now: u64) -> Option<Effect> {
        match &mut self.phase {
            Phase::Starting { .. } | Phase::Ready { .. } | Phase::Unready => {
                Some(self.terminate(now, Then::Stop))
            }
            Phase::Stopping { then, .. } => {
                *then = Then::Stop;
                None
            }
            Phase::Waiting | Phase::BackingOff { .. } | Phase::CrashLooped => {
                self.phase = Phase::Stopped;
                None
            }
            Phase::Stopped => None,
        }
    }

    fn stop_now(&mut self) -> Option<Effect> {
        match self.phase {
            Phase::Starting { .. } | Phase::Ready { .. } | Phase::Unready | Phase::Stopping { .. } => {
                self.phase = Phase::Stopping {
                    kill_at: None,
                    then: Then::Stop,
                };
                Some(Effect::Kill)
            }
            Phase::Waiting | Phase::BackingOff { .. } | Phase::CrashLooped => {
                self.phase = Phase::Stopped;
                None
            }
            Phase::Stopped => None,
        }
    }

    fn tick(&mut self, now: u64) -> Option<Effect> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        match &mut self.phase {
            Phase::Starting { .. } => {
                let cause = Cause::not_ready(self.policy.ready_timeout, &self.last_probe);
                Some(self.terminate(now, Then::Fail(cause)))
            }
            Phase::BackingOff { .. } => {
                self.restarts += 1;
                Some(self.start(now))
            }
            Phase::Stopping { kill_at, .. } => {
                *kill_at = None;
                Some(Effect::Kill)
            }
            Phase::Waiting | Phase::Ready { .. } | Phase::Unready | Phase::CrashLooped | Phase::Stopped => {
                None
            }
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn after(now: u64, span: Duration) -> u64 {
    now.saturating_add(nanos(span))
}

#[cfg(test)]
mod tests;
