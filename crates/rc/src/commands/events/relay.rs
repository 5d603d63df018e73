//! `rc events relay`: moves an outbox to a bus, beside the service that writes it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rc_events::outbox::table::{self, Columns, TableSource, Tenancy};
use rc_events::replication::SlotHealth;
use rc_events::schema::{CheckedBus, Registry};
use rc_events::slot::SlotSource;
use rc_events::{Relay, RelayOptions, Retention, Source};
use rc_model::project::{AccessLog, LogLevel};
use rc_model::units::{ByteSize, Span};
use rc_model::{Clock, SystemClock, TenantId};
use rc_serve::logging::{self, LogConfig, LogFormat};
use rc_serve::{DataVersion, Edge, Marks, Metrics, Readiness, Tree, edge, tree};
use rc_services::events::watch;

use super::place::{End, Place, Typed};
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};
use crate::schemas;

/// Who we are in logs and metrics.
const SERVICE: &str = "rc-relay";

/// How long a batch that is under way may take at the end.
const DRAIN: Duration = Duration::from_secs(10);

/// Move events from a service's outbox to a bus, until SIGTERM or Ctrl-C
///
/// It needs no project, and the service that writes the outbox needs to know nothing of it: `rc events install`
/// makes the tables and the function that appends an event. Events of one key arrive in the order of their
/// numbers, none twice and none left out, whatever is killed or cut; where the relay is, the bus knows, so it
/// can be started anywhere, also twice: the second one stands by.
///
/// URLs with passwords are better given as RC_EVENTS_FROM and RC_EVENTS_TO. `/health`, `/ready` and `/metrics`
/// are served at `--metrics`; logs go to stderr, one JSON object a line.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The outbox: `postgres://user@host:port/database` or `sqlite:PATH`
    #[arg(long, value_name = "URL", value_parser = Typed::keep)]
    from: Option<Typed>,
    /// The bus: `nats://host:port`, `postgres://…` or `sqlite:PATH`
    #[arg(long, value_name = "URL", value_parser = Typed::keep)]
    to: Option<Typed>,
    /// The name under which the bus keeps this outbox's place; one outbox, one name, for ever
    #[arg(long, value_name = "NAME", default_value = "outbox")]
    origin: String,
    /// How PostgreSQL is read: `poll` asks for what was committed, `slot` streams from a replication slot,
    /// `table` reads an outbox table of the common shape (`id`, `aggregate`, `aggregate_id`, `kind`, `payload`,
    /// `created_at`, `dequeued_at`) and marks what it has moved. Between `poll` and `slot` one may change at will
    #[arg(long, value_name = "HOW", value_enum, default_value_t = How::Poll)]
    source: How,
    /// The table of `--source table`, as `table` or `schema.table`
    #[arg(long, value_name = "TABLE", default_value = "public.outbox")]
    table: String,
    /// Whose the rows of `--source table` are
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,
    /// The column of `--source table` that says whose a row is, instead of one tenant for all
    #[arg(long, value_name = "COLUMN", conflicts_with = "tenant")]
    tenant_column: Option<String>,
    /// The schema of the outbox on PostgreSQL; with `--source table`, of the relay's own tables
    #[arg(long, value_name = "NAME", default_value = "rc_events")]
    schema: String,
    /// How long rows stay in the outbox after they were relayed
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = Span::parse)]
    outbox_keep: Span,
    #[command(flatten)]
    moving: Moving,
}

/// What everything that moves events to a bus takes.
#[derive(Debug, clap::Args)]
pub(super) struct Moving {
    /// How long events stay on the bus. All that publish to one bus must say the same: each of them cleans it
    #[arg(long, value_name = "SPAN", default_value = "7d", value_parser = Span::parse)]
    bus_keep: Span,
    /// How many bytes of events stay on the bus at most
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = ByteSize::parse)]
    bus_bytes: ByteSize,
    /// Hold events against the schemas in this folder: one that breaks its own is set aside, with its key. Types
    /// without a schema pass
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
    /// Set events aside whose type has no schema, too
    #[arg(long, requires = "schemas")]
    every_type: bool,
    /// Serve `/health`, `/ready` and `/metrics` here
    #[arg(long, value_name = "ADDRESS:PORT")]
    metrics: Option<SocketAddr>,
}

impl Moving {
    /// The schemas that events are held against, if any.
    ///
    /// # Errors
    /// When they cannot be read, or there are none.
    pub(super) fn schemas(&self, cx: &Cx) -> Result<Option<Arc<Registry>>, Fault> {
        let Some(folder) = &self.schemas else {
            return Ok(None);
        };
        let files = schemas::read(&cx.cwd.join(folder), &folder.display().to_string())?;
        if files.is_empty() {
            let what = format!("there are no schemas in {}", folder.display());
            return Err(Fault::usage("RC-EVT-062", what).hint("they are named `TYPE.vMAJOR.json`"));
        }
        let registry = schemas::compiled(&files)?;
        Ok(Some(Arc::new(if self.every_type {
            registry.of_every_type()
        } else {
            registry
        })))
    }
}

pub(super) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let schemas = args.moving.schemas(cx)?;
    let from = End::From.place(cx, args.from.as_ref())?;
    let to = End::To.place(cx, args.to.as_ref())?;
    let running = Running::begin(cx, SERVICE);
    let source = source(&args, &from, &running).await?;
    let options = RelayOptions {
        outbox_keep: args.outbox_keep.duration(),
        ..RelayOptions::default()
    };
    tracing::info!(%from, %to, origin = args.origin, version = env!("CARGO_PKG_VERSION"), "relaying");
    Ok(running.relay(source, &to, schemas, options, &args.moving).await?)
}

/// How an outbox in PostgreSQL is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum How {
    Poll,
    Slot,
    Table,
}

async fn source(args: &Args, from: &Place, running: &Running) -> Result<Arc<dyn Source>, Fault> {
    match args.source {
        How::Poll => {
            if let Place::Postgres(..) = from {
                from.check_outbox(&from.database(&args.schema)?).await?;
            }
            from.outbox(&args.origin, &args.schema)
        }
        How::Slot => {
            let db = from.database(&args.schema)?;
            from.check_outbox(&db).await?;
            let source = Arc::new(SlotSource::new(db, from.address()?, &args.origin));
            let asked = Arc::clone(&source);
            running.slots(move || {
                let source = Arc::clone(&asked);
                async move { source.health().await }
            });
            Ok(source)
        }
        How::Table => {
            let db = from.database(&args.schema)?;
            let failed = |code, what: String| Fault::world(code, what);
            db.migrate(&table::MIGRATIONS).await.map_err(|error| {
                let what = format!("the relay's tables cannot be made in schema `{}`", args.schema);
                failed(error.code(), what).because(error)
            })?;
            let tenancy = match (&args.tenant_column, &args.tenant) {
                (Some(column), _) => Tenancy::Column(column.clone()),
                (None, Some(tenant)) => Tenancy::One(tenant.clone()),
                (None, None) => {
                    return Err(Fault::usage("RC-EVT-050", "nothing says whose the rows are")
                        .hint("give `--tenant TENANT` or `--tenant-column COLUMN`"));
                }
            };
            let opened =
                TableSource::open(db, &args.origin, &args.table, &Columns::default(), &tenancy).await;
            let source = opened.map_err(|error| {
                failed(error.code(), format!("the table `{}` cannot be read", args.table)).because(error)
            })?;
            Ok(Arc::new(source))
        }
    }
}

/// A process that runs beside somebody's service until it is told to end.
pub(super) struct Running {
    service: &'static str,
    tree: Tree,
    metrics: Metrics,
    readiness: Readiness,
}

impl Running {
    /// Begins to log.
    pub(super) fn begin(cx: &Cx, service: &'static str) -> Self {
        let format = if cx.progress {
            LogFormat::Pretty { color: cx.color }
        } else {
            LogFormat::Json
        };
        logging::init(LogConfig {
            format,
            level: LogLevel::Info,
            service,
            data_version: DataVersion::default(),
        });
        Self {
            service,
            tree: Tree::new(),
            metrics: Metrics::new(),
            readiness: Readiness::new(),
        }
    }

    /// Moves `source` to the bus at `to` until the process is told to end.
    ///
    /// # Errors
    /// When the bus can never be used as it is, the address of the metrics is taken, or a part failed.
    pub(super) async fn relay(
        self,
        source: Arc<dyn Source>,
        to: &Place,
        schemas: Option<Arc<Registry>>,
        options: RelayOptions,
        moving: &Moving,
    ) -> Result<Outcome, Fault> {
        let clock: Arc<dyn Clock> = SystemClock::shared();
        let mut bus = to.bus(&clock).await?;
        if let Some(schemas) = schemas {
            bus = Arc::new(CheckedBus::new(bus, schemas));
        }
        let options = RelayOptions {
            retention: Retention {
                keep: moving.bus_keep.duration(),
                bytes_max: moving.bus_bytes.bytes(),
                ..Retention::default()
            },
            ..options
        };
        let relay = Relay::new(source, Arc::clone(&bus), Arc::clone(&clock), options);
        let (status, service, tree) = (relay.status(), self.service, &self.tree);
        watch::bus(service, bus, self.readiness.component("bus"), tree);
        watch::relay(
            service,
            move || Some(status.borrow().clone()),
            self.readiness.component("relay"),
            &self.metrics,
            clock,
            tree,
        );
        tree.spawn("relay", relay.run(tree.stopping()));
        self.until_ended(moving.metrics).await
    }

    /// Shows the replication slots that `look` finds.
    pub(super) fn slots<F>(&self, look: impl Fn() -> F + Send + 'static)
    where
        F: Future<Output = Result<Vec<SlotHealth>, rc_events::Error>> + Send + 'static,
    {
        watch::slots(look, &self.metrics, &self.tree);
    }

    /// Serves what people watch at `address`, and waits for the end.
    ///
    /// # Errors
    /// When the address is taken, or a part failed.
    async fn until_ended(self, address: Option<SocketAddr>) -> Result<Outcome, Fault> {
        if let Some(address) = address {
            let edge = Edge {
                service: self.service,
                router: axum::Router::new(),
                readiness: self.readiness,
                metrics: self.metrics,
                access: AccessLog::Off,
                sink: None,
                marks: Marks::default(),
            };
            let bound = edge::serve_tcp(address, edge, &self.tree)
                .await
                .map_err(|error| {
                    Fault::world("RC-SRV-007", format!("cannot listen at {address}"))
                        .because(error)
                        .hint("give another `--metrics ADDRESS:PORT`")
                })?;
            tracing::info!(address = %bound, "serving /health, /ready and /metrics");
        }
        let failed = self.tree.stopping();
        tokio::select! {
            signal = tree::terminated() => {
                signal.map_err(|error| Fault::world("RC-SRV-006", "signals cannot be received").because(error))?;
                tracing::info!("asked to stop");
            }
            () = failed.cancelled() => {}
        }
        match self.tree.drain(DRAIN).await {
            Ok(()) if self.tree.has_failed() => Err(Fault::world(
                "RC-SRV-009",
                "a part of the process failed; the log says which",
            )),
            Ok(()) => {
                tracing::info!("stopped");
                Ok(Outcome::Done)
            }
            Err(tasks) => {
                tracing::error!(tasks = tasks.join(", "), "some work did not end in time");
                Ok(Outcome::No)
            }
        }
    }
}
