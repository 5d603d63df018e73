//! What the gateway's tasks share: the keys, the configuration in force, and why a newer one was refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rc_model::catalog::Builtin;
use rc_model::endpoints::Endpoints;
use rc_model::split::Rollout;
use rc_model::workspace::Model;
use rc_model::{Digest, KeyId, Layout, RolloutId, ServiceId, TenantId, Timestamp};
use rc_serve::memory::Slack;
use rc_serve::off_thread;
use rc_traffic::{BuildError, Gateway, KeysUnknown, Snapshot};
use tokio::sync::{mpsc, oneshot};

use super::config::{ConfigReport, Refused};
use super::files::{self, Broken, Fingerprint, Loaded};
use super::keys::{Asked, KeyRecord, KeyStore, key_set};
use super::policy::{set_weights, snapshot_spec};
use super::ramps::{Change, Changed, Ramps, Traffic, Wish};
use crate::audit::{self, Act, Action, Actor, Incomparable, Outcome, Reason, Resource, Room};
use crate::service::Deps;

/// How often the project's files are looked at.
const FILES_POLL: Duration = Duration::from_millis(250);
/// Explicit reloads that wait at one time.
const RELOAD_QUEUE_MAX: usize = 16;
/// Longest wait for an explicit reload.
const RELOAD_WAIT_MAX: Duration = Duration::from_secs(10);

/// Shared by the admin API and the tasks.
pub(super) struct Shared {
    pub(super) deps: Deps,
    pub(super) keys: KeyStore,
    pub(super) gateway: Gateway,
    layout: Layout,
    /// The keys as the store last told them. Owned by the admin task.
    records: Mutex<Vec<KeyRecord>>,
    /// Whether the store has told the keys at least once. Before, the data path knows that it knows none.
    keys_known: AtomicBool,
    /// Whether the store was compared with the audit log.
    compared: AtomicBool,
    /// Owned by the configuration task; others only read.
    current: Mutex<Current>,
    wishes: mpsc::Sender<oneshot::Sender<(ConfigReport, Digest)>>,
}

/// The configuration in force.
struct Current {
    model: Arc<Model>,
    endpoints: Endpoints,
    /// The weights of rollouts as the store last told them.
    ramps: Ramps,
    version: u64,
    since: Timestamp,
    refused: Option<Refused>,
    /// The texts whose refusal the audit log has.
    recorded: Option<Digest>,
    /// The texts about which a person was told that the audit log does not take their refusal.
    complained: Option<Digest>,
}

/// Whether the files need another look although they have not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    Yes,
    /// The store did not take the audit entry, so nothing was applied.
    Later,
}

/// The configuration task's end of explicit reloads.
pub(super) type Wishes = mpsc::Receiver<oneshot::Sender<(ConfigReport, Digest)>>;

impl Shared {
    pub(super) fn new(
        deps: Deps,
        layout: Layout,
        keys: KeyStore,
        gateway: Gateway,
        loaded: Loaded,
    ) -> (Arc<Self>, Wishes) {
        let (wishes, receiver) = mpsc::channel(RELOAD_QUEUE_MAX);
        deps.marks.data_version.set_configuration(loaded.model.digest);
        gateway.set_keys(Arc::new(KeysUnknown));
        let since = deps.clock.now();
        let current = Current {
            model: Arc::new(loaded.model),
            endpoints: loaded.endpoints,
            ramps: Ramps::new(),
            version: 1,
            since,
            refused: None,
            recorded: None,
            complained: None,
        };
        let shared = Self {
            deps,
            keys,
            gateway,
            layout,
            records: Mutex::default(),
            keys_known: AtomicBool::new(false),
            compared: AtomicBool::new(false),
            current: Mutex::new(current),
            wishes,
        };
        (Arc::new(shared), receiver)
    }

    /// Whether `tenants.yaml` in force has this tenant.
    pub(super) fn knows_tenant(&self, tenant: &TenantId) -> bool {
        self.lock().model.tenants.tenants.contains_key(tenant)
    }

    /// The configuration in force, and the latest refusal; with its digest.
    pub(super) fn config_report(&self) -> (ConfigReport, Digest) {
        let current = self.lock();
        let report = ConfigReport {
            version: current.version,
            digest: current.model.digest.to_string(),
            since: current.since,
            tenants: current.model.tenants.tenants.len(),
            services: current.model.catalog.services.len(),
            refused: current.refused.clone(),
        };
        (report, current.model.digest)
    }

    /// Reads the files at once instead of at the next look.
    pub(super) async fn reload(&self) -> (ConfigReport, Digest) {
        let (done, wait) = oneshot::channel();
        if self.wishes.try_send(done).is_ok()
            && let Ok(Ok(report)) = tokio::time::timeout(RELOAD_WAIT_MAX, wait).await
        {
            return report;
        }
        self.config_report()
    }

    /// Reads the keys and gives the valid ones to the data path. Not before the store was compared with the audit
    /// log: in one that was restored from a backup, revoked keys are alive.
    ///
    /// # Errors
    /// What the store says; the keys known so far stay in force until they expire.
    pub(super) async fn refresh_keys(&self) -> Result<(), rc_store::Error> {
        if !self.compared.load(Ordering::Relaxed) {
            self.compare().await?;
            self.compared.store(true, Ordering::Relaxed);
        }
        let listed = self.keys.list(self.deps.clock.now()).await;
        self.keys_known.fetch_or(listed.is_ok(), Ordering::Relaxed);
        self.change_keys(|records| listed.map(|listed| *records = listed))
    }

    /// Finds out whether the store is older than the audit log. If so, keys are revoked again whose revocation the
    /// store has forgotten, and then its entries go on behind the log's: a crash between the two begins anew.
    async fn compare(&self) -> Result<(), rc_store::Error> {
        let outbox = self.keys.outbox();
        let behind = match outbox.behind(&self.layout).await {
            Ok(Some(behind)) => behind,
            Ok(None) => return Ok(()),
            Err(Incomparable::Store(error)) => return Err(error),
            // The ledger does not open such a log either, and is not ready.
            Err(Incomparable::Log(error)) => {
                tracing::warn!(
                    code = error.code(),
                    "the keys' store cannot be compared with the audit log: {error}"
                );
                return Ok(());
            }
        };
        let now = self.deps.clock.now();
        let asked = Asked {
            actor: Actor::Service(Builtin::Gateway.name()),
            reason: Reason::of("store-rewind"),
            trace_id: None,
        };
        for key_id in behind.revoked.iter().filter_map(|id| KeyId::new(id).ok()) {
            self.keys.revoke(&key_id, now, &asked).await?;
        }
        outbox.rejoin(&behind, now).await?;
        tracing::warn!(
            code = audit::BEHIND_CODE,
            revoked = behind.revoked.len(),
            "{behind}; keys that were revoked since are revoked again, keys that were made since are gone"
        );
        Ok(())
    }

    /// Whether the files in force have rollouts, so that their weights matter.
    pub(super) fn has_rollouts(&self) -> bool {
        !self.lock().model.tenants.rollouts.is_empty()
    }

    /// The rollouts of the files in force, and all weights that were ever set.
    pub(super) fn rollouts(&self) -> (Arc<Model>, Ramps) {
        let current = self.lock();
        (Arc::clone(&current.model), current.ramps.clone())
    }

    /// Reads the weights of rollouts and puts them in force.
    ///
    /// # Errors
    /// What the store says; the weights known so far stay in force.
    pub(super) async fn refresh_ramps(&self) -> Result<(), rc_store::Error> {
        let ramps = self.keys.ramps().await?;
        self.put_ramps(|known| *known = ramps);
        Ok(())
    }

    /// Changes the weight of `name`, in the store and then here. Called by the admin task only, so that an older list
    /// of weights never replaces a newer one.
    ///
    /// # Errors
    /// [`super::ramps::Refused`] inside the store's error, and what the store says.
    pub(super) async fn change_ramp(
        &self,
        name: RolloutId,
        rollout: Rollout,
        wish: Wish,
        asked: Asked,
    ) -> Result<Changed, rc_store::Error> {
        let change = Change {
            traffic: self.traffic(&rollout.service),
            name: name.clone(),
            rollout,
            wish,
            asked,
            at: self.deps.clock.now(),
        };
        let changed = self.keys.change_ramp(change).await?;
        let ramp = changed.clone().into_ramp();
        self.put_ramps(|known| drop(known.insert(name, ramp)));
        Ok(changed)
    }

    /// What every tenant sent lately to `service`.
    fn traffic(&self, service: &ServiceId) -> Traffic {
        let counted = self.gateway.traffic(service);
        let model = Arc::clone(&self.lock().model);
        let tenants = model.tenants.tenants.keys();
        tenants
            .map(|tenant| (tenant.clone(), counted.get(tenant).copied().unwrap_or(0)))
            .collect()
    }

    fn put_ramps(&self, change: impl FnOnce(&mut Ramps)) {
        let mut current = self.lock();
        let before = current.ramps.clone();
        change(&mut current.ramps);
        if current.ramps == before {
            return;
        }
        // Under the lock: a change of the files must not be undone by a snapshot of those before it.
        match self.snapshot(
            &current.model,
            &current.endpoints,
            &current.ramps,
            current.version,
        ) {
            Ok(snapshot) => self.gateway.install(snapshot),
            // The files were valid, and no weight makes them invalid.
            Err(error) => tracing::error!(%error, "the weights cannot be put in force"),
        }
    }

    fn snapshot(
        &self,
        model: &Model,
        endpoints: &Endpoints,
        ramps: &Ramps,
        version: u64,
    ) -> Result<Snapshot, BuildError> {
        let mut spec = snapshot_spec(&self.layout, &model.catalog, &model.tenants, endpoints, version);
        set_weights(&mut spec, ramps);
        Snapshot::build(spec)
    }

    /// Changes the list of known keys and gives those that are valid at this moment to the data path.
    pub(super) fn change_keys<T>(&self, change: impl FnOnce(&mut Vec<KeyRecord>) -> T) -> T {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut records);
        if !self.keys_known.load(Ordering::Relaxed) {
            return changed;
        }
        self.gateway.set_keys(Arc::new(key_set(
            &records,
            self.deps.clock.now(),
            self.deps.marks.users.as_ref(),
        )));
        changed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches the files and applies what is valid, until the process stops.
    pub(super) async fn watch_files(self: Arc<Self>, mut seen: Fingerprint, mut wishes: Wishes) {
        let stopping = self.deps.tree.stopping();
        let mut changing: Option<Fingerprint> = None;
        let mut slack = Slack::default();
        // Reading the files at the start was such work, too.
        slack.used();
        let mut tick = tokio::time::interval(FILES_POLL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wish = tokio::select! {
                _ = tick.tick() => None,
                wish = wishes.recv() => wish,
                () = stopping.cancelled() => return,
            };
            let layout = self.layout.clone();
            let found = off_thread(move || files::fingerprint(&layout)).await;
            // Half a file may well be valid: a change counts when it looks the same twice.
            let rests = changing.as_ref() == Some(&found);
            if (found != seen && rests) || wish.is_some() {
                changing = None;
                seen = found;
                slack.used();
                if self.apply_files().await == Settled::Later {
                    // Differs from every look, so that the files are read again.
                    seen.clear();
                }
            } else if found != seen {
                changing = Some(found);
            }
            if let Some(wish) = wish {
                // Whoever asked may have gone.
                let _ = wish.send(self.config_report());
            } else {
                slack.give_back().await;
            }
        }
    }

    async fn apply_files(&self) -> Settled {
        let layout = self.layout.clone();
        let outcome = off_thread(move || files::load(&layout)).await;
        let (broken, settled) = match outcome {
            Ok(loaded) => match self.apply(loaded).await {
                Ok(()) => return Settled::Yes,
                Err(refusal) => refusal,
            },
            Err(broken) => (broken, Settled::Yes),
        };
        let Broken {
            digest,
            problems,
            lines,
        } = *broken;
        let at = self.deps.clock.now();
        let news = {
            let mut current = self.lock();
            let known = current.refused.as_ref().map(|refused| &refused.problems);
            let news = known != Some(&problems);
            if news {
                current.refused = Some(Refused {
                    at,
                    problems: problems.clone(),
                });
            }
            news
        };
        for problem in problems.iter().filter(|_| news) {
            tracing::warn!(
                problem,
                "the changed configuration is refused; the one before it stays"
            );
        }
        match digest {
            // What could not be recorded as applied is not refused for good.
            Some(digest) if settled == Settled::Yes => self.record_refusal(digest, lines).await,
            Some(_) | None => settled,
        }
    }

    /// Puts `loaded` in force, whole or not at all. Not before the audit log's entry is safe.
    async fn apply(&self, loaded: Loaded) -> Result<(), (Box<Broken>, Settled)> {
        let now = self.deps.clock.now();
        let Loaded { model, endpoints } = loaded;
        let digest = model.digest;
        let broken = |problem: String, settled| (Broken::one(Some(digest), problem), settled);
        let (before, ramps, version) = {
            let mut current = self.lock();
            if current.model.digest == digest && current.endpoints == endpoints {
                (current.refused, current.recorded) = (None, None);
                return Ok(());
            }
            (current.model.digest, current.ramps.clone(), current.version + 1)
        };
        let invalid = |error: BuildError| broken(error.to_string(), Settled::Yes);
        let mut snapshot = self
            .snapshot(&model, &endpoints, &ramps, version)
            .map_err(invalid)?;
        // The endpoint table alone is no configuration: the supervisor wrote it, and said why.
        if before != digest {
            let act = self.act(now, Action::ConfigApply, "files-changed", Outcome::Done);
            let detail = serde_json::json!({
                "version": version,
                "tenants": model.tenants.tenants.len(),
                "services": model.catalog.services.len(),
            });
            self.record(act.with(Some(before), Some(digest), Some(detail)), Room::Act)
                .await
                .map_err(|error| {
                    let problem = format!("the change cannot be recorded in the audit log: {error}");
                    broken(problem, Settled::Later)
                })?;
        }
        let mut current = self.lock();
        if current.ramps != ramps {
            // A weight moved while the entry was on its way.
            snapshot = self
                .snapshot(&model, &endpoints, &current.ramps, version)
                .map_err(invalid)?;
        }
        self.gateway.install(snapshot);
        self.deps.marks.data_version.set_configuration(digest);
        tracing::info!(version, digest = %digest.short(), tenants = model.tenants.tenants.len(), "configuration applied");
        *current = Current {
            model: Arc::new(model),
            endpoints,
            ramps: std::mem::take(&mut current.ramps),
            version,
            since: now,
            refused: None,
            recorded: None,
            complained: None,
        };
        Ok(())
    }

    /// The audit log's entry of files that were refused, once for each text.
    async fn record_refusal(&self, digest: Digest, problems: Vec<String>) -> Settled {
        let before = {
            let current = self.lock();
            if current.recorded == Some(digest) {
                return Settled::Yes;
            }
            current.model.digest
        };
        let detail = audit::refused(digest, problems);
        let at = self.deps.clock.now();
        let act = self.act(at, Action::ConfigRefuse, "files-invalid", Outcome::Refused);
        match self
            .record(act.with(Some(before), None, Some(detail)), Room::Fact)
            .await
        {
            Ok(()) => {
                self.lock().recorded = Some(digest);
                Settled::Yes
            }
            Err(error) => {
                // It is tried again four times a second; once is enough to say so.
                if self.lock().complained.replace(digest) != Some(digest) {
                    tracing::warn!(
                        code = error.code(),
                        %error,
                        "the refusal of the changed configuration is not in the audit log yet"
                    );
                }
                Settled::Later
            }
        }
    }

    fn act(&self, at: Timestamp, action: Action, reason: &'static str, outcome: Outcome) -> Act {
        let author = audit::author(self.layout.project());
        Act {
            at,
            actor: author.map_or_else(|| Actor::Service(Builtin::Gateway.name()), Actor::OsUser),
            action,
            resource: Resource {
                kind: "config",
                id: Builtin::Gateway.name().to_owned(),
                tenant: None,
            },
            reason: Reason::of(reason),
            outcome,
            before: None,
            after: None,
            trace_id: None,
            detail: None,
        }
    }

    async fn record(&self, act: Act, room: Room) -> Result<(), rc_store::Error> {
        self.keys.outbox().record(vec![act.draft()?], room).await
    }
}
