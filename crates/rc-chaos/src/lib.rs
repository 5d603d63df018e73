//! The proof of the event engine: roles as processes, faults from a seed, and one checker over what happened.
//!
//! It is never part of the product. Read first: [`checker`] (what is promised), [`history`] (what it is judged
//! by), [`run`] (how a run goes), [`world`] (what can be put together).

#![expect(clippy::expect_used, reason = "a run that cannot be set up is a failed run")]

mod bus;
pub mod checker;
mod effects;
pub mod failure;
pub mod fault;
pub mod history;
mod journal;
pub mod matrix;
pub mod mutation;
pub mod power;
mod process;
pub mod report;
pub mod role;
pub mod run;
mod source;
pub mod world;
