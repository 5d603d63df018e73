//! A gateway on its own: one file, no store, no supervisor, no other service of ours.
//!
//! The file says everything that the platform's files say about the public door, and where the services are.
//! One task owns what is in force ([`keeper`]); it reads the file when it changes, on SIGHUP and when asked, and
//! takes a new one over the administration's socket.

mod keeper;
mod origins;

use std::num::NonZeroUsize;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use rc_model::gateway::{AnonymousSection, GatewayModel, HeaderTrust, keys};
use rc_model::{Digest, TenantId};
use rc_serve::metrics::OPENMETRICS;
use rc_serve::{tls, tree};
use rc_traffic::snapshot::{AnonymousPolicy, RouteSpec, SnapshotSpec, UpstreamSpec};
use rc_traffic::{
    ApiKey, Gateway, GatewayConfig, Hooks, KeyEntry, KeySet, KeyTable, Listener, NoKeys, SecretHash,
    Snapshot, VersionsSpec,
};

use super::admin::Admin;
use super::{DEFAULT_LISTEN, connections_max, policy};
use crate::service::{Deps, StartError};
use keeper::Keeper;
use origins::Resolved;

/// Starts the gateway of `model` and comes back when its doors are open. Gives the addresses for people.
///
/// # Errors
/// When an address is taken, TLS files are broken, or a service's name cannot be looked up.
pub async fn run(model: GatewayModel, deps: Deps) -> Result<Vec<String>, StartError> {
    let resolved = origins::resolve(&model).await.map_err(|why| {
        StartError::new("RC-GW-074", why).hint("is the name right? An IP address needs no look-up")
    })?;
    let snapshot = Snapshot::build(snapshot_spec(&model, &resolved, 1))
        .map_err(|error| StartError::new(error.code(), error.to_string()))?;
    let gateway = Gateway::new(
        settings(&model)?,
        snapshot,
        key_table(&model),
        Arc::clone(&deps.clock),
    );
    let (admin, calls) = Admin::channel();
    let hooks = Hooks {
        readiness: deps.readiness.clone(),
        admin: Some(admin),
    };
    let bound = gateway.bind(hooks).map_err(|error| {
        StartError::new(error.code(), error.to_string())
            .hint("name another address below `listeners:`, or another socket with `admin:`")
            .because(error)
    })?;
    deps.metrics
        .with_registry(|registry| registry.register_collector(gateway.collector()));
    let hang_ups = tree::hang_ups()
        .map_err(|error| StartError::new("RC-SRV-006", "signals cannot be received").because(error))?;
    let mut addresses: Vec<String> = bound.addresses().iter().map(ToString::to_string).collect();
    if let Some(address) = model.file.metrics {
        let listener = tokio::net::TcpListener::bind(address).await.map_err(|error| {
            StartError::new("RC-GW-030", format!("cannot listen at {address}"))
                .hint("name a free address with `metrics:`")
                .because(error)
        })?;
        addresses.push(format!("http://{address}/metrics"));
        let (router, stopping) = (watched(gateway.clone(), deps.clone()), deps.tree.stopping());
        deps.tree.spawn("gateway/metrics", async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(stopping.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(%error, "metrics cannot be read any more");
            }
        });
    }
    for address in &addresses {
        tracing::info!(address, "listening");
    }
    let keeper = Keeper::new(deps.clone(), gateway, model, resolved);
    deps.tree.spawn("gateway/config", keeper.run(calls, hang_ups));
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
    Ok(addresses)
}

/// A new key of `tenant`, to hand to its owner once, and the line of it for a file of keys.
///
/// # Errors
/// When the system has no randomness to give.
pub fn make_key(tenant: &TenantId, label: &str) -> Result<(ApiKey, String), StartError> {
    let key = ApiKey::generate()
        .map_err(|error| StartError::new("RC-GW-063", "the system gave no randomness").because(error))?;
    let line = keys::line(
        key.id(),
        tenant,
        Digest::from_bytes(*key.hash().as_bytes()),
        label,
    );
    Ok((key, line))
}

/// Checks everything that `model` says but whether addresses are free: TLS files, names, and routes together.
///
/// # Errors
/// What keeps it from starting.
pub fn check(model: &GatewayModel) -> Result<(), StartError> {
    settings(model)?;
    let resolved = origins::unresolved(model);
    Snapshot::build(snapshot_spec(model, &resolved, 1))
        .map(drop)
        .map_err(|error| StartError::new(error.code(), error.to_string()))
}

/// What the metrics' address answers.
fn watched(gateway: Gateway, deps: Deps) -> Router {
    async fn metrics(State((gateway, deps)): State<(Gateway, Deps)>) -> Response {
        let text = gateway.with_exemplars(&deps.metrics.render());
        ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response()
    }
    async fn ready(State((_, deps)): State<(Gateway, Deps)>) -> Response {
        let report = deps.readiness.report();
        let ready = deps.readiness.is_ready();
        let status = if ready {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        (status, Json(report)).into_response()
    }
    Router::new()
        .route("/metrics", get(metrics))
        .route("/ready", get(ready))
        .route(
            "/health",
            get(|| async { Json(serde_json::json!({"state": "alive"})) }),
        )
        .with_state((gateway, deps))
}

fn settings(model: &GatewayModel) -> Result<GatewayConfig, StartError> {
    let file = &model.file;
    let mut listeners = Vec::new();
    for section in &file.listeners {
        let tls = section.tls.as_ref().map(|files| {
            tls::server_config(
                &model.beside(&files.certificate),
                &model.beside(&files.key),
                &[b"h2", b"http/1.1"],
            )
            .map_err(|error| {
                StartError::new("RC-GW-066", "the TLS files cannot be used")
                    .because(error)
                    .hint("`tls:` of a listener names two PEM files, relative to the file that names them")
            })
        });
        listeners.push(Listener::Tcp {
            address: section.address,
            tls: tls.transpose()?,
        });
    }
    if listeners.is_empty() {
        listeners.push(Listener::Tcp {
            address: DEFAULT_LISTEN,
            tls: None,
        });
    }
    listeners.push(Listener::Unix {
        path: model.admin_socket(),
    });
    let mut settings = GatewayConfig::new(listeners);
    if let Some(workers) = file.workers.and_then(NonZeroUsize::new) {
        settings.workers = workers;
    }
    settings.limits.connections_per_worker_max =
        connections_max(settings.workers, settings.limits.connections_per_worker_max);
    settings.ratelimit_headers = file.ratelimit_headers;
    settings.access_log = file.logs.access;
    settings.drain = file.drain.duration();
    settings.loopback_names_tenants = file.identity.header == HeaderTrust::Loopback;
    Ok(settings)
}

/// What a snapshot is built from. Where nobody can be known, every route is open.
fn snapshot_spec(model: &GatewayModel, resolved: &Resolved, version: u64) -> SnapshotSpec {
    let open = model.file.identity.is_none();
    let routes = model.file.services.iter().flat_map(|(id, service)| {
        service.routes.iter().cloned().map(move |mut route| {
            route.public |= open;
            RouteSpec {
                route,
                service: id.clone(),
            }
        })
    });
    let upstreams = model.file.services.iter().map(|(id, service)| UpstreamSpec {
        service: id.clone(),
        endpoints: resolved.get(id).cloned().unwrap_or_default(),
        health: service.health,
    });
    SnapshotSpec {
        version,
        tenants: policy::tenant_specs(&model.tenants),
        routes: routes.collect(),
        upstreams: upstreams.collect(),
        versions: VersionsSpec::default(),
        anonymous: anonymous(&model.file.anonymous),
    }
}

fn anonymous(section: &AnonymousSection) -> AnonymousPolicy {
    AnonymousPolicy {
        shared: section.rps,
        per_source: section.per_source,
        timeout: section.timeout.duration(),
        body_max: section.body_max.bytes(),
        retry: section.retry,
    }
}

fn key_table(model: &GatewayModel) -> Arc<dyn KeyTable> {
    if model.file.identity.keys.is_none() {
        return Arc::new(NoKeys);
    }
    let entries = model.keys.iter().map(|key| KeyEntry {
        id: key.id.clone(),
        hash: SecretHash::from_bytes(*key.hash.as_bytes()),
        tenant: key.tenant.clone(),
        user: None,
    });
    Arc::new(entries.collect::<KeySet>())
}
