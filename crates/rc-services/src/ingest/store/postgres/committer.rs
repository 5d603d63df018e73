//! The committer: one task that gathers waiting requests into transactions.
//!
//! A transaction starts as soon as one may run, with everything its tenant has waiting: no timer, so a
//! lone request is not delayed and a crowd shares its commits. Tenants take turns.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rc_model::{Clock, TenantId};
use rc_serve::Tree;
use rc_store::trace::{Share, Tape};
use rc_store::{Error, ErrorKind, Postgres};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{self, JoinSet};
use tokio_util::sync::CancellationToken;

use super::group;
use crate::ingest::decide::Write;
use crate::ingest::limits;
use crate::ingest::store::Outcome;

/// Requests that may wait or run.
const QUEUE_JOBS_MAX: usize = 1_024;

/// Transactions that run at once, each of another tenant. The pool has twice as many connections.
const TRANSACTIONS_MAX: usize = 4;

/// Requests that share a transaction.
const GROUP_JOBS_MAX: usize = 256;

/// Bytes of payload after which a transaction takes no more requests.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// How often a transaction is tried when another one was in its way.
const ATTEMPTS_MAX: usize = 3;

/// The wait that a full queue names before anything was measured.
const RETRY_UNKNOWN: Duration = Duration::from_secs(1);

struct Job {
    write: Write,
    /// Its part in the transaction, when somebody traces its request.
    share: Option<Share>,
    reply: oneshot::Sender<Result<Outcome, Error>>,
}

/// A handle to the committer. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Committer {
    queue: mpsc::Sender<Job>,
    closing: CancellationToken,
    closed: Arc<Notify>,
    load: Arc<Load>,
}

/// What a full queue tells its callers.
#[derive(Debug, Default)]
struct Load {
    /// Requests that are not finished; bounds the queue.
    waiting: AtomicUsize,
    /// Recent time a request, as an exponential average.
    ns_per_job: AtomicU64,
}

impl Load {
    fn finished(&self, jobs: usize, took_ns: u64) {
        self.waiting.fetch_sub(jobs, Ordering::Relaxed);
        let sample = took_ns / u64::try_from(jobs.max(1)).unwrap_or(1);
        let before = self.ns_per_job.load(Ordering::Relaxed);
        let after = if before == 0 {
            sample
        } else {
            before - before / 8 + sample / 8
        };
        self.ns_per_job.store(after, Ordering::Relaxed);
    }

    fn wait(&self) -> Duration {
        let waiting = u64::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(u64::MAX);
        let wait = Duration::from_nanos(waiting.saturating_mul(self.ns_per_job.load(Ordering::Relaxed)));
        if wait.is_zero() { RETRY_UNKNOWN } else { wait }
    }
}

impl Committer {
    pub(super) fn start(
        pg: Postgres,
        clock: Arc<dyn Clock>,
        committed: Arc<dyn Fn() + Send + Sync>,
        tree: &Tree,
    ) -> Self {
        let (queue, jobs) = mpsc::channel(QUEUE_JOBS_MAX);
        let committer = Self {
            queue,
            closing: tree.stopping().child_token(),
            closed: Arc::new(Notify::new()),
            load: Arc::default(),
        };
        let task = Task {
            pg,
            clock,
            committed,
            load: Arc::clone(&committer.load),
            lanes: HashMap::new(),
            turn: VecDeque::new(),
            busy: HashSet::new(),
            running: JoinSet::new(),
            owners: HashMap::new(),
        };
        let (closing, closed) = (committer.closing.clone(), Arc::clone(&committer.closed));
        tree.spawn("ingest/committer", async move {
            task.run(jobs, closing).await;
            // A permit is kept for a `close` that comes later.
            closed.notify_one();
        });
        committer
    }

    pub(super) async fn submit(&self, write: Write) -> Result<Outcome, Error> {
        let unavailable = |what: &str| {
            let retry_after = RETRY_UNKNOWN;
            Error::new(ErrorKind::Unavailable { retry_after }, what)
        };
        let busy = || {
            let retry_after = self.load.wait();
            Error::new(ErrorKind::Busy { retry_after }, "the write queue is full")
        };
        // Counted until it is finished: the task takes requests out of the channel as soon as they come.
        if self.load.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE_JOBS_MAX {
            self.load.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(busy());
        }
        let (reply, answer) = oneshot::channel();
        let share = Share::here("ingest.store");
        if let Err(refused) = self.queue.try_send(Job { write, share, reply }) {
            self.load.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(match refused {
                mpsc::error::TrySendError::Full(_) => busy(),
                mpsc::error::TrySendError::Closed(_) => unavailable("the store is closed"),
            });
        }
        let Ok(outcome) = answer.await else {
            return Err(unavailable("the request was given up while the store closed"));
        };
        outcome
    }

    /// Finishes what is queued.
    pub(super) async fn close(&self) {
        self.closing.cancel();
        let wait = self.closed.notified();
        if tokio::time::timeout(limits::STORE_TIMEOUT, wait).await.is_err() {
            tracing::warn!("the committer did not finish in time");
        }
    }
}

/// Owned by the committer task.
struct Task {
    pg: Postgres,
    clock: Arc<dyn Clock>,
    /// Wakes the relay.
    committed: Arc<dyn Fn() + Send + Sync>,
    load: Arc<Load>,
    /// Requests that wait, by tenant. No lane is empty.
    lanes: HashMap<TenantId, VecDeque<Job>>,
    /// Tenants with a lane and no running transaction, in the order of their turns.
    turn: VecDeque<TenantId>,
    /// Tenants with a running transaction.
    busy: HashSet<TenantId>,
    /// Running transactions, and for each whose it is, how many requests it took, and when it began.
    running: JoinSet<()>,
    owners: HashMap<task::Id, (TenantId, usize, u64)>,
}

impl Task {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>, closing: CancellationToken) {
        let mut open = true;
        while open || !self.running.is_empty() || !self.turn.is_empty() {
            self.start_transactions();
            tokio::select! {
                () = closing.cancelled(), if open => {
                    // What was sent before the close is still received; then `recv` gives `None`.
                    jobs.close();
                    while let Some(job) = jobs.recv().await {
                        self.enqueue(job);
                    }
                    open = false;
                }
                job = jobs.recv(), if open => match job {
                    Some(job) => {
                        self.enqueue(job);
                        // Whatever else is there already shares the commit.
                        while let Ok(job) = jobs.try_recv() {
                            self.enqueue(job);
                        }
                    }
                    None => open = false,
                },
                Some(done) = self.running.join_next_with_id() => {
                    self.finished(done.map_or_else(|error| error.id(), |(id, ())| id));
                }
            }
        }
    }

    fn enqueue(&mut self, job: Job) {
        let tenant = job.write.tenant.clone();
        let lane = self.lanes.entry(tenant.clone()).or_default();
        if lane.is_empty() && !self.busy.contains(&tenant) {
            self.turn.push_back(tenant);
        }
        lane.push_back(job);
    }

    fn start_transactions(&mut self) {
        while self.running.len() < TRANSACTIONS_MAX
            && let Some(tenant) = self.turn.pop_front()
        {
            let jobs = self.take(&tenant);
            self.busy.insert(tenant.clone());
            let (pg, owner) = (self.pg.clone(), tenant.clone());
            let began = self.clock.monotonic_ns();
            let count = jobs.len();
            let running = self.running.spawn(async move { commit(&pg, &owner, jobs).await });
            self.owners.insert(running.id(), (tenant, count, began));
        }
    }

    /// The next requests of `tenant` for one transaction; at least one.
    fn take(&mut self, tenant: &TenantId) -> Vec<Job> {
        let Some(lane) = self.lanes.get_mut(tenant) else {
            return Vec::new();
        };
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        while jobs.len() < GROUP_JOBS_MAX
            && bytes < GROUP_BYTES_MAX
            && let Some(job) = lane.pop_front()
        {
            bytes += job.write.bytes();
            jobs.push(job);
        }
        if lane.is_empty() {
            self.lanes.remove(tenant);
        }
        jobs
    }

    /// A transaction ended, or panicked: then its callers were told by their dropped replies.
    fn finished(&mut self, id: task::Id) {
        let Some((tenant, count, began)) = self.owners.remove(&id) else {
            return;
        };
        self.load
            .finished(count, self.clock.monotonic_ns().saturating_sub(began));
        (self.committed)();
        self.busy.remove(&tenant);
        if self.lanes.contains_key(&tenant) {
            self.turn.push_back(tenant);
        }
    }
}

/// Commits `jobs` together; when their data is refused, each alone, so that only the culprit fails.
async fn commit(pg: &Postgres, tenant: &TenantId, jobs: Vec<Job>) {
    // Callers that went away while they waited get nothing done.
    let jobs: Vec<Job> = jobs.into_iter().filter(|job| !job.reply.is_closed()).collect();
    if jobs.is_empty() {
        return;
    }
    let together = jobs.len();
    match attempt(pg, tenant, &jobs).await {
        (Ok(outcomes), tape) => {
            for (job, outcome) in jobs.into_iter().zip(outcomes) {
                job.answer(Ok(outcome), tape.as_deref(), together);
            }
        }
        (Err(error), _) if together > 1 && concerns_one(&error) => {
            for job in jobs {
                let (outcome, tape) = attempt(pg, tenant, std::slice::from_ref(&job)).await;
                let outcome = outcome.map(|mut outcomes| outcomes.remove(0));
                job.answer(outcome, tape.as_deref(), 1);
            }
        }
        (Err(error), tape) => {
            for job in jobs {
                job.answer(Err(error.clone()), tape.as_deref(), together);
            }
        }
    }
}

impl Job {
    /// Tells the caller, whose trace has everything by then. `tape` heard the transaction.
    fn answer(self, outcome: Result<Outcome, Error>, tape: Option<&Tape>, together: usize) {
        if let (Some(share), Some(tape)) = (self.share, tape) {
            share.finish(tape, together, outcome.as_ref().err().map(Error::code));
        }
        // A caller that went away meanwhile finds its answer by its key.
        let _ = self.reply.send(outcome);
    }
}

/// Commits `jobs` in one transaction, and what was heard of it, when somebody traces one of them.
async fn attempt(
    pg: &Postgres,
    tenant: &TenantId,
    jobs: &[Job],
) -> (Result<Vec<Outcome>, Error>, Option<Arc<Tape>>) {
    let writes: Vec<&Write> = jobs.iter().map(|job| &job.write).collect();
    let work = async {
        let mut attempts = 1;
        loop {
            match group::apply(pg, tenant, &writes).await {
                Err(error) if error.kind() == ErrorKind::Conflict && attempts < ATTEMPTS_MAX => attempts += 1,
                outcome => return outcome,
            }
        }
    };
    if jobs.iter().all(|job| job.share.is_none()) {
        return (work.await, None);
    }
    let tape = Tape::new();
    (tape.record(work).await, Some(tape))
}

/// Whether the fault may lie in one request's data.
fn concerns_one(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Constraint | ErrorKind::Bug | ErrorKind::Timeout => true,
        ErrorKind::Busy { .. }
        | ErrorKind::Unavailable { .. }
        | ErrorKind::Conflict
        | ErrorKind::Corrupt
        | ErrorKind::ReadOnly
        | ErrorKind::DiskFull
        | ErrorKind::WriterTaken
        | ErrorKind::Foreign
        | ErrorKind::Migration
        | ErrorKind::Url
        | ErrorKind::Aborted => false,
    }
}
