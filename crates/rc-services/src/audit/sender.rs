//! Takes entries from the outbox to the ledger, in order, until each is acknowledged.
//!
//! It never drops one: while the ledger is away, or refuses, rows wait. Sending twice is harmless, because the
//! ledger knows every entry by its source and number.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use rc_model::catalog::Builtin;
use rc_model::{Clock, Layout, Problem};
use rc_serve::readiness::Component;
use rc_serve::{Metrics, uds};
use tokio_util::sync::CancellationToken;

use super::outbox::Outbox;
use super::wire::{BATCH, Delivery, ENTRIES_PATH, Receipt};

/// How long one delivery may take: the ledger answers after an fsync.
const SEND_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the store may take to give rows or to forget them.
const STORE_TIME_MAX: Duration = Duration::from_secs(10);
/// Rows that another process added are found within this.
const POLL: Duration = Duration::from_secs(5);
/// The pause after the first failure; it doubles with every further one.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// The longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// How long the last rows may take at the end; what is left goes after the next start.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(3);
/// A ledger that is only starting, stopping or being restarted is not worth a word: so many attempts take some
/// three seconds.
const ATTEMPTS_QUIET: u32 = 6;
/// What a ledger that is not there is told as.
const AWAY_CODE: &str = "RC-LED-021";
/// Refusals that no waiting ends: malformed, entries before these are missing, another entry is in this place.
const REFUSED_CODES: [&str; 3] = ["RC-LED-023", "RC-LED-024", "RC-LED-025"];
/// The same failure is told again after so many attempts, which is about every two minutes.
const ATTEMPTS_A_WORD: u32 = 60;

/// The one task of a process that empties its outbox.
pub struct Sender {
    outbox: Outbox,
    socket: PathBuf,
    clock: Arc<dyn Clock>,
    meters: Meters,
    /// Whether the ledger takes what this outbox has.
    ready: Option<Component>,
}

/// What the task shows in `/metrics`.
#[derive(Debug, Clone, Default)]
struct Meters {
    waiting: Gauge,
    age_s: Gauge,
    delivered: Counter,
    failures: Counter,
}

/// Why a delivery did not happen, in words that stay the same while the reason does.
struct Undelivered {
    code: String,
    text: String,
}

impl Undelivered {
    fn of_store(error: &rc_store::Error) -> Self {
        Self {
            code: error.code().to_owned(),
            text: format!("the outbox cannot be read: {error}"),
        }
    }
}

impl Sender {
    /// A sender over `outbox`, which shows what waits in `metrics`.
    #[must_use]
    pub fn new(outbox: Outbox, layout: &Layout, metrics: &Metrics, clock: Arc<dyn Clock>) -> Self {
        let meters = Meters::default();
        metrics.with_registry(|registry| {
            let help = "Audit entries that wait for the ledger";
            registry.register("rc_audit_outbox_entries", help, meters.waiting.clone());
            let help = "Age of the oldest audit entry that waits";
            registry.register("rc_audit_outbox_age_seconds", help, meters.age_s.clone());
            let help = "Audit entries that the ledger acknowledged";
            registry.register("rc_audit_delivered_entries", help, meters.delivered.clone());
            let help = "Deliveries that failed and are tried again";
            registry.register("rc_audit_delivery_failures", help, meters.failures.clone());
        });
        Self {
            outbox,
            socket: layout.socket(&Builtin::ProvLedger.id()),
            clock,
            meters,
            ready: None,
        }
    }

    /// The same, which takes `ready` down while the ledger refuses its entries for good. That the ledger is away for
    /// a while makes nobody unready.
    #[must_use]
    pub fn shown_by(mut self, ready: Component) -> Self {
        ready.set_ready();
        self.ready = Some(ready);
        self
    }

    /// Sends until `stopping`, and then what is left, for as long as that may take.
    pub async fn run(self, stopping: CancellationToken) {
        let mut attempts = 0_u32;
        let mut told: Option<String> = None;
        while !stopping.is_cancelled() {
            let pause = match self.send().await {
                Ok(sent) => {
                    if told.is_some() {
                        tracing::info!("the ledger takes entries again");
                    }
                    self.ready.iter().for_each(Component::set_ready);
                    (attempts, told) = (0, None);
                    if sent {
                        continue;
                    }
                    POLL
                }
                Err(Undelivered { code, text }) => {
                    if REFUSED_CODES.contains(&code.as_str()) {
                        let why = format!("{code}: {text}");
                        self.ready.iter().for_each(|ready| ready.set_down(&*why));
                    }
                    attempts = attempts.saturating_add(1);
                    let quiet = code == AWAY_CODE && attempts < ATTEMPTS_QUIET;
                    if !quiet && (told.as_ref() != Some(&text) || attempts.is_multiple_of(ATTEMPTS_A_WORD)) {
                        tracing::warn!(code, "audit entries wait: {text}");
                        told = Some(text);
                    }
                    backoff(attempts)
                }
            };
            tokio::select! {
                () = stopping.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
                // While the ledger is away, a new row does not bring it back.
                () = self.outbox.wait_added(), if attempts == 0 => {}
            }
        }
        if tokio::time::timeout(FLUSH_TIME_MAX, self.flush()).await.is_err() {
            tracing::warn!("audit entries wait for the next start");
        }
    }

    /// Sends until nothing is left or something fails.
    async fn flush(&self) {
        loop {
            match self.send().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(Undelivered { code, text }) => {
                    tracing::warn!(code, "audit entries wait for the next start: {text}");
                    return;
                }
            }
        }
    }

    /// Delivers one batch; `false` when there is none.
    async fn send(&self) -> Result<bool, Undelivered> {
        let sent = self.deliver().await;
        if sent.is_err() {
            self.meters.failures.inc();
        }
        self.measure().await;
        sent
    }

    async fn deliver(&self) -> Result<bool, Undelivered> {
        let store = |error: rc_store::Error| Undelivered::of_store(&error);
        let batch = in_time(self.outbox.next(BATCH)).await.map_err(store)?;
        let Some(delivery) = Delivery::of(batch) else {
            return Ok(false);
        };
        let receipt = self.post(&delivery).await?;
        if receipt.next <= delivery.last() {
            let text = format!("it acknowledged up to {} of {}", receipt.next, delivery.last());
            return Err(Undelivered {
                code: "RC-LED-022".to_owned(),
                text,
            });
        }
        in_time(self.outbox.delivered(delivery.last()))
            .await
            .map_err(store)?;
        let count = u64::try_from(delivery.entries.len()).unwrap_or(u64::MAX);
        self.meters.delivered.inc_by(count);
        Ok(true)
    }

    async fn post(&self, delivery: &Delivery) -> Result<Receipt, Undelivered> {
        let away = |text: String| Undelivered {
            code: AWAY_CODE.to_owned(),
            text,
        };
        let body = serde_json::to_vec(delivery).map_err(|error| away(error.to_string()))?;
        let request = http::Request::post(ENTRIES_PATH)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(body))
            .map_err(|error| away(error.to_string()))?;
        let answer = uds::call(&self.socket, request, SEND_TIME_MAX)
            .await
            .map_err(|error| away(error.to_string()))?;
        if answer.status().is_success() {
            return serde_json::from_slice(answer.body())
                .map_err(|error| away(format!("its answer is not understood: {error}")));
        }
        let problem: Option<Problem> = serde_json::from_slice(answer.body()).ok();
        Err(match problem {
            Some(problem) => Undelivered {
                text: format!("{}: {}", problem.title, problem.detail.unwrap_or_default()),
                code: problem.code,
            },
            None => away(format!("the ledger answered {}", answer.status())),
        })
    }

    async fn measure(&self) {
        let Ok(waiting) = in_time(self.outbox.waiting()).await else {
            return;
        };
        let age = waiting.oldest.map(|at| self.clock.now().since(at).as_secs());
        self.meters
            .waiting
            .set(i64::try_from(waiting.rows).unwrap_or(i64::MAX));
        self.meters
            .age_s
            .set(i64::try_from(age.unwrap_or(0)).unwrap_or(i64::MAX));
    }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, rc_store::Error>>) -> Result<T, rc_store::Error> {
    match tokio::time::timeout(STORE_TIME_MAX, call).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(rc_store::Error::new(
            rc_store::ErrorKind::Timeout,
            "the store did not answer in time",
        )),
    }
}

fn backoff(attempts: u32) -> Duration {
    BACKOFF_FIRST
        .saturating_mul(1 << attempts.saturating_sub(1).min(10))
        .min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests;
