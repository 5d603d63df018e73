//! A rollout as a state machine: what to do next, from what is known, without doing it.
//!
//! Whoever runs it writes the state down before each effect and after it, so that it can die anywhere: an effect whose
//! end nobody knows is done again, and each of them may be done twice. Weights carry a generation that only grows, so
//! that an order that comes late changes nothing. Time is what a healthy controller has watched: not the time in
//! which it was dead, and no jump of a clock.

mod phase;

use std::time::Duration;

use rc_model::rollout::Stage;
use rc_model::{Digest, ServiceId};
use serde::{Deserialize, Serialize};

pub use phase::{End, Phase, Why};

/// Most time that one look at the facts adds to what was watched: the controller was not there for more.
pub const LOOK_MAX: Duration = Duration::from_secs(5);

/// How long an effect may be tried before the release goes back.
pub const PROGRESS_MAX: Duration = Duration::from_secs(600);

/// How long a rollout may be held because both versions fail.
pub const HOLD_MAX: Duration = Duration::from_secs(1_800);

/// How long a release may get traffic of which nothing is known.
pub const BLIND_MAX: Duration = Duration::from_secs(300);

/// How long a release is watched that has all traffic, before the one before it is let go.
pub const GUARD: Duration = Duration::from_secs(3_600);

/// How much longer than its stage a release is watched that has too little traffic to be judged: at least this.
pub const PATIENCE_MIN: Duration = Duration::from_secs(600);

/// A release on its way to all of the traffic, or back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// What is rolled out.
    pub service: ServiceId,
    /// The release that serves; `None`: this is the first one.
    pub from: Option<Digest>,
    /// The release that comes.
    pub to: Digest,
    /// Weights and pauses, the last one with all of the traffic.
    pub stages: Vec<Stage>,
    /// How long the end is watched, [`GUARD`] as a rule.
    pub guard: Duration,
    /// Where it is.
    pub phase: Phase,
    /// The last weight that was ordered; the gateway refuses orders with a lower one.
    pub generation: u64,
    /// The effect that was begun and whose end nobody has said.
    pub doing: Option<Doing>,
    /// Number of the last effect.
    pub effects: u64,
    /// Stages that were passed without enough requests to judge.
    pub unproved: Vec<u8>,
}

/// An effect under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Doing {
    /// Counts effects, so that the answer to one that was given up is not taken for another's.
    pub number: u64,
    pub effect: Effect,
}

/// What has to be done. Each may be done twice with the same end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "do")]
pub enum Effect {
    /// Look whether the release may come: its migrations, its proofs.
    CheckGates,
    /// Have the coming release run until it is ready.
    Start { release: Digest },
    /// Give the coming release this much of the traffic.
    Shift { generation: u64, percent: u8 },
    /// Run the service's checks.
    Verify,
    /// Note which release is the one that serves.
    Adopt { release: Digest },
    /// Let a release finish its requests and end it.
    Stop { release: Digest },
}

/// How an effect ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It did not happen, and may if it is tried again.
    Failed(String),
    /// It will not happen.
    Refused(String),
}

/// What the judge says of the coming release beside the one that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is worse.
    Fail(String),
    /// It is not worse, and that is shown.
    Pass,
    /// There are too few requests to say; `more` of them would do, if that is known.
    NotYet { more: Option<u64> },
    /// Both fail: something that both need is broken.
    Hold(String),
    /// Nothing is heard of one of them.
    Blind(String),
}

/// What is known at a look.
#[derive(Debug, Clone)]
pub struct Facts {
    pub verdict: Verdict,
    /// Why the coming release cannot go on by itself: it ended, or is not ready any more.
    pub broken: Option<String>,
    /// Whether the service's own checks hold, as far as they were run at this stage.
    pub checks_hold: bool,
}

/// What a person orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Do not wait for the end of the pause. It does not help against a verdict.
    Promote,
    /// Go back.
    Abort { by: String, reason: String },
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Do this, write the state down before.
    Do(Doing),
    /// Look at the facts.
    Look,
    /// Nothing, ever.
    Nothing,
}

impl Rollout {
    /// A rollout that has done nothing yet. `generation` is that of the last weight that was ever ordered for the
    /// service.
    ///
    /// # Panics
    /// Without a stage; `RolloutSpec::stages` gives at least one.
    #[must_use]
    pub fn new(
        service: ServiceId,
        from: Option<Digest>,
        to: Digest,
        stages: Vec<Stage>,
        generation: u64,
    ) -> Self {
        assert!(!stages.is_empty(), "a rollout has a stage");
        // There is nothing to share the traffic with.
        let stages = match from {
            Some(_) => stages,
            None => vec![Stage {
                percent: 100,
                watch: Some(Duration::ZERO),
            }],
        };
        Self {
            service,
            from,
            to,
            stages,
            guard: GUARD,
            phase: Phase::Gating {
                tried: Duration::ZERO,
            },
            generation,
            doing: None,
            effects: 0,
            unproved: Vec::new(),
        }
    }

    /// What to do now. An effect that was begun is begun again.
    pub fn step(&mut self) -> Next {
        if let Some(doing) = &self.doing {
            return Next::Do(doing.clone());
        }
        let Some(effect) = self.effect() else {
            return match self.phase {
                Phase::Ended { .. } => Next::Nothing,
                _ => Next::Look,
            };
        };
        self.effects += 1;
        let doing = Doing {
            number: self.effects,
            effect,
        };
        self.doing = Some(doing.clone());
        Next::Do(doing)
    }

    /// The effect of the present phase. A new weight has a new generation, also when it is ordered again: whatever
    /// came between is older.
    fn effect(&mut self) -> Option<Effect> {
        let shift = |rollout: &mut Self, percent| {
            rollout.generation += 1;
            Effect::Shift {
                generation: rollout.generation,
                percent,
            }
        };
        match &self.phase {
            Phase::Gating { .. } => Some(Effect::CheckGates),
            Phase::Starting { .. } => Some(Effect::Start { release: self.to }),
            Phase::Shifting { stage, .. } => {
                let percent = self.stages[*stage].percent;
                Some(shift(self, percent))
            }
            Phase::Verifying { .. } => Some(Effect::Verify),
            Phase::Adopting { .. } => Some(Effect::Adopt { release: self.to }),
            Phase::Retiring => self.from.map(|release| Effect::Stop { release }),
            // Whoever takes the traffic has to be there before it comes.
            Phase::Restarting { .. } => self.from.map(|release| Effect::Start { release }),
            Phase::Returning { .. } => Some(shift(self, 0)),
            Phase::Restoring { .. } => self.from.map(|release| Effect::Adopt { release }),
            Phase::Removing { .. } => Some(Effect::Stop { release: self.to }),
            Phase::Watching { .. } | Phase::Guarding { .. } | Phase::Ended { .. } => None,
        }
    }

    /// Takes how the effect `number` ended, which took `spent`. An answer to an effect that was given up is nothing.
    pub fn ended(&mut self, number: u64, outcome: Outcome, spent: Duration) {
        if self.doing.as_ref().is_none_or(|doing| doing.number != number) {
            return;
        }
        self.doing = None;
        self.phase = match outcome {
            Outcome::Done => self.after(),
            Outcome::Failed(why) => self.phase.clone().tried(spent, why),
            Outcome::Refused(why) => self.phase.clone().refused(why),
        };
        self.skip_nothing();
    }

    /// The phase after the effect of this one.
    fn after(&self) -> Phase {
        let tried = Duration::ZERO;
        match self.phase.clone() {
            Phase::Gating { .. } => Phase::Starting { tried },
            Phase::Starting { .. } => Phase::Shifting { stage: 0, tried },
            Phase::Shifting { stage, .. } => Phase::watching(stage),
            Phase::Verifying { .. } => Phase::Adopting { tried },
            Phase::Adopting { .. } => Phase::Guarding {
                watched: Duration::ZERO,
            },
            Phase::Retiring => Phase::Ended { end: End::Done },
            Phase::Restarting { why, adopted } => Phase::Returning { why, adopted },
            Phase::Returning { why, adopted: true } => Phase::Restoring { why },
            Phase::Returning { why, adopted: false } | Phase::Restoring { why } => Phase::Removing { why },
            Phase::Removing { why } => Phase::Ended {
                end: End::RolledBack { why },
            },
            phase @ (Phase::Watching { .. } | Phase::Guarding { .. } | Phase::Ended { .. }) => phase,
        }
    }

    /// A first release has none before it to stop, to start or to adopt again.
    fn skip_nothing(&mut self) {
        while self.from.is_none() {
            self.phase = match self.phase.clone() {
                Phase::Retiring | Phase::Restarting { .. } | Phase::Restoring { .. } => self.after(),
                _ => return,
            };
        }
    }

    /// Takes what is known, `elapsed` after the last look.
    pub fn look(&mut self, elapsed: Duration, facts: &Facts) {
        let elapsed = elapsed.min(LOOK_MAX);
        match self.phase.clone() {
            Phase::Watching { .. } | Phase::Guarding { .. } => {}
            _ => return,
        }
        if let Some(why) = &facts.broken {
            return self.back(Why::Broken { what: why.clone() });
        }
        if let Verdict::Fail(why) = &facts.verdict {
            return self.back(Why::Judged { what: why.clone() });
        }
        match &mut self.phase {
            Phase::Watching {
                watched, held, blind, ..
            } => match &facts.verdict {
                Verdict::Hold(_) => {
                    *held += elapsed;
                    if *held > HOLD_MAX {
                        self.back(Why::HeldTooLong);
                    }
                }
                Verdict::Blind(_) => {
                    *blind += elapsed;
                    if *blind > BLIND_MAX {
                        self.back(Why::Blind);
                    }
                }
                Verdict::Pass | Verdict::NotYet { .. } => {
                    *watched += elapsed;
                    (*held, *blind) = (Duration::ZERO, Duration::ZERO);
                    self.go_on(facts);
                }
                Verdict::Fail(_) => {}
            },
            Phase::Guarding { watched } => {
                *watched += elapsed;
                if *watched >= self.guard {
                    self.phase = Phase::Retiring;
                    self.skip_nothing();
                }
            }
            _ => {}
        }
    }

    /// Leaves a stage that was watched long enough.
    fn go_on(&mut self, facts: &Facts) {
        let Phase::Watching {
            stage,
            watched,
            promoted,
            ..
        } = self.phase
        else {
            return;
        };
        let Stage { percent, watch } = self.stages[stage];
        let over = promoted || watch.is_some_and(|watch| watched >= watch);
        let last = stage + 1 == self.stages.len();
        if !over {
            return;
        }
        let proved = match facts.verdict {
            Verdict::Pass => true,
            // With all of the traffic there is none to compare with; the checks and the guard come next.
            Verdict::NotYet { .. } => last,
            Verdict::Fail(_) | Verdict::Hold(_) | Verdict::Blind(_) => return,
        };
        if !proved {
            let patience = watch.unwrap_or_default().saturating_mul(2).max(PATIENCE_MIN);
            if watched < watch.unwrap_or_default() + patience {
                return;
            }
            if !facts.checks_hold {
                return self.back(Why::Unproved);
            }
            self.unproved.push(percent);
        }
        let tried = Duration::ZERO;
        self.phase = if last {
            Phase::Verifying { tried }
        } else {
            Phase::Shifting {
                stage: stage + 1,
                tried,
            }
        };
    }

    /// Takes an order. `false`: it makes no difference any more.
    pub fn order(&mut self, order: Order) -> bool {
        match order {
            Order::Promote => match &mut self.phase {
                Phase::Watching { promoted, .. } => {
                    *promoted = true;
                    true
                }
                Phase::Guarding { .. } => {
                    self.phase = Phase::Retiring;
                    self.skip_nothing();
                    true
                }
                _ => false,
            },
            Order::Abort { by, reason } => {
                if self.phase.is_back() || matches!(self.phase, Phase::Ended { .. } | Phase::Retiring) {
                    return false;
                }
                self.back(Why::Ordered { by, reason });
                true
            }
        }
    }

    /// Turns round. An effect that is under way is given up: what it orders carries a lower generation.
    fn back(&mut self, why: Why) {
        self.doing = None;
        let adopted = matches!(self.phase, Phase::Guarding { .. } | Phase::Adopting { .. });
        self.phase = Phase::Restarting { why, adopted };
        self.skip_nothing();
    }
}

#[cfg(test)]
mod tests;
