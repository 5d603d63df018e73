//! Where the two generations are, and where it stands which of them serves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rc_store::{Error, ErrorKind, Postgres, SqliteOptions};

use super::record::{Record, Slot};
use crate::docs::store::Generation;
use crate::docs::{PostgresDocs, SqliteDocs};
use crate::ingest::room;

/// Two places for a read model, and a record that says which one serves.
pub(in crate::docs) trait Shelf: Send + Sync {
    /// What is stored; the default before anything was.
    fn load(&self) -> BoxFuture<'_, Result<Record, Error>>;

    /// Stores `record` in place of the one whose revision it has, durably and as a whole; `false` when that is not the
    /// stored one any more. When it fails, only [`Self::load`] knows which of the two is stored.
    fn save<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<bool, Error>>;

    /// Opens what is in `slot`; an empty read model, where nothing is.
    fn open(&self, slot: Slot) -> BoxFuture<'_, Result<Arc<dyn Generation>, Error>>;

    /// Throws away what is in `slot`, which nobody has open.
    fn clear(&self, slot: Slot) -> BoxFuture<'_, Result<(), Error>>;

    /// Whether other processes may serve from here.
    fn is_shared(&self) -> bool;

    /// Why there is no room for a second generation beside `live`, if so. `begun`: most of it is there already.
    fn shortage(&self, live: Slot, begun: bool) -> Option<String>;
}

/// Generations as SQLite files of one folder, which one process owns.
#[derive(Debug)]
pub(in crate::docs) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(in crate::docs) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn file(&self, slot: Slot) -> PathBuf {
        self.folder.join(match slot {
            Slot::A => "docs.db",
            Slot::B => "docs-b.db",
        })
    }

    fn record(&self) -> PathBuf {
        self.folder.join("docs.generations.json")
    }
}

/// A file with what SQLite keeps beside it. The lock file stays: who holds it must not lose it.
fn parts(file: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|end| {
        let mut name = file.as_os_str().to_owned();
        name.push(end);
        name.into()
    })
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
            io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
            _ => ErrorKind::Unavailable {
                retry_after: rc_store::error::UNAVAILABLE_RETRY,
            },
        };
        Error::caused(kind, what, error)
    }
}

fn read_record(path: &Path) -> Result<Record, Error> {
    match fs_err::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| {
            let what = format!("`{}` does not say which read model serves", path.display());
            Error::caused(ErrorKind::Corrupt, what, error)
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Record::default()),
        Err(error) => Err(failed("failed to read which read model serves")(error)),
    }
}

/// A crash leaves the former record or this one.
fn write_record(path: &Path, record: &Record) -> io::Result<()> {
    let mut scratch = path.as_os_str().to_owned();
    scratch.push(".new");
    let scratch = PathBuf::from(scratch);
    let text = serde_json::to_vec_pretty(record).expect("a record has only string keys");
    let mut file = fs_err::File::create(&scratch)?;
    io::Write::write_all(&mut file, &text)?;
    file.sync_all()?;
    fs_err::rename(&scratch, path)?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs_err::File::open(folder)?.sync_all()
}

/// A few small calls of the system, off the async threads.
async fn off<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(Error::caused(
            ErrorKind::Bug,
            "work on files of the read model broke",
            error,
        ))
    })
}

impl Shelf for Files {
    fn load(&self) -> BoxFuture<'_, Result<Record, Error>> {
        let path = self.record();
        off(move || read_record(&path)).boxed()
    }

    fn save<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<bool, Error>> {
        let (path, record) = (self.record(), record.clone());
        off(move || {
            if read_record(&path)?.revision != record.revision {
                return Ok(false);
            }
            let next = Record {
                revision: record.revision + 1,
                ..record
            };
            write_record(&path, &next).map_err(failed("failed to note which read model serves"))?;
            Ok(true)
        })
        .boxed()
    }

    fn open(&self, slot: Slot) -> BoxFuture<'_, Result<Arc<dyn Generation>, Error>> {
        let file = self.file(slot);
        async move {
            let store = SqliteDocs::open(&file, SqliteOptions::default()).await?;
            Ok(Arc::new(store) as Arc<dyn Generation>)
        }
        .boxed()
    }

    fn clear(&self, slot: Slot) -> BoxFuture<'_, Result<(), Error>> {
        let file = self.file(slot);
        off(move || {
            for part in parts(&file) {
                match fs_err::remove_file(&part) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(failed("failed to remove a read model that no longer serves")(
                            error,
                        ));
                    }
                    _ => {}
                }
            }
            Ok(())
        })
        .boxed()
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn shortage(&self, live: Slot, begun: bool) -> Option<String> {
        let bytes = |path: &PathBuf| fs_err::metadata(path).map_or(0, |found| found.len());
        let more = if begun {
            0
        } else {
            parts(&self.file(live)).iter().map(bytes).sum()
        };
        room::shortage(&self.folder, more).map(|short| short.to_string())
    }
}

/// Generations as schemas of one database.
#[derive(Debug)]
pub(in crate::docs) struct Schemas {
    a: Postgres,
    b: Postgres,
}

const LOAD: &str = "SELECT revision, record FROM generations";
const FIRST: &str = "INSERT INTO generations (revision, record) VALUES (1, $1) ON CONFLICT DO NOTHING";
const SAVE: &str = "UPDATE generations SET revision = revision + 1, record = $2 WHERE revision = $1";
/// Numbers of letters go on: a number never means two letters.
const CLEAR: &str = "TRUNCATE documents, search, consumer_positions, consumer_keys, dead_letters, consumer_jobs CONTINUE IDENTITY";

impl Schemas {
    /// `a` has the schema that also holds the record.
    pub(in crate::docs) fn new(a: Postgres, b: Postgres) -> Self {
        Self { a, b }
    }

    fn db(&self, slot: Slot) -> &Postgres {
        match slot {
            Slot::A => &self.a,
            Slot::B => &self.b,
        }
    }
}

impl Shelf for Schemas {
    fn load(&self) -> BoxFuture<'_, Result<Record, Error>> {
        async move {
            let mut client = self.a.client().await?;
            let tx = client.system().await?;
            let Some(row) = tx.query_opt(LOAD, &[]).await? else {
                return Ok(Record::default());
            };
            let record: Record = serde_json::from_str(row.try_get(1)?).map_err(|error| {
                let what = "`docs.generations` does not say which read model serves";
                Error::caused(ErrorKind::Corrupt, what, error)
            })?;
            Ok(Record {
                revision: row.try_get::<_, i64>(0)?.cast_unsigned(),
                ..record
            })
        }
        .boxed()
    }

    fn save<'a>(&'a self, record: &'a Record) -> BoxFuture<'a, Result<bool, Error>> {
        async move {
            let text = serde_json::to_string(record).expect("a record has only string keys");
            let mut client = self.a.client().await?;
            let tx = client.system().await?;
            let changed = match record.revision {
                0 => tx.execute(FIRST, &[&text]).await?,
                revision => tx.execute(SAVE, &[&revision.cast_signed(), &text]).await?,
            };
            tx.commit().await?;
            Ok(changed == 1)
        }
        .boxed()
    }

    fn open(&self, slot: Slot) -> BoxFuture<'_, Result<Arc<dyn Generation>, Error>> {
        let store: Arc<dyn Generation> = Arc::new(PostgresDocs::new(self.db(slot).clone()));
        std::future::ready(Ok(store)).boxed()
    }

    fn clear(&self, slot: Slot) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            let mut client = self.db(slot).client().await?;
            let tx = client.system().await?;
            tx.batch(CLEAR).await?;
            tx.commit().await
        }
        .boxed()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn shortage(&self, _live: Slot, _begun: bool) -> Option<String> {
        // The server's disk is not ours to see; it says when it is full.
        None
    }
}
