//! One endpoint: in use, left alone, or asked once to see whether it works again.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rc_model::resilience::Ejection;

use super::{GROWTH_MAX, Verdict, Window, growing_ns, held};
use crate::snapshot::Endpoint;

/// Shared by all workers.
#[derive(Debug)]
pub(crate) struct EndpointHealth {
    pub(crate) endpoint: Endpoint,
    /// Connections in a row that it did not take.
    pub(super) refused: AtomicU32,
    /// Until when it is left alone; 0 while it is in use.
    until_ns: AtomicU64,
    /// Somebody asks it, to see.
    probed: AtomicBool,
    /// How often in a row it was left alone.
    times: AtomicU32,
    /// For how long at first, as the rule was.
    first_ns: AtomicU64,
    /// When it was last let in again.
    back_ns: AtomicU64,
    /// How often in all.
    pub(crate) ejections: AtomicU64,
    window: Mutex<Window>,
}

/// The right to ask an endpoint that is left alone.
#[derive(Debug)]
pub(crate) struct Probe(Arc<EndpointHealth>);

impl EndpointHealth {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            refused: AtomicU32::new(0),
            until_ns: AtomicU64::new(0),
            probed: AtomicBool::new(false),
            times: AtomicU32::new(0),
            first_ns: AtomicU64::new(0),
            back_ns: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            window: Mutex::default(),
        }
    }

    /// Whether it is left alone.
    pub(crate) fn is_out(&self) -> bool {
        self.until_ns.load(Ordering::Relaxed) != 0
    }

    /// The right to ask it although it is left alone, if its time is over and nobody else does.
    pub(crate) fn probe(self: &Arc<Self>, now_ns: u64) -> Option<Probe> {
        let until_ns = self.until_ns.load(Ordering::Relaxed);
        let due = until_ns != 0 && now_ns >= until_ns;
        (due && !self.probed.swap(true, Ordering::Acquire)).then(|| Probe(Arc::clone(self)))
    }

    /// It took a connection.
    pub(crate) fn connected(&self) {
        if self.refused.load(Ordering::Relaxed) != 0 {
            self.refused.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn window(&self) -> MutexGuard<'_, Window> {
        held(&self.window)
    }

    /// Takes it out of use. `false` when it is already.
    pub(super) fn let_alone(&self, rule: &Ejection, now_ns: u64, random: u64) -> bool {
        if self.is_out() {
            return false;
        }
        let first = rule.time.duration();
        self.first_ns.store(
            u64::try_from(first.as_nanos()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
        let back_ns = self.back_ns.load(Ordering::Relaxed);
        let well_ns = u64::try_from(first.as_nanos())
            .unwrap_or(u64::MAX)
            .saturating_mul(GROWTH_MAX);
        if now_ns.saturating_sub(back_ns) > well_ns {
            self.times.store(0, Ordering::Relaxed);
        }
        self.out(now_ns, random);
        true
    }

    fn out(&self, now_ns: u64, random: u64) {
        let times = self.times.fetch_add(1, Ordering::Relaxed);
        let first = std::time::Duration::from_nanos(self.first_ns.load(Ordering::Relaxed));
        let until_ns = now_ns.saturating_add(growing_ns(first, times, random)).max(1);
        self.ejections.fetch_add(1, Ordering::Relaxed);
        self.until_ns.store(until_ns, Ordering::Relaxed);
    }
}

impl Probe {
    /// What the request showed.
    pub(crate) fn tell(self, verdict: Verdict, now_ns: u64, random: u64) {
        match verdict {
            Verdict::Fine => {
                self.0.refused.store(0, Ordering::Relaxed);
                // What it did before says nothing about it any more.
                *self.0.window() = Window::default();
                self.0.back_ns.store(now_ns, Ordering::Relaxed);
                self.0.until_ns.store(0, Ordering::Relaxed);
            }
            Verdict::Failed => self.0.out(now_ns, random),
            Verdict::Nothing => {}
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.probed.store(false, Ordering::Release);
    }
}
