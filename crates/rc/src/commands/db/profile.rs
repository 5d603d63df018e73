//! `rc db profile`: the statements that cost most.

use std::fmt::Write as _;

use rc_model::catalog::Builtin;
use rc_services::statements::{STATEMENTS_PATH, StatementLine, Statements};

use super::one_line;
use crate::commands::events::ask;
use crate::commands::tenant::table;
use crate::commands::up::screen::{DIM, paint};
use crate::cx::Cx;
use crate::fault::Outcome;

/// Show what statements cost since the services started: the most expensive first
///
/// Each service counts every statement of its stores, traced or not: runs, rows, failures and times, by the
/// statement's text without data. A time of PostgreSQL includes the round trip; of many runs of one statement in
/// one transaction of the embedded store, some are timed and stand for the rest.
///
/// `rc trace ID` shows the same statements in the trace of one request.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How many statements are shown
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20,
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    top: u16,
    /// What comes first
    #[arg(long, value_enum, default_value_t = By::Total)]
    by: By,
    /// Show the plan of each: how the database runs it, whatever its parameters are
    #[arg(long)]
    plans: bool,
    /// Print it as a page of Markdown
    #[arg(long)]
    markdown: bool,
}

/// An order of statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// The time of all runs together
    Total,
    /// The time that 95 of 100 runs did not exceed
    P95,
    /// How often it ran
    Calls,
}

pub(super) async fn run(cx: &Cx, args: &Args) -> Result<Outcome, miette::Report> {
    let path = match args.plans {
        true => format!("{STATEMENTS_PATH}?plans=true"),
        false => STATEMENTS_PATH.to_owned(),
    };
    let mut found = Statements::default();
    for service in [Builtin::DocsApi, Builtin::Ingest] {
        let of: Statements = ask::get(cx, service, &path).await?;
        found.statements.extend(of.statements);
    }
    sort(&mut found.statements, args.by);
    found.statements.truncate(usize::from(args.top));
    if cx.json() {
        cx.print_json(&found);
    } else if args.markdown {
        cx.say(markdown(&found.statements));
    } else {
        cx.say(render(&found.statements, cx.color));
    }
    Ok(Outcome::Done)
}

fn sort(statements: &mut [StatementLine], by: By) {
    statements.sort_by(|a, b| {
        let order = match by {
            By::Total => b.total_ms.total_cmp(&a.total_ms),
            By::P95 => b.p95_ms.total_cmp(&a.p95_ms),
            By::Calls => b.calls.cmp(&a.calls),
        };
        order.then_with(|| a.text.cmp(&b.text))
    });
}

const HEAD: [&str; 9] = [
    "SERVICE",
    "STORE",
    "CALLS",
    "ROWS",
    "TOTAL",
    "P50",
    "P95",
    "MAX",
    "STATEMENT",
];

fn cells(line: &StatementLine) -> Vec<String> {
    let failed = match line.errors {
        0 => String::new(),
        errors => format!(" ({errors} failed)"),
    };
    vec![
        line.service.clone(),
        format!("{} ({})", line.store, line.kind),
        format!("{}{failed}", line.calls),
        line.rows.to_string(),
        format!("{:.0} ms", line.total_ms),
        time(line.p50_ms),
        time(line.p95_ms),
        time(line.max_ms),
        line.name.clone(),
    ]
}

/// `0.04 ms`, `136 ms`.
fn time(ms: f64) -> String {
    match ms {
        ms if ms >= 100.0 => format!("{ms:.0} ms"),
        ms if ms >= 10.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.2} ms"),
    }
}

fn render(statements: &[StatementLine], color: bool) -> String {
    if statements.is_empty() {
        return "no statement has run yet".to_owned();
    }
    let rows: Vec<Vec<String>> = statements.iter().map(cells).collect();
    let text = table(&HEAD, &rows);
    let (head, lines) = text.split_once('\n').unwrap_or((&text, ""));
    let mut out = paint(color, DIM, head);
    for (line, statement) in lines.lines().zip(statements) {
        write!(out, "\n{line}").expect("writing to a string cannot fail");
        if !statement.plan.is_empty() {
            write!(out, "\n    {}", one_line(&statement.text)).expect("writing to a string cannot fail");
        }
        for step in &statement.plan {
            write!(out, "\n      {}", paint(color, DIM, step)).expect("writing to a string cannot fail");
        }
    }
    out
}

fn markdown(statements: &[StatementLine]) -> String {
    let mut out = String::from(
        "| service | store | calls | rows | total | p50 | p95 | max | statement |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---|\n",
    );
    for statement in statements {
        writeln!(out, "| {} |", cells(statement).join(" | ")).expect("writing to a string cannot fail");
    }
    for (number, statement) in (1..).zip(statements) {
        write!(
            out,
            "\n#### {number}. {}, {}\n\n```sql\n{}\n```\n",
            statement.name,
            statement.service,
            one_line(&statement.text)
        )
        .expect("writing to a string cannot fail");
        if !statement.plan.is_empty() {
            write!(out, "\n```text\n{}\n```\n", statement.plan.join("\n"))
                .expect("writing to a string cannot fail");
        }
    }
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests;
