//! `service-catalog.yaml`: what runs, who answers for it, and which paths lead to it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::{OwnerId, ServiceId, TierId, VersionId};
use crate::resilience::{Health, Hedge};
use crate::units::{ByteSize, Span};

/// The whole of `service-catalog.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "service-catalog.yaml")]
pub struct CatalogFile {
    /// The teams. When this is written down, every service's owner must be in it.
    pub owners: BTreeMap<OwnerId, Owner>,
    /// The services. Absent: `gateway`, `ingest`, `docs-api` and `prov-ledger`. The last one keeps the
    /// audit log of all others and runs beside them whether it is written down or not.
    pub services: BTreeMap<ServiceId, Service>,
}

/// A team that answers for services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// Where to call the team, such as `#oncall-core`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oncall: Option<String>,
    /// How to write to the team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

/// A deployable service. Those named `gateway`, `ingest`, `docs-api` and `prov-ledger` are Royalcrown's own
/// unless they give a `command`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// How important the service is.
    pub tier: TierId,
    /// The team that answers for it.
    pub owner: OwnerId,
    /// Where to call that team, such as `#oncall-core`. Default: the owner's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oncall: Option<String>,
    /// The program and its arguments, for a service of your own. It must listen on `127.0.0.1:$PORT`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// The program and its arguments that make what `command` starts, such as `[cargo, build]`. It runs in the
    /// project's folder with `env`, when the platform starts and when it changes here; what it prints is in the
    /// service's log.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build: Vec<String>,
    /// Environment variables for `command`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("writeOnly" = true))]
    pub env: BTreeMap<String, String>,
    /// The port for `command`. Absent: a free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// The path that answers 2xx when the service can serve. Default: `/ready` for Royalcrown's own,
    /// an open port for a `command`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/"), extend("format" = "url-path"))]
    pub ready: Option<String>,
    /// Services that must be ready before this one starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<ServiceId>,
    /// Paths that the gateway sends to this service. Royalcrown's own services have theirs built in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Other versions of this service: for each, the service of this catalog that runs it. They get no requests by
    /// these routes until a rollout in `tenants.yaml` gives them some; this service itself is the version `stable`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub versions: BTreeMap<VersionId, ServiceId>,
    /// How long the service may take to finish its work when it is stopped.
    #[serde(default = "Service::default_drain")]
    pub drain: Span,
    /// When the gateway leaves an endpoint alone, and when the whole service.
    #[serde(default)]
    pub health: Health,
}

/// A path of the public address that leads to a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// A path prefix at segment borders: `/docs` matches `/docs` and `/docs/7`, not `/docs2`.
    #[schemars(regex(pattern = "^/"), extend("format" = "url-path", "examples" = ["/docs"]))]
    pub path: String,
    /// HTTP methods. Absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Method>,
    /// Longest time for this route; never longer than the tenant's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Whether the route is open without an API key. Such requests share one bounded limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    /// Bounds of the number of requests that the service gets at once by this route. The gateway finds the number itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencyBounds>,
    /// Keeps answers to GET, each tenant's apart, and lets requests that ask the same wait for one answer. Absent: every
    /// request goes to the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CachePolicy>,
    /// A second copy of a GET or HEAD that takes longer than most. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedge: Option<Hedge>,
}

/// How the gateway keeps a route's answers. The service has the last word: `Cache-Control: no-store` and `Set-Cookie`
/// keep an answer out, `max-age` makes its time shorter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CachePolicy {
    /// How long an answer is fresh at most. A tenant's own writes through the gateway end it at once.
    pub ttl: Span,
    /// For how long after that it is still given, while one request in the background asks for a new one. Absent: not at
    /// all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate: Option<Span>,
    /// For how long after `ttl` it is still given when the service fails or cannot be reached. Absent: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_if_error: Option<Span>,
    /// Request headers that answers differ by, beside host, path and query. `x-rc-user` keeps the answers of each API
    /// key apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("examples" = [["accept", "accept-language"]]))]
    pub vary: Vec<String>,
    /// Most memory for the route's answers, of all tenants together. An answer takes an eighth of it, and 1 MiB, at
    /// most.
    #[serde(default = "CachePolicy::default_max")]
    pub max: ByteSize,
}

impl CachePolicy {
    /// Memory for a route's answers, when the catalog says nothing.
    #[must_use]
    pub fn default_max() -> ByteSize {
        ByteSize::new(16 << 20)
    }
}

/// Where the gateway looks for the number of requests that a service can serve at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConcurrencyBounds {
    /// Fewest at once, whatever the service takes for them.
    #[schemars(range(min = 1, max = 100_000))]
    pub min: u32,
    /// Most at once.
    #[schemars(range(min = 1, max = 100_000))]
    pub max: u32,
    /// How many at first. Default: 64, or the nearest that the bounds allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub initial: Option<u32>,
}

impl ConcurrencyBounds {
    /// How many at first.
    #[must_use]
    pub fn initial(&self) -> u32 {
        self.initial.unwrap_or(64).max(self.min).min(self.max)
    }
}

impl Default for ConcurrencyBounds {
    fn default() -> Self {
        Self {
            min: 4,
            max: 4_096,
            initial: None,
        }
    }
}

/// An HTTP method that a route can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Method {
    /// The method's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

/// Royalcrown's own services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Builtin {
    Gateway,
    Ingest,
    DocsApi,
    ProvLedger,
}

impl Builtin {
    /// All of them, in the order in which they start; they stop the other way round.
    pub const ALL: [Self; 4] = [Self::ProvLedger, Self::DocsApi, Self::Ingest, Self::Gateway];

    /// The name in the catalog and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Ingest => "ingest",
            Self::DocsApi => "docs-api",
            Self::ProvLedger => "prov-ledger",
        }
    }

    /// The service's id.
    #[must_use]
    pub fn id(self) -> ServiceId {
        ServiceId::new(self.name()).expect("the built-in names follow the grammar")
    }

    /// The built-in service of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|builtin| builtin.name() == name)
    }

    /// The routes that lead to it.
    #[must_use]
    pub fn routes(self) -> Vec<Route> {
        let route = |path: &str, methods: &[Method]| Route {
            path: path.to_owned(),
            methods: methods.to_vec(),
            timeout: None,
            public: false,
            concurrency: None,
            cache: None,
            hedge: None,
        };
        match self {
            Self::Gateway | Self::ProvLedger => Vec::new(),
            Self::Ingest => vec![
                route("/ingest", &[Method::Post]),
                route("/ingest/batches", &[Method::Get]),
                route("/docs", &[Method::Delete]),
            ],
            Self::DocsApi => {
                let read = [Method::Get, Method::Head];
                vec![route("/docs", &read), route("/search", &read)]
            }
        }
    }
}

impl Service {
    /// Longest time a stopped service gets to finish its work, when the catalog says nothing.
    #[must_use]
    pub fn default_drain() -> Span {
        Span::from_millis(10_000)
    }

    /// An entry for one of our own services that says nothing but its tier and its owner.
    fn own(tier: TierId, owner: OwnerId) -> Self {
        Self {
            tier,
            owner,
            oncall: None,
            command: Vec::new(),
            build: Vec::new(),
            env: BTreeMap::new(),
            port: None,
            ready: None,
            needs: Vec::new(),
            routes: Vec::new(),
            versions: BTreeMap::new(),
            drain: Self::default_drain(),
            health: Health::default(),
        }
    }

    /// The built-in service that this entry runs: its name is one of ours and it gives no command.
    #[must_use]
    pub fn builtin(&self, id: &ServiceId) -> Option<Builtin> {
        if self.command.is_empty() {
            Builtin::from_name(id.as_str())
        } else {
            None
        }
    }

    /// The routes that lead to the service: its own, else the built-in ones.
    #[must_use]
    pub fn effective_routes(&self, id: &ServiceId) -> Vec<Route> {
        match self.builtin(id) {
            Some(builtin) if self.routes.is_empty() => builtin.routes(),
            _ => self.routes.clone(),
        }
    }
}

impl CatalogFile {
    /// Adds the ledger where the file does not write it down: no project that runs something is without an
    /// audit log. It gets tier and owner of the gateway, or of the first service where there is none.
    pub(crate) fn add_ledger(&mut self) {
        let ledger = Builtin::ProvLedger.id();
        let model = self.services.get(&Builtin::Gateway.id());
        let Some(model) = model.or_else(|| self.services.values().next()) else {
            return;
        };
        let own = Service::own(model.tier.clone(), model.owner.clone());
        self.services.entry(ledger).or_insert(own);
    }
}

impl Default for CatalogFile {
    fn default() -> Self {
        let services = [
            (Builtin::Gateway, "gold"),
            (Builtin::Ingest, "silver"),
            (Builtin::DocsApi, "gold"),
            (Builtin::ProvLedger, "gold"),
        ]
        .into_iter()
        .map(|(builtin, tier)| {
            let tier = TierId::new(tier).expect("the built-in names follow the grammar");
            let owner = OwnerId::new("platform").expect("the built-in names follow the grammar");
            (builtin.id(), Service::own(tier, owner))
        })
        .collect();
        Self {
            owners: BTreeMap::new(),
            services,
        }
    }
}

#[cfg(test)]
mod tests;
