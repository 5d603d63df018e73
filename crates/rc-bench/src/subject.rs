//! What can be measured, one module each.

mod gateway;

use std::path::PathBuf;

use crate::failure::Result;
use crate::figures::Measured;

/// A subject, by the name of its results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Subject {
    /// CPU time of a proxied request, beside nginx
    Gateway,
}

/// What every subject is told.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) rc: PathBuf,
    pub(crate) scratch: PathBuf,
    pub(crate) nginx: PathBuf,
    pub(crate) quick: bool,
}

impl Subject {
    pub(crate) fn measure(self, options: &Options) -> Result<Measured> {
        match self {
            Self::Gateway => gateway::measure(options),
        }
    }
}
