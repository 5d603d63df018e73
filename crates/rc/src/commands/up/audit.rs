//! What the supervisor tells the audit log: start and stop of the platform and of each service, and
//! configurations that were applied or refused.
//!
//! Entries go through an outbox of the supervisor's own, so that none is lost while the ledger starts, is down,
//! or has stopped. At the end, when no service is left, the supervisor appends the last entries itself.

use std::time::Duration;

use rc_model::workspace::Model;
use rc_model::{Clock as _, Digest, Layout, SystemClock, Timestamp};
use rc_serve::readiness::Component;
use rc_serve::{Metrics, Tree};
use rc_services::audit::wire::{BATCH, Delivery};
use rc_services::audit::{
    self, Act, Action, Actor, BEHIND_CODE, Draft, Incomparable, Outbox, Outcome, Reason, Resource, Room,
    Sender,
};
use rc_services::ledger::Book;
use rc_store::{Sqlite, SqliteOptions};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::fault::Fault;

pub(super) mod target;

/// Who we are in entries.
const SUPERVISOR: &str = "rc-up";
/// Entries between those who see things happen and the task that writes them down. A service that crashes all
/// the time does so five times a minute.
const QUEUE_MAX: usize = 1_024;
/// How long the last entries may take to be written down.
const RECORD_TIME_MAX: Duration = Duration::from_secs(10);
/// Attempts to write down a fact, and the pause between two: a minute in all.
const FACT_TRIES_MAX: u32 = 60;
const FACT_PAUSE: Duration = Duration::from_secs(1);
/// How long opening the log and appending to it may take at start and end.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(20);

/// An entry on its way to the outbox.
struct Note {
    act: Act,
    room: Room,
    /// Told when it is durable, or why it is not.
    done: Option<oneshot::Sender<Result<(), String>>>,
}

/// The way to the outbox for whoever sees things happen. Cheap to clone.
#[derive(Clone)]
pub(super) struct Facts(mpsc::Sender<Note>);

impl Facts {
    /// Writes down what has happened; nobody waits for it.
    pub(super) fn tell(&self, act: Act) {
        let action = act.action.as_str();
        let note = Note {
            act,
            room: Room::Fact,
            done: None,
        };
        if self.0.try_send(note).is_err() {
            tracing::error!(
                code = "RC-LED-020",
                action,
                "an audit entry is lost: too many wait"
            );
        }
    }

    /// Writes `act` down and waits until it is durable.
    async fn record(&self, act: Act, room: Room) -> Result<(), String> {
        let (done, written) = oneshot::channel();
        let note = Note {
            act,
            room,
            done: Some(done),
        };
        let recorded = async {
            if self.0.send(note).await.is_err() {
                return Err("the audit outbox is closed".to_owned());
            }
            written
                .await
                .unwrap_or_else(|_dropped| Err("the audit outbox is closed".to_owned()))
        };
        tokio::time::timeout(RECORD_TIME_MAX, recorded)
            .await
            .unwrap_or_else(|_elapsed| Err("the audit outbox did not answer in time".to_owned()))
    }
}

/// The supervisor's part of the audit log.
pub(super) struct Audit {
    layout: Layout,
    outbox: Outbox,
    facts: Facts,
    tree: Tree,
    /// What a person should know about the log that the run goes on with.
    notes: Vec<String>,
}

/// How the platform ended.
pub(super) struct End {
    /// Who asked for it.
    pub(super) actor: Actor,
    /// `asked`, `signal` or `failed`.
    pub(super) reason: &'static str,
    /// Whether every process is gone.
    pub(super) outcome: Outcome,
    pub(super) detail: Value,
}

impl Audit {
    /// Opens the outbox and delivers what an earlier run left in it.
    ///
    /// # Errors
    /// When the outbox cannot be opened: nothing is started that could not be recorded.
    pub(super) async fn open(layout: &Layout, metrics: &Metrics, ready: Component) -> Result<Self, Fault> {
        let path = layout.supervisor_db();
        let opened = async {
            if let Some(folder) = path.parent() {
                fs_err::create_dir_all(folder).map_err(|error| error.to_string())?;
            }
            let options = SqliteOptions {
                readers: 1,
                cache_kib: 256,
                ..SqliteOptions::default()
            };
            let db = Sqlite::open(&path, options).map_err(|error| format!("{error:?}"))?;
            let outbox = Outbox::sqlite(db, SUPERVISOR);
            outbox.migrate().await.map_err(|error| format!("{error:?}"))?;
            Ok(outbox)
        };
        let outbox = opened.await.map_err(|error: String| unrecorded(&error))?;
        let notes = compare(layout, &outbox).await?;
        let (queue, told) = mpsc::channel(QUEUE_MAX);
        let tree = Tree::new();
        let audit = Self {
            layout: layout.clone(),
            outbox: outbox.clone(),
            facts: Facts(queue),
            tree: tree.clone(),
            notes,
        };
        // Nothing else of this project runs: the lock is ours, and what was left behind is gone.
        audit.flush().await;
        tree.spawn("audit/recorder", record(outbox.clone(), told));
        let sender = Sender::new(outbox, layout, metrics, SystemClock::shared()).shown_by(ready);
        let stopping = tree.stopping();
        tree.spawn("audit/sender", async move {
            // What it leaves at the end is appended by the supervisor itself.
            let until = stopping.clone();
            Box::pin(stopping.run_until_cancelled(sender.run(until))).await;
        });
        Ok(audit)
    }

    /// What a person should know about the log that the run goes on with.
    pub(super) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The way for facts.
    pub(super) fn facts(&self) -> Facts {
        self.facts.clone()
    }

    /// The platform starts with `model`. When that cannot be recorded, nothing starts. The room for facts is used,
    /// so that an outbox full of acts does not keep the ledger that empties it from starting.
    pub(super) async fn started(&self, model: &Model, detached: bool) -> Result<(), Fault> {
        let last = self.outbox.last_action().await;
        let last = last.map_err(|error| unrecorded(&format!("{error:?}")))?;
        let crashed = last.is_some_and(|last| last != Action::PlatformStop.as_str());
        let services: Vec<&str> = model
            .catalog
            .services
            .keys()
            .map(rc_model::ServiceId::as_str)
            .collect();
        let mut detail = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "detached": detached,
            "services": services,
        });
        if crashed {
            detail["run_before"] =
                "has no stop here: it was killed, the machine went down, or its disk was full".into();
        }
        let act = act(
            Action::PlatformStart,
            own_user(),
            platform(model),
            Reason::of("asked"),
            Outcome::Done,
        );
        let act = act.with(None, Some(model.digest), Some(detail));
        let recorded = self.facts.record(act, Room::Fact).await;
        recorded.map_err(|error| unrecorded(&error))
    }

    /// The files changed and are about to be put in force. An act: when it cannot be recorded, what was in
    /// force stays.
    pub(super) async fn applying(&self, before: Digest, model: &Model) -> Result<(), String> {
        let act = self.config(Action::ConfigApply, "files-changed", Outcome::Done);
        let detail =
            json!({ "services": model.catalog.services.len(), "tenants": model.tenants.tenants.len() });
        self.facts
            .record(
                act.with(Some(before), Some(model.digest), Some(detail)),
                Room::Act,
            )
            .await
            .map_err(|error| format!("the change cannot be recorded in the audit log: {error}"))
    }

    /// The files changed and are refused.
    pub(super) fn refused(&self, in_force: Digest, refused: Digest, problems: Vec<String>) {
        let act = self.config(Action::ConfigRefuse, "files-invalid", Outcome::Refused);
        let detail = audit::refused(refused, problems);
        self.facts.tell(act.with(Some(in_force), None, Some(detail)));
    }

    /// The platform has ended: the last entry, and all that waits goes into the log. Gives what a person should
    /// know when something could not.
    pub(super) async fn ended(self, model: &Model, end: End) -> Option<String> {
        let act = act(
            Action::PlatformStop,
            end.actor,
            platform(model),
            Reason::of(end.reason),
            end.outcome,
        );
        let act = act.with(Some(model.digest), None, Some(end.detail));
        let recorded = self.facts.record(act, Room::Fact).await;
        let outbox = self.outbox.clone();
        self.tree.stop();
        let flushed = match recorded {
            Ok(()) => self.flush().await,
            Err(error) => Some(format!("the end is not in the audit log: {error}")),
        };
        outbox.close().await;
        flushed
    }

    fn config(&self, action: Action, reason: &'static str, outcome: Outcome) -> Act {
        let author = audit::author(self.layout.project());
        let actor = author.map_or(Actor::Service(SUPERVISOR), Actor::OsUser);
        let resource = Resource {
            kind: "config",
            id: SUPERVISOR.to_owned(),
            tenant: None,
        };
        act(action, actor, resource, Reason::of(reason), outcome)
    }

    /// Appends what waits, without the service: this process is the only one of the project.
    async fn flush(&self) -> Option<String> {
        let left = match tokio::time::timeout(FLUSH_TIME_MAX, self.append()).await {
            Ok(Ok(())) => return None,
            Ok(Err(error)) => error,
            Err(_elapsed) => "it took too long".to_owned(),
        };
        let waiting = self.outbox.waiting().await.unwrap_or_default().rows;
        let text = format!("{waiting} audit entries wait for the next start: {left}");
        tracing::warn!(code = "RC-LED-021", "{text}");
        Some(text)
    }

    async fn append(&self) -> Result<(), String> {
        let told = |error: rc_store::Error| format!("{error:?}");
        if self.outbox.waiting().await.map_err(told)?.rows == 0 {
            return Ok(());
        }
        let mut book = Book::open(&self.layout, SystemClock::shared())
            .await
            .map_err(|error| format!("{error} ({})", error.code))?;
        let appended = async {
            while let Some(delivery) = Delivery::of(self.outbox.next(BATCH).await.map_err(told)?) {
                let last = delivery.last();
                for outcome in book.accept(vec![delivery]).await {
                    outcome.map_err(|refusal| format!("{refusal} ({})", refusal.code()))?;
                }
                self.outbox.delivered(last).await.map_err(told)?;
            }
            Ok(())
        };
        let outcome = appended.await;
        book.close().await;
        outcome
    }
}

/// Holds the outbox against the log: brings one that was restored behind it, and tells of a log that is gone.
async fn compare(layout: &Layout, outbox: &Outbox) -> Result<Vec<String>, Fault> {
    let mut notes = Vec::new();
    match outbox.catch_up(layout, now()).await {
        Ok(None) => {}
        Ok(Some(behind)) => notes.push(format!("{behind} ({BEHIND_CODE})")),
        Err(Incomparable::Store(error)) => return Err(unrecorded(&format!("{error:?}"))),
        // The ledger does not open such a log either, and says why.
        Err(error) => notes.push(error.to_string()),
    }
    let begun = [layout.ledger_log(), layout.ledger_key(), layout.ledger_db()];
    let waiting = outbox.waiting().await.unwrap_or_default();
    let acknowledged = waiting.newest.saturating_sub(waiting.rows);
    if acknowledged > 0 && !begun.iter().any(|path| path.exists()) {
        notes.push(format!(
            "the audit log is gone: it had at least {acknowledged} entries. A new one begins, and refuses what \
             services have to tell until somebody decides (`rc explain RC-LED-024`)"
        ));
    }
    for note in &notes {
        tracing::warn!("{note}");
    }
    Ok(notes)
}

/// The user who runs this process.
pub(super) fn own_user() -> Actor {
    Actor::OsUser(rustix::process::getuid().as_raw())
}

/// The project as a resource; a name that is no identifier is left out.
fn platform(model: &Model) -> Resource {
    let plain = |name: &&String| name.bytes().all(|byte| byte.is_ascii_graphic());
    let name = model.project.name.as_ref().filter(plain);
    Resource {
        kind: "platform",
        id: name.map_or("local", String::as_str).to_owned(),
        tenant: None,
    }
}

fn act(action: Action, actor: Actor, resource: Resource, reason: Reason, outcome: Outcome) -> Act {
    Act {
        at: now(),
        actor,
        action,
        resource,
        reason,
        outcome,
        before: None,
        after: None,
        trace_id: None,
        detail: None,
    }
}

fn now() -> Timestamp {
    SystemClock.now()
}

/// Writes entries into the outbox in the order in which they happened.
async fn record(outbox: Outbox, mut notes: mpsc::Receiver<Note>) {
    while let Some(Note { act, room, done }) = notes.recv().await {
        // Whoever waited has given up and acts as if it were not written.
        if done.as_ref().is_some_and(oneshot::Sender::is_closed) {
            continue;
        }
        let action = act.action.as_str();
        let recorded = match act.draft() {
            Ok(draft) => write_down(&outbox, draft, room, done.is_none()).await,
            Err(error) => Err(error),
        };
        let recorded = recorded.map_err(|error| format!("{error:?}"));
        if let Err(error) = &recorded {
            tracing::error!(
                code = "RC-LED-020",
                action,
                "an audit entry cannot be written: {error}"
            );
        }
        if let Some(done) = done {
            // Whoever waited may have given up.
            let _ = done.send(recorded);
        }
    }
}

/// Writes one entry. A fact that nobody waits for is tried again for a while: the full disk that ends services
/// is also what keeps their ends from being written.
async fn write_down(outbox: &Outbox, draft: Draft, room: Room, is_fact: bool) -> Result<(), rc_store::Error> {
    let mut tries = if is_fact { FACT_TRIES_MAX } else { 1 };
    loop {
        tries -= 1;
        match outbox.record(vec![draft.clone()], room).await {
            Err(error) if tries > 0 => tracing::debug!(%error, "an audit entry waits for its disk"),
            done => return done.map(drop),
        }
        tokio::time::sleep(FACT_PAUSE).await;
    }
}

fn unrecorded(why: &str) -> Fault {
    Fault::world(
        "RC-LED-027",
        format!("the start cannot be recorded in the audit log: {why}"),
    )
    .hint("nothing was started; is the disk full, or the state folder another user's?")
}
