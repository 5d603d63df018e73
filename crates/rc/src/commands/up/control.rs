//! The control socket of a running supervisor, and the facts that it answers from.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State as Extract;
use axum::routing::{get, post};
use axum::{Json, Router};
use rc_model::{Clock, ServiceId, TierId, Timestamp};
use rc_runtime::{Handle, ServiceStatus, State, procfs};
use rc_serve::Readiness;
use rc_services::audit::Actor;
use tokio_util::sync::CancellationToken;

use super::audit::own_user;
use super::wire::{ConfigStatus, DownRequest, PlatformState, PlatformStatus, ServiceLine};

/// The part of the supervisor that has entries for the ledger.
pub(super) const AUDIT: &str = "audit";

/// Shared by the socket and the task that runs the platform.
#[derive(Clone)]
pub(super) struct Control {
    pub(super) handle: Handle,
    /// The supervisor's own parts: whether the ledger takes its entries.
    pub(super) readiness: Readiness,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) project: PathBuf,
    pub(super) since: Timestamp,
    pub(super) detached: bool,
    /// Cancelled to end the platform.
    pub(super) stop: CancellationToken,
    pub(super) facts: Arc<Mutex<Facts>>,
}

/// What changes while the platform runs. Written by the task that runs it.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) url: Option<String>,
    pub(super) tiers: BTreeMap<ServiceId, TierId>,
    pub(super) config: ConfigStatus,
    /// Whether all services were ready at some time.
    pub(super) was_ready: bool,
    /// Who asked the platform to end, and how, once somebody did.
    pub(super) ending: Option<(Actor, &'static str)>,
}

impl Control {
    /// The routes of the socket.
    pub(super) fn router(self) -> Router {
        Router::new()
            .route(
                "/v1/status",
                get(|Extract(control): Extract<Self>| async move { Json(control.status()) }),
            )
            .route("/v1/down", post(down))
            .with_state(self)
    }

    /// Changes the facts.
    pub(super) fn set(&self, change: impl FnOnce(&mut Facts)) {
        change(&mut self.facts.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The facts at this moment.
    pub(super) fn facts(&self) -> Facts {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything at this moment.
    pub(super) fn status(&self) -> PlatformStatus {
        let facts = self.facts();
        let board = self.handle.board();
        let now = self.clock.now();
        let line = |(id, status): (&ServiceId, &ServiceStatus)| ServiceLine {
            service: id.clone(),
            state: status.state,
            tier: facts.tiers.get(id).cloned(),
            pid: status.pid,
            restarts: status.restarts,
            since: status.since,
            uptime_s: status.started.map(|started| now.since(started).as_secs()),
            ready_after_ms: status.ready_after_ms,
            address: status.address.clone(),
            memory_bytes: status.pid.map(procfs::tree_memory),
            reason: status.reason.clone(),
            last_exit: status.last_exit.clone(),
            last_lines: status.last_lines.clone(),
        };
        let services: Vec<ServiceLine> = board.services.iter().map(line).collect();
        let parts = self.readiness.report().components;
        let audit = parts.get(AUDIT).and_then(|state| state.strip_prefix("down: "));
        let audit = audit.map(str::to_owned);
        let own = procfs::memory(std::process::id());
        PlatformStatus {
            state: self.total(&services, facts.was_ready, audit.is_some()),
            project: self.project.clone(),
            pid: Some(std::process::id()),
            since: Some(self.since),
            detached: self.detached,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            url: facts.url,
            memory_bytes: own
                + services
                    .iter()
                    .filter_map(|service| service.memory_bytes)
                    .sum::<u64>(),
            config: facts.config,
            audit,
            services,
        }
    }

    fn total(&self, services: &[ServiceLine], was_ready: bool, unrecorded: bool) -> PlatformState {
        if self.stop.is_cancelled() {
            return PlatformState::Stopping;
        }
        let mut states = services.iter().map(|service| service.state);
        let broken = |state| matches!(state, State::CrashLooped | State::Unready | State::BackingOff);
        let ready = states.clone().all(|state| state == State::Ready);
        if ready && (was_ready || !services.is_empty()) {
            if unrecorded {
                PlatformState::Degraded
            } else {
                PlatformState::Ready
            }
        } else if was_ready || states.any(broken) {
            PlatformState::Degraded
        } else {
            PlatformState::Starting
        }
    }
}

async fn down(
    Extract(control): Extract<Control>,
    Json(request): Json<DownRequest>,
) -> Json<serde_json::Value> {
    tracing::info!(now = request.now, "asked to end over the control socket");
    // Only the owner, who runs this process too, and root can open the socket.
    let caller = request.uid.map_or_else(own_user, Actor::OsUser);
    control.set(|facts| facts.ending = facts.ending.or(Some((caller, "asked"))));
    control.stop.cancel();
    if request.now {
        control.handle.stop_now();
    }
    Json(serde_json::json!({ "state": PlatformState::Stopping }))
}
