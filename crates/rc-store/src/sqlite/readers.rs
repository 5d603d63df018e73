//! Reader threads: each has its own connection and serves one queue.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rc_model::clock::monotonic_ns;

use super::SqliteOptions;
use super::conn::Conn;
use super::job::{Job, Typed};
use super::span::Settled;
use super::writer::DEADLINE_CHECK_OPS;
use crate::error::UNAVAILABLE_RETRY;
use crate::trace::Shapes;
use crate::{Error, ErrorKind};

/// What a full read queue answers with; reads are short and many threads serve them.
const BUSY_RETRY: Duration = Duration::from_millis(100);

struct Request {
    job: Box<dyn Job>,
    /// Set when the caller went away: the running statement stops.
    dropped: Arc<AtomicBool>,
}

/// The queue's handle side.
pub(super) struct Readers {
    /// Taken by `close`.
    queue: Mutex<Option<SyncSender<Request>>>,
}

impl Readers {
    pub(super) fn start(path: &Path, options: &SqliteOptions, shapes: &Arc<Shapes>) -> Result<Self, Error> {
        let (queue, requests) = sync_channel(options.read_queue_jobs_max.max(1));
        let requests = Arc::new(Mutex::new(requests));
        let name = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        for number in 0..options.readers.max(1) {
            let (path, options, requests) = (path.to_owned(), options.clone(), Arc::clone(&requests));
            let shapes = Arc::clone(shapes);
            std::thread::Builder::new()
                .name(format!("read-{number}/{name}"))
                .spawn(move || serve(&path, &options, &requests, &shapes))
                .map_err(|error| {
                    Error::caused(
                        ErrorKind::Unavailable {
                            retry_after: UNAVAILABLE_RETRY,
                        },
                        "failed to start a reader thread",
                        error,
                    )
                })?;
        }
        Ok(Self {
            queue: Mutex::new(Some(queue)),
        })
    }

    pub(super) async fn submit<T, F>(&self, op: &'static str, closure: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Conn) -> Result<T, Error> + Send + 'static,
    {
        let (job, answer) = Typed::new("read", op, closure);
        let dropped = Arc::new(AtomicBool::new(false));
        let request = Request {
            job: Box::new(job),
            dropped: Arc::clone(&dropped),
        };
        self.enqueue(request)?;
        let mut guard = StopOnDrop(Some(dropped));
        let outcome = answer.await;
        guard.0 = None;
        match outcome {
            Ok(answer) => answer.told(),
            Err(_) => Err(Error::closed()),
        }
    }

    fn enqueue(&self, request: Request) -> Result<(), Error> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = &*queue else {
            return Err(Error::closed());
        };
        queue.try_send(request).map_err(|refused| {
            let (request, error) = match refused {
                TrySendError::Full(request) => {
                    let retry_after = BUSY_RETRY;
                    let error = Error::new(ErrorKind::Busy { retry_after }, "the read queue is full");
                    (request, error)
                }
                TrySendError::Disconnected(request) => (request, Error::closed()),
            };
            request.job.answer(Some(error.clone()), Settled::now());
            error
        })
    }

    pub(super) fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Stops the statement of a caller that went away.
struct StopOnDrop(Option<Arc<AtomicBool>>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(dropped) = &self.0 {
            dropped.store(true, Ordering::Relaxed);
        }
    }
}

/// What the progress handler of one connection looks at.
struct Limit {
    deadline_ns: AtomicU64,
    dropped: Mutex<Arc<AtomicBool>>,
}

impl Limit {
    fn exceeded(&self) -> bool {
        monotonic_ns() > self.deadline_ns.load(Ordering::Relaxed)
            || self
                .dropped
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .load(Ordering::Relaxed)
    }

    fn arm(&self, time_max: Duration, dropped: Arc<AtomicBool>) {
        let limit = u64::try_from(time_max.as_nanos()).unwrap_or(u64::MAX);
        *self.dropped.lock().unwrap_or_else(PoisonError::into_inner) = dropped;
        self.deadline_ns
            .store(monotonic_ns().saturating_add(limit), Ordering::Relaxed);
    }
}

/// One thread's life. The connection is opened by the first request: an idle reader costs a stack.
fn serve(path: &Path, options: &SqliteOptions, requests: &Mutex<Receiver<Request>>, shapes: &Arc<Shapes>) {
    let limit = Arc::new(Limit {
        deadline_ns: AtomicU64::new(u64::MAX),
        dropped: Mutex::new(Arc::new(AtomicBool::new(false))),
    });
    let mut reader: Option<Conn> = None;
    loop {
        // The lock is held while waiting: the thread that has it takes the next request, the others
        // wait for the lock instead.
        let request = requests.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Request { job, dropped }) = request else {
            return;
        };
        if !job.wanted() {
            continue;
        }
        let conn = match reader.take() {
            Some(conn) => Ok(conn),
            None => open(path, options, &limit).map(|conn| Conn::new(conn, Arc::clone(shapes))),
        };
        match conn {
            Err(error) => job.answer(Some(error), Settled::now()),
            Ok(conn) => {
                limit.arm(options.read_time_max, dropped);
                let usable = run(&conn, job);
                limit.deadline_ns.store(u64::MAX, Ordering::Relaxed);
                if usable {
                    reader = Some(conn);
                }
            }
        }
    }
}

fn open(path: &Path, options: &SqliteOptions, limit: &Arc<Limit>) -> Result<rusqlite::Connection, Error> {
    let mut conn = super::open::reader(path, options)?;
    super::rank::register(&conn)?;
    let limit = Arc::clone(limit);
    conn.progress_handler(DEADLINE_CHECK_OPS, Some(move || limit.exceeded()))?;
    Ok(conn)
}

/// Runs one read in its transaction; whether the connection can be used again.
fn run(conn: &Conn, mut job: Box<dyn Job>) -> bool {
    let inner = conn.inner();
    let begun = inner.prepare_cached("BEGIN").and_then(|mut sql| sql.execute([]));
    if let Err(error) = begun {
        job.answer(Some(error.into()), Settled::now());
        return false;
    }
    // A failed read keeps its own reason; there is nothing to take back.
    let _ = job.run(conn);
    let ended = inner.is_autocommit()
        || inner
            .prepare_cached("ROLLBACK")
            .and_then(|mut sql| sql.execute([]))
            .is_ok();
    job.answer(None, Settled::now());
    ended
}
