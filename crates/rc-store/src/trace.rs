//! Spans of statements and of the jobs and transactions around them.
//!
//! No span is made without a [`Scope`](rc_model::telemetry::Scope). What statements cost is counted with and
//! without one ([`profile`](crate::profile)). Values never get into a span: statements are shown by their [`Shape`], errors by code.

mod lexer;
mod shape;
mod share;
mod statements;
mod tally;

pub use shape::{NAME_BYTES_MAX, SHAPES_MAX, Shape, Shapes, TEXT_BYTES_MAX};
pub use share::{Share, TAPE_SPANS_MAX, Tape};
pub use statements::STATEMENTS_MAX;

pub(crate) use lexer::{Piece, Token, pieces};
pub(crate) use shape::Known;
pub(crate) use statements::{Ended, Log, Ran, int};
pub(crate) use tally::Sum;

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
