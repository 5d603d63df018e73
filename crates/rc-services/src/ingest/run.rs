//! Starting and stopping the service.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::FutureExt as _;
use rc_events::letters::LetterFilter;
use rc_model::catalog::Builtin;
use rc_model::{Layout, ServiceId};
use rc_serve::readiness::Component;
use rc_serve::{Edge, Tree, edge};
use rc_store::{Error, StoreUrl};
use tokio_util::sync::CancellationToken;

use super::admission::{Admission, Bounds};
use super::backend::{Backend, Down, Given, ORIGIN};
use super::http::{self, App};
use super::meters::Meters;
use super::room::{self, Room};
use super::storage::Reservations;
use super::usage::{self, UsageAdmin};
use super::{fault, limits};
use crate::document;
use crate::events::acts::Acts;
use crate::events::admin::{self, Admin};
use crate::events::log;
use crate::events::status::{self, RelayLine, Status};
use crate::events::verify::{self, Verify};
use crate::events::watch;
use crate::events::wire::Counts;
use crate::service::{Deps, ServiceConfig, StartError};
use crate::statements;

/// The service's name in the catalog.
pub const SERVICE: &str = "ingest";

/// Who answers what is indexed.
const DOCS_SERVICE: &str = "docs-api";

/// How often the store is asked whether it is there.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How long one such question may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long open exchanges may take to finish at the end.
const DRAIN: Duration = Duration::from_secs(10);

/// How long the relay may go on at the end.
const FLUSH: Duration = Duration::from_secs(1);

/// Starts ingest: opens the store, starts the relay, listens on the service's socket. Returns when it
/// serves. A store that cannot be reached yet is no failure: `/ready` names it, and it is tried again.
///
/// # Errors
/// When the store's URL is none, when the database needs a person (migrations, damage), or when the socket
/// is taken.
pub async fn run(config: ServiceConfig, deps: Deps) -> Result<(), StartError> {
    let url = StoreUrl::parse(&config.store_url)
        .map_err(|error| StartError::new(error.code(), "the store's URL is not one").because(error))?;
    // Stopped last: requests that are under way still need what runs here.
    let workers = Tree::new();
    // Stopped first: nothing may open the store again while it is closed.
    let helpers = Tree::new();
    let opener = Opener {
        url,
        folder: config.layout.data(&service(SERVICE)),
        given: Given {
            clock: Arc::clone(&deps.clock),
            telemetry: deps.telemetry.clone(),
            bus: config.bus.clone(),
            tree: workers.clone(),
        },
        deps: deps.clone(),
        backend: Arc::new(ArcSwapOption::empty()),
        ready: deps.readiness.component("store"),
    };
    match opener.open().await {
        Ok(()) => {}
        Err(Down::Later(error)) => {
            tracing::warn!(code = error.code(), error = ?error, "the store is not there yet");
        }
        Err(Down::NotMigrated(missing)) => {
            return Err(StartError::new(fault::NOT_MIGRATED.code, missing).hint("run `rc migrate`"));
        }
        Err(Down::Never(error)) => {
            return Err(StartError::new(error.code(), "the store cannot be used").because(error));
        }
    }
    let backend = Arc::clone(&opener.backend);
    let room = Room::default();
    let reservations = Reservations::default();
    let docs_socket = config.layout.socket(&service(DOCS_SERVICE));
    let app = App {
        backend: Arc::clone(&backend),
        admission: Admission::new(Bounds::default(), Arc::clone(&deps.clock)),
        room: room.clone(),
        rules: document::stricter(&config.schemas),
        clock: Arc::clone(&deps.clock),
        meters: Meters::register(&deps.metrics),
        reservations: reservations.clone(),
        docs_socket: docs_socket.clone(),
    };
    let (holder, checked, kept) = (Arc::clone(&backend), Arc::clone(&backend), Arc::clone(&backend));
    let letters = move || holder.load_full()?.letters.clone();
    let acts = Acts::start(
        Builtin::Ingest,
        super::POSTGRES_SCHEMA,
        &opener.url,
        &config.layout,
        &deps,
    )
    .await;
    let ready = deps.readiness.component("letters");
    watch::letters(SERVICE, letters.clone(), ready, &deps.metrics, &helpers);
    let admin = Admin {
        letters: Arc::new(letters),
        acts: acts.clone(),
    };
    let usage_admin = UsageAdmin {
        backend: Arc::clone(&backend),
        reservations,
        acts: acts.clone(),
    };
    let verify = Verify {
        ends: Arc::new(move || Some(checked.load_full()?.ends())),
        acts,
    };
    let looked_at = Arc::clone(&backend);
    let databases: statements::Stores = Arc::new(move || {
        let backend = looked_at.load();
        backend
            .as_ref()
            .map_or_else(Vec::new, |backend| backend.databases.clone())
    });
    let edge_tree = Tree::new();
    let edge = Edge {
        service: SERVICE,
        router: http::router(Arc::new(app))
            .merge(status::router(look(&backend, &deps)))
            .merge(admin::router(admin))
            .merge(verify::router(verify))
            .merge(usage::router(usage_admin))
            .merge(statements::router(SERVICE, databases, &deps.metrics))
            .merge(log::router(Arc::new(move || {
                Some(Arc::clone(&kept.load_full()?.log))
            }))),
        readiness: deps.readiness.clone(),
        metrics: deps.metrics.clone(),
        access: config.access,
        sink: deps.telemetry.clone(),
        marks: deps.marks.clone(),
    };
    let socket = config.layout.socket(&service(SERVICE));
    edge::serve_uds(&socket, edge, &edge_tree).map_err(|error| {
        StartError::new("RC-SRV-007", format!("cannot listen at {}", socket.display())).because(error)
    })?;
    let relaying = Arc::clone(&backend);
    watch::relay(
        SERVICE,
        move || Some(relaying.load_full()?.relay.borrow().clone()),
        deps.readiness.component("relay"),
        &deps.metrics,
        Arc::clone(&deps.clock),
        &helpers,
    );
    let keeping = Arc::clone(&backend);
    let keeping = move || Some(Arc::clone(&keeping.load_full()?.bus));
    watch::kept(SERVICE, keeping, &deps.metrics, &helpers);
    if let Some(bus) = config.bus {
        watch::bus(SERVICE, bus, deps.readiness.component("bus"), &helpers);
    }
    let files = matches!(opener.url, StoreUrl::Sqlite).then(|| opener.folder.clone());
    room.watch(&helpers, files, &backend, &deps, room::Bounds::default());
    helpers.spawn("ingest/keeper", opener.keep(helpers.stopping()));
    spawn_pruner(&helpers, &backend, &deps);
    helpers.spawn(
        "ingest/sizes",
        usage::measure(Arc::clone(&backend), docs_socket, helpers.stopping()),
    );
    let stopping = deps.tree.stopping();
    deps.tree.spawn("ingest/stop", async move {
        stopping.cancelled().await;
        stop(&edge_tree, &helpers, &workers, &backend).await;
    });
    Ok(())
}

/// Where the relay and the bus are, for `rc events status`.
fn look(backend: &Arc<ArcSwapOption<Backend>>, deps: &Deps) -> status::Look {
    let (backend, clock) = (Arc::clone(backend), Arc::clone(&deps.clock));
    Arc::new(move || {
        let (backend, clock) = (backend.load_full(), Arc::clone(&clock));
        async move {
            let backend = backend?;
            let relay = RelayLine::of(ORIGIN, &backend.relay.borrow(), clock.now());
            let mut relays = Status {
                relays: vec![relay],
                ..Status::default()
            };
            if let Some(letters) = &backend.letters {
                match letters.count(&LetterFilter::default()).await {
                    Ok(counts) => relays.letters.push(Counts::of(ORIGIN, counts)),
                    Err(error) => return Some(Err(error)),
                }
            }
            match Status::of_bus(backend.bus.as_ref()).await {
                Ok(bus) => Some(Ok(relays.and(bus))),
                // The relay says what is wrong with it.
                Err(error) if error.retry_after().is_some() => Some(Ok(relays)),
                Err(error) => Some(Err(error)),
            }
        }
        .boxed()
    })
}

/// Where the embedded bus is; consumers open it read-only.
#[must_use]
pub fn bus_file(layout: &Layout) -> std::path::PathBuf {
    layout.data(&service(SERVICE)).join(super::backend::BUS_FILE)
}

fn service(name: &str) -> ServiceId {
    ServiceId::new(name).expect("the names of our services follow the grammar")
}

/// Ends in the order of the data: no new requests, open ones, the outbox, tasks, files.
async fn stop(edge: &Tree, helpers: &Tree, workers: &Tree, backend: &ArcSwapOption<Backend>) {
    helpers.stop();
    if let Err(names) = edge.drain(DRAIN).await {
        tracing::warn!(?names, "requests were still open at the end");
    }
    if let Err(names) = helpers.drain(PROBE_TIMEOUT).await {
        tracing::warn!(?names, "tasks were still running at the end");
    }
    let backend = backend.swap(None);
    if let Some(backend) = &backend {
        backend.flush(FLUSH).await;
        backend.close().await;
    }
    if let Err(names) = workers.drain(DRAIN).await {
        tracing::warn!(?names, "tasks were still running at the end");
    }
}

/// Opens the backend and watches over it. Owned by the keeper task once the service runs.
struct Opener {
    url: StoreUrl,
    folder: std::path::PathBuf,
    given: Given,
    deps: Deps,
    backend: Arc<ArcSwapOption<Backend>>,
    ready: Component,
}

impl Opener {
    async fn open(&self) -> Result<(), Down> {
        let opened = match &self.url {
            StoreUrl::Sqlite => Backend::open_sqlite(&self.folder, &self.given).await,
            StoreUrl::Postgres(url) => Backend::open_postgres(url, &self.given).await,
        };
        match opened {
            Ok(backend) => {
                let migrations = match &self.url {
                    StoreUrl::Sqlite => super::SQLITE_MIGRATIONS,
                    StoreUrl::Postgres(_) => super::POSTGRES_MIGRATIONS,
                };
                self.deps
                    .marks
                    .data_version
                    .set_migration(migrations.list().len());
                self.backend.store(Some(Arc::new(backend)));
                self.ready.set_ready();
                Ok(())
            }
            Err(down) => {
                self.ready.set_down(match &down {
                    Down::Later(error) | Down::Never(error) => error.to_string(),
                    Down::NotMigrated(missing) => format!("{missing}: run `rc migrate`"),
                });
                Err(down)
            }
        }
    }

    async fn keep(self, stopping: CancellationToken) {
        let mut up = self.backend.load().is_some();
        loop {
            let pause = tokio::time::sleep(PROBE_EVERY);
            if stopping.run_until_cancelled(pause).await.is_none() {
                return;
            }
            let now_up = self.probe().await;
            match (up, now_up) {
                (false, true) => tracing::info!("the store is there"),
                (true, false) => tracing::error!("the store is lost"),
                _ => {}
            }
            up = now_up;
        }
    }

    async fn probe(&self) -> bool {
        let backend = self.backend.load_full();
        let Some(backend) = backend else {
            return self.open().await.is_ok();
        };
        match tokio::time::timeout(PROBE_TIMEOUT, backend.store.ping()).await {
            Ok(Ok(())) => {
                self.ready.set_ready();
                return true;
            }
            Ok(Err(error)) => self.ready.set_down(why(&error)),
            Err(_elapsed) => self.ready.set_down("no answer in time"),
        }
        false
    }
}

/// A store's error with its causes, in one line.
fn why(error: &Error) -> String {
    let mut text = format!("{}: {error}", error.code());
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        text.push_str(&format!(": {source}"));
        cause = source.source();
    }
    text
}

/// Forgets answers whose time is over, a bounded number of rows at a time.
fn spawn_pruner(helpers: &Tree, backend: &Arc<ArcSwapOption<Backend>>, deps: &Deps) {
    let (backend, clock, stopping) = (Arc::clone(backend), Arc::clone(&deps.clock), helpers.stopping());
    helpers.spawn("ingest/pruner", async move {
        loop {
            let pause = tokio::time::sleep(limits::PRUNE_EVERY);
            if stopping.run_until_cancelled(pause).await.is_none() {
                return;
            }
            while let Some(backend) = backend.load_full()
                && !stopping.is_cancelled()
            {
                match backend.store.prune(super::store::kept_since(clock.now())).await {
                    Ok(pruned) if pruned == limits::PRUNE_ROWS_MAX => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(code = error.code(), error = ?error, "old answers were not pruned");
                        break;
                    }
                }
            }
        }
    });
}
