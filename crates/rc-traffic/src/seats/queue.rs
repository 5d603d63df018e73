//! Who waits for a seat, in which order they are served, and who is refused.
//!
//! Deficit round robin between tenants (Shreedhar and Varghese 1995) with the sparse flows of RFC 8290, counted in
//! microseconds of service. Time is an argument and nothing here waits: [`super::pool`] does.

use std::collections::{HashMap, VecDeque};
use std::task::Waker;

use super::claim::{Claim, Refused, Room, Shed, Wish};

/// Most requests that wait for one pool.
pub(crate) const WAITING_MAX: usize = 4_096;
/// Weight of the latest in a mean that moves slowly.
const GAP_SHARE: u64 = 16;

/// Places of the intrusive lists; no place.
const NONE: u32 = u32::MAX;

/// A place in the queue. The generation tells it from a later one at the same index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    at: u32,
    generation: u32,
}

/// How it stands with a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Waits,
    /// A seat was taken in its name, and so much charged.
    Served {
        charged_us: u32,
    },
    Refused(Shed),
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    standing: Standing,
    strict: bool,
    flow: u32,
    before: u32,
    behind: u32,
    since_ns: u64,
    deadline_ns: u64,
    cost_us: u32,
    waker: Option<Waker>,
}

/// One tenant with requests that wait, or with a turn to come.
#[derive(Debug)]
struct Flow {
    claim: Claim,
    line: Line,
    deficit_us: i64,
    cost_us: u32,
    /// Mean time from one service to the next while others wait behind.
    gap_ns: u64,
    served_ns: Option<u64>,
    /// Since when whoever is served had waited longer than the target.
    above_ns: Option<u64>,
    /// The newest goes first: the oldest are too old to be worth it.
    newest_first: bool,
    listed: Listed,
    promised: bool,
    /// Requests of it in the strict line.
    strict: u32,
}

/// Doubly linked entries, the oldest first.
#[derive(Debug, Clone, Copy)]
struct Line {
    first: u32,
    last: u32,
    length: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listed {
    /// It has all the seats that it may have, or nothing waits.
    Nowhere,
    New,
    Old,
}

#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: Vec<Entry>,
    free_entries: Vec<u32>,
    flows: Vec<Flow>,
    free_flows: Vec<u32>,
    by_slot: HashMap<u32, u32>,
    /// Tenants that had nothing waiting until a moment ago.
    new: VecDeque<u32>,
    old: VecDeque<u32>,
    /// Tenants that may hold less than their share. Looked at before the turns.
    promised: VecDeque<u32>,
    strict: Line,
    waiting: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            first: NONE,
            last: NONE,
            length: 0,
        }
    }
}

impl Flow {
    fn drain_ns(&self, length: u32) -> u64 {
        self.gap_ns.saturating_mul(u64::from(length))
    }
}

impl Queue {
    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many of one tenant wait.
    pub(crate) fn waiting_of(&self, slot: u32) -> u32 {
        let flow = self.by_slot.get(&slot).map(|at| &self.flows[*at as usize]);
        flow.map_or(0, |flow| flow.line.length + flow.strict)
    }

    /// Gives a request a place behind the others of its tenant. At the bound of all, the tenant with the most waiting
    /// for its weight loses its youngest; that can be this one.
    ///
    /// # Errors
    /// Why it gets none.
    pub(crate) fn enter(
        &mut self,
        wish: &Wish,
        now_ns: u64,
        wake: &mut Vec<Waker>,
    ) -> Result<Place, Refused> {
        let flow = self.flow(wish);
        // Its turn may have been passed over for a seat that was tried in vain at the same moment.
        self.list(flow);
        let Flow { claim, line, .. } = self.flows[flow as usize];
        let drain_ns = self.flows[flow as usize].drain_ns(line.length + 1);
        let refuse = |shed| Err(Refused { shed, drain_ns });
        if !wish.strict {
            if line.length >= claim.waiting_max {
                self.forget_if_idle(flow);
                return refuse(Shed::QueueFull);
            }
            // Behind nobody the wait is a matter of luck, and trying costs nothing.
            let ahead_ns = self.flows[flow as usize].drain_ns(line.length);
            if now_ns.saturating_add(ahead_ns) > wish.deadline_ns {
                self.forget_if_idle(flow);
                return refuse(Shed::Late);
            }
        }
        if self.waiting >= WAITING_MAX {
            let longest = self.longest(flow);
            if longest == flow {
                self.forget_if_idle(flow);
                return refuse(Shed::PoolFull);
            }
            let youngest = self.flows[longest as usize].line.last;
            self.refuse(youngest, Shed::PoolFull, wake);
        }
        let place = self.insert(flow, wish, now_ns);
        self.list(flow);
        Ok(place)
    }

    /// The next to be served, if anybody may. `room` tells what a tenant may have; `strict_allowed` whether the
    /// operator's own may have one more. Who has become too old on the way is refused.
    pub(crate) fn next(
        &mut self,
        now_ns: u64,
        quantum_us: u32,
        strict_allowed: bool,
        room: impl Fn(&Claim) -> Room,
        wake: &mut Vec<Waker>,
    ) -> Option<(Claim, bool)> {
        if strict_allowed && self.strict.first != NONE {
            let at = self.strict.first;
            let claim = self.flows[self.entries[at as usize].flow as usize].claim;
            self.serve(at, now_ns, wake);
            return Some((claim, true));
        }
        while let Some(flow) = self.promised.pop_front() {
            let Flow { claim, line, .. } = self.flows[flow as usize];
            self.flows[flow as usize].promised = false;
            if line.length > 0 && room(&claim).promised {
                let served = self.serve_flow(flow, now_ns, wake);
                self.promise(flow);
                if served {
                    return Some((claim, false));
                }
            }
            self.forget_if_idle(flow);
        }
        // A turn is a place in a list; nobody who could be served is passed over more than once without a credit
        // that lets somebody be served in the next round.
        let mut passed = 0;
        while let Some((flow, list)) = self.front() {
            let Flow {
                claim,
                line,
                deficit_us,
                ..
            } = self.flows[flow as usize];
            if line.length == 0 {
                // It keeps its debts for one more round, so that who comes and goes is not always new.
                self.take_front();
                if list == Listed::New && deficit_us < 0 {
                    self.put(flow, Listed::Old);
                } else {
                    self.forget_if_idle(flow);
                }
                continue;
            }
            if !room(&claim).any {
                // It comes back when one of its seats does: see `freed`.
                self.take_front();
                continue;
            }
            if deficit_us <= 0 {
                self.take_front();
                self.put(flow, Listed::Old);
                self.flows[flow as usize].deficit_us +=
                    i64::from(quantum_us.max(1)) * i64::from(claim.weight);
                passed += 1;
                if passed > self.new.len() + self.old.len() {
                    self.forgive(quantum_us);
                    passed = 0;
                }
                continue;
            }
            if self.serve_flow(flow, now_ns, wake) {
                return Some((claim, false));
            }
        }
        None
    }

    /// A tenant's seat came back, for which `refund_us` too much was charged, or too little.
    pub(crate) fn freed(&mut self, slot: u32, refund_us: i64) {
        let Some(flow) = self.by_slot.get(&slot).copied() else {
            return;
        };
        self.flows[flow as usize].deficit_us += refund_us;
        if self.flows[flow as usize].line.length > 0 {
            self.list(flow);
        }
    }

    pub(crate) fn standing(&self, place: Place) -> Standing {
        self.entries[place.at as usize].standing
    }

    /// Who is to be woken when `place` is served or refused.
    pub(crate) fn wake_by(&mut self, place: Place, waker: &Waker) {
        let held = &mut self.entries[place.at as usize].waker;
        match held {
            Some(held) => held.clone_from(waker),
            None => *held = Some(waker.clone()),
        }
    }

    /// How long the queue of the tenant at `place` takes to drain.
    pub(crate) fn drain_ns(&self, slot: u32) -> Option<u64> {
        let flow = &self.flows[*self.by_slot.get(&slot)? as usize];
        Some(flow.drain_ns(flow.line.length + 1))
    }

    /// Gives `place` up, whatever became of it. Returns what did.
    pub(crate) fn leave(&mut self, place: Place) -> Standing {
        let entry = &self.entries[place.at as usize];
        debug_assert_eq!(entry.generation, place.generation, "a place is left once");
        let (standing, flow) = (entry.standing, entry.flow);
        if standing == Standing::Waits {
            self.unlink(place.at);
            self.forget_if_idle(flow);
        }
        let entry = &mut self.entries[place.at as usize];
        entry.generation = entry.generation.wrapping_add(1);
        entry.waker = None;
        self.free_entries.push(place.at);
        standing
    }

    fn flow(&mut self, wish: &Wish) -> u32 {
        let claim = wish.claim;
        let gap_ns = u64::from(wish.cost_us) * 1_000 / u64::from(wish.part.max(1));
        let at = match self.by_slot.get(&claim.slot) {
            Some(at) => *at,
            None => {
                let flow = Flow {
                    claim,
                    line: Line::default(),
                    deficit_us: 0,
                    cost_us: wish.cost_us,
                    gap_ns,
                    served_ns: None,
                    above_ns: None,
                    newest_first: false,
                    listed: Listed::Nowhere,
                    promised: false,
                    strict: 0,
                };
                let at = match self.free_flows.pop() {
                    Some(at) => {
                        self.flows[at as usize] = flow;
                        at
                    }
                    None => {
                        self.flows.push(flow);
                        (self.flows.len() - 1) as u32
                    }
                };
                self.by_slot.insert(claim.slot, at);
                at
            }
        };
        let flow = &mut self.flows[at as usize];
        // A new policy rules from the next request on.
        flow.claim = claim;
        flow.cost_us = wish.cost_us;
        if flow.served_ns.is_none() {
            flow.gap_ns = gap_ns;
        }
        at
    }

    fn insert(&mut self, flow: u32, wish: &Wish, now_ns: u64) -> Place {
        let at = match self.free_entries.pop() {
            Some(at) => at,
            None => {
                self.entries.push(Entry {
                    generation: 0,
                    standing: Standing::Waits,
                    strict: false,
                    flow: NONE,
                    before: NONE,
                    behind: NONE,
                    since_ns: 0,
                    deadline_ns: 0,
                    cost_us: 0,
                    waker: None,
                });
                (self.entries.len() - 1) as u32
            }
        };
        let line = self.line(flow, wish.strict);
        let last = std::mem::replace(&mut line.last, at);
        line.length += 1;
        if last == NONE {
            line.first = at;
        } else {
            self.entries[last as usize].behind = at;
        }
        let entry = &mut self.entries[at as usize];
        entry.standing = Standing::Waits;
        entry.strict = wish.strict;
        entry.flow = flow;
        entry.before = last;
        entry.behind = NONE;
        entry.since_ns = now_ns;
        entry.deadline_ns = wish.deadline_ns;
        entry.cost_us = wish.cost_us;
        self.flows[flow as usize].strict += u32::from(wish.strict);
        self.waiting += 1;
        Place {
            at,
            generation: entry.generation,
        }
    }

    fn line(&mut self, flow: u32, strict: bool) -> &mut Line {
        if strict {
            &mut self.strict
        } else {
            &mut self.flows[flow as usize].line
        }
    }

    fn unlink(&mut self, at: u32) {
        let Entry {
            flow,
            strict,
            before,
            behind,
            ..
        } = self.entries[at as usize];
        match before {
            NONE => self.line(flow, strict).first = behind,
            before => self.entries[before as usize].behind = behind,
        }
        match behind {
            NONE => self.line(flow, strict).last = before,
            behind => self.entries[behind as usize].before = before,
        }
        self.line(flow, strict).length -= 1;
        self.flows[flow as usize].strict -= u32::from(strict);
        self.waiting -= 1;
    }

    fn refuse(&mut self, at: u32, shed: Shed, wake: &mut Vec<Waker>) {
        self.settle(at, Standing::Refused(shed), wake);
    }

    fn settle(&mut self, at: u32, standing: Standing, wake: &mut Vec<Waker>) {
        self.unlink(at);
        let entry = &mut self.entries[at as usize];
        entry.standing = standing;
        wake.extend(entry.waker.take());
    }

    /// Serves an entry and charges its estimate.
    fn serve(&mut self, at: u32, now_ns: u64, wake: &mut Vec<Waker>) {
        let Entry { flow, cost_us, .. } = self.entries[at as usize];
        let charged_us = cost_us;
        self.settle(at, Standing::Served { charged_us }, wake);
        let flow = &mut self.flows[flow as usize];
        flow.deficit_us -= i64::from(cost_us);
        if let Some(served_ns) = flow.served_ns {
            let gap_ns = now_ns.saturating_sub(served_ns);
            flow.gap_ns = (flow.gap_ns * (GAP_SHARE - 1) + gap_ns) / GAP_SHARE;
        }
        // Without anybody behind, the time to the next one says when it came and not how fast the queue drains.
        flow.served_ns = (flow.line.length > 0).then_some(now_ns);
    }

    /// Serves the flow's next that is not too old. `false`: none was left.
    fn serve_flow(&mut self, flow: u32, now_ns: u64, wake: &mut Vec<Waker>) -> bool {
        loop {
            let Flow { claim, line, .. } = self.flows[flow as usize];
            if line.first == NONE {
                let flow = &mut self.flows[flow as usize];
                flow.above_ns = None;
                flow.newest_first = false;
                return false;
            }
            let age_ns = now_ns.saturating_sub(self.entries[line.first as usize].since_ns);
            let state = &mut self.flows[flow as usize];
            if age_ns < claim.target_ns {
                state.above_ns = None;
                state.newest_first = false;
            } else {
                let above_ns = *state.above_ns.get_or_insert(now_ns);
                let stands = now_ns.saturating_sub(above_ns) >= claim.interval_ns();
                if stands && age_ns >= claim.interval_ns() {
                    state.newest_first = true;
                    self.refuse(line.first, Shed::Aged, wake);
                    continue;
                }
            }
            let at = if self.flows[flow as usize].newest_first {
                line.last
            } else {
                line.first
            };
            if self.entries[at as usize].deadline_ns <= now_ns {
                self.refuse(at, Shed::Late, wake);
                continue;
            }
            self.serve(at, now_ns, wake);
            return true;
        }
    }

    /// The flow with the most waiting cost for its weight, `newcomer` counted with the one that it brings. Looks at
    /// every flow: it is asked only while [`WAITING_MAX`] wait.
    fn longest(&self, newcomer: u32) -> u32 {
        let weighted = |at: u32| {
            let flow = &self.flows[at as usize];
            let length = u64::from(flow.line.length) + u64::from(at == newcomer);
            // Compared as fractions of whole numbers.
            (
                u128::from(length) * u128::from(flow.cost_us.max(1)),
                u128::from(flow.claim.weight.max(1)),
            )
        };
        let flows = self.by_slot.values().copied();
        let longest = flows
            .filter(|at| *at == newcomer || self.flows[*at as usize].line.length > 0)
            .max_by(|a, b| {
                let ((cost_a, weight_a), (cost_b, weight_b)) = (weighted(*a), weighted(*b));
                (cost_a * weight_b).cmp(&(cost_b * weight_a))
            });
        longest.unwrap_or(newcomer)
    }

    /// Everybody who has a turn is in debt: give all of them as many rounds as the least indebted needs.
    fn forgive(&mut self, quantum_us: u32) {
        let quantum_us = i64::from(quantum_us.max(1));
        let credit = |flow: &Flow| quantum_us * i64::from(flow.claim.weight.max(1));
        let turns = self.new.iter().chain(&self.old);
        let rounds = turns.clone().map(|at| {
            let flow = &self.flows[*at as usize];
            (-flow.deficit_us).max(0) / credit(flow) + 1
        });
        let rounds = rounds.min().unwrap_or(0);
        for at in turns {
            let flow = &mut self.flows[*at as usize];
            flow.deficit_us += rounds * credit(flow);
        }
    }

    fn front(&self) -> Option<(u32, Listed)> {
        let new = self.new.front().map(|flow| (*flow, Listed::New));
        new.or_else(|| self.old.front().map(|flow| (*flow, Listed::Old)))
    }

    fn take_front(&mut self) {
        let flow = self.new.pop_front().or_else(|| self.old.pop_front());
        if let Some(flow) = flow {
            self.flows[flow as usize].listed = Listed::Nowhere;
        }
    }

    fn put(&mut self, flow: u32, list: Listed) {
        self.flows[flow as usize].listed = list;
        match list {
            Listed::New => self.new.push_back(flow),
            Listed::Old => self.old.push_back(flow),
            Listed::Nowhere => {}
        }
    }

    /// Gives a flow its turn, if it has none.
    fn list(&mut self, flow: u32) {
        self.promise(flow);
        let state = &mut self.flows[flow as usize];
        if state.listed == Listed::Nowhere && state.line.length > 0 {
            // On credit: a tenant without debts is served before those who have had their turns.
            let fresh = state.deficit_us >= 0 && state.line.length == 1;
            if fresh {
                state.deficit_us = state.deficit_us.max(1);
            }
            self.put(flow, if fresh { Listed::New } else { Listed::Old });
        }
    }

    fn promise(&mut self, flow: u32) {
        let state = &mut self.flows[flow as usize];
        if !state.promised && state.claim.share > 0 && state.line.length > 0 {
            state.promised = true;
            self.promised.push_back(flow);
        }
    }

    /// Forgets a flow in which nothing waits and which no list names.
    fn forget_if_idle(&mut self, flow: u32) {
        let state = &self.flows[flow as usize];
        let idle = state.line.length == 0 && state.strict == 0;
        if idle && state.listed == Listed::Nowhere && !state.promised {
            self.by_slot.remove(&state.claim.slot);
            self.free_flows.push(flow);
        }
    }
}
