//! `rc audit`: who did what, and the proof that nobody changed the record.
//!
//! Both commands work on the files, so the platform may run or not.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use rc_ledger::{Error, Log, Signer, Vkey};
use rc_model::Layout;
use rc_model::catalog::Builtin;
use rc_services::audit::{Outbox, Waiting};
use rc_services::gateway::keys;
use rc_services::ledger::Texts;
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

/// How often a file is tried that cannot be read, and the pause between two attempts.
const FILE_TRIES: u32 = 5;
const FILE_PAUSE: Duration = Duration::from_millis(100);

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

    /// Whether a log is being made at this moment, or a first start ended before it was: database, log and key come
    /// in this order, and the key waits beside the log until the log is in its place.
    async fn unmade(&self) -> bool {
        let waits = self.key.with_file_name("making").join("key").exists();
        if self.key.exists() || (Log::exists(&self.log).unwrap_or(true) && !waits) {
            return false;
        }
        let copy = match Texts::open(&self.db) {
            Ok(texts) => {
                let copy = texts.second_copy().await;
                texts.close().await;
                copy.ok().flatten()
            }
            Err(_) => None,
        };
        // It may have been finished since the first look.
        copy.is_none() && !self.key.exists()
    }

    /// # Errors
    /// When one of them is another user's.
    fn readable(&self) -> Result<(), Fault> {
        let checkpoint = self.log.join("checkpoint");
        [&self.key, &self.db, &self.log, &checkpoint]
            .into_iter()
            .try_for_each(|path| readable(path))
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

/// An outbox that could not be asked.
#[derive(Debug, Clone, serde::Serialize)]
struct Silent {
    service: &'static str,
    /// Lower case, no full stop, no secret.
    why: String,
    /// Whether it lies on this disk, where a file that cannot be read is damaged; a server may only be away.
    #[serde(skip)]
    file: Option<PathBuf>,
}

/// What waits in the outboxes of this project, and those that could not be asked.
#[derive(Debug, Default)]
struct Outboxes {
    waiting: Vec<Waiting>,
    silent: Vec<Silent>,
    /// Services whose outbox is not there: they have not run yet, or their store is gone.
    absent: Vec<&'static str>,
}

impl Outboxes {
    /// Looks into every outbox, without changing any.
    ///
    /// # Errors
    /// When a file is another user's: nothing can be said then.
    async fn look(cx: &Cx) -> Result<Self, Fault> {
        let layout = cx.layout();
        let mut found = Self::default();
        found.add_file("rc-up", layout.supervisor_db()).await?;
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
            let service = service.name();
            let Some(StoreUrl::Postgres(url)) = &url else {
                found.add_file(service, file).await?;
                continue;
            };
            match postgres(url, schema, service).await {
                Ok(waiting) => found.waiting.push(waiting),
                Err(error) => found.silent.push(Silent {
                    service,
                    why: error.to_string(),
                    file: None,
                }),
            }
        }
        Ok(found)
    }

    async fn add_file(&mut self, service: &'static str, path: PathBuf) -> Result<(), Fault> {
        readable(&path)?;
        let mut tries = FILE_TRIES;
        let why = loop {
            match sqlite(&path, service).await {
                Ok(Some(waiting)) => {
                    self.waiting.push(waiting);
                    return Ok(());
                }
                Ok(None) => {
                    self.absent.push(service);
                    return Ok(());
                }
                Err(error) if tries == 0 => break format!("{error:?}"),
                // Its service may be making it at this moment.
                Err(_) => tries -= 1,
            }
            tokio::time::sleep(FILE_PAUSE).await;
        };
        self.silent.push(Silent {
            service,
            why,
            file: Some(path),
        });
        Ok(())
    }

    /// How many entries wait.
    fn rows(&self) -> u64 {
        self.waiting.iter().map(|waiting| waiting.rows).sum()
    }

    /// Sources with the number of their newest entry that a log has acknowledged.
    fn acknowledged(&self) -> impl Iterator<Item = (&str, u64)> {
        self.waiting
            .iter()
            .map(|waiting| {
                (
                    waiting.source.as_str(),
                    waiting.newest.saturating_sub(waiting.rows),
                )
            })
            .filter(|(_, newest)| *newest > 0)
    }
}

/// A file that another user keeps to himself says nothing about the log.
///
/// # Errors
/// When the system refuses this user.
fn readable(path: &Path) -> Result<(), Fault> {
    use rustix::io::Errno;
    match rustix::fs::access(path, rustix::fs::Access::READ_OK) {
        Err(errno @ (Errno::ACCESS | Errno::PERM)) => {
            let text = format!("{} cannot be read", path.display());
            Err(Fault::world("RC-LED-028", text)
                .because(std::io::Error::from(errno))
                .hint("run this as the user who runs the platform, or on a copy that you may read"))
        }
        _ => Ok(()),
    }
}

/// `None` for a file that is not there: its service has not run yet.
async fn sqlite(path: &Path, service: &'static str) -> Result<Option<Waiting>, rc_store::Error> {
    if !path.exists() {
        return Ok(None);
    }
    let options = SqliteOptions {
        readers: 1,
        ..SqliteOptions::default()
    };
    let db = Sqlite::open_readonly(path, options)?;
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
