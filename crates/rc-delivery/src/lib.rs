//! From a commit to production: what a release is, and how it takes over traffic and gives it back.
//!
//! It holds no processes, no gateway and no judge: it says what to do next, and whoever composes it does that and
//! says how it went. It refuses to know the command line and HTTP.
//!
//! Read first: [`rollout::Rollout`] (every decision of a rollout, without input or output), [`release::Releases`]
//! (releases by what is in them).

pub mod release;
pub mod rollout;

pub use release::{Bundle, ReleaseConfig, ReleaseError, Releases};
pub use rollout::{Effect, Facts, Next, Outcome, Rollout, Verdict};
