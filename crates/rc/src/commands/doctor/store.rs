//! The store: which one, and whether it can be reached.

use std::time::Duration;

use rc_model::Layout;
use rc_model::workspace::Model;
use rc_store::{Postgres, PostgresOptions, StoreUrl};

use super::Check;
use crate::commands::migrate;
use crate::commands::status::mebibytes;
use crate::cx::Cx;

/// A server that takes longer is as good as none.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Folders below the data folder that are looked into.
const DEPTH_MAX: usize = 4;

pub(super) async fn checks(cx: &Cx, layout: &Layout, model: Option<&Model>) -> Vec<Check> {
    let (url, origin) = match (&cx.env.store_url, model) {
        (Some(url), _) => (url.clone(), "RC_STORE_URL"),
        (None, Some(model)) => (model.project.store.url.clone(), "royalcrown.yaml"),
        (None, None) => {
            return vec![Check::warn(
                "url",
                "unknown while the files have problems",
                "mend the files first",
            )];
        }
    };
    match StoreUrl::parse(&url) {
        Err(error) => {
            let hint = "`sqlite:` for files of its own, or `postgres://user:password@host:port/database`";
            vec![Check::fail("url", format!("{error} (from {origin})"), hint)]
        }
        Ok(StoreUrl::Sqlite) => vec![
            Check::ok("url", "sqlite: files in the state folder"),
            sqlite(layout),
        ],
        Ok(parsed @ StoreUrl::Postgres(_)) => {
            let shown = format!("{} (from {origin})", parsed.redacted());
            let mut checks = vec![Check::ok("url", shown)];
            checks.extend(postgres(&url).await);
            checks
        }
    }
}

fn sqlite(layout: &Layout) -> Check {
    let data = layout.state().join("data");
    let files = walkdir::WalkDir::new(&data)
        .max_depth(DEPTH_MAX)
        .into_iter()
        .filter_map(Result::ok);
    let sizes: Vec<u64> = files
        .filter(|entry| entry.file_type().is_file())
        .filter_map(|entry| Some(entry.metadata().ok()?.len()))
        .collect();
    if sizes.is_empty() {
        return Check::ok("data", "nothing is stored yet");
    }
    Check::ok(
        "data",
        format!("{} in {} files", mebibytes(sizes.iter().sum()), sizes.len()),
    )
}

async fn postgres(url: &str) -> Vec<Check> {
    let mut options = PostgresOptions::new("rc doctor", "public");
    options.pool_max = 1;
    options.connect_time_max = CONNECT_MAX;
    options.pool_wait_max = CONNECT_MAX;
    options.statement_time_max = CONNECT_MAX;
    let hint = "does the server run, and do host, user, password and database fit? `psql` with the same URL tells more";
    let store = match Postgres::connect(url, &options) {
        Ok(store) => store,
        Err(error) => return vec![Check::fail("server", told(&error), hint)],
    };
    let asked = tokio::time::timeout(CONNECT_MAX * 2, async {
        store.ping().await?;
        store.row_security_binds().await
    });
    let mut checks = match asked.await {
        Err(_elapsed) => vec![Check::fail(
            "server",
            format!("no answer within {} s", CONNECT_MAX.as_secs() * 2),
            hint,
        )],
        Ok(Err(error)) => vec![Check::fail("server", told(&error), hint)],
        Ok(Ok(true)) => vec![
            Check::ok("server", "it answers"),
            Check::ok("row security", "it binds this role"),
        ],
        Ok(Ok(false)) => vec![
            Check::ok("server", "it answers"),
            Check::warn(
                "row security",
                "this role walks through it, so only one of the two walls between tenants stands",
                "use a role that is no superuser and has no BYPASSRLS",
            ),
        ],
    };
    store.close();
    if checks.iter().all(Check::is_not_fail) {
        checks.push(migrations(url).await);
    }
    checks
}

async fn migrations(url: &str) -> Check {
    const NAME: &str = "migrations";
    match tokio::time::timeout(CONNECT_MAX * 2, migrate::missing(url)).await {
        Ok(Ok(0)) => Check::ok(NAME, "the schema is what this binary needs"),
        Ok(Ok(missing)) => Check::fail(
            NAME,
            format!("{missing} steps are missing"),
            "`rc migrate` applies them",
        ),
        Ok(Err(fault)) => Check::fail(NAME, told(&fault), "`rc migrate --check` says more"),
        Err(_elapsed) => Check::fail(NAME, "no answer in time", "`rc migrate --check` says more"),
    }
}

/// The error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
