//! Metrics in the OpenMetrics text format, and the RED metrics that every edge keeps.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use rc_model::{TraceContext, clock};

/// The media type of what [`Metrics::render`] gives.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds; from what a cached read takes to the longest time a tier allows.
pub const DURATION_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0, 30.0,
];

/// Most tiers that have series of their own; a tier is configuration, but it arrives in a header.
const TIERS_MAX: usize = 32;
/// What stands for the tiers beyond.
const TIER_OTHER: &str = "other";

/// A histogram whose buckets name a trace that fell into them.
type Durations = HistogramWithExemplars<ExemplarLabels>;

/// A process's metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Durations, fn() -> Durations>,
    /// Labels that are there already, so that a request allocates none.
    tiers: Arc<RwLock<Vec<Arc<str>>>>,
}

/// What an exemplar says: in which trace to look.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExemplarLabels {
    trace_id: TraceId,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TraceId(u128);

impl EncodeLabelValue for TraceId {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        fmt::Write::write_fmt(encoder, format_args!("{:032x}", self.0))
    }
}

/// Labels of the request counter. All are bounded: routes are templates, methods are known ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    service: &'static str,
    route: Arc<str>,
    method: &'static str,
    tier: Arc<str>,
    status: &'static str,
}

/// Labels of the duration histogram.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    service: &'static str,
    route: Arc<str>,
    tier: Arc<str>,
}

/// One finished request, for the RED metrics.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    pub service: &'static str,
    /// The route's template, such as `/docs/{id}`; never a path that a client chose.
    pub route: &'a Arc<str>,
    pub method: &'a http::Method,
    /// The caller's tier, or `none`.
    pub tier: &'a str,
    pub status: http::StatusCode,
    pub took: Duration,
    /// The request's trace when somebody records it: it becomes the exemplar of its bucket.
    pub trace: Option<TraceContext>,
}

impl Metrics {
    /// An empty registry with the RED metrics.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::<RequestLabels, Counter>::default();
        let durations = Family::<DurationLabels, Durations, fn() -> Durations>::new_with_constructor(|| {
            HistogramWithExemplars::new(DURATION_BUCKETS.into_iter())
        });
        registry.register("rc_http_requests", "Finished HTTP requests", requests.clone());
        registry.register(
            "rc_http_request_duration_seconds",
            "Time from head to the end of the answer",
            durations.clone(),
        );
        Self {
            registry: Arc::new(Mutex::new(registry)),
            requests,
            durations,
            tiers: Arc::default(),
        }
    }

    /// Registers metrics of the caller's own.
    pub fn with_registry<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a finished request.
    pub fn finished(&self, request: Finished<'_>) {
        let service = request.service;
        let (route, tier) = (Arc::clone(request.route), self.tier(request.tier));
        let labels = DurationLabels {
            service,
            route: Arc::clone(&route),
            tier: Arc::clone(&tier),
        };
        let exemplar = request.trace.map(|trace| ExemplarLabels {
            trace_id: TraceId(trace.trace_id()),
        });
        let at = exemplar
            .as_ref()
            .map(|_| UNIX_EPOCH + Duration::from_nanos(clock::unix_ns()));
        self.durations
            .get_or_create(&labels)
            .observe(request.took.as_secs_f64(), exemplar, at);
        let (method, status) = (method_label(request.method), status_class(request.status));
        self.requests
            .get_or_create(&RequestLabels {
                service,
                route,
                method,
                tier,
                status,
            })
            .inc();
    }

    /// The label of `tier`; there is room for [`TIERS_MAX`] different ones.
    fn tier(&self, tier: &str) -> Arc<str> {
        let known = |tiers: &Vec<Arc<str>>| tiers.iter().find(|known| &***known == tier).cloned();
        if let Some(found) = known(&self.tiers.read().unwrap_or_else(PoisonError::into_inner)) {
            return found;
        }
        let mut tiers = self.tiers.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known(&tiers) {
            return found;
        }
        if tiers.len() >= TIERS_MAX {
            return Arc::from(TIER_OTHER);
        }
        let label: Arc<str> = Arc::from(tier);
        tiers.push(Arc::clone(&label));
        label
    }

    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(4096);
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        text::encode(&mut out, &registry).expect("writing to a String cannot fail");
        out
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// A histogram with [`DURATION_BUCKETS`].
#[must_use]
pub fn duration_histogram() -> Histogram {
    Histogram::new(DURATION_BUCKETS)
}

/// The method as a label with bounded values.
#[must_use]
pub fn method_label(method: &http::Method) -> &'static str {
    known_method(method).unwrap_or("other")
}

/// The method's name when it is one that everybody knows; a client can invent others.
#[must_use]
pub fn known_method(method: &http::Method) -> Option<&'static str> {
    Some(match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => return None,
    })
}

/// `2xx`, `3xx`, `4xx` or `5xx`; `1xx` for the rest.
#[must_use]
pub fn status_class(status: http::StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "1xx",
    }
}

#[cfg(test)]
mod tests;
