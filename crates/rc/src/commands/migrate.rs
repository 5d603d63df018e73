//! `rc migrate`: brings a PostgreSQL store to what this binary needs.

use rc_services::{docs, gateway, ingest};
use rc_store::{Migrations, Postgres, PostgresOptions, StoreUrl};

use crate::commands::Outcome;
use crate::cx::Cx;
use crate::fault::Fault;

/// Bring the store's schema to what this binary needs
///
/// PostgreSQL is migrated by this command and by nothing else: services refuse to start before it ran.
/// Each step runs in one transaction under a lock, and is recorded with a checksum; a database that was
/// changed by hand, or by a newer binary, is refused and left alone. The embedded store (`sqlite:`)
/// migrates itself when a service starts.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Change nothing; exit 1 when something is missing
    #[arg(long)]
    check: bool,
}

/// One component's state after the run.
#[derive(Debug, serde::Serialize)]
struct Line {
    schema: &'static str,
    component: &'static str,
    /// Steps that this run applied, or with `--check` would apply.
    steps: Vec<String>,
    /// The number of the last step that the database has.
    current: u32,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let url = cx.store_url()?;
    let parsed = StoreUrl::parse(&url)
        .map_err(|error| Fault::usage(error.code(), "the store's URL cannot be used").because(error))?;
    let StoreUrl::Postgres(url) = parsed else {
        if cx.json() {
            cx.print_json(&serde_json::json!({ "store": "sqlite", "components": [] }));
        } else {
            cx.say("nothing to do: the embedded store migrates itself when a service starts");
        }
        return Ok(Outcome::Done);
    };
    let mut lines = Vec::new();
    for (schema, migrations) in all() {
        lines.push(one(&url, schema, &migrations, args.check).await?);
    }
    let missing = lines.iter().map(|line| line.steps.len()).sum::<usize>();
    if cx.json() {
        cx.print_json(&serde_json::json!({ "store": "postgres", "components": lines }));
    } else {
        for line in &lines {
            let steps = if line.steps.is_empty() {
                "up to date".to_owned()
            } else {
                line.steps.join(", ")
            };
            cx.say(format!(
                "{:<8} {:<10} {:>3}  {steps}",
                line.schema, line.component, line.current
            ));
        }
        let verb = if args.check { "missing" } else { "applied" };
        cx.say(format!("{missing} steps {verb}"));
    }
    Ok(if args.check && missing > 0 {
        Outcome::No
    } else {
        Outcome::Done
    })
}

/// How many steps the database at `url` lacks.
///
/// # Errors
/// As `rc migrate --check`.
pub(super) async fn missing(url: &str) -> Result<usize, Fault> {
    let mut missing = 0;
    for (schema, migrations) in all() {
        missing += one(url, schema, &migrations, true).await?.steps.len();
    }
    Ok(missing)
}

/// Every schema with its tables, each once.
fn all() -> Vec<(&'static str, Migrations)> {
    let mut list: Vec<(&'static str, Migrations)> = Vec::new();
    let wanted = gateway::postgres_migrations()
        .into_iter()
        .chain(ingest::postgres_migrations())
        .chain(docs::postgres_migrations());
    for (schema, migrations) in wanted {
        let known = list
            .iter()
            .any(|(known, other)| *known == schema && other.component() == migrations.component());
        if !known {
            list.push((schema, migrations));
        }
    }
    list
}

async fn one(url: &str, schema: &'static str, migrations: &Migrations, check: bool) -> Result<Line, Fault> {
    let failed = |error: rc_store::Error| {
        let tried = format!(
            "`{}` in schema `{schema}` cannot be migrated",
            migrations.component()
        );
        let hint = if error.retry_after().is_some() {
            "is the server running, and do host, port, user and password of the store's URL fit it?"
        } else {
            "`rc explain` with the code of the cause says what to do"
        };
        Fault::world(error.code(), tried).hint(hint).because(error)
    };
    let db = Postgres::connect(url, &PostgresOptions::new("rc-migrate", schema)).map_err(failed)?;
    let (steps, current) = if check {
        let status = db.migration_status(migrations).await.map_err(failed)?;
        (status.pending, status.current)
    } else {
        let report = db.migrate(migrations).await.map_err(failed)?;
        (report.steps, report.current)
    };
    db.close();
    let steps = steps
        .iter()
        .map(|step| format!("{:04}_{}", step.number, step.name))
        .collect();
    Ok(Line {
        schema,
        component: migrations.component(),
        steps,
        current,
    })
}
