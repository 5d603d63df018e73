//! The writer thread. It owns the only writing connection; nothing else ever writes the file.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use rusqlite::ErrorCode;
use tokio::sync::{oneshot, watch};

use super::SqliteOptions;
use super::conn::Conn;
use super::job::{Job, Typed};
use super::open::{FORMAT, WriterLock, WriterPlace};
use super::span::Settled;
use crate::error::UNAVAILABLE_RETRY;
use crate::trace::Shapes;
use crate::{Error, ErrorKind};

/// Shortest and longest wait that a full queue answers with.
const BUSY_RETRY_MIN: Duration = Duration::from_millis(50);
const BUSY_RETRY_MAX: Duration = Duration::from_secs(30);

/// VM instructions between two looks at the deadline: some 100 microseconds of SQLite's time.
pub(super) const DEADLINE_CHECK_OPS: i32 = 10_000;

/// How long nothing is tried after the disk failed in a commit. One try a second tells when it is back, and
/// does not hammer a disk that is not.
const DISK_FAILED_PAUSE: Duration = Duration::from_secs(1);

/// Weight of the newest group in the mean time a job, as a shift: an eighth.
const EWMA_SHIFT: u32 = 3;

/// Whether a job may share a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Grouped,
    Alone,
    /// Alone and without a limit of time: migrations.
    Unlimited,
    /// Alone, and a commit of it goes to the disk whatever it changed: see [`Writer::writable`].
    Probe,
}

enum Message {
    Job(Mode, Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// The queue's handle side.
pub(super) struct Writer {
    /// Taken by `close`, so that later writes see a closed store.
    queue: Mutex<Option<SyncSender<Message>>>,
    load: Arc<Load>,
    health: Arc<Health>,
}

/// Why the last transaction was lost, until one is on disk again. Written by the writer thread.
#[derive(Default)]
struct Health(Mutex<Option<Error>>);

impl Health {
    fn set(&self, failure: Option<Error>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    fn is_good(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

/// Shared by the callers (length) and the writer thread (time a job).
struct Load {
    jobs: AtomicUsize,
    job_ns: AtomicU64,
}

impl Load {
    fn wait(&self) -> Duration {
        let jobs = u64::try_from(self.jobs.load(Ordering::Relaxed)).unwrap_or(u64::MAX);
        Duration::from_nanos(jobs.saturating_mul(self.job_ns.load(Ordering::Relaxed)))
    }
}

impl Writer {
    pub(super) fn start(
        place: WriterPlace,
        path: &Path,
        options: &SqliteOptions,
        shapes: Arc<Shapes>,
    ) -> Result<(Self, watch::Receiver<u64>), Error> {
        let (queue, jobs) = sync_channel(options.queue_jobs_max.max(1));
        let (commits, committed) = watch::channel(0);
        let load = Arc::new(Load {
            jobs: AtomicUsize::new(0),
            // A guess for the first answers: one fsync.
            job_ns: AtomicU64::new(1_000_000),
        });
        let health = Arc::<Health>::default();
        let deadline = Arc::new(AtomicU64::new(u64::MAX));
        let mut conn = place.conn;
        let watched = Arc::clone(&deadline);
        conn.progress_handler(
            DEADLINE_CHECK_OPS,
            Some(move || monotonic_ns() > watched.load(Ordering::Relaxed)),
        )?;
        let thread = Thread {
            conn: Conn::new(conn, shapes),
            _lock: place.lock,
            commits,
            load: Arc::clone(&load),
            health: Arc::clone(&health),
            deadline,
            group_jobs_max: options.group_jobs_max.max(1),
            group_time_max: options.group_time_max,
            job_time_max: options.write_time_max,
            failed: None,
            commit_ns: None,
        };
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        std::thread::Builder::new()
            .name(format!("write/{}", name.unwrap_or_default()))
            .spawn(move || thread.run(&jobs))
            .map_err(|error| {
                Error::caused(
                    ErrorKind::Unavailable {
                        retry_after: UNAVAILABLE_RETRY,
                    },
                    "failed to start the writer thread",
                    error,
                )
            })?;
        let writer = Self {
            queue: Mutex::new(Some(queue)),
            load,
            health,
        };
        Ok((writer, committed))
    }

    pub(super) async fn submit<T, F>(&self, op: &'static str, mode: Mode, closure: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Conn) -> Result<T, Error> + Send + 'static,
    {
        let (job, answer) = Typed::new("write", op, closure);
        self.enqueue(Message::Job(mode, Box::new(job)))?;
        match answer.await {
            Ok(answer) => answer.told(),
            // The thread ended with the job in its queue.
            Err(_) => Err(Error::closed()),
        }
    }

    fn enqueue(&self, message: Message) -> Result<(), Error> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = &*queue else {
            return Err(Error::closed());
        };
        self.load.jobs.fetch_add(1, Ordering::Relaxed);
        match queue.try_send(message) {
            Ok(()) => Ok(()),
            Err(refused) => {
                self.load.jobs.fetch_sub(1, Ordering::Relaxed);
                let (message, error) = match refused {
                    TrySendError::Full(message) => {
                        let retry_after = self.load.wait().clamp(BUSY_RETRY_MIN, BUSY_RETRY_MAX);
                        let kind = ErrorKind::Busy { retry_after };
                        (message, Error::new(kind, "the write queue is full"))
                    }
                    TrySendError::Disconnected(message) => (message, Error::closed()),
                };
                if let Message::Job(_, job) = message {
                    job.answer(Some(error.clone()), Settled::now());
                }
                Err(error)
            }
        }
    }

    /// Whether commits reach the disk. Costs nothing while they do; after one was lost, a commit that changes
    /// nothing but the disk is tried.
    pub(super) async fn writable(&self) -> Result<(), Error> {
        if self.health.is_good() {
            return Ok(());
        }
        self.submit("probe", Mode::Probe, |conn| {
            // SQLite skips rows that stay the same. This one it writes: the first page goes to the log.
            Ok(conn.execute_batch(&format!("PRAGMA user_version = {FORMAT}"))?)
        })
        .await
    }

    pub(super) fn queue_jobs(&self) -> usize {
        self.load.jobs.load(Ordering::Relaxed)
    }

    pub(super) fn wait(&self) -> Duration {
        self.load.wait()
    }

    pub(super) async fn close(&self, deadline: Duration) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(queue) = queue else { return };
        let (done, closed) = oneshot::channel();
        let ask = async {
            let mut message = Message::Close(done);
            // The queue may be full of writes that were accepted: they go first.
            loop {
                match queue.try_send(message) {
                    Ok(()) => break,
                    Err(TrySendError::Disconnected(_)) => return,
                    Err(TrySendError::Full(back)) => message = back,
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let _ = closed.await;
        };
        if tokio::time::timeout(deadline, ask).await.is_err() {
            tracing::warn!("the store did not close in time; its WAL is recovered at the next start");
        }
    }
}

/// Owned by the writer thread alone.
struct Thread {
    conn: Conn,
    _lock: WriterLock,
    commits: watch::Sender<u64>,
    load: Arc<Load>,
    health: Arc<Health>,
    /// When the running job must end, on the monotonic clock; read by SQLite's progress handler.
    deadline: Arc<AtomicU64>,
    group_jobs_max: usize,
    group_time_max: Duration,
    job_time_max: Duration,
    /// Set when a commit failed in the disk: what it said, and until when nothing is tried, on the monotonic
    /// clock. After an `fsync` that failed, what is on disk of the frames that it was for is unknown, and a
    /// second `fsync` alone would lie. But those frames belong to a transaction that SQLite took back: the
    /// next one is written over them, whole, and is acknowledged only when its own `fsync` succeeds.
    failed: Option<(Error, u64)>,
    /// When the last commit began, until it was told.
    commit_ns: Option<u64>,
}

impl Thread {
    fn run(mut self, queue: &Receiver<Message>) {
        let mut next = None;
        loop {
            let message = match next.take() {
                Some(message) => message,
                None => match queue.recv() {
                    Ok(message) => message,
                    Err(_) => break,
                },
            };
            match message {
                Message::Job(Mode::Alone, job) => self.alone(job, self.job_time_max),
                Message::Job(Mode::Unlimited, job) => self.alone(job, Duration::MAX),
                Message::Job(Mode::Probe, job) => self.probe(job),
                Message::Job(Mode::Grouped, job) => next = self.group(job, queue),
                Message::Close(done) => {
                    // Nothing comes after it: `close` took the only sender.
                    self.checkpoint();
                    drop(self);
                    let _ = done.send(());
                    return;
                }
            }
        }
        self.checkpoint();
    }

    /// Runs jobs until the queue is empty, the group is full or time is up; returns the message that
    /// could not join.
    fn group(&mut self, first: Box<dyn Job>, queue: &Receiver<Message>) -> Option<Message> {
        let started_ns = monotonic_ns();
        let changes = self.conn.total_changes();
        let mut lost = self.begin().err();
        let mut jobs: Vec<Box<dyn Job>> = Vec::new();
        let mut left = None;
        let mut candidate = Some(first);
        let mut taken = 0_usize;
        while let Some(mut job) = candidate.take() {
            taken += 1;
            if job.wanted() {
                if lost.is_none() {
                    lost = self.in_savepoint(job.as_mut()).err();
                }
                jobs.push(job);
            }
            let time_is_up =
                Duration::from_nanos(monotonic_ns().saturating_sub(started_ns)) >= self.group_time_max;
            if lost.is_some() || time_is_up || taken >= self.group_jobs_max {
                break;
            }
            match queue.try_recv() {
                Ok(Message::Job(Mode::Grouped, job)) => candidate = Some(job),
                Ok(other) => left = Some(other),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
            }
        }
        let failure = match lost {
            None => self.commit().err(),
            Some(error) => {
                self.rollback();
                Some(error)
            }
        };
        let changed = self.conn.total_changes() != changes;
        self.note(failure.as_ref(), changed);
        let ended_ns = self.settle(taken, started_ns, failure.is_none() && changed);
        let settled = Settled {
            jobs: jobs.len(),
            commit_ns: self.commit_ns.take(),
            ended_ns,
        };
        for job in jobs {
            job.answer(failure.clone(), settled);
        }
        left
    }

    fn alone(&mut self, mut job: Box<dyn Job>, time_max: Duration) {
        let started_ns = monotonic_ns();
        let changes = self.conn.total_changes();
        if !job.wanted() {
            self.settle(1, started_ns, false);
            return;
        }
        let failure = self.in_own_transaction(job.as_mut(), time_max).err();
        let changed = self.conn.total_changes() != changes;
        self.note(failure.as_ref(), changed);
        let ended_ns = self.settle(1, started_ns, failure.is_none() && changed);
        let settled = Settled {
            jobs: 1,
            commit_ns: self.commit_ns.take(),
            ended_ns,
        };
        job.answer(failure, settled);
    }

    /// Runs a job whose commit goes to the disk though it changes no row.
    fn probe(&mut self, mut job: Box<dyn Job>) {
        let started_ns = monotonic_ns();
        if !job.wanted() {
            self.settle(1, started_ns, false);
            return;
        }
        let failure = self.in_own_transaction(job.as_mut(), self.job_time_max).err();
        self.note(failure.as_ref(), true);
        let ended_ns = self.settle(1, started_ns, false);
        let settled = Settled {
            jobs: 1,
            commit_ns: self.commit_ns.take(),
            ended_ns,
        };
        job.answer(failure, settled);
    }

    /// Remembers whether transactions reach the disk: `failure` lost one, `changed` wrote one.
    fn note(&mut self, failure: Option<&Error>, changed: bool) {
        match failure {
            Some(error) if speaks_of_the_disk(error) => self.health.set(Some(error.clone())),
            // The job's own fault says nothing about the disk.
            Some(_) => {}
            None if changed => {
                self.health.set(None);
                if self.failed.take().is_some() {
                    tracing::info!("the disk takes commits again");
                }
            }
            None => {}
        }
    }

    fn in_own_transaction(&mut self, job: &mut dyn Job, time_max: Duration) -> Result<(), Error> {
        self.begin()?;
        self.arm(time_max);
        let ran = job.run(&self.conn);
        self.disarm();
        match ran {
            Ok(()) if self.conn.inner().is_autocommit() => Err(ended_by_job()),
            Ok(()) => self.commit(),
            Err(error) => {
                self.rollback();
                Err(error)
            }
        }
    }

    /// Runs one job between neighbours. An error here means that the whole group is lost.
    fn in_savepoint(&self, job: &mut dyn Job) -> Result<(), Error> {
        self.execute("SAVEPOINT job")?;
        self.arm(self.job_time_max);
        let ran = job.run(&self.conn);
        self.disarm();
        if let Err(error) = &ran
            && speaks_of_the_disk(error)
        {
            self.health.set(Some(error.clone()));
        }
        if self.conn.inner().is_autocommit() {
            // SQLite rolls everything back by itself when the disk is full or fails, and when a write is
            // interrupted; the neighbours' work is gone too.
            return Err(match ran {
                Ok(()) => ended_by_job(),
                Err(error) if matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Aborted) => Error::new(
                    ErrorKind::Unavailable {
                        retry_after: BUSY_RETRY_MIN,
                    },
                    "the shared transaction was rolled back because of another write in it",
                ),
                Err(error) => error,
            });
        }
        if ran.is_err() {
            self.execute("ROLLBACK TO job")?;
        }
        self.execute("RELEASE job")
    }

    fn begin(&self) -> Result<(), Error> {
        if let Some((failed, until_ns)) = &self.failed
            && monotonic_ns() < *until_ns
        {
            return Err(failed.clone());
        }
        // IMMEDIATE: a deferred transaction that upgrades later gets SQLITE_BUSY without waiting.
        self.execute("BEGIN IMMEDIATE")
    }

    fn commit(&mut self) -> Result<(), Error> {
        self.commit_ns = Some(monotonic_ns());
        let commit = self.conn.inner().prepare_cached("COMMIT");
        match commit.and_then(|mut sql| sql.execute([])) {
            Ok(_) => Ok(()),
            Err(error) => {
                let disk_failed = matches!(
                    &error,
                    rusqlite::Error::SqliteFailure(failure, _) if failure.code == ErrorCode::SystemIoFailure
                );
                let error = Error::from(error).context("failed to commit");
                self.rollback();
                if disk_failed {
                    if self.failed.is_none() {
                        tracing::error!(%error, "the disk failed in a commit; writes are refused until it takes one");
                    }
                    let pause_ns = u64::try_from(DISK_FAILED_PAUSE.as_nanos()).unwrap_or(u64::MAX);
                    self.failed = Some((error.clone(), monotonic_ns().saturating_add(pause_ns)));
                }
                Err(error)
            }
        }
    }

    fn rollback(&self) {
        if !self.conn.inner().is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            tracing::error!(%error, "failed to roll back");
        }
    }

    fn execute(&self, sql: &str) -> Result<(), Error> {
        self.conn.inner().prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    fn arm(&self, time_max: Duration) {
        let limit = u64::try_from(time_max.as_nanos()).unwrap_or(u64::MAX);
        self.deadline
            .store(monotonic_ns().saturating_add(limit), Ordering::Relaxed);
    }

    fn disarm(&self) {
        self.deadline.store(u64::MAX, Ordering::Relaxed);
    }

    /// Counts the jobs as done and wakes those who wait for commits. Returns the time.
    fn settle(&self, jobs: usize, started_ns: u64, changed: bool) -> u64 {
        let ended_ns = monotonic_ns();
        let took_ns = ended_ns.saturating_sub(started_ns);
        let each_ns = took_ns / u64::try_from(jobs.max(1)).unwrap_or(u64::MAX);
        let mean_ns = self.load.job_ns.load(Ordering::Relaxed);
        let mean_ns = mean_ns - (mean_ns >> EWMA_SHIFT) + (each_ns >> EWMA_SHIFT);
        self.load.job_ns.store(mean_ns.max(1_000), Ordering::Relaxed);
        self.load.jobs.fetch_sub(jobs, Ordering::Relaxed);
        if changed {
            self.commits.send_modify(|commits| *commits += 1);
        }
        ended_ns
    }

    fn checkpoint(&self) {
        if self.failed.is_some() {
            return;
        }
        if let Err(error) = self
            .conn
            .inner()
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        {
            tracing::warn!(%error, "failed to move the WAL into the file; the next start does it");
        }
    }
}

fn speaks_of_the_disk(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DiskFull | ErrorKind::ReadOnly | ErrorKind::Unavailable { .. }
    )
}

fn ended_by_job() -> Error {
    Error::bug("a job ended the shared transaction")
}
