//! Single flight: identical reads that come while one is under way wait for its answer.
//!
//! The tenant is part of the key, so one tenant's answer cannot reach another. So is the generation of the
//! read model: a read that begins after a write became visible never joins one that began before.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use rc_model::telemetry::{Scope, SpanKind};
use rc_model::{TenantId, TraceContext};
use tokio::sync::watch;

/// Reads under way that others can join; further ones run by themselves.
pub(super) const FLIGHTS_MAX: usize = 1_024;

/// What makes two reads the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) tenant: TenantId,
    /// Path and query as they were sent.
    pub(super) target: String,
    /// Of the read model when the read began.
    pub(super) generation: u64,
}

/// Reads under way and their answers.
#[derive(Debug)]
pub(super) struct Flights<T> {
    /// Owned by the leaders: each removes its own entry, also when it is dropped half-way.
    table: Mutex<HashMap<Key, Flight<T>>>,
    /// Reads that took another's answer.
    joined: Counter,
}

/// A read under way.
#[derive(Debug, Clone)]
struct Flight<T> {
    answer: watch::Receiver<Option<T>>,
    /// The span of the request that leads, when its trace is recorded: the statements are below it.
    leader: Option<TraceContext>,
}

impl<T: Clone> Flights<T> {
    /// No flights yet; `joined` counts the reads that will take another's answer.
    pub(super) fn new(joined: Counter) -> Self {
        Self {
            table: Mutex::default(),
            joined,
        }
    }

    /// The answer of the flight `key`: `work` itself when no such flight is under way.
    ///
    /// A leader that goes away (its caller hung up, its deadline passed, it panicked) leaves no answer;
    /// one of those that waited then leads.
    pub(super) async fn run(&self, key: Key, work: impl Future<Output = T>) -> T {
        loop {
            let (answer, _landing) = match self.board(&key) {
                Boarded::Follow(mut flight) => {
                    let scope = Scope::current();
                    let span = scope.map(|scope| scope.begin(SpanKind::Internal, || fastrand::u64(..)));
                    let landed = flight.answer.wait_for(Option::is_some).await;
                    if let Ok(Some(answer)) = landed.as_deref().map(Option::as_ref) {
                        self.joined.inc();
                        if let Some(span) = span {
                            let leader = flight.leader.as_slice();
                            span.finish_linked("join read", None, &[], leader);
                        }
                        return answer.clone();
                    }
                    continue;
                }
                Boarded::Alone => return work.await,
                Boarded::Lead(answer) => {
                    let landing = Landing {
                        flights: self,
                        key: &key,
                    };
                    (answer, landing)
                }
            };
            let outcome = work.await;
            answer.send_replace(Some(outcome.clone()));
            return outcome;
        }
    }

    fn board(&self, key: &Key) -> Boarded<T> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = table.get(key) {
            return Boarded::Follow(flight.clone());
        }
        if table.len() >= FLIGHTS_MAX {
            return Boarded::Alone;
        }
        let (answer, landed) = watch::channel(None);
        let flight = Flight {
            answer: landed,
            leader: Scope::current().map(|scope| scope.context()),
        };
        table.insert(key.clone(), flight);
        Boarded::Lead(answer)
    }

    #[cfg(test)]
    pub(super) fn under_way(&self) -> usize {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

enum Boarded<T> {
    Lead(watch::Sender<Option<T>>),
    Follow(Flight<T>),
    Alone,
}

/// Takes the flight off the table however it ends. Dropped before the sender, so that a follower that
/// finds the flight without an answer does not find it again.
struct Landing<'f, T> {
    flights: &'f Flights<T>,
    key: &'f Key,
}

impl<T> Drop for Landing<'_, T> {
    fn drop(&mut self) {
        self.flights
            .table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(self.key);
    }
}

#[cfg(test)]
mod tests;
