//! Whether a service can be asked: which of its endpoints are left alone, and for whom requests are refused at once.
//!
//! Nothing here is on the way of a request to a healthy service but two loads and two additions. Workers count into a
//! [`Tally`] of their own and bring it once a second, and then the shares of failures are judged. What cannot wait for
//! that, an endpoint that takes no connections, is judged where it happens.
//!
//! **Tenants have one vote each.** A tenant whose requests fail opens a circuit for itself. The service's own circuit
//! opens when most requests fail and so do those of most tenants; so no tenant can close a service to others by asking
//! for what fails. An endpoint is judged against its siblings for the same reason: what fails everywhere is nobody's
//! fault there.

mod circuit;
mod endpoint;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use rc_model::resilience::Health;

pub(crate) use circuit::{Circuits, Pass, Refused};
pub(crate) use endpoint::{EndpointHealth, Probe};

use crate::snapshot::{Endpoint, Snapshot};

/// Requests and failures are forgotten by halves.
const HALF_LIFE_SECONDS: f32 = 5.0;
/// A time that doubles stops at so many times the first.
const GROWTH_MAX: u64 = 12;
/// Up to a quarter longer, so that what failed together is not asked again together.
const JITTER_PART: u64 = 4;
/// Fewest requests by which an endpoint is compared with others.
const COMPARED_MIN: f32 = 20.0;

/// What one try showed about the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    Failed,
    /// The client left, or it had no time, or it was at fault.
    Nothing,
}

/// One upstream of a snapshot with what is known of it.
#[derive(Debug)]
pub(crate) struct ServiceHealth {
    pub(crate) service: String,
    pub(crate) rule: Health,
    pub(crate) circuits: Arc<Circuits>,
    /// As in the snapshot's upstream.
    pub(crate) endpoints: Vec<Arc<EndpointHealth>>,
}

/// Taken over from one snapshot to the next, by service.
#[derive(Debug, Default)]
pub(crate) struct KeptHealth(HashMap<String, KeptService>);

#[derive(Debug, Default)]
struct KeptService {
    circuits: Arc<Circuits>,
    endpoints: HashMap<Endpoint, Arc<EndpointHealth>>,
}

/// One worker's counts of one upstream, until it brings them.
#[derive(Debug, Default)]
pub(crate) struct Tally(RefCell<Counts>);

#[derive(Debug, Default)]
struct Counts {
    endpoints: Vec<Count>,
    /// By slot.
    tenants: Vec<Count>,
    /// Slots that have a count.
    touched: Vec<u32>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    requests: u32,
    failures: u32,
}

/// Requests and failures of the last seconds; what is older weighs less.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    requests: f32,
    failures: f32,
    second: u32,
}

impl Tally {
    pub(crate) fn count(&self, endpoint: usize, slot: u32, verdict: Verdict) {
        if verdict == Verdict::Nothing {
            return;
        }
        let failed = u32::from(verdict == Verdict::Failed);
        let counts = &mut *self.0.borrow_mut();
        if endpoint >= counts.endpoints.len() {
            counts.endpoints.resize(endpoint + 1, Count::default());
        }
        counts.endpoints[endpoint].add(failed);
        let at = slot as usize;
        if at >= counts.tenants.len() {
            counts.tenants.resize(at + 1, Count::default());
        }
        if counts.tenants[at].requests == 0 {
            counts.touched.push(slot);
        }
        counts.tenants[at].add(failed);
    }
}

impl Count {
    fn add(&mut self, failed: u32) {
        self.requests += 1;
        self.failures += failed;
    }
}

impl Window {
    fn turn(&mut self, second: u32) {
        let gone = second.saturating_sub(self.second);
        if gone > 0 {
            let left = (-(gone as f32) / HALF_LIFE_SECONDS).exp2();
            self.requests *= left;
            self.failures *= left;
            self.second = second;
        }
    }

    fn add(&mut self, count: Count, second: u32) {
        self.turn(second);
        self.requests += count.requests as f32;
        self.failures += count.failures as f32;
    }

    fn ratio(&self) -> f32 {
        self.failures / self.requests.max(1.0)
    }
}

impl ServiceHealth {
    /// Takes what a worker has counted, and judges. Called once a second by each worker.
    pub(crate) fn absorb(&self, tally: &Tally, now_ns: u64, random: u64) {
        let counts = &mut *tally.0.borrow_mut();
        let second = second_of(now_ns);
        for (endpoint, count) in self.endpoints.iter().zip(&mut counts.endpoints) {
            endpoint.window().add(std::mem::take(count), second);
        }
        if self.rule.ejection.enabled {
            self.eject_outliers(second, now_ns, random);
        }
        let tenants = counts
            .touched
            .iter()
            .map(|slot| (*slot, counts.tenants[*slot as usize]));
        let breaker = &self.rule.breaker;
        if breaker.enabled && self.circuits.absorb(tenants, breaker, now_ns, random) {
            tracing::warn!(
                service = self.service,
                "most tenants' requests fail, the service is left alone"
            );
        }
        for slot in counts.touched.drain(..) {
            counts.tenants[slot as usize] = Count::default();
        }
    }

    /// Lets `endpoint` alone after a connection that it did not take, if it was one too many.
    pub(crate) fn not_connected(&self, endpoint: usize, now_ns: u64, random: u64) {
        let rule = &self.rule.ejection;
        let refused = self.endpoints[endpoint].refused.fetch_add(1, Ordering::Relaxed) + 1;
        if rule.enabled && refused >= rule.connects {
            self.eject(endpoint, now_ns, random);
        }
    }

    fn eject_outliers(&self, second: u32, now_ns: u64, random: u64) {
        if self.endpoints.len() < 2 {
            return;
        }
        let limit = self.rule.ejection.errors.ratio() as f32;
        let windows: Vec<Window> = self
            .endpoints
            .iter()
            .map(|endpoint| {
                let mut window = endpoint.window();
                window.turn(second);
                *window
            })
            .collect();
        for (at, own) in windows.iter().enumerate() {
            if own.requests < COMPARED_MIN || own.ratio() < limit {
                continue;
            }
            let mut others = Window::default();
            for (_, window) in windows.iter().enumerate().filter(|(other, _)| *other != at) {
                others.requests += window.requests;
                others.failures += window.failures;
            }
            if others.requests >= COMPARED_MIN && others.ratio() < own.ratio() / 2.0 {
                self.eject(at, now_ns, random);
            }
        }
    }

    fn eject(&self, at: usize, now_ns: u64, random: u64) {
        let rule = &self.rule.ejection;
        let all = self.endpoints.len();
        let most = (all * usize::from(rule.max.percent()) / 100).min(all.saturating_sub(1));
        // Two at once must not both find room for one.
        let _one_at_a_time = self.circuits.lock();
        let out = self.endpoints.iter().filter(|endpoint| endpoint.is_out()).count();
        if out < most && self.endpoints[at].let_alone(rule, now_ns, random) {
            let endpoint = &self.endpoints[at].endpoint;
            tracing::warn!(
                service = self.service,
                ?endpoint,
                "an endpoint fails, it is left alone"
            );
        }
    }

    /// Endpoints that are left alone.
    pub(crate) fn out(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.is_out()).count()
    }
}

/// What is known of every upstream of `snapshot`; what is gone is forgotten.
pub(crate) fn join(snapshot: &Snapshot, kept: &mut KeptHealth) -> Vec<Arc<ServiceHealth>> {
    let mut before = std::mem::take(&mut kept.0);
    let services = snapshot.upstreams.iter().map(|upstream| {
        let name = upstream.label();
        let mut known = before.remove(&name).unwrap_or_default();
        let mut endpoints = HashMap::with_capacity(upstream.endpoints.len());
        for endpoint in &upstream.endpoints {
            let health = known
                .endpoints
                .remove(endpoint)
                .unwrap_or_else(|| Arc::new(EndpointHealth::new(endpoint.clone())));
            endpoints.insert(endpoint.clone(), health);
        }
        let in_order = upstream
            .endpoints
            .iter()
            .map(|endpoint| Arc::clone(&endpoints[endpoint]));
        let service = Arc::new(ServiceHealth {
            service: name.clone(),
            rule: upstream.health,
            circuits: Arc::clone(&known.circuits),
            endpoints: in_order.collect(),
        });
        known.endpoints = endpoints;
        kept.0.insert(name, known);
        service
    });
    services.collect()
}

/// How long the `times`-th time in a row is.
fn growing_ns(first: std::time::Duration, times: u32, random: u64) -> u64 {
    let first_ns = u64::try_from(first.as_nanos()).unwrap_or(u64::MAX);
    let grown_ns = first_ns.saturating_mul((1_u64 << times.min(4)).min(GROWTH_MAX));
    grown_ns.saturating_add(random % (grown_ns / JITTER_PART).max(1))
}

fn second_of(now_ns: u64) -> u32 {
    u32::try_from(now_ns / 1_000_000_000).unwrap_or(u32::MAX)
}

/// What a lock holds, also after a panic of somebody else: counts that are a little wrong.
fn held<T>(lock: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
