//! What is counted about tenants' rates: by tier, how many requests had which colour.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::{Series, SeriesKey, bump};
use crate::limit::Colour;

/// One worker's part of one series. Owned by that worker for writing.
#[derive(Debug, Default)]
pub(crate) struct RateCounts {
    green: AtomicU64,
    yellow: AtomicU64,
    red: AtomicU64,
    shadowed: AtomicU64,
}

impl RateCounts {
    pub(crate) fn count(&self, colour: Colour) {
        bump(match colour {
            Colour::Green { .. } => &self.green,
            Colour::Yellow { .. } => &self.yellow,
            Colour::Red { .. } => &self.red,
        });
    }

    /// Counts what would have been refused, were the limit enforced.
    pub(crate) fn shadowed(&self) {
        bump(&self.shadowed);
    }
}

/// Writes everything about rates, summed up over routes.
pub(super) fn encode(
    series: &[(SeriesKey, Arc<Series>)],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    type Cell = fn(&RateCounts) -> &AtomicU64;
    const COLOURS: [(&str, Cell); 3] = [
        ("green", |counts| &counts.green),
        ("yellow", |counts| &counts.yellow),
        ("red", |counts| &counts.red),
    ];
    let by_tier = |cell: Cell| {
        let mut tiers: BTreeMap<&str, u64> = BTreeMap::new();
        for (key, series) in series {
            let cells = series.shards.iter().map(|shard| cell(&shard.rates));
            let count: u64 = cells.map(|cell| cell.load(Ordering::Relaxed)).sum();
            *tiers.entry(key.tier.as_str()).or_default() += count;
        }
        tiers.retain(|_, count| *count > 0);
        tiers
    };
    let help = "Requests by how they stood to their tenant's rate; yellow are those that were saved up";
    let mut family = encoder.encode_descriptor("rc_traffic_rate_colours", help, None, MetricType::Counter)?;
    for (colour, cell) in COLOURS {
        for (tier, count) in by_tier(cell) {
            let labels = [("tier", tier), ("colour", colour)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    let help = "Requests that a tenant's rate in shadow mode would have refused";
    let mut family =
        encoder.encode_descriptor("rc_traffic_rate_shadowed", help, None, MetricType::Counter)?;
    for (tier, count) in by_tier(|counts| &counts.shadowed) {
        ConstCounter::new(count).encode(family.encode_family(&[("tier", tier)])?)?;
    }
    Ok(())
}
