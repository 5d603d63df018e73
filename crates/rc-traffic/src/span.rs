//! The span of one request, as the gateway saw it. Made of what lies on the stack: it allocates nothing.

use rc_model::TraceContext;
use rc_model::telemetry::{Span, SpanKind, TelemetrySink, Value};

use crate::metrics::STATUS_CLIENT_GONE;
use crate::path::method_name;
use crate::request::Protocol;
use crate::snapshot::{NO_TIER, Snapshot};

/// The error of a request whose client left before its answer began.
pub(crate) const GONE: &str = "gone";
/// The error of an answer that was begun and not carried to its end.
pub(crate) const CUT: &str = "cut";

/// The method of a request whose method the gateway does not carry (OpenTelemetry, HTTP spans).
const OTHER_METHOD: &str = "_OTHER";
/// The name of its span.
const OTHER_NAME: &str = "HTTP";

/// Attributes of one span at most.
const ATTRIBUTES_MAX: usize = 11;

/// A finished request.
pub(crate) struct Ended<'a> {
    pub(crate) trace: TraceContext,
    pub(crate) parent: Option<u64>,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) method: Option<usize>,
    pub(crate) route: Option<usize>,
    pub(crate) tenant: Option<usize>,
    /// Where there was a choice.
    pub(crate) version: Option<&'a str>,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) upstream_ns: Option<u64>,
    pub(crate) resends: u32,
    pub(crate) error: Option<&'static str>,
    pub(crate) status: u16,
    pub(crate) took_ns: u64,
    pub(crate) ended_unix_ns: u64,
}

/// Sends the span of a request that ends now.
pub(crate) fn emit(sink: &dyn TelemetrySink, snapshot: &Snapshot, ended: &Ended<'_>) {
    let mut attributes = [("", Value::Bool(false)); ATTRIBUTES_MAX];
    let mut used = 0;
    let mut put = |name: &'static str, value| {
        attributes[used] = (name, value);
        used += 1;
    };
    let method = ended.method.map(method_name);
    put("http.request.method", Value::Str(method.unwrap_or(OTHER_METHOD)));
    let route = ended.route.map(|route| &snapshot.routes[route]);
    if let Some(route) = route {
        put("http.route", Value::Str(&route.path));
    }
    if ended.status != STATUS_CLIENT_GONE {
        put("http.response.status_code", Value::Int(i64::from(ended.status)));
    }
    let version = ended.protocol.map(|protocol| match protocol {
        Protocol::Http10 => "1.0",
        Protocol::Http11 => "1.1",
        Protocol::H2 => "2",
    });
    if let Some(version) = version {
        put("network.protocol.version", Value::Str(version));
    }
    let tenant = ended.tenant.map(|tenant| &snapshot.tenants[tenant]);
    if let Some(tenant) = tenant {
        put("rc.tenant", Value::Str(tenant.id.as_str()));
    }
    let tier = tenant.map_or(NO_TIER, |tenant| &snapshot.tiers[tenant.tier]);
    put("rc.tier", Value::Str(tier));
    let trace_id = hex(ended.trace.trace_id());
    let trace_id = std::str::from_utf8(&trace_id).expect("hex digits are ASCII");
    put("rc.request_id", Value::Str(ended.request_id.unwrap_or(trace_id)));
    if let Some(version) = ended.version {
        put("rc.version", Value::Str(version));
    }
    if let Some(ns) = ended.upstream_ns {
        put("rc.upstream_ms", Value::Float(ns as f64 / 1e6));
    }
    if ended.resends > 0 {
        put("http.request.resend_count", Value::Int(ended.resends.into()));
    }
    let mut status = itoa::Buffer::new();
    let error = match ended.status {
        STATUS_CLIENT_GONE => Some(GONE),
        500.. => Some(ended.error.unwrap_or_else(|| status.format(ended.status))),
        _ => ended.error,
    };
    if let Some(error) = error {
        put("error.type", Value::Str(error));
    }
    // A refusal by rule is an answer; what is beyond the client's power, or reached nobody, is a failure.
    let failed = ended.status >= 500 || matches!(error, Some(GONE | CUT));
    let name = match (route, ended.method) {
        (Some(route), Some(method)) => &route.spans[method],
        _ => method.unwrap_or(OTHER_NAME),
    };
    sink.span(&Span {
        context: ended.trace,
        parent: ended.parent,
        kind: SpanKind::Server,
        name,
        began_unix_ns: ended.ended_unix_ns.saturating_sub(ended.took_ns),
        took_ns: ended.took_ns,
        error: error.filter(|_| failed),
        attributes: &attributes[..used],
        links: &[],
    });
}

fn hex(value: u128) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|at| DIGITS[(value >> ((31 - at) * 4) & 0xf) as usize])
}
