//! `royalcrown.yaml`: where the platform listens, where it stores, and how it speaks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::id::RegionId;
use crate::units::{ByteSize, Span};

/// The whole of `royalcrown.yaml`. Absent: everything embedded, on `127.0.0.1:8080`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "royalcrown.yaml")]
pub struct ProjectFile {
    /// The platform's name in logs and pages. Default: the folder's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The region this installation runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionId>,
    /// Where documents, events and keys are kept.
    pub store: StoreSection,
    /// How events travel from the services that write them to those that read them.
    pub bus: BusSection,
    /// The readers of events.
    pub events: EventsSection,
    /// The public door.
    pub gateway: GatewaySection,
    /// Logs of every process.
    pub logs: LogsSection,
    /// Traces of requests.
    pub telemetry: TelemetrySection,
}

/// Where the platform stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSection {
    /// `sqlite:` for files under `.royalcrown/data` (the default), or `postgres://user:password@host:port/db`.
    /// A password is better given in the environment as `RC_STORE_URL`, which wins over this value.
    #[schemars(regex(pattern = "^(sqlite:$|postgres(ql)?://)"), extend("format" = "store-url", "writeOnly" = true))]
    pub url: String,
}

impl Default for StoreSection {
    fn default() -> Self {
        Self {
            url: "sqlite:".to_owned(),
        }
    }
}

/// How events travel between services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct BusSection {
    /// `nats://host:port` for a stream of a NATS JetStream server (2.14 or later). Absent: a log in the store.
    /// A password is better given in the environment as `RC_BUS_URL`, which wins over this value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^(nats|tls)://"), extend("format" = "bus-url", "writeOnly" = true, "examples" = ["nats://127.0.0.1:4222"]))]
    pub url: Option<String>,
}

/// The readers of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct EventsSection {
    /// What each reader does with events.
    pub consumers: ConsumersSection,
}

/// The platform's own readers of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ConsumersSection {
    /// The projector, which turns events into documents that can be found.
    pub docs_api: ConsumerSection,
}

/// One reader of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumerSection {
    /// What becomes of an event that can never be applied.
    pub policy: PoisonPolicy,
}

/// What becomes of an event that can never be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "lowercase")]
pub enum PoisonPolicy {
    /// It becomes a dead letter, and later events of its key wait behind it.
    #[default]
    Park,
    /// It becomes a dead letter, and later events of its key are applied without it.
    Skip,
    /// The reader stops until a person has decided.
    Halt,
}

/// The public door.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct GatewaySection {
    /// The address to listen on. Absent: `127.0.0.1:8080`, or a free port when that one is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "socket-address", "examples" = ["127.0.0.1:8080"]))]
    pub listen: Option<std::net::SocketAddr>,
    /// Certificate and key files (PEM). Absent: plain HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSection>,
    /// Worker threads. Absent: one a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub workers: Option<usize>,
    /// Which rate limit fields answers carry.
    pub ratelimit_headers: RateLimitHeaders,
}

/// Certificate and key, both PEM; paths are relative to the project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsSection {
    /// The certificate chain, the server's own first.
    #[schemars(length(min = 1))]
    pub certificate: String,
    /// The private key (PKCS #8, PKCS #1 or SEC1).
    #[schemars(length(min = 1))]
    pub key: String,
}

/// Which rate limit fields answers carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "kebab-case")]
pub enum RateLimitHeaders {
    /// `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-11.
    #[default]
    #[serde(rename = "draft-11")]
    Draft11,
    /// `X-RateLimit-Limit`, `-Remaining`, `-Reset`.
    Legacy,
    /// Both families.
    Both,
    /// None; `Retry-After` is still sent.
    Off,
}

/// How processes log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct LogsSection {
    /// The least important level that is written.
    pub level: LogLevel,
    /// Which requests get a line.
    pub access: AccessLog,
}

/// Importance of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// Which requests get a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// Every request.
    #[default]
    All,
    /// Requests answered with 5xx, and rejected ones.
    Errors,
    /// None.
    Off,
}

/// What is recorded about requests, how long it is kept, and who else gets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetrySection {
    /// Whether spans are recorded at all.
    pub traces: Traces,
    /// The share of traces that are recorded, from 0 (none) to 1 (all), of those that begin at the gateway.
    /// A caller that sends `traceparent` has decided already.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sample: f64,
    /// How many bytes of recent spans each service keeps for `rc trace`; 8MiB is the least.
    pub keep: ByteSize,
    /// An OpenTelemetry receiver. Absent: spans stay here, and no connection goes out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp: Option<OtlpSection>,
}

impl Default for TelemetrySection {
    fn default() -> Self {
        Self {
            traces: Traces::On,
            sample: 1.0,
            keep: ByteSize::new(64 << 20),
            otlp: None,
        }
    }
}

/// Whether spans are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "lowercase")]
pub enum Traces {
    /// Spans of sampled traces are kept, and sent when there is a receiver.
    #[default]
    On,
    /// Nothing is recorded. Trace ids still stand in logs and answers.
    Off,
}

/// An OpenTelemetry receiver that takes OTLP over HTTP. Fields with secrets, such as a receiver's key, are
/// given in the environment as `OTEL_EXPORTER_OTLP_HEADERS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtlpSection {
    /// Its base address; traces go to `/v1/traces` behind it. `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` and
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` in the environment win over this value.
    #[schemars(regex(pattern = "^https?://"), extend("format" = "http-url", "writeOnly" = true, "examples" = ["http://127.0.0.1:4318"]))]
    pub endpoint: String,
    /// Longest time of one attempt to send.
    #[serde(default = "otlp_timeout")]
    pub timeout: Span,
    /// Certificate authorities (PEM, relative to the project) to believe instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub ca: Option<String>,
}

/// OpenTelemetry's own default (`OTEL_EXPORTER_OTLP_TIMEOUT`).
fn otlp_timeout() -> Span {
    Span::from_millis(10_000)
}
