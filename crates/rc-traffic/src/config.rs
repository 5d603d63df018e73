//! What a gateway is told once, at start: where it listens and the bounds of its connections.
//!
//! Tenants, routes and upstreams are not here: they change while it runs, see [`crate::snapshot`].

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rc_model::project::{AccessLog, RateLimitHeaders};
use rc_model::telemetry::TelemetrySink;

/// Settings of one gateway.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Where to listen. All of them are bound before any work starts.
    pub listeners: Vec<Listener>,
    /// Worker threads; one a core is right.
    pub workers: NonZeroUsize,
    /// Bounds of connections and request heads.
    pub limits: ConnectionLimits,
    /// Which rate limit fields answers carry.
    pub ratelimit_headers: RateLimitHeaders,
    /// Which requests get a line in the log.
    pub access_log: AccessLog,
    /// How long requests that are under way may take to finish when the gateway stops.
    pub drain: Duration,
    /// Where the spans of requests go, and of which; absent: nowhere.
    pub telemetry: Option<Tracing>,
    /// Clients on this machine are believed when they name a tenant in `x-rc-tenant`, also over TCP.
    pub loopback_names_tenants: bool,
}

/// How requests are traced.
#[derive(Debug, Clone)]
pub struct Tracing {
    /// Where spans go.
    pub sink: Arc<dyn TelemetrySink>,
    /// The share of the traces that begin here that are recorded, 0 to 1. It decides by the low 64 bits of
    /// the trace's id, so that whoever asks again decides the same. A caller that has a trace has decided.
    pub sample: f64,
}

impl Tracing {
    /// Whether a trace that begins here is recorded.
    #[must_use]
    pub fn samples(&self, trace_id: u128) -> bool {
        // A number below 2^64 that is rounded stays in order; 1.0 and more take all.
        let low = (trace_id & u128::from(u64::MAX)) as f64;
        self.sample >= 1.0 || low < self.sample * 2.0_f64.powi(64)
    }
}

/// One listening socket.
#[derive(Debug, Clone)]
pub enum Listener {
    /// The public door. Nothing that a client says about its tenant is believed without a key.
    Tcp {
        address: SocketAddr,
        /// Absent: plain HTTP. ALPN decides between `h2` and `http/1.1`.
        tls: Option<Arc<rustls::ServerConfig>>,
    },
    /// A door that only the owner of the process can open (mode 0600). **Trusted**: `x-rc-tenant` is
    /// believed there instead of a key, and `/metrics` and `/-/…` lead to the admin handler.
    Unix { path: PathBuf },
}

/// Bounds of connections and request heads.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Connections that one worker serves; past it a connection gets `503` and is closed.
    pub connections_per_worker_max: usize,
    /// Connections that one address may have at one time, whoever it is; an IPv6 host has a /64. Past it
    /// a connection gets `503` and is closed.
    pub connections_per_source_max: u32,
    /// Connections on which one tenant may have made the latest request. Past it a request gets `429`
    /// and its connection is closed.
    pub connections_per_tenant_max: u32,
    /// TLS handshakes a second that one address may begin, before anybody knows whose they are. Past it a
    /// connection is closed at once.
    pub handshakes_per_source_max: u32,
    /// Handshakes that it may begin at once after a rest.
    pub handshakes_per_source_burst: u32,
    /// Largest request head in bytes, request line included. More is `431`.
    pub head_bytes_max: usize,
    /// Most header fields in a request. More is `431`.
    pub headers_max: usize,
    /// Most bytes of one header field, name and value. More is `431`.
    pub field_bytes_max: usize,
    /// Longest request target. More is `414`.
    pub target_bytes_max: usize,
    /// Time from the first byte of a head to its end (against slowloris), and of a TLS handshake.
    pub head_timeout: Duration,
    /// How long a connection may wait for its next request.
    pub idle_timeout: Duration,
    /// Longest time without a byte moved in either direction once an answer has begun.
    pub stall_timeout: Duration,
    /// Requests on one HTTP/1 connection before it is closed, so that clients spread again.
    pub requests_per_connection_max: u64,
    /// Streams that one HTTP/2 connection may have open.
    pub h2_streams_max: u32,
    /// Streams that a client may reset before the gateway has seen them (CVE-2023-44487).
    pub h2_pending_resets_max: usize,
    /// Streams that a client may make the gateway reset by breaking the protocol on them, in the life of
    /// one connection (CVE-2025-8671).
    pub h2_provoked_resets_max: usize,
    /// Age at which an HTTP/2 connection is told to go away.
    pub h2_age_max: Duration,
    /// Time to connect to an upstream.
    pub connect_timeout: Duration,
    /// Idle connections that one worker keeps to one endpoint.
    pub upstream_idle_max: usize,
    /// How long an idle upstream connection is kept. Must be shorter than the upstream's own.
    pub upstream_idle_timeout: Duration,
    /// Age at which an upstream connection is not used again, with up to 25 % random on top.
    pub upstream_age_max: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections_per_worker_max: 8_192,
            connections_per_source_max: 4_096,
            connections_per_tenant_max: 4_096,
            handshakes_per_source_max: 1_000,
            handshakes_per_source_burst: 4_000,
            head_bytes_max: 32 << 10,
            headers_max: 100,
            field_bytes_max: 16 << 10,
            target_bytes_max: 8 << 10,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            stall_timeout: Duration::from_secs(30),
            requests_per_connection_max: 1_000_000,
            h2_streams_max: 128,
            h2_pending_resets_max: 20,
            h2_provoked_resets_max: 100,
            h2_age_max: Duration::from_secs(3_600),
            connect_timeout: Duration::from_secs(1),
            upstream_idle_max: 256,
            upstream_idle_timeout: Duration::from_secs(20),
            upstream_age_max: Duration::from_secs(600),
        }
    }
}

impl GatewayConfig {
    /// Settings with one worker a core and the default bounds.
    #[must_use]
    pub fn new(listeners: Vec<Listener>) -> Self {
        Self {
            listeners,
            workers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            limits: ConnectionLimits::default(),
            ratelimit_headers: RateLimitHeaders::default(),
            access_log: AccessLog::default(),
            drain: Duration::from_secs(10),
            telemetry: None,
            loopback_names_tenants: false,
        }
    }
}
