//! What one route keeps, shared by all workers: answers by owner and question, and who is fetching what.
//!
//! One lock, held for a look at a map. Memory is bounded by the route's `max`: what is over goes from the owner that has
//! the most, oldest first, and what was asked for since it came gets a second round (second chance). So a tenant that
//! floods the route with questions throws out its own answers.
//!
//! **One fetch for all.** A [`Flight`] is the right to ask the service; whoever looks meanwhile gets a [`Receiver`] for
//! how it lands. The value stays in the channel, so whoever looks at it late does not miss it, and a flight that is
//! dropped lands as [`Landing::Broken`]: nobody waits for a fetch that does not exist.
//!
//! **Nothing from before a write.** Answers and flights carry the owner's [`Epoch`] at the time of asking. Another epoch
//! and they are neither given nor joined.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rc_model::TenantId;
use tokio::sync::watch::{self, Receiver};

use super::Counts;
use super::answer::{Answer, Freshness};
use super::control::Policy;
use super::epoch::Epoch;
use super::key::{Asked, Key, Owner, Question};
use crate::answer::Refusal;

/// What an entry takes beside its bytes, about: its slot, its places in the maps and the queue.
const ENTRY_BYTES: usize = 320;
/// How long nobody asks for a new answer after the service failed to give one.
const RETRY_NS: u64 = 1_000_000_000;
/// How long a question is remembered whose answer cannot be shared. Asking for it goes on one by one meanwhile, because
/// waiting for each other would be in vain.
const PASS_NS: u64 = 10_000_000_000;

/// What one route keeps.
#[derive(Debug)]
pub(crate) struct RouteCache {
    pub(super) policy: Policy,
    pub(super) counts: Arc<Counts>,
    /// Bytes of answers that are coming.
    coming: AtomicUsize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    shares: HashMap<Owner, Share>,
    /// Owners by what they have, and a number that tells equals apart.
    ranking: BTreeMap<(usize, u64), Owner>,
    bytes: usize,
    /// Counts owners and flights.
    numbers: u64,
}

/// One owner's part.
#[derive(Debug)]
struct Share {
    number: u64,
    bytes: usize,
    slots: HashMap<Arc<Question>, Slot>,
    /// In the order in which they came. Each slot is in it once, or not ([`Slot::queued`]).
    queue: VecDeque<Arc<Question>>,
}

#[derive(Debug, Default)]
struct Slot {
    entry: Option<Entry>,
    flying: Option<Flying>,
    bytes: usize,
    queued: bool,
    /// It was asked for since it was queued.
    visited: bool,
}

#[derive(Debug)]
enum Entry {
    Answer(Arc<Answer>),
    /// Its answers cannot be shared.
    Pass {
        until_ns: u64,
    },
}

#[derive(Debug)]
struct Flying {
    number: u64,
    epoch: u64,
    landing: Receiver<Option<Landing>>,
}

/// How a fetch ended.
#[derive(Debug, Clone)]
pub(super) enum Landing {
    /// All who waited may have it.
    Answer { answer: Arc<Answer>, kept: bool },
    /// Only the one who asked may have it.
    Alone { failed: bool },
    /// The gateway refused to ask, or the service did not answer.
    Refused(Refusal),
    /// The deadline of the one who asked passed; others may have more time.
    Late,
    /// It broke off.
    Broken,
}

/// What becomes of the slot of a flight that has landed.
enum Sequel {
    Keep(Entry),
    /// The service failed: what was there stays, and is not asked for again at once.
    Stay {
        retry_ns: u64,
    },
    Clear,
}

/// What there is for a request.
#[derive(Debug)]
pub(super) enum Found {
    Fresh(Arc<Answer>),
    /// Old and good enough. Whoever gets the flight is to ask for a new one.
    Stale(Arc<Answer>, Option<Flight>),
    /// Somebody asks already.
    Wait(Receiver<Option<Landing>>, Option<Arc<Answer>>),
    /// Nothing: the request is to ask for all. The answer is for when the service fails.
    Lead(Flight, Receiver<Option<Landing>>, Option<Arc<Answer>>),
    /// Let it go to the service by itself.
    Pass,
}

/// The right to ask the service a question, for all who want to know.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) cache: Arc<RouteCache>,
    pub(super) key: Key,
    pub(super) epoch: u64,
    number: u64,
    landing: watch::Sender<Option<Landing>>,
}

impl RouteCache {
    pub(super) fn new(policy: Policy, counts: Arc<Counts>) -> Self {
        Self {
            policy,
            counts,
            coming: AtomicUsize::new(0),
            kept: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is for `asked`, whose key is `key`.
    pub(super) fn look(self: &Arc<Self>, key: &Key, asked: &Asked<'_>, epoch: &Epoch, now_ns: u64) -> Found {
        let mut kept = self.lock();
        // Under the lock, so that two who look see epochs in the order in which they look.
        let epoch = epoch.now();
        let kept = &mut *kept;
        let slot = kept.slot(key);
        let mut spare = None;
        match &slot.entry {
            Some(Entry::Pass { until_ns }) if now_ns < *until_ns => return Found::Pass,
            Some(Entry::Answer(answer))
                if answer.epoch == epoch && answer.suits(asked) && asked.takes_age(answer.age_s(now_ns)) =>
            {
                slot.visited = true;
                let answer = Arc::clone(answer);
                match answer.freshness(now_ns) {
                    Freshness::Fresh => return Found::Fresh(answer),
                    Freshness::WhileRevalidating => {
                        let flies = slot.flying.as_ref().is_some_and(|flying| flying.epoch == epoch);
                        let asks = !flies && answer.may_retry(now_ns);
                        let flight = asks.then(|| self.begin(kept, key, epoch).0);
                        return Found::Stale(answer, flight);
                    }
                    Freshness::IfError if !answer.may_retry(now_ns) => return Found::Stale(answer, None),
                    Freshness::IfError => spare = Some(answer),
                    Freshness::Dead => {}
                }
            }
            Some(_) | None => {}
        }
        if let Some(flying) = slot.flying.as_ref().filter(|flying| flying.epoch == epoch) {
            return Found::Wait(flying.landing.clone(), spare);
        }
        let (flight, landing) = self.begin(kept, key, epoch);
        Found::Lead(flight, landing, spare)
    }

    fn begin(
        self: &Arc<Self>,
        kept: &mut Kept,
        key: &Key,
        epoch: u64,
    ) -> (Flight, Receiver<Option<Landing>>) {
        let (sender, receiver) = watch::channel(None);
        let number = kept.number();
        kept.slot(key).flying = Some(Flying {
            number,
            epoch,
            landing: receiver.clone(),
        });
        let flight = Flight {
            cache: Arc::clone(self),
            key: key.clone(),
            epoch,
            number,
            landing: sender,
        };
        (flight, receiver)
    }

    /// Makes room for `bytes` of an answer that is coming, if there is.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        let before = self.coming.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.policy.bytes_max;
        if !fits {
            self.release(bytes);
        }
        fits
    }

    pub(super) fn release(&self, bytes: usize) {
        self.coming.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Forgets what belongs to tenants that are gone.
    pub(super) fn retain(&self, is_there: impl Fn(&TenantId) -> bool) {
        let mut kept = self.lock();
        let kept = &mut *kept;
        kept.shares.retain(|owner, share| {
            let stays = owner.tenant().is_none_or(&is_there);
            if !stays {
                kept.ranking.remove(&(share.bytes, share.number));
                kept.bytes -= share.bytes;
            }
            stays
        });
    }

    /// What is kept, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    #[cfg(test)]
    pub(super) fn bytes_of(&self, owner: &Owner) -> usize {
        self.lock().shares.get(owner).map_or(0, |share| share.bytes)
    }
}

impl Flight {
    /// Tells all who wait. The first word counts.
    pub(super) fn land(&self, landing: Landing, now_ns: u64) {
        if self.landing.borrow().is_some() {
            return;
        }
        let retry = || Sequel::Stay {
            retry_ns: now_ns.saturating_add(RETRY_NS),
        };
        let sequel = match &landing {
            Landing::Answer { answer, kept: true } => Sequel::Keep(Entry::Answer(Arc::clone(answer))),
            Landing::Answer { answer, .. } if answer.is_failure() => retry(),
            Landing::Answer { .. } => Sequel::Clear,
            Landing::Alone { failed: false } => Sequel::Keep(Entry::Pass {
                until_ns: now_ns.saturating_add(PASS_NS.min(self.cache.policy.ttl_ns)),
            }),
            Landing::Alone { failed: true } | Landing::Refused(_) | Landing::Late | Landing::Broken => {
                retry()
            }
        };
        let mut kept = self.cache.lock();
        kept.land(&self.key, self.number, sequel);
        let evicted = kept.shrink(self.cache.policy.bytes_max);
        drop(kept);
        self.cache.counts.evicted(evicted);
        self.landing.send_replace(Some(landing));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.land(Landing::Broken, rc_model::clock::monotonic_ns());
    }
}

impl Kept {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// The slot of `key`, made if there is none.
    fn slot(&mut self, key: &Key) -> &mut Slot {
        let share = match self.shares.entry(key.owner.clone()) {
            MapEntry::Occupied(share) => share.into_mut(),
            MapEntry::Vacant(vacant) => {
                self.numbers += 1;
                self.ranking.insert((0, self.numbers), key.owner.clone());
                vacant.insert(Share {
                    number: self.numbers,
                    bytes: 0,
                    slots: HashMap::new(),
                    queue: VecDeque::new(),
                })
            }
        };
        share.slots.entry(Arc::clone(&key.question)).or_default()
    }

    /// Ends a flight, if it is the one that its slot knows: a later one knows better.
    fn land(&mut self, key: &Key, flight: u64, sequel: Sequel) {
        let Some(share) = self.shares.get_mut(&key.owner) else {
            return;
        };
        let Some(slot) = share.slots.get_mut(&key.question) else {
            return;
        };
        if slot.flying.as_ref().is_none_or(|flying| flying.number != flight) {
            return;
        }
        slot.flying = None;
        match sequel {
            Sequel::Keep(entry) => slot.entry = Some(entry),
            Sequel::Clear => slot.entry = None,
            Sequel::Stay { retry_ns } => {
                if let Some(Entry::Answer(answer)) = &slot.entry {
                    answer.retry_at(retry_ns);
                }
            }
        }
        let held = match &slot.entry {
            Some(Entry::Answer(answer)) => answer.bytes(),
            Some(Entry::Pass { .. }) | None => 0,
        };
        if slot.entry.is_some() && !slot.queued {
            slot.queued = true;
            slot.visited = false;
            share.queue.push_back(Arc::clone(&key.question));
        }
        let bytes = match slot.queued {
            true => held + key.question.bytes() + ENTRY_BYTES,
            false => 0,
        };
        let before = std::mem::replace(&mut slot.bytes, bytes);
        if !slot.queued {
            share.slots.remove(&key.question);
        }
        self.resize(&key.owner, before, bytes);
    }

    /// Books that an entry of `owner` takes `after` instead of `before`.
    fn resize(&mut self, owner: &Owner, before: usize, after: usize) {
        let Some(share) = self.shares.get_mut(owner) else {
            return;
        };
        let ranked = self.ranking.remove(&(share.bytes, share.number));
        share.bytes = share.bytes + after - before;
        self.bytes = self.bytes + after - before;
        if share.slots.is_empty() {
            self.shares.remove(owner);
        } else if let Some(owner) = ranked {
            self.ranking.insert((share.bytes, share.number), owner);
        }
    }

    /// Throws out what is over `bytes_max`; how many entries.
    fn shrink(&mut self, bytes_max: usize) -> u64 {
        let mut evicted = 0;
        while self.bytes > bytes_max {
            let Some(owner) = self.ranking.last_key_value().map(|(_, owner)| owner.clone()) else {
                break;
            };
            let Some(share) = self.shares.get_mut(&owner) else {
                break;
            };
            let Some(question) = share.queue.pop_front() else {
                break;
            };
            let Some(slot) = share.slots.get_mut(&question) else {
                continue;
            };
            if std::mem::take(&mut slot.visited) && slot.entry.is_some() {
                share.queue.push_back(question);
                continue;
            }
            let before = std::mem::take(&mut slot.bytes);
            slot.queued = false;
            evicted += u64::from(slot.entry.take().is_some());
            if slot.flying.is_none() {
                share.slots.remove(&question);
            }
            self.resize(&owner, before, 0);
        }
        evicted
    }
}

#[cfg(test)]
mod tests;
