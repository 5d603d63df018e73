//! The disk of the tests.

pub(crate) mod memory;
