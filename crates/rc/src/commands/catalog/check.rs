//! `rc catalog check`: everything that is wrong with the files, or what they say.

use std::fmt::Write as _;

use rc_model::source::{Diagnostic, Palette, Severity};
use rc_model::{Model, Sources};
use serde::Serialize;

use crate::commands::Outcome;
use crate::cx::Cx;

/// Wrong use or configuration.
const EXIT_FAULTY: u8 = 2;

/// Check royalcrown.yaml, service-catalog.yaml and tenants.yaml
///
/// Reads all three files of the project and tells everything that is wrong with them at once: each problem
/// with its file, line and column, the line itself, and what to do about it. A file that is not there has
/// its defaults. Nothing needs to run, and nothing is changed.
///
/// Without problems it shows the services with their tier, owner, on-call and routes.
///
/// Exit codes: 0 the files can be used (there may be warnings), 2 they cannot.
///
/// `--output json` prints `{"ok": true, "problems": [...]}`; each problem has `code`, `severity`, `file`,
/// `line`, `column`, `message` and `hint`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Whether the files can be used.
    ok: bool,
    problems: Vec<Problem<'a>>,
}

#[derive(Debug, Serialize)]
struct Problem<'a> {
    code: &'static str,
    severity: Severity,
    file: &'a str,
    line: usize,
    column: usize,
    message: &'a str,
    hint: Option<&'a str>,
}

pub(crate) async fn run(cx: &Cx, _args: Args) -> Result<Outcome, miette::Report> {
    let sources = Sources::from_dir(&cx.project_dir());
    let result = Model::read(&sources);
    let problems: &[Diagnostic] = match &result {
        Ok(model) => &model.warnings,
        Err(problems) => problems,
    };
    let mut text = String::new();
    if let Ok(model) = &result {
        text.push_str(&services(model));
        text.push('\n');
    }
    text.push_str(&summary(result.as_ref().ok(), problems, &sources.present()));
    Ok(show(cx, result.is_ok(), problems, &text))
}

/// Prints `problems`, and `text` behind them for people; gives the outcome that belongs to it.
pub(crate) fn show(cx: &Cx, ok: bool, problems: &[Diagnostic], text: &str) -> Outcome {
    if cx.json() {
        cx.print_json(&report(ok, problems));
    } else {
        let palette = if cx.color { Palette::COLOR } else { Palette::PLAIN };
        let mut shown: String = problems
            .iter()
            .map(|problem| format!("{}\n", problem.render(&palette)))
            .collect();
        shown.push_str(text);
        cx.say(shown);
    }
    if ok {
        Outcome::Done
    } else {
        Outcome::Code(EXIT_FAULTY)
    }
}

fn report(ok: bool, problems: &[Diagnostic]) -> Report<'_> {
    let problems = problems.iter().map(|problem| Problem {
        code: problem.code,
        severity: problem.severity,
        file: &problem.file,
        line: problem.line,
        column: problem.column,
        message: &problem.message,
        hint: problem.hint.as_deref(),
    });
    Report {
        ok,
        problems: problems.collect(),
    }
}

/// The services as a table; each further route has a line of its own.
fn services(model: &Model) -> String {
    const NONE: &str = "-";
    let mut rows = vec![["SERVICE", "TIER", "OWNER", "ON-CALL", "ROUTES"].map(str::to_owned)];
    for (id, service) in &model.catalog.services {
        let owner = model.catalog.owners.get(&service.owner);
        let oncall = service.oncall.as_ref().or_else(|| owner?.oncall.as_ref());
        let routes = service.effective_routes(id);
        let mut routes = routes.iter().map(|route| {
            let methods: Vec<&str> = route.methods.iter().map(|method| method.as_str()).collect();
            let methods = if methods.is_empty() {
                String::new()
            } else {
                format!(" {}", methods.join(","))
            };
            format!("{}{methods}", route.path)
        });
        rows.push([
            id.to_string(),
            service.tier.to_string(),
            service.owner.to_string(),
            oncall.map_or(NONE, String::as_str).to_owned(),
            routes.next().unwrap_or_else(|| NONE.to_owned()),
        ]);
        rows.extend(routes.map(|route| [String::new(), String::new(), String::new(), String::new(), route]));
    }
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The last line: what was found, and where.
fn summary(model: Option<&Model>, problems: &[Diagnostic], present: &[&str]) -> String {
    let count = |severity| {
        problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .count()
    };
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let mut files: Vec<&str> = problems.iter().map(|problem| problem.file.as_str()).collect();
    files.dedup();
    let found = match (errors, warnings) {
        (0, 0) => String::new(),
        (0, warnings) => plural(warnings, "warning"),
        (errors, 0) => plural(errors, "problem"),
        (errors, warnings) => format!(
            "{} and {}",
            plural(errors, "problem"),
            plural(warnings, "warning")
        ),
    };
    let Some(model) = model else {
        let first = problems
            .iter()
            .find(|problem| problem.is_error())
            .map_or("", |problem| problem.code);
        return format!(
            "{found} in {}; `rc explain {first}` says more",
            plural(files.len(), "file")
        );
    };
    let read = match present {
        [] => "no files, so the defaults apply".to_owned(),
        present => present.join(", "),
    };
    let what = format!(
        "{} and {} ({read})",
        plural(model.catalog.services.len(), "service"),
        plural(model.tenants.tenants.len(), "tenant"),
    );
    if found.is_empty() {
        format!("{what}: no problems")
    } else {
        format!("{what}: {found}")
    }
}

#[cfg(test)]
mod tests;
