//! The evidence of single tenants: a release that is worse for one of them only.

use std::collections::BTreeMap;

use rc_model::TenantId;

use super::Dispersions;
use crate::evidence::{SplitTest, log_mean};
use crate::rules::Rules;
use crate::sample::{OfTenant, Tally};
use crate::verdict::{ByArm, TenantSignal};

/// The tenants that are looked at. Their mean counts all places, taken or not: so the number of tenants that may come is
/// paid for from the beginning, and a tenant's place does not depend on how it fares.
#[derive(Debug, Clone)]
pub(super) struct Tenants {
    places: usize,
    all: BTreeMap<TenantId, [Own; 2]>,
    /// Of all places together.
    pub(super) log_e: f64,
}

/// One kind of bad request of one tenant.
#[derive(Debug, Clone)]
struct Own {
    test: SplitTest,
    counts: ByArm<Tally>,
    log_e: f64,
}

impl Own {
    fn new(null: f64) -> Self {
        Self {
            test: SplitTest::worse(null),
            counts: ByArm::default(),
            log_e: 0.0,
        }
    }

    fn observe(&mut self, share: f64, stable: Tally, canary: Tally, dispersion: f64) {
        self.counts.stable.add(stable);
        self.counts.canary.add(canary);
        if stable.bad > 0 || canary.bad > 0 {
            self.test.observe(share, canary.bad, stable.bad);
            self.log_e = self.test.log_e(dispersion);
        }
    }
}

impl Tenants {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            places: rules.tenants_max,
            all: BTreeMap::new(),
            log_e: 0.0,
        }
    }

    /// Takes one second. Slow is what lies above the bucket `slow`, where that is known and the canary is warm.
    pub(super) fn observe(
        &mut self,
        tenants: &[OfTenant],
        slow: Option<usize>,
        dispersions: Dispersions,
        nulls: (f64, f64),
    ) {
        if tenants.is_empty() || self.places == 0 {
            return;
        }
        // In the order of names, not of the list: who gets the last place must not depend on it.
        let mut ordered: Vec<&OfTenant> = tenants.iter().collect();
        ordered.sort_by(|a, b| a.tenant.cmp(&b.tenant));
        for of in ordered {
            let Some(share) = of.share() else { continue };
            if !self.all.contains_key(&of.tenant) {
                if self.all.len() == self.places {
                    continue;
                }
                let own = [Own::new(nulls.0), Own::new(nulls.1)];
                self.all.insert(of.tenant.clone(), own);
            }
            let Some([errors, latency]) = self.all.get_mut(&of.tenant) else {
                continue;
            };
            errors.observe(
                share,
                of.stable.failures(),
                of.canary.failures(),
                dispersions.errors,
            );
            if let Some(slow) = slow {
                let (stable, canary) = (of.stable.slower_than(slow), of.canary.slower_than(slow));
                latency.observe(share, stable, canary, dispersions.slow);
            }
        }
        let part = 0.5 / self.places as f64;
        let taken = self.all.values().flatten().map(|own| (part, own.log_e));
        let free = 1.0 - self.all.len() as f64 / self.places as f64;
        self.log_e = log_mean(taken.chain(std::iter::once((free, 0.0))));
    }

    /// Those with evidence against the canary, the strongest first.
    pub(super) fn signals(&self) -> Vec<TenantSignal> {
        let mut signals: Vec<TenantSignal> = self
            .all
            .iter()
            .flat_map(|(tenant, own)| {
                ["errors", "latency"]
                    .into_iter()
                    .zip(own)
                    .map(move |pair| (tenant, pair))
            })
            .filter(|(_, (_, own))| own.log_e > 0.0)
            .map(|(tenant, (kind, own))| TenantSignal {
                name: format!("{kind} of {tenant}"),
                counts: own.counts,
                log_e: own.log_e,
            })
            .collect();
        signals.sort_by(|a, b| b.log_e.total_cmp(&a.log_e));
        signals
    }

    /// How fast the tenant with the most evidence spends its budgets, of errors and of slow requests.
    pub(super) fn worst_burn(&self, budgets: (f64, f64)) -> f64 {
        self.all
            .values()
            .flat_map(|[errors, latency]| [(errors, budgets.0), (latency, budgets.1)])
            .max_by(|(a, _), (b, _)| a.log_e.total_cmp(&b.log_e))
            .map_or(0.0, |(own, budget)| own.counts.canary.rate() / budget)
    }
}
