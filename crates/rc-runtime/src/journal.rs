//! What services print: captured into files of bounded size, read back, followed.
//!
//! A line that one of our services wrote as JSON (`{"ts":"..."`) is kept as it came; every other line gets
//! the time at which it was captured in front. So each line has its time, and lines of several services can
//! be merged.

mod line;
mod reader;
mod writer;

pub use line::{Line, level_of};
pub use reader::{Follower, last_lines};
pub(crate) use writer::with;
pub use writer::{Journal, JournalOptions, Shared, capture};

#[cfg(test)]
mod tests;

/// The file that `path` becomes when it is full: `ingest.log` -> `ingest.log.1`.
#[must_use]
pub fn rotated(path: &std::path::Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}
