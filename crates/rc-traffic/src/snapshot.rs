//! Everything the data path needs to know about tenants, routes and upstreams, compiled once and then
//! only read. A change is a new snapshot; requests under way keep the one they started with.
//!
//! It refuses to know where the policy comes from and what state limits have (see [`crate::state`]).

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use rc_model::catalog::{ConcurrencyBounds, Method, Route};
use rc_model::resilience::{AdaptiveTimeout, Health, Hedge, Retry};
use rc_model::split::STABLE;
use rc_model::tenants::{EffectiveLimits, LimitMode, RateLimit};
use rc_model::units::Rate;
use rc_model::{ServiceId, TenantId, TierId, VersionId};

use crate::cache;
use crate::limit::{Gcra, Meter};
use crate::path::{self, Found, METHOD_COUNT, RouteTable, TableError, method_name};
use crate::retry;
use crate::seats::{Bounds, Claim};
use crate::versions::{self, Lane, Split, VersionsSpec};

/// Most tenants in one snapshot.
pub const TENANTS_MAX: usize = 1 << 20;
/// Most routes in one snapshot.
pub const ROUTES_MAX: usize = 4_096;
/// Most endpoints of one service.
pub const ENDPOINTS_MAX: usize = 256;

/// The tier label of requests that belong to no tenant.
pub const NO_TIER: &str = "none";

/// Tells a service which version of it was chosen, where it has several.
const VERSION_HEADER: &str = "x-rc-version";

/// What a snapshot is built from.
#[derive(Debug, Clone)]
pub struct SnapshotSpec {
    /// Counts up with every change; shown in metrics.
    pub version: u64,
    pub tenants: Vec<TenantSpec>,
    pub routes: Vec<RouteSpec>,
    pub upstreams: Vec<UpstreamSpec>,
    /// Other versions of those services, and who gets them.
    pub versions: VersionsSpec,
    /// Limits of requests without a tenant.
    pub anonymous: AnonymousPolicy,
}

/// One tenant with the limits that apply to it ([`rc_model::tenants::TenantsFile::effective`]).
#[derive(Debug, Clone)]
pub struct TenantSpec {
    pub id: TenantId,
    pub limits: EffectiveLimits,
}

/// One route and the service it leads to.
#[derive(Debug, Clone)]
pub struct RouteSpec {
    pub route: Route,
    pub service: ServiceId,
}

/// A service and where it can be reached.
#[derive(Debug, Clone)]
pub struct UpstreamSpec {
    pub service: ServiceId,
    pub endpoints: Vec<Endpoint>,
    /// When an endpoint is left alone, and when the whole service.
    pub health: Health,
}

/// One place where a service answers HTTP/1.1.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Endpoint {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

/// Limits of requests that belong to no tenant: those on public routes and those with a wrong key.
#[derive(Debug, Clone)]
pub struct AnonymousPolicy {
    /// All of them together.
    pub shared: RateLimit,
    /// Those from one source address; addresses share a table of fixed size by their hash.
    pub per_source: RateLimit,
    /// Longest time a request may take.
    pub timeout: Duration,
    /// Largest request body in bytes.
    pub body_max: u64,
    /// Second tries of all of them together.
    pub retry: Retry,
}

impl Default for AnonymousPolicy {
    fn default() -> Self {
        let limit = |rate, burst| RateLimit::of(Rate::per_second(rate), burst);
        Self {
            shared: limit(200, 400),
            per_source: limit(20, 40),
            timeout: Duration::from_secs(10),
            body_max: 1 << 20,
            retry: Retry::default(),
        }
    }
}

/// Why a specification is not a snapshot. All faults are listed, not the first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("routes, tenants and upstreams do not fit together: {}", .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct BuildError {
    pub faults: Vec<BuildFault>,
}

impl BuildError {
    /// The stable error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "RC-GW-031"
    }
}

/// One fault of a specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildFault {
    #[error("tenant `{0}` is listed twice")]
    TenantTwice(TenantId),
    #[error("upstream `{0}` is listed twice")]
    UpstreamTwice(ServiceId),
    #[error("upstream `{0}` has no endpoint")]
    NoEndpoint(ServiceId),
    #[error("route `{path}` leads to `{service}`, which has no upstream")]
    NoUpstream { path: String, service: ServiceId },
    #[error(
        "route `{0}` keeps answers and does not carry GET: add `GET` to its `methods`, or take its `cache` away"
    )]
    NothingToKeep(String),
    #[error("two routes claim {method} `{path}`")]
    RouteTwice { path: String, method: &'static str },
    #[error(
        "`{0}` is not a plain path: it must start with `/` and hold no empty, `.`, `..` or encoded segment"
    )]
    BadPath(String),
    #[error("{count} {what}, at most {max} are supported")]
    TooMany {
        what: &'static str,
        count: usize,
        max: usize,
    },
}

/// A validated, compiled policy.
#[derive(Debug)]
pub struct Snapshot {
    pub(crate) version: u64,
    pub(crate) tenants: Vec<TenantPolicy>,
    pub(crate) by_tenant: HashMap<TenantId, u32>,
    /// Every tier in use, and [`NO_TIER`] as the first.
    pub(crate) tiers: Vec<String>,
    pub(crate) routes: Vec<RoutePolicy>,
    pub(crate) table: RouteTable,
    /// Every version of every service; those of [`SnapshotSpec::upstreams`] come first.
    pub(crate) upstreams: Vec<Upstream>,
    /// The ways from routes to versions; those of the routes themselves come first.
    pub(crate) lanes: Vec<Lane>,
    pub(crate) anonymous: AnonymousLimits,
}

/// One tenant as the data path sees it.
#[derive(Debug)]
pub(crate) struct TenantPolicy {
    pub(crate) id: TenantId,
    pub(crate) tier: usize,
    pub(crate) rps: Meter,
    pub(crate) rps_mode: LimitMode,
    pub(crate) timeout: Duration,
    pub(crate) adaptive: Option<AdaptiveTimeout>,
    pub(crate) retry: retry::Rule,
    pub(crate) body_max: u64,
    /// Its claim on seats, but for its slot, which outlives the snapshot.
    pub(crate) claim: Claim,
    /// How its claim on seats is kept.
    pub(crate) mode: LimitMode,
    /// `x-rc-tenant`, `x-rc-tier` and `x-rc-storage`, ready to be copied into a request head.
    pub(crate) hop_headers: Box<[u8]>,
}

/// One route as the data path sees it.
#[derive(Debug)]
pub(crate) struct RoutePolicy {
    pub(crate) path: String,
    /// What spans are called: `GET /docs`, one for each method.
    pub(crate) spans: [Box<str>; METHOD_COUNT],
    pub(crate) upstream: usize,
    pub(crate) timeout: Option<Duration>,
    pub(crate) public: bool,
    /// Where the number of its seats may be.
    pub(crate) bounds: Bounds,
    /// How its answers are kept, if they are.
    pub(crate) cache: Option<cache::Policy>,
    pub(crate) hedge: Option<Hedge>,
    /// How its requests are divided, where its service has several versions.
    pub(crate) split: Option<Box<Split>>,
}

/// The endpoints of one version of a service.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) service: ServiceId,
    version: Option<VersionId>,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) health: Health,
    /// `x-rc-version`, ready to be copied into a request head.
    pub(crate) hop_version: Box<[u8]>,
}

impl Upstream {
    /// `version` is absent for what the service itself is.
    pub(crate) fn new(
        service: ServiceId,
        version: Option<VersionId>,
        endpoints: Vec<Endpoint>,
        health: Health,
    ) -> Self {
        let name = version.as_ref().map_or(STABLE, VersionId::as_str);
        Self {
            hop_version: format!("{VERSION_HEADER}: {name}\r\n").into_bytes().into(),
            service,
            version,
            endpoints,
            health,
        }
    }

    pub(crate) fn version(&self) -> &str {
        self.version.as_ref().map_or(STABLE, VersionId::as_str)
    }

    /// The service as metrics name it: with its version, where that is another one.
    pub(crate) fn label(&self) -> String {
        match &self.version {
            None => self.service.to_string(),
            Some(version) => format!("{}@{version}", self.service),
        }
    }
}

#[derive(Debug)]
pub(crate) struct AnonymousLimits {
    pub(crate) shared: Gcra,
    pub(crate) per_source: Gcra,
    pub(crate) timeout: Duration,
    pub(crate) body_max: u64,
    pub(crate) retry: retry::Rule,
}

impl Snapshot {
    /// Checks and compiles `spec`.
    ///
    /// # Errors
    /// All faults of the specification.
    pub fn build(spec: SnapshotSpec) -> Result<Self, BuildError> {
        let mut faults = Vec::new();
        for (what, count, max) in [
            ("tenants", spec.tenants.len(), TENANTS_MAX),
            ("routes", spec.routes.len(), ROUTES_MAX),
        ] {
            if count > max {
                faults.push(BuildFault::TooMany { what, count, max });
            }
        }
        let (mut upstreams, by_service) = build_upstreams(spec.upstreams, &mut faults);
        let (mut routes, table) = build_routes(spec.routes, &by_service, &mut faults);
        let (tenants, by_tenant, tiers) = build_tenants(spec.tenants, &mut faults);
        if !faults.is_empty() {
            return Err(BuildError { faults });
        }
        let lanes = versions::compile(spec.versions, &mut routes, &mut upstreams, &tenants);
        Ok(Self {
            version: spec.version,
            tenants,
            by_tenant,
            tiers,
            routes,
            table,
            upstreams,
            lanes,
            anonymous: AnonymousLimits {
                shared: Gcra::new(spec.anonymous.shared),
                per_source: Gcra::new(spec.anonymous.per_source),
                timeout: spec.anonymous.timeout,
                body_max: spec.anonymous.body_max,
                retry: spec.anonymous.retry.into(),
            },
        })
    }

    /// The version it was built with.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The place in the specification of the route that a request takes.
    ///
    /// # Errors
    /// Why it takes none, in words.
    pub fn leads(&self, path: &str, method: Method) -> Result<usize, String> {
        match self.table.find(path, method) {
            Ok(Found::Route(at)) => Ok(at),
            Ok(Found::OtherMethods(allow)) => Err(format!("the path takes {allow}, not {}", method.as_str())),
            Ok(Found::Nothing) => Err("no route leads there".to_owned()),
            Err(ambiguous) => Err(ambiguous.0.to_owned()),
        }
    }

    /// The tenants in it.
    pub fn tenants(&self) -> impl Iterator<Item = &TenantId> {
        self.tenants.iter().map(|tenant| &tenant.id)
    }
}

fn build_upstreams(
    specs: Vec<UpstreamSpec>,
    faults: &mut Vec<BuildFault>,
) -> (Vec<Upstream>, HashMap<ServiceId, usize>) {
    let mut by_service = HashMap::new();
    let mut upstreams = Vec::with_capacity(specs.len());
    for spec in specs {
        let count = spec.endpoints.len();
        if count == 0 {
            faults.push(BuildFault::NoEndpoint(spec.service.clone()));
        }
        if count > ENDPOINTS_MAX {
            let (what, max) = ("endpoints of one service", ENDPOINTS_MAX);
            faults.push(BuildFault::TooMany { what, count, max });
        }
        if by_service.insert(spec.service.clone(), upstreams.len()).is_some() {
            faults.push(BuildFault::UpstreamTwice(spec.service.clone()));
        }
        upstreams.push(Upstream::new(spec.service, None, spec.endpoints, spec.health));
    }
    (upstreams, by_service)
}

fn build_routes(
    specs: Vec<RouteSpec>,
    by_service: &HashMap<ServiceId, usize>,
    faults: &mut Vec<BuildFault>,
) -> (Vec<RoutePolicy>, RouteTable) {
    let mut table = RouteTable::default();
    let mut routes = Vec::with_capacity(specs.len());
    for RouteSpec { route, service } in specs {
        match table.insert(&route.path, &route.methods, routes.len()) {
            Ok(()) => {}
            Err(TableError::Twice(method)) => faults.push(BuildFault::RouteTwice {
                path: route.path.clone(),
                method,
            }),
            Err(TableError::BadPath) => faults.push(BuildFault::BadPath(route.path.clone())),
        }
        let upstream = by_service.get(&service).copied();
        if upstream.is_none() {
            faults.push(BuildFault::NoUpstream {
                path: route.path.clone(),
                service,
            });
        }
        let carries_get = route.methods.is_empty() || route.methods.contains(&Method::Get);
        if route.cache.is_some() && !carries_get {
            faults.push(BuildFault::NothingToKeep(route.path.clone()));
        }
        let path = path::trimmed(&route.path);
        routes.push(RoutePolicy {
            spans: std::array::from_fn(|method| format!("{} {path}", method_name(method)).into()),
            path: path.to_owned(),
            upstream: upstream.unwrap_or_default(),
            timeout: route.timeout.map(rc_model::units::Span::duration),
            public: route.public,
            bounds: bounds(route.concurrency.unwrap_or_default()),
            cache: route.cache.as_ref().map(cache::Policy::new),
            hedge: route.hedge,
            split: None,
        });
    }
    (routes, table)
}

type Tenants = (Vec<TenantPolicy>, HashMap<TenantId, u32>, Vec<String>);

fn build_tenants(specs: Vec<TenantSpec>, faults: &mut Vec<BuildFault>) -> Tenants {
    let mut tier_index: BTreeMap<TierId, usize> = BTreeMap::new();
    let mut tiers = vec![NO_TIER.to_owned()];
    let mut by_tenant = HashMap::with_capacity(specs.len());
    let mut tenants = Vec::with_capacity(specs.len());
    for TenantSpec { id, limits } in specs {
        let tier = *tier_index.entry(limits.tier.clone()).or_insert_with(|| {
            tiers.push(limits.tier.to_string());
            tiers.len() - 1
        });
        let index = u32::try_from(tenants.len()).unwrap_or(u32::MAX);
        if by_tenant.insert(id.clone(), index).is_some() {
            faults.push(BuildFault::TenantTwice(id.clone()));
        }
        let hop_headers = hop_headers(&id, &limits);
        tenants.push(TenantPolicy {
            id,
            tier,
            rps: Meter::new(limits.rps),
            rps_mode: limits.rps.mode,
            timeout: limits.timeout.max.duration(),
            adaptive: limits.timeout.adaptive,
            retry: limits.retry.into(),
            body_max: limits.body_max.bytes(),
            claim: claim(&limits),
            mode: limits.concurrency.mode,
            hop_headers,
        });
    }
    (tenants, by_tenant, tiers)
}

/// Whose request it is and what the tenant may store: only who stores it can count that.
fn hop_headers(id: &TenantId, limits: &EffectiveLimits) -> Box<[u8]> {
    let mut headers = format!("x-rc-tenant: {id}\r\nx-rc-tier: {}\r\n", limits.tier);
    if let Some(storage) = limits.storage {
        let bytes = storage.limit.bytes();
        match storage.mode {
            LimitMode::Enforce => headers.push_str(&format!("x-rc-storage: {bytes}\r\n")),
            LimitMode::Shadow => headers.push_str(&format!("x-rc-storage: {bytes};shadow\r\n")),
            LimitMode::Off => {}
        }
    }
    headers.into_bytes().into()
}

fn bounds(found: ConcurrencyBounds) -> Bounds {
    Bounds {
        floor: found.min,
        ceiling: found.max.max(found.min),
        initial: found.initial(),
    }
}

fn claim(limits: &EffectiveLimits) -> Claim {
    Claim {
        slot: 0,
        weight: limits.weight.max(1),
        share: limits.concurrency.share,
        max: limits.concurrency.max.unwrap_or(u32::MAX).max(1),
        waiting_max: limits.queue.max,
        target_ns: u64::try_from(limits.queue.target.duration().as_nanos()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests;
