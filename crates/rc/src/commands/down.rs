//! `rc down`: end the platform.

use std::time::Duration;

use rc_model::Layout;
use rc_model::clock::monotonic_ns;
use rc_runtime::lock::Owner;
use rc_runtime::procfs;
use rc_services::audit::{Action, Outbox};
use rc_store::{Sqlite, SqliteOptions};
use rustix::process::Signal;
use serde::Serialize;

use super::up::client::{self, Found};
use super::up::wire::PlatformState;
use crate::commands::Outcome;
use crate::cx::Cx;
use crate::fault::Fault;

/// How often the end is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(15);
/// The supervisor bounds its own end by the longest chain of drains; this is for one that hangs.
const END_MAX: Duration = Duration::from_secs(300);

/// Stop the platform of this project and wait until everything has ended
///
/// Services finish the work they have begun, in an order in which nothing loses what it depends on. When
/// nothing runs, it says so and succeeds.
///
/// Exit code 3 also when everything has ended, but the audit log could not be told of it, because the disk is full
/// or the supervisor was killed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not let services finish their work
    #[arg(long)]
    now: bool,
}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Always `stopped`.
    state: PlatformState,
    /// What ran.
    stopped: Vec<String>,
    took_ms: u64,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let layout = cx.layout();
    let began = monotonic_ns();
    let stopped: Vec<String> = match client::find(&layout).await? {
        Found::Nothing => {
            if !cx.json() {
                cx.say(format!("nothing runs in {}", cx.project_dir().display()));
            }
            return Ok(finish(cx, Vec::new(), began));
        }
        Found::Running(status) => {
            client::ask_down(&layout, args.now)
                .await
                .map_err(|error| silent().because(error))?;
            status
                .services
                .iter()
                .map(|service| service.service.to_string())
                .collect()
        }
        // It has no ear yet, or no more: a signal says the same.
        Found::Silent { owner, error } => {
            signal(owner.as_ref(), Signal::TERM).ok_or_else(|| silent().because(error))?;
            if args.now {
                // It may be stopped or hang; its services end by themselves when it is gone.
                tokio::time::sleep(SILENT_GRACE).await;
                let _ = signal(owner.as_ref(), Signal::KILL);
            }
            Vec::new()
        }
    };
    if !cx.json() && !stopped.is_empty() {
        cx.note(format!("stopping {}", stopped.join(", ")));
    }
    ended(&layout).await?;
    let outcome = finish(cx, stopped, began);
    match unrecorded(&layout).await {
        None => Ok(outcome),
        Some(fault) => Err(fault.into()),
    }
}

/// Why the end is not in the audit log and will not get there: the supervisor's last word is another one. What it
/// said and only waits to be delivered is safe.
async fn unrecorded(layout: &Layout) -> Option<Fault> {
    let path = layout.supervisor_db();
    if !path.exists() {
        return None;
    }
    let options = SqliteOptions {
        readers: 1,
        ..SqliteOptions::default()
    };
    let last = match Sqlite::open_readonly(&path, options) {
        Ok(db) => {
            let outbox = Outbox::sqlite(db, "rc-up");
            let last = outbox.last_action().await;
            outbox.close().await;
            last
        }
        Err(error) => Err(error),
    };
    let fault = |text: &str| {
        Fault::world("RC-LED-032", format!("everything is stopped, {text}"))
            .hint("is the disk full? the next `rc up` records that this run has no stop")
    };
    match last {
        Ok(last)
            if last
                .as_deref()
                .is_none_or(|last| last == Action::PlatformStop.as_str()) =>
        {
            None
        }
        Ok(_) => Some(fault("but the audit log cannot be told of it")),
        Err(error) => Some(fault("but whether the audit log is told of it cannot be seen").because(error)),
    }
}

fn finish(cx: &Cx, stopped: Vec<String>, began: u64) -> Outcome {
    let took = Duration::from_nanos(monotonic_ns().saturating_sub(began));
    let report = Report {
        state: PlatformState::Stopped,
        stopped,
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    };
    if cx.json() {
        cx.print_json(&report);
    } else if !report.stopped.is_empty() {
        cx.say(format!(
            "{} stopped in {:.2} s, nothing is left running",
            report.stopped.join(", "),
            took.as_secs_f64()
        ));
    }
    Outcome::Done
}

/// Sends `what` to the supervisor; `None` when it is gone.
fn signal(owner: Option<&Owner>, what: Signal) -> Option<()> {
    let process = procfs::process(owner?.pid)?;
    procfs::signal(&process, what);
    Some(())
}

/// How long a supervisor that does not answer gets to end by itself under `--now`.
const SILENT_GRACE: Duration = Duration::from_secs(2);

/// Waits until nobody holds the lock: the supervisor gives it up last.
async fn ended(layout: &Layout) -> Result<(), Fault> {
    let waiting = async {
        while client::held(layout)?.is_some() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    };
    tokio::time::timeout(END_MAX, waiting)
        .await
        .unwrap_or_else(|_elapsed| {
            Err(Fault::world(
                "RC-UP-006",
                format!("the platform did not end within {} s", END_MAX.as_secs()),
            )
            .hint("`rc down --now` does not wait for unfinished work; `rc status` shows what still runs"))
        })
}

fn silent() -> Fault {
    Fault::world("RC-UP-006", "the supervisor does not answer")
        .hint("`rc status` says who it is; try again in a moment")
}
