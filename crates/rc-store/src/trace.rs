//! Spans of statements and of the jobs and transactions around them.
//!
//! Nothing here runs without a [`Scope`](rc_model::telemetry::Scope): a trace that nobody records costs one
//! look at a flag. Values never get into a span: statements are shown by their [`Shape`], errors by code.

mod lexer;
mod shape;
mod share;
mod statements;

pub use shape::{NAME_BYTES_MAX, Shape, Shapes, TEXT_BYTES_MAX};
pub use share::{Share, TAPE_SPANS_MAX, Tape};
pub use statements::STATEMENTS_MAX;

pub(crate) use statements::{Ended, Log, Ran, int};

/// The error of work that nobody waited for any more.
pub(crate) const CANCELLED: &str = "cancelled";

/// 64 random bits for ids; they identify and protect nothing.
pub(crate) fn random() -> u64 {
    fastrand::u64(..)
}

/// Nanoseconds as the milliseconds that attributes carry.
pub(crate) fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}
