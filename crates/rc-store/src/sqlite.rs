//! One SQLite file: one writer thread with group commit, reader threads with snapshots.
//!
//! A write resolves after the commit that holds it is on disk (WAL, `synchronous=FULL`). Jobs that wait
//! at the same time share one commit, each in a savepoint, so one fsync pays for all of them and a job
//! that fails takes no neighbour with it. Nothing here blocks an async thread.

mod conn;
mod job;
mod open;
mod rank;
mod readers;
mod span;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rc_model::TenantId;
use tokio::sync::watch;

use crate::trace::Shapes;
use crate::{Error, ErrorKind, TenantConn};

pub use conn::{Conn, Mapped, Rows, Statement};
pub use open::{APPLICATION_ID, FORMAT};

/// Threads that read; more would only queue for the same two to eight cores.
pub const READERS_DEFAULT: usize = 4;

/// Writes that may wait. At 20,000 rows a second and some ten rows a job this is half a second.
pub const WRITE_QUEUE_JOBS_MAX: usize = 1_024;

/// Reads that may wait.
pub const READ_QUEUE_JOBS_MAX: usize = 1_024;

/// Jobs that share one commit.
pub const GROUP_JOBS_MAX: usize = 256;

/// How long a group may run before it commits; jobs that come later wait for the next group.
pub const GROUP_TIME_MAX: Duration = Duration::from_millis(20);

/// How long one read may run. A reader that never ends keeps the WAL from being reset.
pub const READ_TIME_MAX: Duration = Duration::from_secs(5);

/// How long one write job may run before its statement is stopped.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(30);

/// How long [`Sqlite::close`] waits for queued writes and the last checkpoint.
pub const CLOSE_TIME_MAX: Duration = Duration::from_secs(10);

/// How a file is opened.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// Reader threads, at least 1.
    pub readers: usize,
    /// Writes that may wait before [`ErrorKind::Busy`].
    pub queue_jobs_max: usize,
    /// Reads that may wait before [`ErrorKind::Busy`].
    pub read_queue_jobs_max: usize,
    /// Jobs that share one commit.
    pub group_jobs_max: usize,
    /// How long a group may run before it commits.
    pub group_time_max: Duration,
    /// How long one read may run.
    pub read_time_max: Duration,
    /// How long one write job may run.
    pub write_time_max: Duration,
    /// Page cache of the writer in KiB; each reader has half of it. Filled by use, not at start.
    pub cache_kib: usize,
    /// The largest file in pages of 4 KiB; `None` leaves it to the disk.
    pub pages_max: Option<u32>,
    /// Read a file whatever program made it. Only [`Sqlite::open_readonly`] looks at this: what we write is
    /// ours.
    pub foreign: bool,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            readers: READERS_DEFAULT,
            queue_jobs_max: WRITE_QUEUE_JOBS_MAX,
            read_queue_jobs_max: READ_QUEUE_JOBS_MAX,
            group_jobs_max: GROUP_JOBS_MAX,
            group_time_max: GROUP_TIME_MAX,
            read_time_max: READ_TIME_MAX,
            write_time_max: WRITE_TIME_MAX,
            cache_kib: 4_096,
            pages_max: None,
            foreign: false,
        }
    }
}

/// A handle to one SQLite file; cheap to clone. The threads end when the last handle is dropped.
#[derive(Clone)]
pub struct Sqlite(Arc<Shared>);

struct Shared {
    path: PathBuf,
    /// `None` for a file that was opened read-only.
    writer: Option<writer::Writer>,
    readers: readers::Readers,
    committed: watch::Receiver<u64>,
    shapes: Arc<Shapes>,
    /// Keeps the channel of a read-only handle open, so that waiting on it waits and does not fail.
    _idle: Option<watch::Sender<u64>>,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite")
            .field("path", &self.0.path)
            .field("read_only", &self.0.writer.is_none())
            .finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Opens or creates the file and takes the writer's place in it. Blocks for a few milliseconds.
    ///
    /// # Errors
    /// [`ErrorKind::WriterTaken`] when another process (or handle) writes this file,
    /// [`ErrorKind::Foreign`] when it is not one of ours, and what the disk says.
    pub fn open(path: &Path, options: SqliteOptions) -> Result<Self, Error> {
        let opened = open::writer(path, &options)?;
        let shapes = Arc::<Shapes>::default();
        let (writer, committed) = writer::Writer::start(opened, path, &options, Arc::clone(&shapes))?;
        Ok(Self(Arc::new(Shared {
            path: path.to_owned(),
            writer: Some(writer),
            readers: readers::Readers::start(path, &options, &shapes)?,
            committed,
            shapes,
            _idle: None,
        })))
    }

    /// Opens the file of another service: reads only, and nothing is ever changed in it.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the file does not exist yet, [`ErrorKind::Foreign`] when it is
    /// not one of ours.
    pub fn open_readonly(path: &Path, options: SqliteOptions) -> Result<Self, Error> {
        // Opened here once, so that a wrong file is told at start and not by the first read.
        drop(open::reader(path, &options)?);
        let (idle, committed) = watch::channel(0);
        let shapes = Arc::<Shapes>::default();
        Ok(Self(Arc::new(Shared {
            path: path.to_owned(),
            writer: None,
            readers: readers::Readers::start(path, &options, &shapes)?,
            committed,
            shapes,
            _idle: Some(idle),
        })))
    }

    /// Runs `job` in a savepoint of a transaction it shares with other jobs; resolves after the commit
    /// is durable. An error of `job` takes back its own changes only. `op` names the work in spans.
    ///
    /// A call that is dropped while it waits in the queue does nothing; one that is dropped later may
    /// still commit.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] at once when the queue is full; what `job` says; what the commit says.
    pub async fn write<T, F>(&self, op: &'static str, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Conn) -> Result<T, Error> + Send + 'static,
    {
        self.writer()?.submit(op, writer::Mode::Grouped, job).await
    }

    /// Runs `job` in a transaction of its own without a savepoint: for large batches, and for FTS5,
    /// which flushes its pending terms at each savepoint.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_alone<T, F>(&self, op: &'static str, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Conn) -> Result<T, Error> + Send + 'static,
    {
        self.writer()?.submit(op, writer::Mode::Alone, job).await
    }

    /// As [`Self::write_alone`], without a limit of time: migrations.
    pub(crate) async fn write_unlimited<T, F>(&self, op: &'static str, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Conn) -> Result<T, Error> + Send + 'static,
    {
        self.writer()?.submit(op, writer::Mode::Unlimited, job).await
    }

    /// Runs `job` in a read transaction: all its statements see one snapshot. Dropping the call stops
    /// the statement.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] at once when the queue is full, [`ErrorKind::Timeout`] after
    /// [`SqliteOptions::read_time_max`], and what `job` says.
    pub async fn read<T, F>(&self, op: &'static str, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Conn) -> Result<T, Error> + Send + 'static,
    {
        self.0.readers.submit(op, job).await
    }

    /// The handle for request handlers: it can run nothing but statements of one tenant at a time.
    #[must_use]
    pub fn tenants(&self) -> TenantDb {
        TenantDb(self.clone())
    }

    /// Grows with each commit that changed something: the wake-up for relays and long polls. It never
    /// changes on a read-only handle.
    #[must_use]
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.0.committed.clone()
    }

    /// Whether commits reach the disk. No I/O while the last one did; after one was lost, a small one is
    /// tried, so that a disk that is full or failed is noticed by nobody's write, and its return too.
    ///
    /// # Errors
    /// What the commit says: [`ErrorKind::DiskFull`], [`ErrorKind::ReadOnly`], [`ErrorKind::Unavailable`].
    pub async fn writable(&self) -> Result<(), Error> {
        self.writer()?.writable().await
    }

    /// Writes that wait or run.
    #[must_use]
    pub fn write_queue_jobs(&self) -> usize {
        self.0.writer.as_ref().map_or(0, writer::Writer::queue_jobs)
    }

    /// How long a write that came now would wait: queue length times the recent time a job.
    #[must_use]
    pub fn write_wait(&self) -> Duration {
        self.0
            .writer
            .as_ref()
            .map_or(Duration::ZERO, writer::Writer::wait)
    }

    /// Whether this handle can only read.
    #[must_use]
    pub fn is_readonly(&self) -> bool {
        self.0.writer.is_none()
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Finishes the queued writes, moves the WAL into the file and gives the writer's place back.
    /// Later calls on any handle answer [`ErrorKind::Unavailable`].
    pub async fn close(&self) {
        self.0.readers.close();
        if let Some(writer) = &self.0.writer {
            writer.close(CLOSE_TIME_MAX).await;
        }
    }

    /// The statements that ran.
    pub(crate) fn shapes(&self) -> &Shapes {
        &self.0.shapes
    }

    fn writer(&self) -> Result<&writer::Writer, Error> {
        self.0.writer.as_ref().ok_or_else(|| {
            Error::new(
                ErrorKind::ReadOnly,
                format!("`{}` was opened read-only", self.0.path.display()),
            )
        })
    }
}

/// A store that request handlers hold: it has no way to run a statement without a tenant.
#[derive(Debug, Clone)]
pub struct TenantDb(Sqlite);

impl TenantDb {
    /// As [`Sqlite::write`], for one tenant.
    ///
    /// # Errors
    /// As [`Sqlite::write`].
    pub async fn write<T, F>(&self, tenant: &TenantId, op: &'static str, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&TenantConn<'_>) -> Result<T, Error> + Send + 'static,
    {
        let tenant = tenant.clone();
        self.0
            .write(op, move |conn| job(&TenantConn::new(conn, &tenant)))
            .await
    }

    /// As [`Sqlite::read`], for one tenant.
    ///
    /// # Errors
    /// As [`Sqlite::read`].
    pub async fn read<T, F>(&self, tenant: &TenantId, op: &'static str, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&TenantConn<'_>) -> Result<T, Error> + Send + 'static,
    {
        let tenant = tenant.clone();
        self.0
            .read(op, move |conn| job(&TenantConn::new(conn, &tenant)))
            .await
    }

    /// How long a write that came now would wait.
    #[must_use]
    pub fn write_wait(&self) -> Duration {
        self.0.write_wait()
    }
}

#[cfg(test)]
mod tests;
