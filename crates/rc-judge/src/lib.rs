//! The judge of a release: is the canary worse than the stable version that serves at the same time?
//!
//! It is arithmetic over counts. It refuses to know what a rollout is, where counts come from, and what time it is:
//! the caller hands in closed seconds, and asks. The answer may be asked for after every one of them, because
//! all evidence here is *anytime valid*: the probability that a healthy canary is ever called worse is at most
//! `alpha`, however often one looks (docs/adr/0029-the-judge.md has the proof and its limits).
//!
//! Read first: [`sample::Second`] (what goes in), [`evidence`] (the three tests), [`judge::Judge`] (what is made of
//! them), [`verdict::Verdict`] (what comes out), [`record`] (how it is replayed). [`burn`] and [`compare`] stand alone.

pub mod burn;
pub mod compare;
pub mod evidence;
pub mod guard;
pub mod history;
pub mod judge;
pub mod latency;
pub mod record;
pub mod rules;
pub mod sample;
pub mod simulation;
pub mod verdict;

pub use history::{Baseline, History};
pub use judge::Judge;
pub use record::{Recorder, Replay};
pub use rules::Rules;
pub use sample::{Arm, Finished, Second, Tally};
pub use verdict::{Decision, Reason, Verdict};
