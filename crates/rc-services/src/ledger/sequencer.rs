//! The one task that appends: deliveries that wait at the same time share one group.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use rc_model::clock::monotonic_ns;
use rc_serve::readiness::Component;
use rc_serve::{Metrics, metrics};
use tokio::sync::{mpsc, oneshot, watch};

use super::book::Book;
use super::refusal::Refusal;
use crate::audit::wire::{BATCH, BODY_BYTES_MAX, Delivery, Receipt};

/// Deliveries that wait. There is one a source at a time, and few sources.
const QUEUE_MAX: usize = 64;
/// Deliveries that share one group: of the largest ones, no more than the log takes at once.
const GROUP_MAX: usize = 8;
const _: () = assert!(GROUP_MAX * BODY_BYTES_MAX <= rc_ledger::GROUP_BYTES_MAX);
const _: () = assert!(GROUP_MAX * BATCH.rows <= rc_ledger::GROUP_ENTRIES_MAX);

type Answer = oneshot::Sender<Result<Receipt, Refusal>>;

/// The sequencer's queue and what it shows. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    queue: mpsc::Sender<(Delivery, Answer)>,
    checkpoint: watch::Receiver<String>,
    meters: Meters,
}

/// Owned by its task.
pub(super) struct Sequencer {
    book: Book,
    queue: mpsc::Receiver<(Delivery, Answer)>,
    checkpoint: watch::Sender<String>,
    ready: Component,
    meters: Meters,
}

#[derive(Debug, Clone, Default)]
struct Meters {
    size: Gauge,
    refused: Family<Reason, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl Handle {
    /// Hands `delivery` over and waits until it is durable.
    pub(super) async fn deliver(&self, delivery: Delivery) -> Result<Receipt, Refusal> {
        let (answer, answered) = oneshot::channel();
        let outcome = match self.queue.try_send((delivery, answer)) {
            Ok(()) => answered.await.unwrap_or(Err(Refusal::Busy)),
            Err(_full_or_stopping) => Err(Refusal::Busy),
        };
        if let Err(refusal) = &outcome {
            self.refused(refusal);
        }
        outcome
    }

    /// Counts a refusal.
    pub(super) fn refused(&self, refusal: &Refusal) {
        let reason = refusal.label();
        self.meters.refused.get_or_create(&Reason { reason }).inc();
    }

    /// The signed note of the newest checkpoint.
    pub(super) fn checkpoint(&self) -> String {
        self.checkpoint.borrow().clone()
    }
}

impl Sequencer {
    /// A sequencer over `book` with its handle.
    pub(super) fn new(book: Book, registry: &Metrics, ready: Component) -> (Self, Handle) {
        let meters = Meters::default();
        registry.with_registry(|registry| {
            let help = "Entries in the log";
            registry.register("rc_ledger_entries", help, meters.size.clone());
            let help = "Deliveries that were not taken";
            registry.register("rc_ledger_refused_deliveries", help, meters.refused.clone());
        });
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let (checkpoint, watched) = watch::channel(book.checkpoint().to_owned());
        meters.size.set(i64::try_from(book.size()).unwrap_or(i64::MAX));
        ready.set_ready();
        let handle = Handle {
            queue: sender,
            checkpoint: watched,
            meters: meters.clone(),
        };
        let sequencer = Self {
            book,
            queue,
            checkpoint,
            ready,
            meters,
        };
        (sequencer, handle)
    }

    /// Appends until every handle is gone, then closes the log.
    pub(super) async fn run(mut self, appends: Histogram) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        while self.queue.recv_many(&mut group, GROUP_MAX).await > 0 {
            let (deliveries, answers): (Vec<Delivery>, Vec<Answer>) = group.drain(..).unzip();
            let began = monotonic_ns();
            let outcomes = self.book.accept(deliveries).await;
            appends.observe(Duration::from_nanos(monotonic_ns().saturating_sub(began)).as_secs_f64());
            self.show(&outcomes);
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                // The sender may have given up; it will ask again.
                let _ = answer.send(outcome);
            }
        }
        self.book.close().await;
    }

    fn show(&self, outcomes: &[Result<Receipt, Refusal>]) {
        let failed = outcomes.iter().find_map(|outcome| match outcome {
            Err(failed @ Refusal::Failed { code, .. }) => Some((*code, failed)),
            Ok(_) | Err(_) => None,
        });
        match failed {
            Some((code, failed)) => {
                tracing::error!(code, "the ledger cannot append: {failed}");
                self.ready.set_down(format!("{code}: {failed}"));
            }
            None => self.ready.set_ready(),
        }
        for refusal in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            tracing::warn!(code = refusal.code(), "a delivery is refused: {refusal}");
        }
        self.meters
            .size
            .set(i64::try_from(self.book.size()).unwrap_or(i64::MAX));
        self.checkpoint.send_if_modified(|shown| {
            let news = shown != self.book.checkpoint();
            if news {
                self.book.checkpoint().clone_into(shown);
            }
            news
        });
    }
}

/// Registers how long groups take.
pub(super) fn append_histogram(registry: &Metrics) -> Histogram {
    let appends = metrics::duration_histogram();
    registry.with_registry(|registry| {
        let help = "Time from a group's beginning until it is durable in the log and in the second copy";
        registry.register("rc_ledger_append_duration_seconds", help, appends.clone());
    });
    appends
}

#[cfg(test)]
mod tests;
