//! The seats of one route of one service, shared by all workers.
//!
//! While nobody waits, taking a seat is a compare-and-swap on one word, giving it back a subtraction on the same
//! word. Only who finds the pool full, or gives a seat back while somebody waits, takes the queue's lock.
//!
//! **No wake-up is lost.** [`SeatPool::word`] holds the seats in use and the number of those who wait. Whoever wants to
//! wait first counts itself there and then looks for a seat ([`SeatPool::dispatch`]); whoever gives one back first
//! subtracts there and then looks whether anybody waits. Both are read-modify-writes of one word, so one comes first. If
//! the seat came back first, the one who waits sees it free; else the one who gives it back sees somebody waiting and
//! dispatches. The tenants' own counts change before the word does in a release and are read after it in a dispatch, so
//! the same holds for a tenant at its `max`. The limit changes under the queue's lock, and a dispatch follows. While the
//! word counts anybody as waiting, seats are taken under the lock only.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use super::adaptive::{Adaptive, Bounds, Inputs, Outcome, Sample};
use super::claim::{Claim, Refused, Room, Shed, Wish};
use super::queue::{Place, Queue, Standing};
use super::sync::{AtomicU32, AtomicU64, Mutex, MutexGuard};

/// One who waits, in [`SeatPool::word`]; the lower half counts seats.
const WAITING_ONE: u64 = 1 << 32;
/// Tenants whose counts are made at once, when the first of them comes.
const CHUNK: usize = 512;
const CHUNKS: usize = crate::snapshot::TENANTS_MAX / CHUNK + 1;
/// What a request is taken to cost before any has come back.
const COST_US_FIRST: u32 = 10_000;
/// The part of the latest request in the mean cost of a tenant's: one eighth; of all: one 64th.
const COST_SHIFT: u32 = 3;
const COST_SHIFT_ALL: u32 = 6;
/// A tenant is slow when its requests take so many times what requests take here, and then gets at most half of the
/// seats, or its part: what it holds does not come back while quick requests of others wait.
const SLOW_FACTOR: u32 = 4;
/// The operator's own requests get at most one seat in so many before all others.
const STRICT_PART: u32 = 10;
/// A queue's drain time is told as at least and at most this.
const DRAIN_NS_MIN: u64 = 10_000_000;
const DRAIN_NS_MAX: u64 = 60_000_000_000;

type Chunk = Box<[Cell; CHUNK]>;

#[derive(Debug)]
pub(crate) struct SeatPool {
    /// Seats in use in the lower half, requests that wait in the upper.
    word: AtomicU64,
    /// Written under the queue's lock.
    limit: AtomicU32,
    epoch: AtomicU32,
    /// The weights of all tenants that hold a seat.
    weights: AtomicU32,
    strict: AtomicU32,
    cost_us: AtomicU32,
    cells: OnceLock<Box<[OnceLock<Chunk>]>>,
    queue: Mutex<Queue>,
    /// The queue may be locked while this is, never the other way round.
    adaptive: Mutex<Adaptive>,
}

/// What is known of one tenant in one pool.
#[derive(Debug, Default)]
struct Cell {
    /// Seats in use in the lower half; in the upper the weight that was added to [`SeatPool::weights`] for them.
    held: AtomicU64,
    cost_us: AtomicU32,
}

/// A request that was refused, and what its client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turned {
    pub(crate) shed: Shed,
    /// The tenant has its part of the seats: it waits behind its own requests.
    pub(crate) own_excess: bool,
    pub(crate) drain_ns: u64,
}

/// How full a pool is, for people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Level {
    pub(crate) in_use: u32,
    pub(crate) limit: u32,
    pub(crate) inputs: Inputs,
}

impl SeatPool {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let adaptive = Adaptive::new(bounds);
        Self {
            word: AtomicU64::new(0),
            limit: AtomicU32::new(adaptive.limit()),
            epoch: AtomicU32::new(adaptive.epoch()),
            weights: AtomicU32::new(0),
            strict: AtomicU32::new(0),
            cost_us: AtomicU32::new(0),
            cells: OnceLock::new(),
            queue: Mutex::default(),
            adaptive: Mutex::new(adaptive),
        }
    }

    /// A seat, if one is free and nobody waits for it.
    pub(crate) fn try_take(&self, claim: &Claim, now_ns: u64) -> Option<Seat<'_>> {
        if !self.hold(claim, self.max(claim)) {
            return None;
        }
        let limit = self.limit.load(Ordering::Relaxed);
        let taken = self
            .word
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
                (word < u64::from(limit)).then_some(word + 1)
            });
        if taken.is_err() {
            // The caller goes on to wait for this very tenant, so a dispatch that saw one seat too many is made good.
            self.unhold(claim.slot);
            return None;
        }
        Some(self.seat(claim, now_ns, None, false))
    }

    /// Whether a seat is free and nobody waits for it: there is something to lend.
    pub(crate) fn has_slack(&self) -> bool {
        self.word.load(Ordering::Relaxed) < u64::from(self.limit.load(Ordering::Relaxed))
    }

    /// A seat, whatever the limit says: for who is only watched.
    pub(crate) fn take_anyway(&self, claim: &Claim, now_ns: u64) -> Seat<'_> {
        self.hold(claim, u32::MAX);
        self.word.fetch_add(1, Ordering::AcqRel);
        self.seat(claim, now_ns, None, false)
    }

    /// A place in the queue.
    ///
    /// # Errors
    /// When waiting would be in vain or there is no room.
    pub(crate) fn wait(
        &self,
        claim: &Claim,
        strict: bool,
        now_ns: u64,
        deadline_ns: u64,
    ) -> Result<Waiting<'_>, Turned> {
        let wish = Wish {
            claim: *claim,
            cost_us: self.cost_us(claim.slot),
            part: self.part(claim),
            deadline_ns,
            strict,
        };
        let mut wake = Vec::new();
        let mut queue = self.lock();
        // First counted, then looked for: see the head of this file.
        self.word.fetch_add(WAITING_ONE, Ordering::AcqRel);
        let entered = queue.enter(&wish, now_ns, &mut wake);
        self.recount(&queue);
        self.dispatch(&mut queue, now_ns, &mut wake);
        drop(queue);
        wake.into_iter().for_each(Waker::wake);
        match entered {
            Ok(place) => Ok(Waiting {
                pool: self,
                claim: *claim,
                strict,
                place: Some(place),
            }),
            Err(Refused { shed, drain_ns }) => Err(self.turned(claim, shed, drain_ns)),
        }
    }

    /// Tells the limit what a request showed. Samples may get lost when workers meet here: the next one serves as well.
    /// Those of slow tenants are left out: they tell more about their requests than about the service.
    fn sample(&self, seat: &Seat<'_>, head_ns: u64, outcome: Outcome, now_ns: u64) {
        if self.is_slow(seat.slot) {
            return;
        }
        let Ok(mut adaptive) = self.adaptive.try_lock() else {
            return;
        };
        let sample = Sample {
            epoch: seat.epoch,
            head_ns,
            outcome,
            in_use: seats_of(self.word.load(Ordering::Relaxed)),
        };
        if adaptive.sample(sample, now_ns) {
            self.follow(&adaptive, now_ns);
        }
    }

    /// Fits the limit to changed bounds. Who holds a seat keeps it, who waits goes on waiting.
    pub(crate) fn rebound(&self, bounds: Bounds, now_ns: u64) {
        let mut adaptive = self.adaptive.lock().unwrap_or_else(PoisonError::into_inner);
        if adaptive.rebound(bounds) {
            self.follow(&adaptive, now_ns);
        }
    }

    pub(crate) fn level(&self) -> Level {
        let word = self.word.load(Ordering::Relaxed);
        let inputs = self
            .adaptive
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .inputs();
        Level {
            in_use: seats_of(word),
            limit: self.limit.load(Ordering::Relaxed),
            inputs,
        }
    }

    /// Requests of the tenant at `slot` that have a seat, and that wait for one.
    pub(crate) fn of_tenant(&self, slot: u32) -> (u32, u32) {
        let chunk = self
            .cells
            .get()
            .and_then(|chunks| chunks.get(slot as usize / CHUNK)?.get());
        let held = chunk.map_or(0, |chunk| {
            chunk[slot as usize % CHUNK].held.load(Ordering::Relaxed)
        });
        (seats_of(held), self.lock().waiting_of(slot))
    }

    pub(crate) fn waiting(&self) -> u32 {
        waiting_of(self.word.load(Ordering::Acquire))
    }

    fn follow(&self, adaptive: &Adaptive, now_ns: u64) {
        let mut wake = Vec::new();
        let mut queue = self.lock();
        self.limit.store(adaptive.limit(), Ordering::Relaxed);
        self.epoch.store(adaptive.epoch(), Ordering::Relaxed);
        self.dispatch(&mut queue, now_ns, &mut wake);
        drop(queue);
        wake.into_iter().for_each(Waker::wake);
    }

    /// Gives free seats to those who wait, in the queue's order.
    fn dispatch(&self, queue: &mut Queue, now_ns: u64, wake: &mut Vec<Waker>) {
        loop {
            let word = self.word.load(Ordering::Acquire);
            let limit = self.limit.load(Ordering::Relaxed);
            if queue.waiting() == 0 || seats_of(word) >= limit {
                break;
            }
            let strict_max = (limit / STRICT_PART).max(1);
            let strict_allowed = self.strict.load(Ordering::Acquire) < strict_max;
            let quantum_us = self.typical_us();
            let room = |claim: &Claim| {
                let held = seats_of(self.cell(claim.slot).held.load(Ordering::Acquire));
                Room {
                    promised: held < claim.share.min(claim.max),
                    any: held < self.max(claim),
                }
            };
            let Some((claim, strict)) = queue.next(now_ns, quantum_us, strict_allowed, room, wake) else {
                break;
            };
            // The seat is taken here, in the name of the one who is about to wake up.
            self.hold(&claim, u32::MAX);
            self.strict.fetch_add(u32::from(strict), Ordering::Relaxed);
            self.word.fetch_add(1, Ordering::AcqRel);
            self.recount(queue);
        }
        self.recount(queue);
    }

    /// Makes the word say how many wait. Under the lock, so nobody else changes that half.
    fn recount(&self, queue: &Queue) {
        let counted = u64::from(waiting_of(self.word.load(Ordering::Relaxed)));
        let waiting = queue.waiting() as u64;
        let change = waiting.wrapping_sub(counted).wrapping_mul(WAITING_ONE);
        if change != 0 {
            self.word.fetch_add(change, Ordering::AcqRel);
        }
    }

    fn release(&self, seat: &Seat<'_>, now_ns: u64) {
        let spent_us = u32::try_from(now_ns.saturating_sub(seat.since_ns) / 1_000).unwrap_or(u32::MAX);
        let cell = self.cell(seat.slot);
        // None was spent on a request that left the moment it was served.
        if spent_us > 0 {
            mean(&self.cost_us, spent_us, COST_SHIFT_ALL);
            mean(&cell.cost_us, spent_us, COST_SHIFT);
        }
        if seat.strict {
            self.strict.fetch_sub(1, Ordering::Release);
        }
        self.unhold(seat.slot);
        let before = self.word.fetch_sub(1, Ordering::AcqRel);
        if waiting_of(before) == 0 {
            return;
        }
        let mut wake = Vec::new();
        let mut queue = self.lock();
        queue.freed(
            seat.slot,
            seat.charged_us
                .map_or(0, |charged_us| i64::from(charged_us) - i64::from(spent_us)),
        );
        self.dispatch(&mut queue, now_ns, &mut wake);
        drop(queue);
        wake.into_iter().for_each(Waker::wake);
    }

    fn seat(&self, claim: &Claim, now_ns: u64, charged_us: Option<u32>, strict: bool) -> Seat<'_> {
        Seat {
            pool: self,
            slot: claim.slot,
            epoch: self.epoch.load(Ordering::Relaxed),
            charged_us,
            since_ns: now_ns,
            strict,
        }
    }

    /// The seats that the tenant may hold at this moment.
    fn max(&self, claim: &Claim) -> u32 {
        if !self.is_slow(claim.slot) {
            return claim.max;
        }
        let half = (self.limit.load(Ordering::Relaxed) / 2).max(1);
        claim.max.min(half.max(self.part(claim)))
    }

    fn is_slow(&self, slot: u32) -> bool {
        let slow_us = self.typical_us().saturating_mul(SLOW_FACTOR);
        self.cell(slot).cost_us.load(Ordering::Relaxed) > slow_us
    }

    /// Counts one more seat of the tenant, if `max` allows.
    fn hold(&self, claim: &Claim, max: u32) -> bool {
        let held = &self.cell(claim.slot).held;
        let before = held.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |held| match seats_of(held) {
            0 if max > 0 => Some(u64::from(claim.weight) * WAITING_ONE + 1),
            seats => (seats < max).then_some(held + 1),
        });
        if let Ok(before) = before
            && seats_of(before) == 0
        {
            self.weights.fetch_add(claim.weight, Ordering::Relaxed);
        }
        before.is_ok()
    }

    fn unhold(&self, slot: u32) {
        let held = &self.cell(slot).held;
        let before = held.fetch_sub(1, Ordering::AcqRel);
        if seats_of(before) == 1 {
            self.weights.fetch_sub(waiting_of(before), Ordering::Relaxed);
        }
    }

    /// What a request takes here, whoever sends it.
    fn typical_us(&self) -> u32 {
        match self.cost_us.load(Ordering::Relaxed) {
            0 => COST_US_FIRST,
            cost_us => cost_us,
        }
    }

    fn cost_us(&self, slot: u32) -> u32 {
        match self.cell(slot).cost_us.load(Ordering::Relaxed) {
            0 => self.typical_us(),
            cost_us => cost_us,
        }
    }

    /// The seats that are the tenant's by its weight among those who hold any.
    fn part(&self, claim: &Claim) -> u32 {
        let held = seats_of(self.cell(claim.slot).held.load(Ordering::Relaxed));
        let own = if held == 0 { claim.weight } else { 0 };
        let weights = self.weights.load(Ordering::Relaxed).saturating_add(own).max(1);
        let limit = u64::from(self.limit.load(Ordering::Relaxed));
        let part = limit * u64::from(claim.weight) / u64::from(weights);
        u32::try_from(part).unwrap_or(u32::MAX).max(1)
    }

    fn turned(&self, claim: &Claim, shed: Shed, drain_ns: u64) -> Turned {
        let held = seats_of(self.cell(claim.slot).held.load(Ordering::Relaxed));
        Turned {
            shed,
            own_excess: held >= self.part(claim).min(self.max(claim)),
            drain_ns: drain_ns.clamp(DRAIN_NS_MIN, DRAIN_NS_MAX),
        }
    }

    fn cell(&self, slot: u32) -> &Cell {
        let chunks = self
            .cells
            .get_or_init(|| (0..CHUNKS).map(|_| OnceLock::new()).collect());
        let slot = slot as usize;
        // Slots beyond the table can only come from tenants that are gone; they share the first cells.
        let chunk = chunks.get(slot / CHUNK).unwrap_or(&chunks[0]);
        let chunk = chunk.get_or_init(|| Box::new(std::array::from_fn(|_| Cell::default())));
        &chunk[slot % CHUNK]
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seats_of(word: u64) -> u32 {
    word as u32
}

fn waiting_of(word: u64) -> u32 {
    (word >> 32) as u32
}

/// Moves a mean towards `latest`. Two at once lose one of the two, which a mean can bear.
fn mean(cell: &AtomicU32, latest: u32, shift: u32) {
    let old = cell.load(Ordering::Relaxed);
    let new = match old {
        0 => latest,
        old => old - (old >> shift) + (latest >> shift),
    };
    cell.store(new.max(1), Ordering::Relaxed);
}

/// The right to have one request at the service. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat<'a> {
    pool: &'a SeatPool,
    slot: u32,
    epoch: u32,
    /// What the tenant was charged for it. Nothing while nobody waited.
    charged_us: Option<u32>,
    since_ns: u64,
    strict: bool,
}

impl Seat<'_> {
    /// When it was taken.
    pub(crate) fn since_ns(&self) -> u64 {
        self.since_ns
    }

    /// Tells the pool what the request showed about the service.
    pub(crate) fn sample(&self, head_ns: u64, outcome: Outcome, now_ns: u64) {
        self.pool.sample(self, head_ns, outcome, now_ns);
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.pool.release(self, super::now_ns());
    }
}

/// A place in the queue, until it is served or refused. Who drops it leaves.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    pool: &'a SeatPool,
    claim: Claim,
    strict: bool,
    place: Option<Place>,
}

impl Waiting<'_> {
    /// What its client is told when it is refused because of `shed`.
    pub(crate) fn turned(&self, shed: Shed) -> Turned {
        let drain_ns = self.pool.lock().drain_ns(self.claim.slot);
        self.pool.turned(&self.claim, shed, drain_ns.unwrap_or_default())
    }
}

impl<'a> Future for Waiting<'a> {
    type Output = Result<Seat<'a>, Turned>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let place = self.place.expect("it is not polled after it was ready");
        let mut queue = self.pool.lock();
        let ended = match queue.standing(place) {
            Standing::Waits => {
                queue.wake_by(place, cx.waker());
                return Poll::Pending;
            }
            Standing::Refused(shed) => Err(shed),
            Standing::Served { charged_us } => Ok(charged_us),
        };
        queue.leave(place);
        drop(queue);
        self.place = None;
        Poll::Ready(match ended {
            Err(shed) => Err(self.turned(shed)),
            Ok(charged_us) => Ok(self
                .pool
                .seat(&self.claim, super::now_ns(), Some(charged_us), self.strict)),
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else {
            return;
        };
        let mut queue = self.pool.lock();
        let standing = queue.leave(place);
        self.pool.recount(&queue);
        drop(queue);
        if let Standing::Served { charged_us } = standing {
            // It got a seat and will not use it.
            let seat = self
                .pool
                .seat(&self.claim, super::now_ns(), Some(charged_us), self.strict);
            drop(seat);
        }
    }
}
