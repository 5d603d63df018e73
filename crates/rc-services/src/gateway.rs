//! The gateway service: the traffic engine with keys from a store and policy from the users' files.
//!
//! A valid change of the files applies without a dropped request; an invalid one is refused, logged and
//! shown by `GET /-/config`, and the one before it stays in force.

mod admin;
pub mod alone;
mod config;
mod files;
pub mod keys;
mod policy;
pub mod ramps;
mod state;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use rc_model::Layout;
use rc_model::catalog::Builtin;
use rc_model::project::{GatewaySection, ProjectFile};
use rc_serve::{off_thread, tls};
use rc_store::{Postgres, PostgresOptions, Sqlite, SqliteOptions, StoreUrl};
pub use rc_traffic::{ConnectionLimits, Levels, RateLevel, RouteLevel};
use rc_traffic::{Gateway, GatewayConfig, Hooks, KeySet, Listener, Snapshot, Tracing};

use crate::audit::Sender;
use crate::service::{Deps, ServiceConfig, StartError};
use admin::Admin;
pub use keys::postgres_migrations;
use keys::{KeyStore, POSTGRES_SCHEMA};
pub use policy::route_of;
use state::Shared;

/// Where the gateway listens when nobody says otherwise.
pub const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);

/// What the command line may say about the gateway.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The public address, instead of the one in `royalcrown.yaml`.
    pub listen: Option<SocketAddr>,
    /// How long requests that are under way may take to finish at the end.
    pub drain: Duration,
}

/// Most time between a key's end (or another gateway's change) and its effect here.
const KEYS_POLL: Duration = Duration::from_secs(2);

/// Starts the gateway and comes back when its doors are open.
///
/// # Errors
/// When the files are invalid, an address is taken, TLS files are broken, or the store is not ours.
pub async fn run(config: ServiceConfig, options: Options, deps: Deps) -> Result<(), StartError> {
    let layout = config.layout.clone();
    let mut seen = off_thread({
        let layout = layout.clone();
        move || files::fingerprint(&layout)
    })
    .await;
    let (loaded, refused) = off_thread({
        let layout = layout.clone();
        move || files::load_at_start(&layout)
    })
    .await
    .map_err(|broken| {
        StartError::new(
            "RC-CFG-001",
            format!(
                "the project's files have problems:\n{}",
                broken.problems.join("\n")
            ),
        )
        .hint("`rc catalog check` shows them all")
    })?;

    if refused {
        // Differs from every look, so that the files are read again and their problems told.
        seen.clear();
    }
    let spec = policy::snapshot_spec(
        &layout,
        &loaded.model.catalog,
        &loaded.model.tenants,
        &loaded.endpoints,
        1,
    );
    let snapshot = Snapshot::build(spec).map_err(|error| StartError::new(error.code(), error.to_string()))?;
    let keys = open_keys(&config).await?;
    deps.marks.data_version.set_migration(keys.newest_migration());
    let mut settings = gateway_config(&loaded.model.project, &layout, &config, options)?;
    settings.telemetry = deps.telemetry.clone().map(|sink| Tracing {
        sink,
        sample: loaded.model.project.telemetry.sample,
    });

    let (admin, requests) = Admin::channel();
    let gateway = Gateway::new(
        settings,
        snapshot,
        Arc::new(KeySet::default()),
        Arc::clone(&deps.clock),
    );
    let hooks = Hooks {
        readiness: deps.readiness.clone(),
        admin: Some(admin),
    };
    let sender = Sender::new(
        keys.outbox().clone(),
        &layout,
        &deps.metrics,
        Arc::clone(&deps.clock),
    )
    .shown_by(deps.readiness.component("audit"));
    let (shared, wishes) = Shared::new(deps.clone(), layout, keys, gateway.clone(), loaded);
    // The doors open with the keys in place: a valid key is never refused because we have only just begun.
    if let Err(error) = shared.refresh_keys().await {
        tracing::warn!(%error, "the keys cannot be read yet");
    }
    if let Err(error) = shared.refresh_ramps().await {
        tracing::warn!(%error, "the weights of rollouts cannot be read yet; their start values hold");
    }
    let bound = gateway.bind(hooks).map_err(|error| {
        StartError::new(error.code(), error.to_string())
            .hint("name a free address with `gateway.listen` in `royalcrown.yaml`; `rc doctor` says who holds this one")
            .because(error)
    })?;
    deps.metrics
        .with_registry(|registry| registry.register_collector(gateway.collector()));
    for address in bound.addresses() {
        tracing::info!(%address, "listening");
    }

    deps.tree.spawn(
        "gateway/admin",
        Admin::answer(Arc::clone(&shared), requests, KEYS_POLL),
    );
    deps.tree.spawn("gateway/audit", sender.run(deps.tree.stopping()));
    deps.tree
        .spawn("gateway/files", Arc::clone(&shared).watch_files(seen, wishes));
    let (tree, stopping) = (deps.tree.clone(), deps.tree.stopping());
    deps.tree.spawn("gateway/workers", async move {
        match bound.run(stopping).await {
            Ok(stopped) => tracing::info!(cut = stopped.cut, "doors closed"),
            Err(error) => {
                tracing::error!(%error, "the gateway's workers failed");
                tree.fail();
            }
        }
    });
    Ok(())
}

/// Opens the keys' store. SQLite is migrated here; PostgreSQL must have been migrated by `rc migrate`.
async fn open_keys(config: &ServiceConfig) -> Result<KeyStore, StartError> {
    let failed = |error: rc_store::Error| {
        StartError::new(error.code(), "the gateway's store cannot be opened").because(error)
    };
    match StoreUrl::parse(&config.store_url).map_err(failed)? {
        StoreUrl::Sqlite => {
            let folder = config.layout.data(&Builtin::Gateway.id());
            fs_err::create_dir_all(&folder).map_err(|error| {
                StartError::new("RC-SRV-007", "the gateway's data folder cannot be made").because(error)
            })?;
            let options = SqliteOptions {
                readers: 1,
                ..SqliteOptions::default()
            };
            let store = KeyStore::sqlite(Sqlite::open(&config.layout.gateway_db(), options).map_err(failed)?);
            store.migrate().await.map_err(failed)?;
            Ok(store)
        }
        StoreUrl::Postgres(url) => {
            let options = PostgresOptions::new("rc-gateway", POSTGRES_SCHEMA);
            let store = KeyStore::postgres(Postgres::connect(&url, &options).map_err(failed)?);
            match store.pending_migrations().await {
                Ok(0) => Ok(store),
                Ok(_) => Err(StartError::new(
                    "RC-STO-011",
                    format!("schema `{POSTGRES_SCHEMA}` is not migrated"),
                )
                .hint("run `rc migrate`")),
                // The server may come back; until then `/ready` says what is missing.
                Err(error) if error.retry_after().is_some() => Ok(store),
                Err(error) => Err(failed(error)),
            }
        }
    }
}

/// Descriptors that are not for clients: stores, sockets, logs, and the owner's door.
const DESCRIPTORS_KEPT: u64 = 96;

/// How many connections a worker may have so that the process never runs out of descriptors: a client's
/// connection may need another one to a service.
fn connections_max(workers: NonZeroUsize, wanted: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(u64::MAX);
    let room = limit.saturating_sub(DESCRIPTORS_KEPT) / 2;
    let each = usize::try_from(room).unwrap_or(usize::MAX) / workers.get();
    wanted.min(each.max(1))
}

fn gateway_config(
    project: &ProjectFile,
    layout: &Layout,
    config: &ServiceConfig,
    options: Options,
) -> Result<GatewayConfig, StartError> {
    let section: &GatewaySection = &project.gateway;
    let tls = section.tls.as_ref().map(|files| {
        let path = |file: &str| layout.project().join(file);
        tls::server_config(
            &path(&files.certificate),
            &path(&files.key),
            &[b"h2", b"http/1.1"],
        )
        .map_err(|error| {
            StartError::new("RC-GW-066", "the gateway's TLS files cannot be used")
                .because(error)
                .hint("`gateway.tls` in `royalcrown.yaml` names two PEM files, relative to the project")
        })
    });
    let address = options.listen.or(section.listen).unwrap_or(DEFAULT_LISTEN);
    let listeners = vec![
        Listener::Tcp {
            address,
            tls: tls.transpose()?,
        },
        Listener::Unix {
            path: layout.socket(&Builtin::Gateway.id()),
        },
    ];
    let mut settings = GatewayConfig::new(listeners);
    if let Some(workers) = section.workers.and_then(NonZeroUsize::new) {
        settings.workers = workers;
    }
    settings.limits.connections_per_worker_max =
        connections_max(settings.workers, settings.limits.connections_per_worker_max);
    settings.ratelimit_headers = section.ratelimit_headers;
    settings.access_log = config.access;
    settings.drain = options.drain;
    Ok(settings)
}
