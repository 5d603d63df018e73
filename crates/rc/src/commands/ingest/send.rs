//! Sends batches: as many at once as the platform takes, in order where order matters, until all are stored
//! or somebody stops it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use rc_client::{
    Aimd, Answer, BatchAnswer, Error, IdempotencyKey, IngestOptions, ItemAnswer, ItemStatus, Retry,
};
use rc_model::clock::monotonic_ns;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::awaited::Awaited;
use super::batch::Batch;
use super::journal::{Journal, Stored};
use super::read::{Reject, Rejects};
use super::report::Progress;

/// How long a run goes on without one batch being stored.
const PATIENCE: Duration = Duration::from_secs(60);

/// The pause after the client gave up on a batch, unless the platform names another.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest pause: beyond it, the platform is asked again whether it still means it.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long batches that are under way may finish after somebody asked to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// How often a document that the platform refused for now is sent again.
const ROUNDS_MAX: u32 = 3;

/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(100);

/// How the sending ended.
#[derive(Debug)]
pub(super) enum End {
    /// Everything is stored, or refused for good.
    Complete,
    /// Somebody asked to stop.
    Interrupted,
    /// The platform refuses every batch like this.
    Refused(Error),
    /// The platform took nothing for [`PATIENCE`].
    Stalled(Error),
    /// Files changed while an interrupted run was continued, so what was stored before may be outdated.
    Changed,
}

/// What the sending came to.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) end: End,
    pub(super) accepted: u64,
    pub(super) duplicates: u64,
    /// Documents that an interrupted run stored before.
    pub(super) before: u64,
    pub(super) rejects: Rejects,
    /// Batches, by the platform's names, that can be found only when all of the run can.
    pub(super) awaited: Vec<String>,
    /// The journal tells where to go on.
    pub(super) resumable: bool,
    /// The journal could not be written, so an interrupted run would start over.
    pub(super) journal_fault: Option<std::io::Error>,
}

/// A batch to be sent.
#[derive(Debug)]
struct Job {
    batch: Batch,
    /// The batch's content, and its number among equal ones.
    name: String,
    round: u32,
    /// When it was sent, as [`Awaited`] counts.
    sent: u64,
}

/// The sending loop and all it owns.
struct Sender<'a> {
    client: &'a rc_client::Client,
    journal: Journal,
    awaited: Awaited,
    aimd: Aimd,
    ready: VecDeque<Job>,
    flights: JoinSet<(Job, Result<Answer<BatchAnswer>, Error>)>,
    /// How often a content came: the same bytes again are another write.
    repeated: HashMap<String, u32>,
    paused_until: Instant,
    progress_at: Instant,
    sent: Sent,
}

/// Sends what comes from `batches` until there is no more.
pub(super) async fn send(
    client: &rc_client::Client,
    mut batches: mpsc::Receiver<Batch>,
    journal: Journal,
    concurrency: usize,
    progress: &Progress,
) -> Sent {
    let now = Instant::now();
    let mut sender = Sender {
        client,
        awaited: Awaited::of(journal.awaited()),
        aimd: Aimd::new(concurrency),
        ready: VecDeque::new(),
        flights: JoinSet::new(),
        repeated: HashMap::new(),
        paused_until: now,
        progress_at: now,
        sent: Sent {
            end: End::Complete,
            accepted: 0,
            duplicates: 0,
            before: 0,
            rejects: Rejects::default(),
            awaited: Vec::new(),
            resumable: journal.kept(),
            journal_fault: None,
        },
        journal,
    };
    let end = sender.run(&mut batches, progress).await;
    // The reader ends when nobody takes its batches.
    drop(batches);
    sender.finish(end).await
}

impl Sender<'_> {
    async fn run(&mut self, batches: &mut mpsc::Receiver<Batch>, progress: &Progress) -> End {
        let mut tick = tokio::time::interval(TICK);
        let mut more = true;
        let stop = stop_signal();
        tokio::pin!(stop);
        loop {
            self.start_ready();
            if !more && self.ready.is_empty() && self.flights.is_empty() {
                return End::Complete;
            }
            let room =
                more && self.ready.is_empty() && self.flights.len() < self.aimd.limit() && !self.paused();
            let paused_until = self.paused_until;
            let paused = self.paused();
            tokio::select! {
                () = &mut stop => return End::Interrupted,
                Some(landed) = self.flights.join_next() => {
                    let (job, result) = landed.expect("a flight neither panics nor is aborted");
                    if let Some(end) = self.landed(job, result) {
                        return end;
                    }
                }
                batch = batches.recv(), if room => match batch {
                    Some(batch) => self.take(batch, 0),
                    None => more = false,
                },
                () = tokio::time::sleep_until(paused_until), if paused => {}
                _ = tick.tick() => progress.show(self.sent.accepted + self.sent.duplicates + self.sent.before),
            }
        }
    }

    fn paused(&self) -> bool {
        Instant::now() < self.paused_until
    }

    /// Queues a batch, unless an interrupted run has stored it already.
    fn take(&mut self, batch: Batch, round: u32) {
        let digest = batch.digest();
        let times = self.repeated.entry(digest.clone()).or_default();
        *times += 1;
        let name = if *times == 1 {
            digest
        } else {
            format!("{digest}.{times}")
        };
        match self.journal.stored(&name) {
            Some(stored) => {
                self.sent.before += stored.accepted + stored.duplicates;
                self.progress_at = Instant::now();
            }
            None => self.ready.push_back(Job {
                batch,
                name,
                round,
                sent: 0,
            }),
        }
    }

    /// Starts what may start, the first ones first.
    fn start_ready(&mut self) {
        while !self.paused() && self.flights.len() < self.aimd.limit() {
            let alone = self.ready.front().is_some_and(|job| job.batch.after_all);
            if alone && !self.flights.is_empty() {
                return;
            }
            let Some(mut job) = self.ready.pop_front() else {
                return;
            };
            job.sent = self.awaited.sending();
            let key = IdempotencyKey::of(self.journal.run(), job.name.as_bytes());
            let client = self.client.clone();
            self.flights.spawn(async move {
                let result = client
                    .ingest_batch(job.batch.body.clone(), &key, &IngestOptions::default())
                    .await;
                (job, result)
            });
        }
    }

    /// Learns what became of a batch; an end when there is no point in going on.
    fn landed(&mut self, job: Job, result: Result<Answer<BatchAnswer>, Error>) -> Option<End> {
        match result {
            Ok(answer) => {
                self.stored(&job, answer);
                None
            }
            Err(error) => self.failed(job, error),
        }
    }

    fn stored(&mut self, job: &Job, answer: Answer<BatchAnswer>) {
        let now = monotonic_ns();
        if answer.meta.throttled > 0 {
            self.aimd.refused(now);
        } else {
            self.aimd
                .answered(now, answer.meta.latency, self.flights.len() + 1);
        }
        self.progress_at = Instant::now();
        let replayed = answer.meta.replayed;
        let answer = answer.value;
        self.sent.accepted += answer.accepted;
        self.sent.duplicates += answer.duplicates;
        let again = |item: &ItemAnswer| item.retryable && job.round < ROUNDS_MAX;
        let later: Vec<usize> = answer
            .items
            .iter()
            .filter(|item| again(item))
            .map(|item| item.index)
            .collect();
        let mut rejected = 0_u64;
        for item in &answer.items {
            let refused = matches!(item.status, ItemStatus::Rejected | ItemStatus::Unknown);
            if refused && !again(item) {
                rejected += 1;
                self.sent.rejects.push(reject(&job.batch, item));
            }
        }
        let stored_now = answer.accepted > 0 && !replayed;
        self.awaited.answered(answer.batch, job.sent, stored_now);
        if later.is_empty() {
            let stored = Stored {
                accepted: answer.accepted,
                duplicates: answer.duplicates,
            };
            // A run that continues this one must tell of what was refused: it sends the batch again, and the
            // platform repeats its answer.
            if rejected == 0
                && let Err(error) = self.journal.note(job.name.clone(), stored, &self.awaited)
            {
                self.sent.journal_fault = Some(error);
            }
        } else {
            // The platform's answer to this key stands; the rest is a write of its own. The batch is not
            // noted as stored: taken up later, it is answered as before and its rest sent again.
            self.take(job.batch.pick(&later), job.round + 1);
            self.paused_until = Instant::now() + PAUSE;
        }
    }

    fn failed(&mut self, job: Job, error: Error) -> Option<End> {
        if error.status() == Some(413) {
            let Some((first, second)) = job.batch.halves() else {
                self.too_large(&job, &error);
                return None;
            };
            // The tenant's tier takes smaller bodies than ours. Back in front, in their order.
            let behind = std::mem::take(&mut self.ready);
            self.take(first, job.round);
            self.take(second, job.round);
            self.ready.extend(behind);
            return None;
        }
        let pause = match error.retry() {
            Retry::No => return Some(End::Refused(error)),
            Retry::After(wait) => wait.min(PAUSE_MAX),
            Retry::IfIdempotent => PAUSE,
        };
        if self.progress_at.elapsed() > PATIENCE {
            return Some(End::Stalled(error));
        }
        self.aimd.refused(monotonic_ns());
        self.paused_until = self.paused_until.max(Instant::now() + pause);
        self.ready.push_front(job);
        None
    }

    /// A single document that the platform does not take; the others go on.
    fn too_large(&mut self, job: &Job, error: &Error) {
        self.progress_at = Instant::now();
        let detail = error
            .problem()
            .and_then(|problem| problem.detail.clone())
            .unwrap_or_else(|| "larger than the platform takes".to_owned());
        let item = ItemAnswer {
            index: 0,
            status: ItemStatus::Rejected,
            id: None,
            version: None,
            code: error.code().map(str::to_owned),
            pointer: None,
            detail: Some(detail),
            retryable: false,
        };
        self.sent.rejects.push(reject(&job.batch, &item));
    }

    /// Lets what is under way finish, and writes down where to go on.
    async fn finish(mut self, end: End) -> Sent {
        let deadline = Instant::now() + STOP_DEADLINE;
        while let Ok(Some(landed)) = tokio::time::timeout_at(deadline, self.flights.join_next()).await {
            if let Ok((job, Ok(answer))) = landed {
                self.stored(&job, answer);
            }
        }
        let complete = matches!(end, End::Complete);
        let written = if complete {
            self.journal.remove()
        } else {
            self.journal.write(&self.awaited)
        };
        if let Err(error) = written {
            self.sent.journal_fault = Some(error);
        }
        self.sent.end = end;
        self.sent.awaited = self.awaited.names();
        self.sent
    }
}

fn reject(batch: &Batch, item: &ItemAnswer) -> Reject {
    let origin = batch
        .items
        .get(item.index)
        .map_or_else(|| format!("item {}", item.index), |item| item.origin.clone());
    Reject {
        source: origin,
        pointer: item.pointer.clone(),
        code: item.code.clone(),
        detail: item.detail.clone().unwrap_or_else(|| "refused".to_owned()),
    }
}

/// Ctrl-C or a polite end by somebody else.
async fn stop_signal() {
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(terminate) => terminate,
        // Without a handler the default action ends the process: nothing to wait for here.
        Err(_) => return std::future::pending().await,
    };
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => {
            if interrupted.is_err() {
                std::future::pending::<()>().await;
            }
        }
        _ = terminate.recv() => {}
    }
}

#[cfg(test)]
mod tests;
