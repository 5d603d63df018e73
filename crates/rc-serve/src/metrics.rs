//! Metrics in the OpenMetrics text format, and the RED metrics that every edge keeps.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The media type of what [`Metrics::render`] gives.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds in seconds; from what a cached read takes to the longest time a tier allows.
pub const DURATION_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 10.0, 30.0,
];

/// A process's metrics. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<DurationLabels, Histogram, fn() -> Histogram>,
}

/// Labels of the request counter. All are bounded: routes are templates, methods are known ones.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    service: String,
    route: String,
    method: &'static str,
    tier: String,
    status: &'static str,
}

/// Labels of the duration histogram.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    service: String,
    route: String,
    tier: String,
}

/// One finished request, for the RED metrics.
#[derive(Debug, Clone, Copy)]
pub struct Finished<'a> {
    pub service: &'a str,
    /// The route's template, such as `/docs/{id}`; never a path that a client chose.
    pub route: &'a str,
    pub method: &'a http::Method,
    /// The caller's tier, or `none`.
    pub tier: &'a str,
    pub status: http::StatusCode,
    pub took: Duration,
}

impl Metrics {
    /// An empty registry with the RED metrics.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::<RequestLabels, Counter>::default();
        let durations =
            Family::<DurationLabels, Histogram, fn() -> Histogram>::new_with_constructor(duration_histogram);
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
        }
    }

    /// Registers metrics of the caller's own.
    pub fn with_registry<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Counts a finished request.
    pub fn finished(&self, request: Finished<'_>) {
        let (service, route, tier) = (
            request.service.to_owned(),
            request.route.to_owned(),
            request.tier.to_owned(),
        );
        let labels = DurationLabels {
            service: service.clone(),
            route: route.clone(),
            tier: tier.clone(),
        };
        self.durations
            .get_or_create(&labels)
            .observe(request.took.as_secs_f64());
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
