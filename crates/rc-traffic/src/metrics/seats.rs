//! What is counted about seats: by route and tier how many waited, for how long, and how many were refused; by route
//! how full its pool is and what its limit is made from.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use rc_serve::metrics::DURATION_BUCKETS;

use super::{BUCKETS, Series, SeriesKey, add, bucket, bump};
use crate::seats::{Level, SeatPool, Shed};

/// One worker's part of one series. Owned by that worker for writing.
#[derive(Debug, Default)]
pub(crate) struct SeatCounts {
    entered: AtomicU64,
    left: AtomicU64,
    waited: [AtomicU64; BUCKETS + 1],
    waited_ns: AtomicU64,
    shed: [AtomicU64; Shed::ALL.len()],
    shadowed: AtomicU64,
}

/// A pool as metrics name it.
#[derive(Debug, Clone)]
pub(crate) struct NamedPool {
    pub(crate) service: String,
    pub(crate) route: String,
    pub(crate) pool: Arc<SeatPool>,
}

/// Counts a request as waiting as long as it lives.
pub(crate) struct Waits<'a>(&'a SeatCounts);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        bump(&self.0.left);
    }
}

impl SeatCounts {
    pub(crate) fn waits(&self) -> Waits<'_> {
        bump(&self.entered);
        Waits(self)
    }

    pub(crate) fn waited(&self, ns: u64) {
        bump(&self.waited[bucket(ns)]);
        add(&self.waited_ns, ns);
    }

    pub(crate) fn shed(&self, shed: Shed) {
        bump(&self.shed[shed as usize]);
    }

    pub(crate) fn shadowed(&self) {
        bump(&self.shadowed);
    }
}

/// Writes everything about seats.
pub(super) fn encode(
    series: &[(SeriesKey, Arc<Series>)],
    pools: &[NamedPool],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    encode_pools(pools, encoder)?;
    let sum = |series: &Series, cell: fn(&SeatCounts) -> &AtomicU64| {
        let cells = series.all_seats().map(cell);
        cells.map(|cell| cell.load(Ordering::Relaxed)).sum::<u64>()
    };
    let help = "Requests that wait for a seat";
    let mut family = encoder.encode_descriptor("rc_traffic_seats_waiting", help, None, MetricType::Gauge)?;
    for (key, series) in series {
        let entered = sum(series, |counts| &counts.entered);
        if entered > 0 {
            let waiting = entered.saturating_sub(sum(series, |counts| &counts.left));
            let gauge = ConstGauge::new(i64::try_from(waiting).unwrap_or(i64::MAX));
            gauge.encode(family.encode_family(&key.labels())?)?;
        }
    }
    let help = "Requests that a tenant in shadow mode would have had to wait with";
    let mut family =
        encoder.encode_descriptor("rc_traffic_seats_shadowed", help, None, MetricType::Counter)?;
    for (key, series) in series {
        let shadowed = sum(series, |counts| &counts.shadowed);
        if shadowed > 0 {
            ConstCounter::new(shadowed).encode(family.encode_family(&key.labels())?)?;
        }
    }
    let help = "Requests refused because they would have waited, or had waited, for too long";
    let mut family = encoder.encode_descriptor("rc_traffic_seats_shed", help, None, MetricType::Counter)?;
    for (key, series) in series {
        for shed in Shed::ALL {
            let cells = series.all_seats().map(|counts| &counts.shed[shed as usize]);
            let count: u64 = cells.map(|cell| cell.load(Ordering::Relaxed)).sum();
            if count > 0 {
                let [service, route, tier] = key.labels();
                let labels = [service, route, tier, ("reason", shed.name())];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    encode_waited(series, encoder)
}

fn encode_waited(
    series: &[(SeriesKey, Arc<Series>)],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(
        "rc_traffic_seats_wait_seconds",
        "How long requests waited for a seat, of those that had to",
        None,
        MetricType::Histogram,
    )?;
    for (key, series) in series {
        let total = |at: usize| {
            let cells = series.all_seats().map(|counts| &counts.waited[at]);
            cells.map(|cell| cell.load(Ordering::Relaxed)).sum::<u64>()
        };
        let bounds = DURATION_BUCKETS.iter().copied().chain([f64::MAX]);
        let buckets: Vec<(f64, u64)> = bounds.enumerate().map(|(at, bound)| (bound, total(at))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        if count == 0 {
            continue;
        }
        let ns = series
            .all_seats()
            .map(|counts| counts.waited_ns.load(Ordering::Relaxed));
        let seconds = Duration::from_nanos(ns.sum()).as_secs_f64();
        family
            .encode_family(&key.labels())?
            .encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
    }
    Ok(())
}

fn encode_pools(pools: &[NamedPool], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    type Value = fn(&Level) -> f64;
    let gauges: [(&str, &str, Value); 5] = [
        (
            "rc_traffic_seats_in_use",
            "Requests that a service has at this moment",
            |level| level.in_use.into(),
        ),
        (
            "rc_traffic_seats_limit",
            "Requests that a service may have at this moment, as the gateway found it",
            |level| level.limit.into(),
        ),
        (
            "rc_traffic_seats_least_seconds",
            "Time to the first byte of an answer when nobody waits inside the service",
            |level| level.inputs.least_us / 1e6,
        ),
        (
            "rc_traffic_seats_latest_seconds",
            "Time to the first byte of an answer in the latest window",
            |level| level.inputs.latest_us / 1e6,
        ),
        (
            "rc_traffic_seats_queued_inside",
            "Requests that wait inside the service, by estimate",
            |level| level.inputs.queued,
        ),
    ];
    let levels: Vec<Level> = pools.iter().map(|named| named.pool.level()).collect();
    for (name, help, value) in gauges {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (named, level) in pools.iter().zip(&levels) {
            let labels = [
                ("service", named.service.as_str()),
                ("route", named.route.as_str()),
            ];
            ConstGauge::new(value(level)).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
