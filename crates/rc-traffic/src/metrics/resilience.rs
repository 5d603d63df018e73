//! What is counted about services that fail: second tries, hedges, time-outs that learnt, circuits, endpoints left alone.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Series, SeriesKey, bump};
use crate::health::ServiceHealth;
use crate::latency::Latency;

/// What happens to a request besides its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trial {
    /// It was tried again.
    Retried,
    /// It would have been, had there been budget.
    Exhausted,
    /// A second copy was sent because the first took long.
    Hedged,
    /// The second copy was answered first.
    HedgeWon,
    /// Its answer did not begin in the time that such answers take.
    Slow,
    /// Refused because the service fails for its tenant.
    TenantCircuit,
    /// Refused because the service fails for most tenants.
    ServiceCircuit,
}

/// One worker's part of one series. Owned by that worker for writing.
#[derive(Debug, Default)]
pub(crate) struct TrialCounts([AtomicU64; 7]);

impl TrialCounts {
    pub(crate) fn count(&self, trial: Trial) {
        bump(&self.0[trial as usize]);
    }
}

/// What metrics show besides series, for the snapshot in use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    pub(crate) health: Vec<Arc<ServiceHealth>>,
    pub(crate) latency: Vec<(SeriesKey, Arc<Latency>)>,
}

/// Writes everything about services that fail.
pub(super) fn encode(
    series: &[(SeriesKey, Arc<Series>)],
    watched: &Watched,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let counters = [
        ("rc_traffic_retries", "Further tries of requests", Trial::Retried),
        (
            "rc_traffic_retries_exhausted",
            "Requests that were not tried again because the tenant's budget was used up",
            Trial::Exhausted,
        ),
        (
            "rc_traffic_hedges",
            "Second copies of reads whose answer took long to begin",
            Trial::Hedged,
        ),
        (
            "rc_traffic_hedges_won",
            "Second copies that were answered first",
            Trial::HedgeWon,
        ),
        (
            "rc_traffic_adaptive_timeouts",
            "Requests whose answer did not begin in the time that such answers take",
            Trial::Slow,
        ),
    ];
    for (name, help, trial) in counters {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (key, series) in series {
            let count = count_of(series, trial);
            if count > 0 {
                ConstCounter::new(count).encode(family.encode_family(&key.labels())?)?;
            }
        }
    }
    let help = "Requests refused because a circuit is open";
    let mut family =
        encoder.encode_descriptor("rc_traffic_circuit_refused", help, None, MetricType::Counter)?;
    for (key, series) in series {
        for (of, trial) in [
            ("tenant", Trial::TenantCircuit),
            ("service", Trial::ServiceCircuit),
        ] {
            let count = count_of(series, trial);
            if count > 0 {
                let [service, route, tier] = key.labels();
                let labels = [service, route, tier, ("circuit", of)];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    encode_health(&watched.health, encoder)?;
    let help = "Time to the first byte of an answer that one in a thousand passes";
    let mut family = encoder.encode_descriptor(
        "rc_traffic_first_byte_p999_seconds",
        help,
        None,
        MetricType::Gauge,
    )?;
    for (key, latency) in &watched.latency {
        if let Some(time) = latency.p999() {
            ConstGauge::new(time.as_secs_f64()).encode(family.encode_family(&key.labels())?)?;
        }
    }
    Ok(())
}

fn encode_health(
    health: &[Arc<ServiceHealth>],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let gauge = |count: usize| ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
    let help = "Endpoints that are left alone because they fail";
    let mut family =
        encoder.encode_descriptor("rc_traffic_endpoints_ejected", help, None, MetricType::Gauge)?;
    for health in health {
        let labels = [("service", health.service.as_str())];
        gauge(health.out()).encode(family.encode_family(&labels)?)?;
    }
    let help = "How often endpoints were left alone";
    let mut family = encoder.encode_descriptor("rc_traffic_ejections", help, None, MetricType::Counter)?;
    for health in health {
        let ejections = health.endpoints.iter().map(|endpoint| &endpoint.ejections);
        let count = ejections.map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
        let labels = [("service", health.service.as_str())];
        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
    }
    let help = "Circuits that are not closed: the service's own, and those of tenants";
    let mut family = encoder.encode_descriptor("rc_traffic_circuits_open", help, None, MetricType::Gauge)?;
    for health in health {
        let (own, tenants) = health.circuits.broken();
        for (of, count) in [("service", usize::from(own)), ("tenant", tenants)] {
            let labels = [("service", health.service.as_str()), ("circuit", of)];
            gauge(count).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "How often circuits opened";
    let mut family =
        encoder.encode_descriptor("rc_traffic_circuits_opened", help, None, MetricType::Counter)?;
    for health in health {
        let labels = [("service", health.service.as_str())];
        let count = health.circuits.opened.load(Ordering::Relaxed);
        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn count_of(series: &Series, trial: Trial) -> u64 {
    let cells = series.shards.iter().map(|shard| &shard.trials.0[trial as usize]);
    cells.map(|cell| cell.load(Ordering::Relaxed)).sum()
}
