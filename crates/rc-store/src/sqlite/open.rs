//! Opening a file: is it ours, are we its only writer, and the settings that every connection has.

use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::FlockOperation;

use super::SqliteOptions;
use crate::error::UNAVAILABLE_RETRY;
use crate::{Error, ErrorKind};

/// `RCST` in the file's header says that a file is ours.
pub const APPLICATION_ID: i32 = 0x5243_5354;

/// The format of our own bookkeeping (`user_version`); tables are numbered by migrations.
pub const FORMAT: i32 = 1;

/// A foreign process (a backup, a person with `sqlite3`) may hold the lock this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Pages of WAL after which a commit moves them into the file: 8 MiB.
const WAL_CHECKPOINT_PAGES: u32 = 2_000;

/// The WAL file is kept at this size between checkpoints, so that commits overwrite it in place.
const WAL_BYTES_KEPT: u32 = 16 * 1024 * 1024;

/// Statements kept prepared a connection. One more set a tenant where tables are the tenant's own.
const STATEMENTS_CACHED: usize = 128;

/// The writer's place in a file.
pub(super) struct WriterLock(fs_err::File);

impl Drop for WriterLock {
    fn drop(&mut self) {
        // Given back by name, not by closing: a process that another thread is just starting holds a copy
        // of the descriptor until its `exec`, and closing ours would leave the lock with it.
        if let Err(error) = rustix::fs::flock(self.0.file(), FlockOperation::Unlock) {
            tracing::warn!(%error, "failed to give the writer's place back before the file is closed");
        }
    }
}

/// The writer's connection and the lock that makes it the only one.
pub(super) struct WriterPlace {
    pub(super) conn: Connection,
    /// Held until the writer thread ends; the kernel gives it back when the process dies.
    pub(super) lock: WriterLock,
}

/// Opens or creates the file as its only writer.
pub(super) fn writer(path: &Path, options: &SqliteOptions) -> Result<WriterPlace, Error> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder).map_err(|error| cannot_open(path, error))?;
    }
    let lock = take_lock(path)?;
    create_private(path)?;
    let conn = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let header = check_ours(&conn, path, true)?;
    settings(&conn, options.cache_kib).map_err(|error| Error::from(error).context(tried(path)))?;
    let set = |conn: &Connection| -> rusqlite::Result<()> {
        conn.pragma_update(None, "journal_mode", "wal")?;
        conn.pragma_update(None, "synchronous", "full")?;
        conn.pragma_update(None, "wal_autocheckpoint", WAL_CHECKPOINT_PAGES)?;
        conn.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
        if let Some(pages) = options.pages_max {
            conn.pragma_update(None, "max_page_count", pages)?;
        }
        // Each of these writes a page: on a full disk a file that has them must still open, to be read.
        if header.application != APPLICATION_ID {
            conn.pragma_update(None, "application_id", APPLICATION_ID)?;
        }
        if header.format != FORMAT {
            conn.pragma_update(None, "user_version", FORMAT)?;
        }
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        Ok(())
    };
    set(&conn).map_err(|error| Error::from(error).context(tried(path)))?;
    Ok(WriterPlace { conn, lock })
}

/// Opens the file for reading.
pub(super) fn reader(path: &Path, options: &SqliteOptions) -> Result<Connection, Error> {
    // SQLite would wait at a pipe for somebody to write to it.
    if fs_err::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(Error::new(
            ErrorKind::Foreign,
            format!("`{}` is not a regular file", path.display()),
        ));
    }
    let conn = if is_still(path) {
        connect_still(path)?
    } else {
        connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?
    };
    if !options.foreign {
        check_ours(&conn, path, false)?;
    }
    settings(&conn, options.cache_kib / 2).map_err(|error| Error::from(error).context(tried(path)))?;
    Ok(conn)
}

/// Whether a file lies where we can make none beside it, and has no WAL: a copy on a read-only disk, or another
/// user's. Nobody writes it through us, and readers cannot have the index of a WAL that SQLite asks for otherwise.
fn is_still(path: &Path) -> bool {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_err()
        && fs_err::metadata(PathBuf::from(wal)).map_or(true, |wal| wal.len() == 0)
}

/// Opens a file that does not change, without the files that SQLite keeps beside one in WAL mode.
fn connect_still(path: &Path) -> Result<Connection, Error> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {
                uri.push(char::from(*byte))
            }
            // Writing to a String cannot fail.
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    let access = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    connect(Path::new(&uri), access).map_err(|error| error.context(tried(path)))
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, Error> {
    // Without SQLITE_OPEN_URI a path is a path, whatever it contains. One thread uses one connection.
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)
        .and_then(|conn| conn.busy_timeout(BUSY_TIMEOUT).map(|()| conn))
        .map_err(|error| Error::from(error).context(tried(path)))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(conn)
}

fn settings(conn: &Connection, cache_kib: usize) -> rusqlite::Result<()> {
    conn.pragma_update(None, "cache_size", -i64::try_from(cache_kib).unwrap_or(i64::MAX))?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "temp_store", "memory")?;
    // A damaged page must give an error, not a SIGBUS.
    conn.pragma_update(None, "mmap_size", 0)?;
    // A misspelled column must not turn into a string.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    Ok(())
}

/// What a file's header says of its maker; all zero in an empty one.
struct Header {
    application: i32,
    format: i32,
}

/// Refuses files that somebody else made, or a newer binary.
fn check_ours(conn: &Connection, path: &Path, may_be_empty: bool) -> Result<Header, Error> {
    let header = |name: &str| -> Result<i32, Error> {
        conn.pragma_query_value(None, name, |row| row.get(0))
            .map_err(|error| Error::from(error).context(tried(path)))
    };
    let (application, format) = (header("application_id")?, header("user_version")?);
    if application == 0 && format == 0 && header("schema_version")? == 0 {
        if may_be_empty {
            return Ok(Header { application, format });
        }
        return Err(Error::new(
            ErrorKind::Unavailable {
                retry_after: UNAVAILABLE_RETRY,
            },
            format!("`{}` is empty: its service has not started yet", path.display()),
        ));
    }
    if application != APPLICATION_ID {
        return Err(Error::new(
            ErrorKind::Foreign,
            format!(
                "`{}` is a SQLite database of another program (application id {application:#x})",
                path.display()
            ),
        ));
    }
    if format > FORMAT {
        return Err(Error::new(
            ErrorKind::Foreign,
            format!(
                "`{}` has format {format}; this binary knows {FORMAT}: use the newer one",
                path.display()
            ),
        ));
    }
    Ok(Header { application, format })
}

/// The lock file beside the database. It is never removed: removing it would let two writers lock two
/// different files of the same name.
fn take_lock(path: &Path) -> Result<WriterLock, Error> {
    let lock_path = lock_path(path);
    let mut options = std::fs::OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600);
    let mut lock = fs_err::OpenOptions::from_options(options)
        .open(&lock_path)
        .map_err(|error| cannot_open(path, error))?;
    match rustix::fs::flock(lock.file(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // The text is advice for people; a torn read gives a worse message and nothing else.
            let _ = (&mut lock).take(32).read_to_string(&mut holder);
            let holder = holder.trim();
            let by = if holder.is_empty() {
                String::new()
            } else {
                format!(" (process {holder})")
            };
            return Err(Error::new(
                ErrorKind::WriterTaken,
                format!("`{}` already has a writer{by}", path.display()),
            ));
        }
        Err(error) => return Err(cannot_open(path, error.into())),
    }
    let note = |lock: &mut fs_err::File| -> std::io::Result<()> {
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "{}", std::process::id())
    };
    // A full disk must not keep the store from opening to be read and pruned.
    if let Err(error) = note(&mut lock) {
        tracing::debug!(%error, "failed to note the process in the lock file");
    }
    Ok(WriterLock(lock))
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

/// Documents are nobody else's business: the file is created readable by its owner only; SQLite gives
/// the WAL the same mode.
fn create_private(path: &Path) -> Result<(), Error> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    match fs_err::OpenOptions::from_options(options).open(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(cannot_open(path, error)),
    }
}

fn cannot_open(path: &Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::StorageFull => ErrorKind::DiskFull,
        std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => ErrorKind::ReadOnly,
        _ => ErrorKind::Unavailable {
            retry_after: UNAVAILABLE_RETRY,
        },
    };
    Error::caused(kind, tried(path), error)
}

fn tried(path: &Path) -> String {
    format!("failed to open the database `{}`", path.display())
}

#[cfg(test)]
mod tests;
