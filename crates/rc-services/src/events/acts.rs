//! What people do with events, recorded in the audit log before it takes effect.
//!
//! The entry and the act are not one transaction: an act on events may touch many of them, one after another, or
//! another machine's stream. So the entry comes first, and an act that it cannot be written for does not happen;
//! an act that fails after it has an entry that says so.

use std::sync::Arc;

use rc_model::catalog::Builtin;
use rc_model::{Clock, Layout, Problem, TraceContext};
use rc_serve::ApiError;
use rc_store::{Postgres, PostgresOptions, Sqlite, SqliteOptions, StoreUrl};
use serde_json::Value;

use crate::audit::outbox::FULL_CODE;
use crate::audit::{
    Act, Action, Actor, BEHIND_CODE, Full, Incomparable, Outbox, Outcome, Reason, Resource, Room, Sender,
};
use crate::service::Deps;

use super::admin::problem;

/// Who asks, and why.
#[derive(Debug, Clone)]
pub struct Asked {
    pub actor: Actor,
    /// In the caller's own words.
    pub reason: String,
    pub trace: TraceContext,
}

/// Writes the acts on one service's events into its audit outbox. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Acts {
    outbox: Outbox,
    clock: Arc<dyn Clock>,
}

impl Acts {
    /// The outbox of `service`: in its `schema` where the store is PostgreSQL, else in a file of its own, so that a
    /// read model that is thrown away takes no entries with it and its writer waits for none.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub async fn open(
        service: Builtin,
        schema: &'static str,
        store: &StoreUrl,
        layout: &Layout,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, rc_store::Error> {
        let outbox = match store {
            StoreUrl::Postgres(url) => {
                let mut options = PostgresOptions::new("rc-events-audit", schema);
                options.pool_max = 2;
                Outbox::postgres(Postgres::connect(url, &options)?, service.name())
            }
            StoreUrl::Sqlite => {
                let options = SqliteOptions {
                    readers: 1,
                    cache_kib: 256,
                    ..SqliteOptions::default()
                };
                let db = Sqlite::open(&layout.audit_db(&service.id()), options)?;
                let outbox = Outbox::sqlite(db, service.name());
                outbox.migrate().await?;
                outbox
            }
        };
        match outbox.catch_up(layout, clock.now()).await {
            Ok(None) => {}
            Ok(Some(behind)) => tracing::warn!(code = BEHIND_CODE, "{behind}"),
            Err(Incomparable::Store(error)) if matches!(store, StoreUrl::Sqlite) => return Err(error),
            // A server that is away is asked at the next start; until then the ledger refuses what does not fit. A
            // log that cannot be read is not opened by the ledger either.
            Err(error) => tracing::warn!(%error, "the outbox is not compared with the audit log"),
        }
        Ok(Self {
            outbox,
            clock: Arc::clone(clock),
        })
    }

    /// As [`Self::open`], and takes entries to the ledger until `tree` stops. Without an outbox the service still
    /// serves; it only lets nobody act on its events.
    pub async fn start(
        service: Builtin,
        schema: &'static str,
        store: &StoreUrl,
        layout: &Layout,
        deps: &Deps,
    ) -> Option<Self> {
        match Self::open(service, schema, store, layout, &deps.clock).await {
            Ok(acts) => {
                acts.deliver(layout, deps);
                Some(acts)
            }
            Err(error) => {
                tracing::error!(
                    code = error.code(),
                    ?error,
                    "the audit outbox cannot be opened; nobody can act on dead letters until the next start"
                );
                None
            }
        }
    }

    /// Takes entries to the ledger until the service stops.
    fn deliver(&self, layout: &Layout, deps: &Deps) {
        let outbox = self.outbox.clone();
        let sender = Sender::new(outbox, layout, &deps.metrics, Arc::clone(&self.clock))
            .shown_by(deps.readiness.component("audit"));
        deps.tree.spawn(
            format!("{}/audit", self.outbox.service()),
            sender.run(deps.tree.stopping()),
        );
    }

    /// Records what is about to be done: call it first, and do nothing when it fails.
    ///
    /// # Errors
    /// The problem to answer with.
    async fn begin(
        &self,
        asked: &Asked,
        action: Action,
        resource: &Resource,
        detail: Value,
    ) -> Result<(), Problem> {
        self.write(asked, action, resource, Outcome::Done, detail, Room::Act)
            .await
            .map_err(unrecorded)
    }

    /// Records `action`, does it, and records that it failed when it did.
    ///
    /// # Errors
    /// The problem to answer with: of the record, after which nothing was done, or of the act.
    pub async fn act<T>(
        &self,
        asked: &Asked,
        action: Action,
        resource: &Resource,
        detail: Value,
        act: impl Future<Output = Result<T, rc_events::Error>>,
    ) -> Result<T, ApiError> {
        self.begin(asked, action, resource, detail).await?;
        match act.await {
            Ok(done) => Ok(done),
            Err(error) => {
                let problem = problem(error);
                self.failed(asked, action, resource, &problem).await;
                Err(problem.into())
            }
        }
    }

    /// Records that what was begun did not succeed. That it was tried is in the log already, so a failure here
    /// is only logged.
    pub(crate) async fn failed(&self, asked: &Asked, action: Action, resource: &Resource, why: &Problem) {
        let detail = serde_json::json!({ "code": why.code, "error": why.title, "detail": why.detail });
        let written = self.write(asked, action, resource, Outcome::Failed, detail, Room::Fact);
        if let Err(error) = written.await {
            tracing::error!(code = error.code(), %error, action = action.as_str(), "a failure is not in the audit log");
        }
    }

    /// Records what an act found out or came to.
    ///
    /// # Errors
    /// The problem to answer with.
    pub async fn result(
        &self,
        asked: &Asked,
        action: Action,
        resource: &Resource,
        detail: Value,
    ) -> Result<(), Problem> {
        self.write(asked, action, resource, Outcome::Done, detail, Room::Fact)
            .await
            .map_err(unrecorded)
    }

    async fn write(
        &self,
        asked: &Asked,
        action: Action,
        resource: &Resource,
        outcome: Outcome,
        detail: Value,
        room: Room,
    ) -> Result<(), rc_store::Error> {
        let act = Act {
            at: self.clock.now(),
            actor: asked.actor,
            action,
            resource: resource.clone(),
            reason: Reason {
                code: "asked",
                text: Some(asked.reason.clone()),
            },
            outcome,
            before: None,
            after: None,
            trace_id: Some(asked.trace.trace_id()),
            detail: Some(detail),
        };
        self.outbox.record(vec![act.draft()?], room).await
    }

    /// What waits to be delivered.
    #[cfg(test)]
    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }
}

fn unrecorded(error: rc_store::Error) -> Problem {
    if let Some(full) = error.downcast_ref::<Full>() {
        return Problem::new(503, FULL_CODE, "too many audit entries wait for the ledger")
            .detail(full.to_string());
    }
    Problem::new(
        503,
        error.code(),
        "the act cannot be recorded, so nothing was done",
    )
    .detail(error.to_string())
}
