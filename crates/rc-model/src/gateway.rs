//! `gateway.yaml`: a gateway on its own, in front of any HTTP service, in one file.
//!
//! Tiers, tenants and routes are those of `tenants.yaml` and `service-catalog.yaml`: the same keys with the same
//! meaning and the same faults.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::catalog::Route;
use crate::consistency;
use crate::digest::Digest;
use crate::id::{ServiceId, TenantId, TierId};
use crate::project::{LogsSection, RateLimitHeaders, TlsSection};
use crate::resilience::{Health, Retry};
use crate::source::{Diagnostic, SourceFile};
use crate::tenants::{RateLimit, Tenant, TenantsFile, Tier};
use crate::units::{ByteSize, Span};
use crate::workspace::{self, Slot};
use crate::yaml;

pub mod keys;

/// What the file is called where nobody says otherwise.
pub const GATEWAY_FILE: &str = "gateway.yaml";

/// The whole of `gateway.yaml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "gateway.yaml")]
pub struct GatewayFile {
    /// Where it listens. Absent: `127.0.0.1:8080`, plain HTTP.
    pub listeners: Vec<ListenerSection>,
    /// The address that answers `/metrics`, `/health` and `/ready` to whoever can reach it. Absent: metrics are told
    /// on the administration's socket only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "socket-address", "examples" = ["127.0.0.1:9090"]))]
    pub metrics: Option<SocketAddr>,
    /// The Unix socket of the administration, which only the owner of the process can open; relative to this file.
    /// Absent: the file's own name with `.sock` for `.yaml`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), extend("format" = "file"))]
    pub admin: Option<String>,
    /// Worker threads. Absent: one a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub workers: Option<usize>,
    /// Which rate limit fields answers carry.
    pub ratelimit_headers: RateLimitHeaders,
    /// What it logs.
    pub logs: LogsSection,
    /// How long requests under way may take to finish when it stops.
    pub drain: Span,
    /// How it knows whose a request is. Absent: it does not, every route is open, and the limits of `anonymous` hold
    /// for all.
    pub identity: IdentitySection,
    /// Limits of requests that belong to no tenant.
    pub anonymous: AnonymousSection,
    /// What it stands in front of.
    pub services: BTreeMap<ServiceId, Upstream>,
    /// Classes of service. `gold`, `silver` and `bronze` exist without being written down.
    pub tiers: BTreeMap<TierId, Tier>,
    /// The tenants.
    pub tenants: BTreeMap<TenantId, Tenant>,
}

impl Default for GatewayFile {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            metrics: None,
            admin: None,
            workers: None,
            ratelimit_headers: RateLimitHeaders::default(),
            logs: LogsSection::default(),
            drain: Span::from_millis(10_000),
            identity: IdentitySection::default(),
            anonymous: AnonymousSection::default(),
            services: BTreeMap::new(),
            tiers: BTreeMap::new(),
            tenants: BTreeMap::new(),
        }
    }
}

/// One public door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerSection {
    /// The address to listen on.
    #[schemars(extend("format" = "socket-address", "examples" = ["127.0.0.1:8080"]))]
    pub address: SocketAddr,
    /// Certificate and key files (PEM), relative to this file. Absent: plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSection>,
}

/// How the gateway knows whose a request is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct IdentitySection {
    /// A file with the hashes of API keys, relative to this file; `rc gateway key` adds lines to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), extend("format" = "file"))]
    pub keys: Option<String>,
    /// Who is believed when a request names its tenant in `x-rc-tenant`.
    pub header: HeaderTrust,
}

impl IdentitySection {
    /// Whether anybody can be known at all.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.keys.is_none() && self.header == HeaderTrust::Never
    }
}

/// Who is believed when a request names its tenant in a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "lowercase")]
pub enum HeaderTrust {
    /// Nobody: the header is removed.
    #[default]
    Never,
    /// Clients on this machine, such as a proxy that has checked who asks.
    Loopback,
}

/// Limits of requests that belong to no tenant: those on public routes, and those with a wrong key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AnonymousSection {
    /// All of them together.
    pub rps: RateLimit,
    /// Those from one address; an IPv6 address counts by its /64.
    pub per_source: RateLimit,
    /// Longest time that such a request may take.
    pub timeout: Span,
    /// Largest body of such a request.
    pub body_max: ByteSize,
    /// Second tries of all of them together.
    pub retry: Retry,
}

impl Default for AnonymousSection {
    fn default() -> Self {
        let limit = |rate, burst| RateLimit::of(crate::units::Rate::per_second(rate), burst);
        Self {
            rps: limit(200, 400),
            per_source: limit(20, 40),
            timeout: Span::from_millis(10_000),
            body_max: ByteSize::new(1 << 20),
            retry: Retry::default(),
        }
    }
}

/// A service behind the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// Where it answers HTTP/1.1, such as `http://127.0.0.1:9000` or `unix:/run/app.sock`; requests go to them in turn.
    pub endpoints: Vec<Origin>,
    /// Paths that lead to it.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// When the gateway leaves an endpoint alone, and when the whole service.
    #[serde(default)]
    pub health: Health,
}

/// One place where a service answers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A host, which may be a name, and its port.
    Http { host: String, port: u16 },
    /// A Unix socket, relative to the file.
    Unix(String),
}

const ORIGIN_EXPECTED: &str = "an address such as `http://127.0.0.1:9000` or `unix:/run/app.sock`";

impl Origin {
    /// Reads `http://host:port` (port 80 where none is written) or `unix:PATH`.
    ///
    /// # Errors
    /// What to write instead, as a text for people.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err("the socket's path is missing: `unix:/run/app.sock`"),
                path => Ok(Self::Unix(path.to_owned())),
            };
        }
        if text.starts_with("https://") {
            return Err(
                "services are spoken to in plain HTTP; write `http://`, and let a proxy beside it speak TLS",
            );
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return Err("begin with `http://` or `unix:`");
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#']) {
            return Err("an endpoint has no path: requests keep theirs");
        }
        if authority.contains('@') {
            return Err("an endpoint names no user and no password");
        }
        let bracketed = authority
            .strip_prefix('[')
            .and_then(|inside| inside.split_once(']'));
        let (host, after) = bracketed.unwrap_or_else(|| {
            let end = authority.find(':').unwrap_or(authority.len());
            authority.split_at(end)
        });
        if host.is_empty() {
            return Err("the host is missing: `http://127.0.0.1:9000`");
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let good_host = match bracketed {
            Some(_) => host.parse::<std::net::Ipv6Addr>().is_ok(),
            None => host.bytes().all(plain),
        };
        if !good_host {
            return Err("the host is an IP address or a name; IPv6 goes into brackets");
        }
        let port = match after {
            "" => Some(80),
            after => after.strip_prefix(':').and_then(|port| port.parse::<u16>().ok()),
        };
        match port {
            Some(port) if port > 0 => Ok(Self::Http {
                host: host.to_owned(),
                port,
            }),
            _ => Err("a port is a number from 1 to 65535"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { host, port } if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Self::Http { host, port } => write!(f, "http://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Origin {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Origin")
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "format": "origin",
            "description": ORIGIN_EXPECTED,
            "examples": ["http://127.0.0.1:9000", "unix:/run/app.sock"],
        })
    }
}

/// What a `gateway.yaml` and its keys say.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayModel {
    /// The settings; tiers and tenants have moved to `tenants`.
    pub file: GatewayFile,
    pub tenants: TenantsFile,
    pub keys: Vec<keys::KeyLine>,
    /// The text that was read.
    pub source: Arc<SourceFile>,
    /// The digest of that text and of the keys' file.
    pub digest: Digest,
    /// What is probably not meant but does no harm.
    pub warnings: Vec<Diagnostic>,
    /// Where relative paths begin.
    folder: PathBuf,
    /// Where the file is.
    path: PathBuf,
}

impl GatewayModel {
    /// Reads the file at `path`, and the file of keys that it names.
    ///
    /// # Errors
    /// Every fault of both.
    pub fn from_file(path: &Path) -> Result<Self, Vec<Diagnostic>> {
        let name = name_of(path);
        match workspace::read_file(path, &name) {
            Slot::Text(source) => Self::read(path, source),
            Slot::Unreadable(fault) => Err(vec![fault]),
            Slot::Absent => Err(vec![
                Diagnostic::of_file("RC-CFG-001", &name, format!("there is no file `{name}`"))
                    .hint("`rc schema gateway` has its grammar; `docs/gateway.md` has one to begin with"),
            ]),
        }
    }

    /// Reads `text` as if it stood in the file at `path`.
    ///
    /// # Errors
    /// Every fault of it and of the file of keys that it names.
    pub fn from_text(path: &Path, text: &str) -> Result<Self, Vec<Diagnostic>> {
        Self::read(path, Arc::new(SourceFile::new(name_of(path), text)))
    }

    fn read(path: &Path, source: Arc<SourceFile>) -> Result<Self, Vec<Diagnostic>> {
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let mut problems = Vec::new();
        let root = match yaml::parse(&source) {
            Ok(root) => Some(root),
            Err(found) => {
                problems.extend(found);
                None
            }
        };
        if let Some(root) = &root {
            consistency::check_gateway(&source, root, &mut problems);
        }
        let tree = root.map(|root| (&source, root));
        let file = workspace::typed::<GatewayFile>("gateway", tree.as_ref(), &mut problems);
        let mut framed = source.text().as_bytes().to_vec();
        let mut keys = Vec::new();
        if let Some(named) = file.as_ref().and_then(|file| file.identity.keys.as_ref()) {
            let (found, text) = keys::read(&folder.join(named), named, &mut problems);
            keys = found;
            framed.push(0);
            framed.extend_from_slice(text.as_bytes());
        }
        let Some(mut file) = file.filter(|_| tree.is_some()) else {
            return Err(workspace::in_order(problems));
        };
        let tenants = TenantsFile {
            tiers: std::mem::take(&mut file.tiers),
            tenants: std::mem::take(&mut file.tenants),
            // A gateway on its own has one version of each service.
            rollouts: BTreeMap::new(),
        };
        keys::check(&keys, &tenants, &mut problems);
        let problems = workspace::in_order(problems);
        if problems.iter().any(Diagnostic::is_error) {
            return Err(problems);
        }
        Ok(Self {
            file,
            tenants,
            keys,
            digest: Digest::of(&framed),
            source,
            warnings: problems,
            folder,
            path: path.to_owned(),
        })
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path that the file names.
    #[must_use]
    pub fn beside(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The administration's socket.
    #[must_use]
    pub fn admin_socket(&self) -> PathBuf {
        match &self.file.admin {
            Some(path) => self.beside(path),
            None => self.path.with_extension("sock"),
        }
    }

    /// Whether `other` needs the process to start anew: what is bound and made once.
    #[must_use]
    pub fn needs_restart(&self, other: &Self) -> bool {
        let once = |model: &Self| {
            let file = &model.file;
            (
                file.listeners.clone(),
                (file.metrics, model.admin_socket(), file.workers),
                (file.ratelimit_headers, file.logs.clone(), file.drain),
                file.identity.header,
            )
        };
        once(self) != once(other)
    }
}

/// What messages call the file at `path`.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
