//! What is said when the platform does not come up, or does not take a change of its files.

use std::time::Duration;

use rc_runtime::lock::Owner;
use rc_runtime::{Board, State};

use crate::fault::Fault;

/// The answer to a second `rc up`.
pub(super) fn already_runs(owner: Option<&Owner>) -> Fault {
    let who = owner.map_or_else(String::new, |owner| {
        let place = if owner.detached {
            "in the background"
        } else {
            "in the foreground of another terminal"
        };
        format!(
            ": pid {}, since {}, {place}, for {}",
            owner.pid,
            owner.since,
            owner.project.display()
        )
    });
    Fault::no("RC-UP-001", format!("the platform already runs{who}"))
        .hint("`rc status` shows it, `rc logs -f` follows it, `rc down` stops it")
}

/// Why changed files are not taken.
pub(super) struct Refusal {
    /// Each problem in one line.
    pub(super) lines: Vec<String>,
    /// All of them, as a person reads them.
    pub(super) detail: String,
}

impl Refusal {
    pub(super) fn new(problem: String) -> Self {
        Self {
            detail: problem.clone(),
            lines: vec![problem],
        }
    }

    pub(super) fn of_files(problems: &[rc_model::source::Diagnostic]) -> Self {
        let errors: Vec<_> = problems.iter().filter(|problem| problem.is_error()).collect();
        let detail: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Self {
            lines: errors
                .iter()
                .map(|error| rc_services::audit::problem(error))
                .collect(),
            detail: detail.join("\n"),
        }
    }
}

/// The fault of a start that ended in a crash loop.
pub(super) fn crashed(board: &Board) -> Fault {
    let verdicts: Vec<String> = board
        .crash_looped()
        .map(|(id, status)| format!("`{id}` {}", status.reason.as_deref().unwrap_or("ended")))
        .collect();
    let first = board
        .crash_looped()
        .next()
        .map(|(id, _)| id.to_string())
        .unwrap_or_default();
    Fault::world(
        "RC-UP-004",
        format!(
            "the platform did not start: {}, again and again",
            verdicts.join("; ")
        ),
    )
    .hint(format!(
        "its last lines are above; `rc logs {first}` shows more. Everything was stopped again"
    ))
}

/// The fault of a start that took too long.
pub(super) fn late(board: &Board, wait: Duration) -> Fault {
    let missing: Vec<String> = board
        .services
        .iter()
        .filter(|(_, status)| status.state != State::Ready)
        .map(|(id, status)| match &status.reason {
            Some(reason) => format!("`{id}` is {}: {reason}", status.state),
            None => format!("`{id}` is {}", status.state),
        })
        .collect();
    Fault::world(
        "RC-UP-005",
        format!(
            "the platform was not ready within {} s: {}",
            wait.as_secs(),
            missing.join("; ")
        ),
    )
    .hint("`rc logs` shows what the services said; `--wait` gives them longer. Everything was stopped again")
}
