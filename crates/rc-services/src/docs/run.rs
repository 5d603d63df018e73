//! Starting and stopping the service.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rc_events::consumer::{BusWake, ConsumerOptions, Policy};
use rc_events::letters::{LetterFilter, Letters};
use rc_events::schema::{Reader, Upcasters};
use rc_events::{Bus, PostgresBus};
use rc_model::ServiceId;
use rc_model::catalog::Builtin;
use rc_model::project::PoisonPolicy;
use rc_serve::readiness::Component;
use rc_serve::{Edge, Tree, edge};
use rc_store::{Error, Postgres, PostgresOptions, StoreUrl};
use tokio::sync::watch;

use super::flight::Flights;
use super::follow::{BusFile, Following, Projector, Reading};
use super::generations::{self, Files, Generations, Schemas, Shelf};
use super::http::{Api, router};
use super::meters::Meters;
use super::postgres::{SCHEMA, SPARE_SCHEMA};
use super::progress::Progress;
use super::projector::IngestWake;
use super::store::{CONSUMER, DocsStore};
use crate::document;
use crate::events::acts::Acts;
use crate::events::admin::{self, Admin};
use crate::events::history::{self, History};
use crate::events::log::SocketLog;
use crate::events::status::{self, ConsumerLine, Status};
use crate::events::watch as events_watch;
use crate::events::wire::Counts;
use crate::service::{Deps, ServiceConfig, StartError};
use crate::statements::{self, Store};

/// The service's name in the catalog.
pub const SERVICE: &str = "docs-api";

/// Who writes the bus.
const INGEST: &str = "ingest";

/// How often the store is asked whether it is there.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// How long one such question may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long nothing must come in before the index is tidied, and the pause between its steps.
const IDLE: Duration = Duration::from_millis(500);
const TIDY_PAUSE: Duration = Duration::from_millis(50);

/// How long open exchanges, and then the projector's last batch, may take at the end.
const DRAIN: Duration = Duration::from_secs(10);

/// Starts docs-api: opens the read model, starts the projector, listens on the service's socket. Returns
/// when it serves. A PostgreSQL that cannot be reached yet is no failure: `/ready` names it, and it is
/// tried again.
///
/// # Errors
/// When the store's URL is none, when the file cannot be opened, when the database needs a person
/// (`rc migrate`), or when the socket is taken.
pub async fn run(config: ServiceConfig, deps: Deps) -> Result<(), StartError> {
    let url = StoreUrl::parse(&config.store_url).map_err(bad_url)?;
    // Stopped after the edge: requests that are under way may wait for the projector.
    let workers = Tree::new();
    let parts = Parts {
        progress: Progress::new(deps.tree.stopping()),
        following: Following::default(),
        meters: Meters::register(&deps.metrics),
        store_ready: deps.readiness.component("store"),
        projector_ready: deps.readiness.component("projector"),
        config,
        deps,
    };
    let generations = match &url {
        StoreUrl::Sqlite => parts.embedded(&workers).await?,
        StoreUrl::Postgres(url) => parts.postgres(url, &workers).await?,
    };
    let migrations = match &url {
        StoreUrl::Sqlite => super::sqlite::MIGRATIONS,
        StoreUrl::Postgres(_) => super::postgres::MIGRATIONS,
    };
    parts
        .deps
        .marks
        .data_version
        .set_migration(migrations.list().len());
    if let Some(bus) = &parts.config.bus {
        let ready = parts.deps.readiness.component("bus");
        events_watch::bus(SERVICE, Arc::clone(bus), ready, &workers);
    }
    let socket = parts.config.layout.socket(&service(SERVICE));
    let people = parts.people(&url, Arc::clone(&generations), &workers).await;
    let serving = generations.serving();
    let stores = move || serving.database().map(|database| Store::new("store", database));
    let stores: statements::Stores = Arc::new(move || stores().into_iter().collect());
    let people = people.merge(statements::router(SERVICE, stores, &parts.deps.metrics));
    parts
        .serve(generations.serving(), people, workers.clone(), &socket)
        .map_err(|error| {
            workers.stop();
            StartError::new("RC-SRV-004", format!("cannot listen at {}", socket.display())).because(error)
        })
}

/// What `rc migrate` applies to PostgreSQL before docs-api starts: each schema with its tables.
#[must_use]
pub fn postgres_migrations() -> [(&'static str, rc_store::Migrations); 5] {
    [
        (SCHEMA, crate::audit::outbox::postgres::MIGRATIONS),
        (SCHEMA, super::postgres::MIGRATIONS),
        (SCHEMA, rc_events::consumer::postgres::MIGRATIONS),
        (SPARE_SCHEMA, super::postgres::SPARE_MIGRATIONS),
        (SPARE_SCHEMA, rc_events::consumer::postgres::MIGRATIONS),
    ]
}

fn bad_url(error: Error) -> StartError {
    StartError::new(error.code(), "the store's URL is not one").because(error)
}

fn service(name: &str) -> ServiceId {
    ServiceId::new(name).expect("the names of our services follow the grammar")
}

struct Parts {
    progress: Progress,
    following: Following,
    meters: Meters,
    store_ready: Component,
    projector_ready: Component,
    config: ServiceConfig,
    deps: Deps,
}

impl Parts {
    async fn embedded(&self, workers: &Tree) -> Result<Arc<Generations>, StartError> {
        let layout = &self.config.layout;
        let files = Files::new(layout.data(&service(SERVICE)));
        let generations = self.generations(Arc::new(files), workers);
        generations.open().await.map_err(|error| {
            StartError::new(error.code(), "the read model cannot be opened")
                .hint(format!("`rc explain {}` says what to do", error.code()))
                .because(error)
        })?;
        self.store_ready.set_ready();
        let stopping = workers.stopping();
        if let Some(bus) = &self.config.bus {
            self.follow(&generations, Arc::clone(bus), workers);
        } else {
            let file = BusFile {
                path: crate::ingest::bus_file(layout),
                clock: Arc::clone(&self.deps.clock),
                ready: self.projector_ready.clone(),
            };
            file.report_missing();
            let wake = Arc::new(IngestWake {
                socket: layout.socket(&service(INGEST)),
            });
            let generations = Arc::clone(&generations);
            workers.spawn("docs-api/bus", async move {
                if let Some(bus) = file.open(&stopping).await {
                    generations.follow(Reading { bus, wake }, &stopping).await;
                }
            });
        }
        self.spawn_tidy(&generations, workers);
        self.spawn_probe(&generations, None, workers);
        Ok(generations)
    }

    async fn postgres(&self, url: &str, workers: &Tree) -> Result<Arc<Generations>, StartError> {
        let connect = |name, schema| Postgres::connect(url, &PostgresOptions::new(name, schema));
        let db = connect("rc-docs-api", SCHEMA).map_err(bad_url)?;
        let spare = connect("rc-docs-api", SPARE_SCHEMA).map_err(bad_url)?;
        let bus_db = connect("rc-docs-api-bus", rc_events::bus::postgres::SCHEMA).map_err(bad_url)?;
        let shelf = Arc::new(Schemas::new(db.clone(), spare.clone()));
        let generations = self.generations(shelf, workers);
        let mut unchecked = Some([db.clone(), spare.clone()]);
        let checked = match check_migrated(&[db.clone(), spare]).await {
            Ok(None) => generations.open().await.map(|()| None),
            other => other,
        };
        match checked {
            Ok(None) => {
                self.store_ready.set_ready();
                unchecked = None;
                if matches!(db.row_security_binds().await, Ok(false)) {
                    tracing::warn!(
                        "the database role walks through row-level security: use a role of its own"
                    );
                }
            }
            Ok(Some(missing)) => return Err(StartError::new("RC-DOC-011", missing).hint("run `rc migrate`")),
            Err(error) if error.retry_after().is_some() => {
                tracing::warn!(code = error.code(), error = ?error, "the store is not there yet");
                self.store_ready.set_down(error.to_string());
            }
            Err(error) => {
                return Err(StartError::new(error.code(), "the store cannot be used").because(error));
            }
        }
        let bus = match &self.config.bus {
            Some(bus) => Arc::clone(bus),
            None => Arc::new(PostgresBus::new(bus_db, Arc::clone(&self.deps.clock))),
        };
        self.follow(&generations, bus, workers);
        self.spawn_probe(&generations, unchecked, workers);
        Ok(generations)
    }

    /// Runs the projector on a bus that wakes it by itself.
    fn follow(&self, generations: &Arc<Generations>, bus: Arc<dyn Bus>, workers: &Tree) {
        let wake = Arc::new(BusWake(Arc::clone(&bus)));
        let (generations, stopping) = (Arc::clone(generations), workers.stopping());
        workers.spawn("docs-api/bus", async move {
            generations.follow(Reading { bus, wake }, &stopping).await;
        });
    }

    fn generations(&self, shelf: Arc<dyn Shelf>, workers: &Tree) -> Arc<Generations> {
        let projector = Projector {
            following: Arc::clone(&self.following),
            progress: self.progress.clone(),
            meters: self.meters.clone(),
            clock: Arc::clone(&self.deps.clock),
            ready: self.projector_ready.clone(),
            options: ConsumerOptions {
                policy: match self.config.consumers.docs_api.policy {
                    PoisonPolicy::Park => Policy::Park,
                    PoisonPolicy::Skip => Policy::Skip,
                    PoisonPolicy::Halt => Policy::Halt,
                },
                clock: Arc::clone(&self.deps.clock),
                telemetry: self.deps.telemetry.clone(),
                // By asking ingest: docs-api has no right on its store.
                log: Some(Arc::new(SocketLog {
                    socket: self.config.layout.socket(&service(INGEST)),
                })),
                upcast: Some(Arc::new(Reader::new(
                    Arc::new(document::schemas()),
                    Upcasters::default(),
                ))),
                ..ConsumerOptions::default()
            },
        };
        Generations::new(shelf, projector, workers.clone())
    }

    /// Where the projector is, for `rc events status`.
    fn look(&self, generations: &Arc<Generations>) -> status::Look {
        let (following, generations) = (Arc::clone(&self.following), Arc::clone(generations));
        Arc::new(move || {
            let (consumer, generations) = (following.load_full(), Arc::clone(&generations));
            async move {
                let rebuild = generations.status().await.ok().and_then(|status| status.building);
                let Some(consumer) = consumer else {
                    return Some(Ok(Status::default()));
                };
                let line = ConsumerLine::of(CONSUMER, &consumer.status());
                let counts = consumer.count(&LetterFilter::default()).await;
                Some(counts.map(|counts| Status {
                    consumers: vec![line],
                    rebuilds: rebuild.into_iter().collect(),
                    letters: vec![Counts::of(CONSUMER, counts)],
                    ..Status::default()
                }))
            }
            .boxed()
        })
    }

    /// What people do with events: letters and replays of history.
    async fn people(&self, url: &StoreUrl, generations: Arc<Generations>, workers: &Tree) -> axum::Router {
        let Self { config, deps, .. } = self;
        let acts = Acts::start(Builtin::DocsApi, SCHEMA, url, &config.layout, deps).await;
        generations.record_in(acts.clone());
        let following = Arc::clone(&self.following);
        let letters = move || Some(following.load_full()? as Arc<dyn Letters>);
        let ready = deps.readiness.component("letters");
        events_watch::letters(SERVICE, letters.clone(), ready, &deps.metrics, workers);
        let replaying = Arc::clone(&self.following);
        let replaying = move || replaying.load().as_deref().cloned();
        events_watch::replays(SERVICE, replaying, &deps.metrics, workers);
        let following = Arc::clone(&self.following);
        let admin = Admin {
            letters: Arc::new(letters),
            acts: acts.clone(),
        };
        let history = History {
            consumer: Arc::new(move || following.load().as_deref().cloned()),
            acts,
        };
        status::router(self.look(&generations))
            .merge(admin::router(admin))
            .merge(history::router(history))
            .merge(generations::router(generations))
    }

    fn serve(
        &self,
        store: Arc<dyn DocsStore>,
        people: axum::Router,
        workers: Tree,
        socket: &Path,
    ) -> io::Result<()> {
        let flights = Flights::new(self.meters.shared.clone());
        let api = Api {
            store,
            progress: self.progress.clone(),
            flights,
        };
        let edge = Edge {
            service: SERVICE,
            router: router(Arc::new(api)).merge(people),
            readiness: self.deps.readiness.clone(),
            metrics: self.deps.metrics.clone(),
            access: self.config.access,
            sink: self.deps.telemetry.clone(),
            marks: self.deps.marks.clone(),
        };
        let edge_tree = Tree::new();
        edge::serve_uds(socket, edge, &edge_tree)?;
        let stopping = self.deps.tree.stopping();
        self.deps.tree.spawn("docs-api/stop", async move {
            stopping.cancelled().await;
            if let Err(names) = edge_tree.drain(DRAIN).await {
                tracing::warn!(?names, "requests were still open at the end");
            }
            if let Err(names) = workers.drain(DRAIN).await {
                tracing::warn!(?names, "tasks were still running at the end");
            }
        });
        Ok(())
    }

    /// Tidies the index while nothing comes in. Sleeps until something was written.
    fn spawn_tidy(&self, generations: &Generations, workers: &Tree) {
        let (store, mut written, stopping) = (
            generations.serving(),
            self.progress.subscribe(),
            workers.stopping(),
        );
        workers.spawn("docs-api/tidy", async move {
            let tidy = async {
                while written.changed().await.is_ok() {
                    // Each write starts the wait anew.
                    while tokio::time::timeout(IDLE, written.changed()).await.is_ok() {}
                    tidy_until_written(store.as_ref(), &written).await;
                }
            };
            stopping.run_until_cancelled(tidy).await;
        });
    }

    /// Keeps `/ready` true about the store. `unchecked` is a database, by its schemas, whose tables were not seen yet.
    fn spawn_probe(
        &self,
        generations: &Arc<Generations>,
        mut unchecked: Option<[Postgres; 2]>,
        workers: &Tree,
    ) {
        let (store, ready, stopping) = (
            generations.serving(),
            self.store_ready.clone(),
            workers.stopping(),
        );
        let generations = Arc::clone(generations);
        workers.spawn("docs-api/probe", async move {
            let mut up = unchecked.is_none();
            let pause = || stopping.run_until_cancelled(tokio::time::sleep(PROBE_EVERY));
            while pause().await.is_some() {
                let asked = tokio::time::timeout(PROBE_TIMEOUT, probe(store.as_ref(), &mut unchecked)).await;
                let found = asked.unwrap_or_else(|_elapsed| Err("no answer in time".to_owned()));
                match (up, &found) {
                    (false, Ok(())) => tracing::info!("the store is there"),
                    (true, Err(why)) => tracing::error!(why, "the store is lost"),
                    _ => {}
                }
                up = found.is_ok();
                if up && let Err(error) = generations.adopt().await {
                    tracing::debug!(%error, "which read model serves was not looked up");
                }
                match found {
                    Ok(()) => ready.set_ready(),
                    Err(why) => ready.set_down(why),
                }
            }
        });
    }
}

async fn probe(store: &dyn DocsStore, unchecked: &mut Option<[Postgres; 2]>) -> Result<(), String> {
    if let Some(db) = unchecked {
        match check_migrated(db).await {
            Ok(None) => *unchecked = None,
            Ok(Some(missing)) => return Err(format!("{missing}: run `rc migrate`")),
            Err(error) => return Err(error.to_string()),
        }
    }
    store.ping().await.map_err(|error| error.to_string())
}

/// What `rc migrate` has to do first.
async fn check_migrated(schemas: &[Postgres; 2]) -> Result<Option<String>, Error> {
    for (schema, migrations) in postgres_migrations() {
        let [first, second] = schemas;
        let db = if second.schema() == schema { second } else { first };
        let status = db.migration_status(&migrations).await?;
        if let Some(first) = status.pending.first() {
            return Ok(Some(format!(
                "schema `{schema}` lacks migration {} `{}` of `{}`",
                first.number, first.name, status.component
            )));
        }
    }
    Ok(None)
}

async fn tidy_until_written(store: &dyn DocsStore, written: &watch::Receiver<u64>) {
    loop {
        match store.tidy().await {
            Ok(true) if !written.has_changed().unwrap_or(true) => tokio::time::sleep(TIDY_PAUSE).await,
            Ok(_) => return,
            Err(error) => {
                // The index is correct without it, and the next idle time tries again.
                tracing::warn!(?error, "tidying the index failed");
                return;
            }
        }
    }
}
