//! What is counted about answers that routes keep.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::cache::RouteCache;

/// A cache as metrics name it.
#[derive(Debug, Clone)]
pub(crate) struct NamedCache {
    pub(crate) service: String,
    pub(crate) route: String,
    pub(crate) cache: Arc<RouteCache>,
}

impl NamedCache {
    fn labels(&self) -> [(&'static str, &str); 2] {
        [("service", self.service.as_str()), ("route", self.route.as_str())]
    }
}

/// Writes everything about caches.
pub(super) fn encode(caches: &[NamedCache], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "Requests on routes that keep answers, by how they met what is kept";
    let mut family =
        encoder.encode_descriptor("rc_traffic_cache_requests", help, None, MetricType::Counter)?;
    for named in caches {
        for (outcome, count) in named.cache.counts().requests() {
            let [service, route] = named.labels();
            let labels = [service, route, ("outcome", outcome)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Kept answers that were thrown out for want of room";
    let mut family =
        encoder.encode_descriptor("rc_traffic_cache_evicted", help, None, MetricType::Counter)?;
    for named in caches {
        let evicted = named.cache.counts().all_evicted();
        ConstCounter::new(evicted).encode(family.encode_family(&named.labels())?)?;
    }
    let help = "Memory that kept answers take";
    let mut family = encoder.encode_descriptor("rc_traffic_cache_bytes", help, None, MetricType::Gauge)?;
    for named in caches {
        let bytes = i64::try_from(named.cache.bytes()).unwrap_or(i64::MAX);
        ConstGauge::new(bytes).encode(family.encode_family(&named.labels())?)?;
    }
    Ok(())
}
