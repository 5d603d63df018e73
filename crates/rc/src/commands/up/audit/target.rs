//! Sees every start and every end of a service, where they happen: no state in between is missed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rc_model::ServiceId;
use rc_runtime::{BoxFuture, Cause, Instance, NotReady, ServiceSpec, StartError, Target};
use rc_services::audit::{Action, Actor, Outcome, Reason, Resource};
use serde_json::{Value, json};

use super::{Facts, SUPERVISOR, act};

/// How the last instance of each service ended. Written by the task that tends the service.
type Ends = Arc<Mutex<BTreeMap<ServiceId, Action>>>;

/// A target that tells the audit log what happens in it.
pub(in crate::commands::up) struct Watched<T> {
    inner: T,
    facts: Facts,
    ends: Ends,
}

impl<T: Target> Watched<T> {
    pub(in crate::commands::up) fn new(inner: T, facts: Facts) -> Self {
        Self {
            inner,
            facts,
            ends: Ends::default(),
        }
    }

    /// The target itself, for what runs once and is no service.
    pub(in crate::commands::up) fn unwatched(&self) -> &T {
        &self.inner
    }
}

fn tell(
    facts: &Facts,
    id: &ServiceId,
    action: Action,
    reason: &'static str,
    outcome: Outcome,
    detail: Value,
) {
    let resource = Resource {
        kind: "service",
        id: id.to_string(),
        tenant: None,
    };
    let act = act(
        action,
        Actor::Service(SUPERVISOR),
        resource,
        Reason::of(reason),
        outcome,
    );
    facts.tell(act.with(None, None, Some(detail)));
}

impl<T: Target> Target for Watched<T> {
    fn start<'a>(&'a self, spec: &'a ServiceSpec) -> BoxFuture<'a, Result<Box<dyn Instance>, StartError>> {
        Box::pin(async move {
            let started = self.inner.start(spec).await;
            let ended = self
                .ends
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&spec.id);
            let reason = match ended {
                None => "catalog",
                Some(Action::ServiceCrash) => "crashed",
                Some(_) => "changed",
            };
            let (outcome, detail) = match &started {
                Ok(instance) => (Outcome::Done, json!({ "pid": instance.pid() })),
                Err(error) => (Outcome::Failed, json!({ "error": error.to_string() })),
            };
            tell(
                &self.facts,
                &spec.id,
                Action::ServiceStart,
                reason,
                outcome,
                detail,
            );
            let inner = started?;
            Ok(Box::new(WatchedInstance {
                pid: inner.pid(),
                inner,
                id: spec.id.clone(),
                facts: self.facts.clone(),
                ends: Arc::clone(&self.ends),
                asked: false,
                told: false,
            }) as Box<dyn Instance>)
        })
    }

    fn probe<'a>(&'a self, spec: &'a ServiceSpec) -> BoxFuture<'a, Result<(), NotReady>> {
        self.inner.probe(spec)
    }

    fn note(&self, spec: &ServiceSpec, level: &'static str, text: &str) {
        self.inner.note(spec, level, text);
    }

    fn last_lines(&self, service: &ServiceId) -> Vec<String> {
        self.inner.last_lines(service)
    }

    fn forget(&self, service: &ServiceId) {
        self.inner.forget(service);
    }
}

/// Belongs to the task that tends the service.
struct WatchedInstance {
    inner: Box<dyn Instance>,
    /// As long as it runs, and afterwards.
    pid: Option<u32>,
    id: ServiceId,
    facts: Facts,
    ends: Ends,
    /// It was asked to end, or killed by us.
    asked: bool,
    /// The log has its end.
    told: bool,
}

impl Instance for WatchedInstance {
    fn pid(&self) -> Option<u32> {
        self.inner.pid()
    }

    fn ended(&mut self) -> BoxFuture<'_, Cause> {
        Box::pin(async move {
            let cause = self.inner.ended().await;
            if !std::mem::replace(&mut self.told, true) {
                let (action, reason) = if self.asked {
                    (Action::ServiceStop, "asked")
                } else {
                    (Action::ServiceCrash, "ended")
                };
                let outcome = if self.asked && cause == Cause::Status(0) {
                    Outcome::Done
                } else {
                    Outcome::Failed
                };
                let detail = json!({ "pid": self.pid, "exit": cause.to_string() });
                tell(&self.facts, &self.id, action, reason, outcome, detail);
                self.ends
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(self.id.clone(), action);
            }
            cause
        })
    }

    fn terminate(&mut self) {
        self.asked = true;
        self.inner.terminate();
    }

    fn kill(&mut self) {
        self.asked = true;
        self.inner.kill();
    }
}

#[cfg(test)]
mod tests;
