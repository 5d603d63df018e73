//! `rc db advise`: which indexes are missing, and which are kept for nothing.

use std::fmt::Write as _;

use rc_model::catalog::Builtin;
use rc_services::statements::{ADVICE_PATH, AdviceLine, AllAdvice};

use super::one_line;
use crate::commands::events::ask;
use crate::commands::up::screen::{DIM, paint};
use crate::cx::Cx;
use crate::fault::Outcome;

/// Say which indexes are missing and which are unused, from what the stores counted
///
/// On the embedded store it explains every statement that ran since the services started: one that scans or sorts
/// a table of 10,000 rows or more wants an index, and an index that no plan names is unused. On PostgreSQL it does
/// the same, and reads the server's own statistics; `pg_stat_statements` and `hypopg` are used where they are
/// installed.
///
/// Nothing is changed: the statement that would is shown. Let the services run their usual work before believing
/// that an index is unused.
///
/// Exit codes: 0 there is nothing to do, 1 there is advice.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) async fn run(cx: &Cx, Args {}: Args) -> Result<Outcome, miette::Report> {
    let reader: AllAdvice = ask::get(cx, Builtin::DocsApi, ADVICE_PATH).await?;
    let writer: AllAdvice = ask::get(cx, Builtin::Ingest, ADVICE_PATH).await?;
    let all = reader.and(writer);
    if cx.json() {
        cx.print_json(&all);
    } else {
        cx.say(render(&all, cx.color));
    }
    Ok(match all.advice.is_empty() {
        true => Outcome::Done,
        false => Outcome::No,
    })
}

fn render(all: &AllAdvice, color: bool) -> String {
    let mut parts: Vec<String> = all.advice.iter().map(|advice| piece(advice, color)).collect();
    let looked = all.looked_at.iter().map(|at| {
        let sources = match at.sources.as_slice() {
            [] => String::new(),
            sources => format!(", {}", sources.join(", ")),
        };
        format!(
            "{} {} ({}): {} statements, {} indexes{sources}",
            at.service, at.store, at.kind, at.statements, at.indexes
        )
    });
    let looked: Vec<String> = looked.collect();
    let verdict = match all.advice.is_empty() {
        true => "no index is missing and none is unused\n",
        false => "",
    };
    parts.push(format!(
        "{verdict}{}",
        paint(color, DIM, &format!("looked at {}", looked.join("; ")))
    ));
    parts.join("\n\n")
}

fn piece(advice: &AdviceLine, color: bool) -> String {
    let what = match (advice.kind.as_str(), &advice.index) {
        ("unused_index", Some(index)) => format!("unused index {index}"),
        ("missing_index", _) => "missing index".to_owned(),
        _ => "full scan".to_owned(),
    };
    let mut out = format!(
        "{what} on {} ({} {}): {}",
        advice.table,
        advice.service,
        advice.store,
        one_line(&advice.because)
    );
    let mut add = |text: String| write!(out, "\n  {text}").expect("writing to a string cannot fail");
    if let Some(statement) = &advice.statement {
        add(one_line(statement));
    }
    for step in &advice.plan {
        add(format!("  {}", paint(color, DIM, step)));
    }
    if let Some(bytes) = advice.bytes {
        let verb = match advice.index {
            Some(_) => "takes",
            None => "would take about",
        };
        add(format!(
            "{verb} {}, and each of {} writes pays for it",
            size(bytes),
            advice.writes
        ));
    }
    if let Some(ddl) = &advice.ddl {
        add(format!("{ddl};"));
    }
    out
}

fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 10 << 20 => format!("{} MiB", bytes >> 20),
        bytes => format!("{} KiB", bytes.div_ceil(1 << 10)),
    }
}

#[cfg(test)]
mod tests;
