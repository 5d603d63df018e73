//! `rc doctor`: what is here, and what is wrong with it.

use serde::Serialize;

use super::up::screen::{BOLD, DIM, GREEN, RED, YELLOW, paint, printable};
use crate::commands::Outcome;
use crate::cx::Cx;

mod machine;
mod platform;
mod programs;
mod project;
mod store;

/// Check this machine and this project, and say what to do about what is wrong
///
/// Looks at the system (kernel, limits, clock), the project's files and state folder, the store, the address
/// of the gateway, and at the running platform with each of its services. It changes nothing.
///
/// Exit codes: 0 nothing fails (there may be warnings), 1 something does.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One finding.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Check {
    /// What was looked at.
    name: String,
    verdict: Verdict,
    /// What was found.
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Check {
    pub(super) fn ok(name: &str, detail: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            verdict: Verdict::Ok,
            detail: detail.into(),
            hint: None,
        }
    }

    pub(super) fn warn(name: &str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warn,
            hint: Some(hint.into()),
            ..Self::ok(name, detail)
        }
    }

    pub(super) fn fail(name: &str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fail,
            hint: Some(hint.into()),
            ..Self::ok(name, detail)
        }
    }
}

impl Check {
    pub(super) fn is_not_fail(&self) -> bool {
        self.verdict != Verdict::Fail
    }
}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Whether nothing fails.
    ok: bool,
    groups: Vec<Group<'a>>,
}

#[derive(Debug, Serialize)]
struct Group<'a> {
    group: &'a str,
    checks: Vec<Check>,
}

pub(crate) async fn run(cx: &Cx, _args: Args) -> Result<Outcome, miette::Report> {
    let layout = cx.layout();
    let (model, files) = project::files(cx);
    let found = platform::find(&layout).await;
    let groups = vec![
        Group {
            group: "system",
            checks: machine::checks(),
        },
        Group {
            group: "project",
            checks: [
                files,
                programs::checks(cx, model.as_ref()),
                project::state(&layout),
            ]
            .concat(),
        },
        Group {
            group: "store",
            checks: store::checks(cx, &layout, model.as_ref()).await,
        },
        Group {
            group: "platform",
            checks: platform::checks(&layout, model.as_ref(), found).await,
        },
    ];
    let count = |verdict| {
        groups
            .iter()
            .flat_map(|group| &group.checks)
            .filter(|check| check.verdict == verdict)
            .count()
    };
    let (warnings, failures) = (count(Verdict::Warn), count(Verdict::Fail));
    if cx.json() {
        cx.print_json(&Report {
            ok: failures == 0,
            groups,
        });
    } else {
        let text: Vec<String> = groups.iter().map(|group| render(group, cx.color)).collect();
        let end = match (failures, warnings) {
            (0, 0) => "nothing is wrong".to_owned(),
            (0, warnings) => format!("nothing fails; {}", counted(warnings, "warning")),
            (failures, 0) => counted(failures, "failure"),
            (failures, warnings) => format!(
                "{}, {}",
                counted(failures, "failure"),
                counted(warnings, "warning")
            ),
        };
        cx.say(format!("{}\n{end}", text.join("\n")));
    }
    Ok(if failures == 0 { Outcome::Done } else { Outcome::No })
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn render(group: &Group<'_>, color: bool) -> String {
    const NAME_WIDTH: usize = 14;
    let mut text = format!("{}\n", paint(color, BOLD, group.group));
    for check in &group.checks {
        // The word says it; the colour only helps to find it.
        let (paint_as, word) = match check.verdict {
            Verdict::Ok => (GREEN, "ok  "),
            Verdict::Warn => (YELLOW, "warn"),
            Verdict::Fail => (RED, "fail"),
        };
        text.push_str(&format!(
            "  {} {:<NAME_WIDTH$} {}\n",
            paint(color, paint_as, word),
            check.name,
            printable(&check.detail)
        ));
        if let Some(hint) = &check.hint {
            text.push_str(&paint(
                color,
                DIM,
                &format!("       {:<NAME_WIDTH$} hint: {hint}\n", ""),
            ));
        }
    }
    text
}
