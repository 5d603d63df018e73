//! Circuits of one service: its own, and those of tenants for which it fails.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rc_model::resilience::Breaker;

use super::{Count, Verdict, Window, growing_ns, held, second_of};

/// Requests in a row that must work before a circuit closes.
const PASSES: u32 = 3;

/// Shared by all workers.
#[derive(Debug, Default)]
pub(crate) struct Circuits {
    /// Circuits that are not closed; as long as there is none, no request takes the lock.
    broken: AtomicUsize,
    /// How often one opened.
    pub(crate) opened: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    all: Window,
    /// By slot.
    tenants: Vec<Window>,
    service: Option<Circuit>,
    of_tenants: HashMap<u32, Circuit>,
}

/// A circuit that is not closed: open until a time, then half open.
#[derive(Debug)]
struct Circuit {
    until_ns: u64,
    first: std::time::Duration,
    times: u32,
    /// Somebody is let through, to see.
    probed: bool,
    passed: u32,
    /// The tenant whose request failed while half open. It takes the word of a second one to open again.
    failed_for: Option<u32>,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The service fails for this tenant only, as far as is known.
    pub(crate) own: bool,
    pub(crate) wait_ns: u64,
}

/// The right to ask a service whose circuit is half open. What came of it must be told; else another may try.
#[derive(Debug)]
pub(crate) struct Pass {
    circuits: Arc<Circuits>,
    slot: u32,
    own: bool,
    told: bool,
}

impl Circuits {
    /// Whether every request may go to the service.
    pub(crate) fn are_closed(&self) -> bool {
        self.broken.load(Ordering::Relaxed) == 0
    }

    /// Whether a request of the tenant may go to the service. With a [`Pass`] it goes to see whether the service works.
    pub(crate) fn enter(
        self: &Arc<Self>,
        slot: u32,
        now_ns: u64,
        random: u64,
    ) -> Result<Option<Pass>, Refused> {
        if self.are_closed() {
            return Ok(None);
        }
        let state = &mut *self.lock();
        let (circuit, own) = match (&mut state.service, state.of_tenants.get_mut(&slot)) {
            (Some(service), _) => (service, false),
            (None, Some(tenants)) => (tenants, true),
            (None, None) => return Ok(None),
        };
        circuit
            .enter(slot, now_ns, random)
            .map_err(|wait_ns| Refused { own, wait_ns })?;
        Ok(Some(Pass {
            circuits: Arc::clone(self),
            slot,
            own,
            told: false,
        }))
    }

    /// Circuits that are not closed: whether the service's own is among them, and how many of tenants.
    pub(crate) fn broken(&self) -> (bool, usize) {
        let state = self.lock();
        (state.service.is_some(), state.of_tenants.len())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        held(&self.state)
    }

    /// Adds what a worker has counted, and opens circuits. Whether the service's own is among them.
    pub(super) fn absorb(
        &self,
        tenants: impl Iterator<Item = (u32, Count)>,
        rule: &Breaker,
        now_ns: u64,
        random: u64,
    ) -> bool {
        let second = second_of(now_ns);
        let state = &mut *self.lock();
        state.all.turn(second);
        let mut failing = Vec::new();
        for (slot, count) in tenants {
            let at = slot as usize;
            if at >= state.tenants.len() {
                state.tenants.resize(at + 1, Window::default());
            }
            state.tenants[at].add(count, second);
            state.all.add(count, second);
            if count.failures > 0 && is_sick(&state.tenants[at], rule, rule.volume) {
                failing.push(slot);
            }
        }
        if state.service.is_some() {
            return false;
        }
        let everywhere = is_sick(&state.all, rule, rule.volume) && state.most_tenants_fail(rule, second);
        if everywhere {
            // Its circuit stands for all of theirs, and what was counted so far has had its effect.
            state.of_tenants.clear();
            state.forget();
            state.service = Some(Circuit::open(rule, now_ns, random));
            self.opened.fetch_add(1, Ordering::Relaxed);
        } else {
            for slot in failing {
                if state.of_tenants.contains_key(&slot) {
                    continue;
                }
                state.tenants[slot as usize] = Window::default();
                state.of_tenants.insert(slot, Circuit::open(rule, now_ns, random));
                self.opened.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.broken.store(state.count(), Ordering::Relaxed);
        everywhere
    }

    fn tell(&self, slot: u32, own: bool, verdict: Verdict, now_ns: u64, random: u64) {
        let state = &mut *self.lock();
        let circuit = if own {
            state.of_tenants.get_mut(&slot)
        } else {
            state.service.as_mut()
        };
        let Some(circuit) = circuit else { return };
        circuit.probed = false;
        match verdict {
            Verdict::Nothing => {}
            Verdict::Fine => {
                circuit.failed_for = None;
                circuit.passed += 1;
                if circuit.passed >= PASSES {
                    state.close(slot, own);
                }
            }
            Verdict::Failed => circuit.failed(slot, own, now_ns, random),
        }
        self.broken.store(state.count(), Ordering::Relaxed);
    }
}

fn is_sick(window: &Window, rule: &Breaker, volume: u32) -> bool {
    window.requests >= volume as f32 && window.ratio() >= rule.errors.ratio() as f32
}

impl State {
    /// Whether the requests of most tenants that asked lately fail, and of more than one.
    fn most_tenants_fail(&mut self, rule: &Breaker, second: u32) -> bool {
        let (mut asked, mut sick) = (0_usize, 0_usize);
        for window in &mut self.tenants {
            window.turn(second);
            if window.requests >= 1.0 {
                asked += 1;
                sick += usize::from(is_sick(window, rule, 1));
            }
        }
        sick >= 2 && sick * 2 > asked
    }

    fn forget(&mut self) {
        self.all = Window::default();
        self.tenants.fill(Window::default());
    }

    fn close(&mut self, slot: u32, own: bool) {
        if own {
            self.of_tenants.remove(&slot);
            if let Some(window) = self.tenants.get_mut(slot as usize) {
                *window = Window::default();
            }
        } else {
            self.service = None;
            self.forget();
        }
    }

    fn count(&self) -> usize {
        usize::from(self.service.is_some()) + self.of_tenants.len()
    }
}

impl Circuit {
    fn open(rule: &Breaker, now_ns: u64, random: u64) -> Self {
        let first = rule.time.duration();
        Self {
            until_ns: now_ns.saturating_add(growing_ns(first, 0, random)),
            first,
            times: 1,
            probed: false,
            passed: 0,
            failed_for: None,
        }
    }

    fn enter(&mut self, slot: u32, now_ns: u64, random: u64) -> Result<(), u64> {
        let first_ns = u64::try_from(self.first.as_nanos()).unwrap_or(u64::MAX);
        // Whoever comes too early comes again when the circuit is half open, and not all at once.
        let wait_ns = match self.until_ns.saturating_sub(now_ns) {
            0 if self.probed => first_ns / 2,
            0 if self.failed_for == Some(slot) && now_ns < self.until_ns.saturating_add(first_ns) => {
                first_ns / 2
            }
            0 => {
                self.probed = true;
                return Ok(());
            }
            wait_ns => wait_ns,
        };
        Err(wait_ns.saturating_add(random % (wait_ns / super::JITTER_PART).max(1)))
    }

    fn failed(&mut self, slot: u32, own: bool, now_ns: u64, random: u64) {
        self.passed = 0;
        match self.failed_for {
            // Of the service's own circuit one tenant alone does not decide: its request may be what fails.
            None if !own => {
                self.failed_for = Some(slot);
                self.until_ns = now_ns;
            }
            _ => {
                self.failed_for = None;
                self.until_ns = now_ns.saturating_add(growing_ns(self.first, self.times, random));
                self.times = self.times.saturating_add(1);
            }
        }
    }
}

impl Pass {
    pub(crate) fn tell(mut self, verdict: Verdict, now_ns: u64, random: u64) {
        self.told = true;
        self.circuits.tell(self.slot, self.own, verdict, now_ns, random);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        // Nobody knows what became of it: the next one may see.
        let state = &mut *self.circuits.lock();
        let circuit = if self.own {
            state.of_tenants.get_mut(&self.slot)
        } else {
            state.service.as_mut()
        };
        if let Some(circuit) = circuit {
            circuit.probed = false;
        }
    }
}
