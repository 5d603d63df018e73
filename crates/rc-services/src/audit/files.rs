//! Who changed the project's files, as far as the system tells.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rc_model::Digest;
use rc_model::source::Diagnostic;
use rc_model::workspace::FILES;
use serde_json::{Value, json};

use super::act::DETAIL_BYTES_MAX;

/// Problems of refused files that an entry keeps; their number it always has.
const PROBLEMS_MAX: usize = 20;
/// Longest text of one of them.
const PROBLEM_BYTES_MAX: usize = 500;
/// Most bytes of all of them as JSON, where a control character takes six; the rest of a detail is short.
const PROBLEMS_JSON_BYTES_MAX: usize = DETAIL_BYTES_MAX - 512;

/// The owner of the file that was changed last, or of the folder where there is none. The system does not say
/// who wrote: whoever may write the file as its owner is taken for the author.
#[must_use]
pub fn author(project: &Path) -> Option<u32> {
    let changed = FILES.iter().filter_map(|name| {
        let found = fs_err::metadata(project.join(name)).ok()?;
        Some((found.mtime(), found.mtime_nsec(), found.uid()))
    });
    match changed.max() {
        Some((_, _, uid)) => Some(uid),
        None => fs_err::metadata(project).ok().map(|found| found.uid()),
    }
}

/// A problem in one line: `tenants.yaml:2:16: the tier does not exist (RC-CFG-011)`.
#[must_use]
pub fn problem(problem: &Diagnostic) -> String {
    let Diagnostic {
        file,
        line,
        column,
        message,
        code,
        ..
    } = problem;
    format!("{file}:{line}:{column}: {message} ({code})")
}

/// The detail of an entry about files that were refused.
#[must_use]
pub fn refused(digest: Digest, mut problems: Vec<String>) -> Value {
    let count = problems.len();
    problems.truncate(PROBLEMS_MAX);
    for problem in &mut problems {
        if problem.len() > PROBLEM_BYTES_MAX {
            problem.truncate(problem.floor_char_boundary(PROBLEM_BYTES_MAX));
            problem.push('…');
        }
    }
    while json!(problems).to_string().len() > PROBLEMS_JSON_BYTES_MAX {
        problems.pop();
    }
    json!({ "refused": digest.to_string(), "count": count, "problems": problems })
}
