//! `rc audit`: who did what, and the proof that nobody changed the record.
//!
//! Both commands work on the files, so the platform may run or not.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use rc_ledger::{Error, Log, Signer, Vkey};
use rc_model::Layout;
use rc_model::catalog::Builtin;
use rc_services::audit::{Outbox, Waiting};
use rc_services::gateway::keys;
use rc_services::{docs, ingest};
use rc_store::{Postgres, PostgresOptions, Sqlite, SqliteOptions, StoreUrl};

use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

mod log;
mod row;
mod verify;

/// The audit log: who did what, to what, why and when.
///
/// Start and stop of the platform and its services, changes of the configuration, and keys that are made and
/// revoked are entries of a log that only grows. Its tree is signed after every group of entries, so that a
/// change of what was written can be shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Log(log::Args),
    Verify(verify::Args),
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    match args.verb {
        Verb::Log(args) => log::run(cx, args).await,
        Verb::Verify(args) => verify::run(cx, args).await,
    }
}

/// A database that takes longer is as good as none.
const STORE_TIME_MAX: Duration = Duration::from_secs(3);

/// Where the ledger of this project keeps its files.
struct Files {
    log: PathBuf,
    key: PathBuf,
    db: PathBuf,
}

impl Files {
    fn of(layout: &Layout) -> Self {
        Self {
            log: layout.ledger_log(),
            key: layout.ledger_key(),
            db: layout.ledger_db(),
        }
    }

    /// Whether anything says that there is or was a log.
    fn any(&self) -> bool {
        self.key.exists() || self.db.exists() || Log::exists(&self.log).unwrap_or(true)
    }

    /// The public keys of the ledger's own key file.
    fn own_keys(&self) -> Result<Vec<Vkey>, Error> {
        Ok(Signer::load(&self.key)?.vkeys().to_vec())
    }
}

/// There is nothing to read.
fn no_log(cx: &Cx) -> Fault {
    Fault::world(
        "RC-LED-028",
        format!("there is no audit log in {}", cx.project_dir().display()),
    )
    .hint("`rc up` begins it; for another place, give `--project DIR`")
}

fn unreadable(error: Error) -> Fault {
    Fault::world("RC-LED-028", "the audit log cannot be read")
        .because(error)
        .hint("`rc audit verify` says what is wrong with it")
}

/// What waits in the outboxes of this project, and those that could not be asked.
#[derive(Debug, Default)]
struct Outboxes {
    waiting: Vec<Waiting>,
    silent: Vec<&'static str>,
}

impl Outboxes {
    /// Looks into every outbox, without changing any.
    async fn look(cx: &Cx) -> Self {
        let layout = cx.layout();
        let mut found = Self::default();
        let supervisor = layout.supervisor_db();
        found.add("rc-up", sqlite(supervisor, "rc-up").await);
        let url = cx.store_url().ok().and_then(|url| StoreUrl::parse(&url).ok());
        for (service, schema, file) in [
            (Builtin::Gateway, keys::POSTGRES_SCHEMA, layout.gateway_db()),
            (
                Builtin::Ingest,
                ingest::POSTGRES_SCHEMA,
                layout.audit_db(&Builtin::Ingest.id()),
            ),
            (
                Builtin::DocsApi,
                docs::postgres::SCHEMA,
                layout.audit_db(&Builtin::DocsApi.id()),
            ),
        ] {
            let asked = match &url {
                Some(StoreUrl::Postgres(url)) => postgres(url, schema, service.name()).await.map(Some),
                Some(StoreUrl::Sqlite) | None => sqlite(file, service.name()).await,
            };
            found.add(service.name(), asked);
        }
        found
    }

    fn add(&mut self, service: &'static str, asked: Result<Option<Waiting>, rc_store::Error>) {
        match asked {
            Ok(found) => self.waiting.extend(found),
            Err(_unreachable) => self.silent.push(service),
        }
    }

    /// How many entries wait.
    fn rows(&self) -> u64 {
        self.waiting.iter().map(|waiting| waiting.rows).sum()
    }
}

/// `None` for a file that is not there: its service has not run yet.
async fn sqlite(path: PathBuf, service: &'static str) -> Result<Option<Waiting>, rc_store::Error> {
    if !path.exists() {
        return Ok(None);
    }
    let options = SqliteOptions {
        readers: 1,
        ..SqliteOptions::default()
    };
    let db = Sqlite::open_readonly(&path, options)?;
    let outbox = Outbox::sqlite(db, service);
    let waiting = outbox.waiting().await;
    outbox.close().await;
    waiting.map(Some)
}

async fn postgres(
    url: &str,
    schema: &'static str,
    service: &'static str,
) -> Result<Waiting, rc_store::Error> {
    let mut options = PostgresOptions::new("rc audit", schema);
    options.pool_max = 1;
    options.connect_time_max = STORE_TIME_MAX;
    options.pool_wait_max = STORE_TIME_MAX;
    options.statement_time_max = STORE_TIME_MAX;
    let outbox = Outbox::postgres(Postgres::connect(url, &options)?, service);
    let waiting = outbox.waiting().await;
    outbox.close().await;
    waiting
}

/// `1 entry`, `2 entries`.
fn counted(count: u64, one: &str, many: &str) -> String {
    if count == 1 {
        format!("1 {one}")
    } else {
        format!("{count} {many}")
    }
}
