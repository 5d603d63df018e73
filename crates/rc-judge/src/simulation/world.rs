//! Traffic that is not there: seconds of two versions, from a seed.

use rc_model::TenantId;

use super::draw::Draw;
use crate::history::{Baseline, History};
use crate::latency::{BUCKETS, bucket};
use crate::sample::{Arm, Errors, OfTenant, PPM, Placed, Second, Tally, expected_share};

/// Errors of a healthy version.
pub(super) const BASE_RATE: f64 = 0.005;

/// Hours of history. The judge keeps 24; three are enough for dispersions that do not change.
const HISTORY_HOURS: u64 = 3;

/// What both versions share, besides the new code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Traffic {
    Quiet,
    /// For 60 s, somewhere in the rollout, a tenth of all requests fails.
    Outage,
    /// Errors come so many at a time, of one version.
    Clumps(u64),
    /// One stable replica of five fails ten times as often.
    SickReplica,
    /// The error rate of both wanders, by a factor of `exp(N(0, 0.5))` in half an hour.
    Drift,
    /// Latencies: log-normal around 50 ms with sigma 0.5.
    Timed,
    /// The same with a canary whose caches are empty: it takes half as long again, which ends after a minute.
    ColdCanary,
    /// 200 tenants with rates of their own, whole in one version; since the history was learnt their rates have changed
    /// by `exp(N(0, drift))`.
    Sticky {
        drift: f64,
    },
    /// Twenty tenants, counted one by one.
    Tenants,
}

/// What the new version does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Change {
    Healthy,
    /// So many times the errors.
    Errors(f64),
    /// Every request takes so many times as long.
    Slower(f64),
    /// So many times the errors for the second largest of its tenants.
    OneTenant(f64),
}

/// One rollout's world.
pub(super) struct World {
    draw: Draw,
    rps: f64,
    traffic: Traffic,
    change: Change,
    outage_at: u64,
    /// The logarithm of how far the error rate has wandered.
    wandered: f64,
    /// Chances of latencies up to each bucket, of stable and canary.
    latencies: Option<[Cumulative; 3]>,
    tenants: Vec<Tenant>,
    /// What a sticky split comes to at one weight.
    placed: Option<PlacedAt>,
}

#[derive(Clone, Copy)]
struct PlacedAt {
    weight: f64,
    stable: Flow,
    canary: Flow,
    share_ppm: Option<u32>,
}

/// Parts of the whole traffic: requests, and those that fail.
#[derive(Clone, Copy, Default)]
struct Flow {
    requests: f64,
    bad: f64,
}

/// Buckets and the chance to be at or below each.
struct Cumulative(Vec<(u16, f64)>);

struct Tenant {
    id: Option<TenantId>,
    /// Its part of the traffic.
    part: f64,
    rate: f64,
    before: Tally,
    /// It is in the canary from this weight on.
    place: f64,
}

impl World {
    pub(super) fn new(rps: f64, traffic: Traffic, change: Change, seed: u64) -> Self {
        let mut draw = Draw::new(seed);
        let outage_at = (draw.unit() * 900.0) as u64;
        let tenants = match traffic {
            Traffic::Sticky { drift } => sticky_tenants(&mut draw, rps, drift),
            Traffic::Tenants => counted_tenants(),
            _ => Vec::new(),
        };
        let factor = match change {
            Change::Slower(factor) => factor,
            Change::Healthy | Change::Errors(_) | Change::OneTenant(_) => 1.0,
        };
        let timed = matches!(traffic, Traffic::Timed | Traffic::ColdCanary);
        Self {
            draw,
            rps,
            traffic,
            change,
            outage_at,
            wandered: 0.0,
            latencies: timed.then(|| [1.0, factor, 1.5 * factor].map(Cumulative::log_normal)),
            tenants,
            placed: None,
        }
    }

    /// What the judge learns before the rollout.
    pub(super) fn baseline(&mut self) -> Baseline {
        let mut history = History::default();
        let requests = (self.rps * 10.0) as u64;
        let slow_rate = if self.latencies.is_some() { 0.05 } else { 0.0 };
        for _ in 0..HISTORY_HOURS * 360 {
            let (bad, _) = self.errors(requests, 0, (BASE_RATE, BASE_RATE));
            let slow = self.draw.binomial(requests, slow_rate);
            history.observe_window(requests, bad, slow);
        }
        let mut baseline = history.baseline();
        if let Some([stable, ..]) = &self.latencies {
            baseline.latency = stable.draw(&mut self.draw, 2_000);
        }
        baseline
    }

    /// The next second.
    pub(super) fn second(&mut self, at: u64, weight: f64) -> Second {
        let weight_ppm = (weight * f64::from(PPM)).round() as u32;
        let mut second = Second {
            at,
            weight_ppm,
            ..Second::default()
        };
        match self.traffic {
            Traffic::Sticky { .. } => self.sticky(&mut second, weight),
            Traffic::Tenants => self.counted(&mut second, weight),
            _ => self.usual(&mut second, weight),
        }
        second
    }

    fn usual(&mut self, second: &mut Second, weight: f64) {
        let requests = self.draw.poisson(self.rps);
        let canary = self.draw.binomial(requests, weight);
        let stable = requests - canary;
        let (stable_bad, canary_bad) = self.errors(stable, canary, self.rates(second.at));
        second.stable = arm(stable, stable_bad);
        second.canary = arm(canary, canary_bad);
        if self.traffic == Traffic::Drift && second.at.is_multiple_of(60) {
            self.wandered += 0.5 / 30.0_f64.sqrt() * self.draw.normal();
        }
        if let Some([of_stable, of_canary, of_cold]) = &self.latencies {
            let cold = self.traffic == Traffic::ColdCanary && second.at < 60;
            let of_canary = if cold { of_cold } else { of_canary };
            second.stable.latency = of_stable.draw(&mut self.draw, stable);
            second.canary.latency = of_canary.draw(&mut self.draw, canary);
        }
    }

    /// The error rates of stable and canary.
    fn rates(&self, at: u64) -> (f64, f64) {
        let mut rate = BASE_RATE;
        if self.traffic == Traffic::Drift {
            rate *= self.wandered.exp();
        }
        if self.traffic == Traffic::Outage && (self.outage_at..self.outage_at + 60).contains(&at) {
            rate = 0.1;
        }
        let stable = match self.traffic {
            Traffic::SickReplica => rate * (0.8 + 0.2 * 10.0),
            _ => rate,
        };
        let canary = match self.change {
            Change::Errors(factor) => (rate * factor).min(1.0),
            Change::Healthy | Change::Slower(_) | Change::OneTenant(_) => rate,
        };
        (stable, canary)
    }

    fn errors(&mut self, stable: u64, canary: u64, rates: (f64, f64)) -> (u64, u64) {
        let Traffic::Clumps(size) = self.traffic else {
            return (
                self.draw.binomial(stable, rates.0),
                self.draw.binomial(canary, rates.1),
            );
        };
        let mean = |requests: u64, rate: f64| requests as f64 * rate / size as f64;
        let of_stable = self.draw.poisson(mean(stable, rates.0)) * size;
        let of_canary = self.draw.poisson(mean(canary, rates.1)) * size;
        (of_stable.min(stable), of_canary.min(canary))
    }

    fn sticky(&mut self, second: &mut Second, weight: f64) {
        let placed = match self.placed {
            Some(placed) if placed.weight == weight => placed,
            _ => self.place(weight),
        };
        self.placed = Some(placed);
        for (of, flow) in [
            (&mut second.stable, placed.stable),
            (&mut second.canary, placed.canary),
        ] {
            let requests = self.draw.poisson(self.rps * flow.requests);
            let bad = self.draw.poisson(self.rps * flow.bad).min(requests);
            *of = arm(requests, bad);
        }
        second.share_ppm = placed.share_ppm;
    }

    fn place(&self, weight: f64) -> PlacedAt {
        let factor = match self.change {
            Change::Errors(factor) => factor,
            Change::Healthy | Change::Slower(_) | Change::OneTenant(_) => 1.0,
        };
        let (mut stable, mut canary) = (Flow::default(), Flow::default());
        let mut placed = Vec::with_capacity(self.tenants.len());
        for tenant in &self.tenants {
            let in_canary = tenant.place < weight;
            let (flow, rate) = match in_canary {
                true => (&mut canary, (tenant.rate * factor).min(1.0)),
                false => (&mut stable, tenant.rate.min(1.0)),
            };
            flow.requests += tenant.part;
            flow.bad += tenant.part * rate;
            placed.push(Placed {
                before: tenant.before,
                in_canary,
            });
        }
        PlacedAt {
            weight,
            stable,
            canary,
            share_ppm: expected_share(&placed),
        }
    }

    fn counted(&mut self, second: &mut Second, weight: f64) {
        for (place, tenant) in self.tenants.iter().enumerate() {
            let requests = self.draw.poisson(self.rps * tenant.part);
            let canary = self.draw.binomial(requests, weight);
            let factor = match self.change {
                Change::OneTenant(factor) if place == 1 => factor,
                Change::Errors(factor) => factor,
                Change::Healthy | Change::Slower(_) | Change::OneTenant(_) => 1.0,
            };
            let stable_bad = self.draw.binomial(requests - canary, tenant.rate);
            let canary_bad = self.draw.binomial(canary, (tenant.rate * factor).min(1.0));
            let (stable, canary) = (arm(requests - canary, stable_bad), arm(canary, canary_bad));
            for (sum, part) in [(&mut second.stable, &stable), (&mut second.canary, &canary)] {
                sum.requests += part.requests;
                sum.errors.server += part.errors.server;
            }
            if let Some(id) = &tenant.id {
                second.tenants.push(OfTenant {
                    tenant: id.clone(),
                    stable,
                    canary,
                });
            }
        }
    }
}

impl Cumulative {
    /// Times around `50 ms * factor`.
    fn log_normal(factor: f64) -> Self {
        let mut chances: Vec<(u16, f64)> = Vec::new();
        // A fine grid over five standard deviations to each side is exact enough for buckets of a sixteenth.
        const STEPS: i32 = 4_000;
        let mut sum = 0.0;
        for step in -STEPS..=STEPS {
            let z = f64::from(step) * 5.0 / f64::from(STEPS);
            let chance = (-0.5 * z * z).exp();
            sum += chance;
            let place = bucket((50_000.0 * factor * (0.5 * z).exp()) as u64);
            match chances.last_mut() {
                Some((last, total)) if *last == place => *total = sum,
                _ => chances.push((place, sum)),
            }
        }
        for (_, chance) in &mut chances {
            *chance /= sum;
        }
        Self(chances)
    }

    fn draw(&self, draw: &mut Draw, count: u64) -> Vec<(u16, u64)> {
        let mut counts = vec![0_u64; self.0.len()];
        for _ in 0..count {
            let unit = draw.unit();
            let place = self.0.partition_point(|(_, chance)| *chance < unit);
            counts[place.min(self.0.len() - 1)] += 1;
        }
        let drawn = self.0.iter().zip(counts).filter(|(_, count)| *count > 0);
        let drawn: Vec<(u16, u64)> = drawn.map(|((place, _), count)| (*place, count)).collect();
        debug_assert!(drawn.iter().all(|(place, _)| usize::from(*place) < BUCKETS));
        drawn
    }
}

/// Parts of the traffic by Zipf's law.
fn zipf(tenants: usize) -> Vec<f64> {
    let sum: f64 = (1..=tenants).map(|rank| 1.0 / rank as f64).sum();
    (1..=tenants).map(|rank| 1.0 / rank as f64 / sum).collect()
}

fn sticky_tenants(draw: &mut Draw, rps: f64, drift: f64) -> Vec<Tenant> {
    let mut tenants = Vec::new();
    for part in zipf(200) {
        let before = BASE_RATE * draw.normal().exp();
        let requests = (rps * part * 3_600.0) as u64;
        tenants.push(Tenant {
            id: None,
            part,
            rate: before * (drift * draw.normal()).exp(),
            before: Tally::new(requests, draw.poisson(requests as f64 * before).min(requests)),
            place: draw.unit(),
        });
    }
    tenants
}

fn counted_tenants() -> Vec<Tenant> {
    zipf(20)
        .into_iter()
        .enumerate()
        .map(|(place, part)| Tenant {
            id: TenantId::new(&format!("tenant-{place}")).ok(),
            part,
            rate: BASE_RATE,
            before: Tally::default(),
            place: 0.0,
        })
        .collect()
}

fn arm(requests: u64, bad: u64) -> Arm {
    Arm {
        requests,
        errors: Errors {
            server: bad,
            ..Errors::default()
        },
        latency: Vec::new(),
    }
}
