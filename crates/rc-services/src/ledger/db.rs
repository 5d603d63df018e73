//! The ledger's own database: where each entry of each source is, what commitments stand for, and the second
//! copy of the last checkpoint.
//!
//! All but the texts can be built again from the log, and places are when they do not fit it.

use std::path::Path;

use rc_ledger::{Commitment, Entry};
use rc_store::rusqlite::OptionalExtension as _;
use rc_store::{Conn, Error, Migration, Migrations, Sqlite, SqliteOptions};

use crate::audit::{SALT_BYTES, Text};

pub(super) const MIGRATIONS: Migrations = Migrations::new(
    "prov-ledger",
    &[Migration {
        number: 1,
        name: "create_ledger",
        up: "CREATE TABLE ledger (
                 id         INTEGER PRIMARY KEY CHECK (id = 1),
                 indexed    INTEGER NOT NULL,
                 checkpoint TEXT NOT NULL
             ) STRICT;
             CREATE TABLE places (
                 source TEXT NOT NULL,
                 seq    INTEGER NOT NULL,
                 idx    INTEGER NOT NULL,
                 hash   BLOB NOT NULL CHECK (length(hash) = 32),
                 PRIMARY KEY (source, seq)
             ) STRICT, WITHOUT ROWID;
             CREATE TABLE texts (
                 commitment BLOB PRIMARY KEY CHECK (length(commitment) = 32),
                 salt       BLOB NOT NULL,
                 text       BLOB NOT NULL
             ) STRICT, WITHOUT ROWID;",
        down: "DROP TABLE texts; DROP TABLE places; DROP TABLE ledger;",
    }],
);

/// The table as the migration made it, empty.
const FORGET_PLACES: &str = "DROP TABLE IF EXISTS places;
     CREATE TABLE places (
         source TEXT NOT NULL,
         seq    INTEGER NOT NULL,
         idx    INTEGER NOT NULL,
         hash   BLOB NOT NULL CHECK (length(hash) = 32),
         PRIMARY KEY (source, seq)
     ) STRICT, WITHOUT ROWID;
     UPDATE ledger SET indexed = 0 WHERE id = 1;";

/// What the database says of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// So many entries have their places here.
    pub(super) indexed: u64,
    /// The signed note of that many entries.
    pub(super) checkpoint: String,
}

/// An entry's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) source: String,
    pub(super) seq: u64,
    pub(super) index: u64,
    /// SHA-256 of the entry as a leaf.
    pub(super) hash: rc_ledger::Hash,
}

/// The ledger's database, open for writing. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Db(Sqlite);

impl Db {
    pub(super) async fn open(path: &Path) -> Result<Self, Error> {
        let options = SqliteOptions {
            readers: 1,
            cache_kib: 512,
            ..SqliteOptions::default()
        };
        let db = Sqlite::open(path, options)?;
        db.migrate(&MIGRATIONS).await?;
        Ok(Self(db))
    }

    pub(super) async fn close(&self) {
        self.0.close().await;
    }

    pub(super) async fn known(&self) -> Result<Option<Known>, Error> {
        self.0.read("ledger.known", known).await
    }

    /// The number of the last entry of `source` that has its place; 0 for none.
    pub(super) async fn last(&self, source: &str) -> Result<u64, Error> {
        // By the primary key.
        const LAST: &str = "SELECT seq FROM places WHERE source = ?1 ORDER BY seq DESC LIMIT 1";
        let source = source.to_owned();
        self.0
            .read("ledger.last", move |conn| {
                let seq: Option<i64> = conn
                    .prepare_cached(LAST)?
                    .query_row([&source], |row| row.get(0))
                    .optional()?;
                Ok(unsigned(seq.unwrap_or(0)))
            })
            .await
    }

    /// Where entry `seq` of `source` is in the log.
    pub(super) async fn index(&self, source: &str, seq: u64) -> Result<Option<u64>, Error> {
        // By the primary key.
        const INDEX: &str = "SELECT idx FROM places WHERE source = ?1 AND seq = ?2";
        let source = source.to_owned();
        self.0
            .read("ledger.index", move |conn| {
                let index: Option<i64> = conn
                    .prepare_cached(INDEX)?
                    .query_row((source, signed(seq)), |row| row.get(0))
                    .optional()?;
                Ok(index.map(unsigned))
            })
            .await
    }

    /// Whether there is one place for each of the entries that `known` counts, and each source has all its numbers.
    /// What else may be wrong with them is found when it matters.
    pub(super) async fn places_fit(&self, known: &Known, size: u64) -> bool {
        const PLACES: &str = "SELECT count(*), min(seq), max(seq) FROM places GROUP BY source";
        let indexed = known.indexed;
        let counted = self.0.read("ledger.places-fit", |conn| {
            let mut select = conn.prepare_cached(PLACES)?;
            let rows = select.query_map([], |row| {
                let (count, first, last): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok((first == 1 && last == count).then_some(unsigned(count)))
            })?;
            let counts: Vec<Option<u64>> = rows.collect::<Result<_, _>>()?;
            Ok(counts.into_iter().sum::<Option<u64>>())
        });
        indexed <= size && matches!(counted.await, Ok(Some(counted)) if counted == indexed)
    }

    /// Throws all places away, to be noted again from the log.
    pub(super) async fn forget_places(&self) -> Result<(), Error> {
        self.0
            .write("ledger.forget-places", |conn| {
                conn.execute_batch(FORGET_PLACES)?;
                Ok(())
            })
            .await
    }

    /// The hashes of the entries `first..=last` of `source`, in order.
    pub(super) async fn hashes(
        &self,
        source: &str,
        first: u64,
        last: u64,
    ) -> Result<Vec<rc_ledger::Hash>, Error> {
        // By the primary key; a delivery bounds the range.
        const HASHES: &str =
            "SELECT hash FROM places WHERE source = ?1 AND seq BETWEEN ?2 AND ?3 ORDER BY seq";
        let source = source.to_owned();
        self.0
            .read("ledger.hashes", move |conn| {
                let mut select = conn.prepare_cached(HASHES)?;
                let rows = select.query_map((source, signed(first), signed(last)), |row| row.get(0))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Keeps what commitments stand for. Done before the entries are appended: a log never holds a commitment
    /// whose text nobody has.
    pub(super) async fn keep_texts(&self, texts: Vec<Text>) -> Result<(), Error> {
        const INSERT: &str = "INSERT INTO texts (commitment, salt, text) VALUES (?1, ?2, ?3)
             ON CONFLICT (commitment) DO NOTHING";
        if texts.is_empty() {
            return Ok(());
        }
        self.0
            .write("ledger.texts", move |conn| {
                let mut insert = conn.prepare_cached(INSERT)?;
                for Text { salt, text } in &texts {
                    let Ok(salt) = <&[u8; SALT_BYTES]>::try_from(salt.as_slice()) else {
                        continue;
                    };
                    let commitment = Commitment::new(salt, text);
                    insert.execute((commitment.sha256, salt, text))?;
                }
                Ok(())
            })
            .await
    }

    /// Notes the places of entries, in the order of the log, and the checkpoint that covers them.
    pub(super) async fn settle(
        &self,
        places: Vec<Place>,
        checkpoint: String,
        size: u64,
    ) -> Result<(), Error> {
        const PLACE: &str = "INSERT INTO places (source, seq, idx, hash) VALUES (?1, ?2, ?3, ?4)";
        const KNOWN: &str = "INSERT INTO ledger (id, indexed, checkpoint) VALUES (1, ?1, ?2)
             ON CONFLICT (id) DO UPDATE SET indexed = excluded.indexed, checkpoint = excluded.checkpoint";
        self.0
            .write("ledger.settle", move |conn| {
                let mut insert = conn.prepare_cached(PLACE)?;
                for place in &places {
                    let (seq, index) = (signed(place.seq), signed(place.index));
                    insert.execute((&place.source, seq, index, place.hash))?;
                }
                conn.prepare_cached(KNOWN)?.execute((signed(size), checkpoint))?;
                Ok(())
            })
            .await
    }
}

fn known(conn: &Conn) -> Result<Option<Known>, Error> {
    const KNOWN: &str = "SELECT indexed, checkpoint FROM ledger WHERE id = 1";
    let known = conn.prepare_cached(KNOWN)?.query_row([], |row| {
        Ok(Known {
            indexed: unsigned(row.get(0)?),
            checkpoint: row.get(1)?,
        })
    });
    Ok(known.optional()?)
}

/// What commitments stand for, and the second copy of the checkpoint, for who reads and checks the log.
#[derive(Debug, Clone)]
pub struct Texts(Sqlite);

/// What is known of a commitment's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The text, and it is the one that was committed to.
    Text(Vec<u8>),
    /// It is not kept any more.
    Erased,
    /// What is kept is not what was committed to.
    Wrong,
}

impl Texts {
    /// Opens the database at `path` for reading, beside its writer or without one.
    ///
    /// # Errors
    /// What the store says.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let options = SqliteOptions {
            readers: 1,
            ..SqliteOptions::default()
        };
        Sqlite::open_readonly(path, options).map(Self)
    }

    /// The signed note of the checkpoint that was acknowledged last; `None` before the first one.
    ///
    /// # Errors
    /// What the store says.
    pub async fn second_copy(&self) -> Result<Option<String>, Error> {
        let known = self.0.read("ledger.known", known).await?;
        Ok(known.map(|known| known.checkpoint))
    }

    /// What each of `commitments` stands for, in their order.
    ///
    /// # Errors
    /// What the store says.
    pub async fn read(&self, commitments: Vec<Commitment>) -> Result<Vec<Opened>, Error> {
        const TEXT: &str = "SELECT salt, text FROM texts WHERE commitment = ?1";
        self.0
            .read("ledger.read-texts", move |conn| {
                let mut select = conn.prepare_cached(TEXT)?;
                let mut opened = Vec::with_capacity(commitments.len());
                for commitment in &commitments {
                    let found: Option<(Vec<u8>, Vec<u8>)> = select
                        .query_row([commitment.sha256], |row| Ok((row.get(0)?, row.get(1)?)))
                        .optional()?;
                    opened.push(match found {
                        None => Opened::Erased,
                        Some((salt, text)) => match <&[u8; SALT_BYTES]>::try_from(salt.as_slice()) {
                            Ok(salt) if commitment.opens(salt, &text) => Opened::Text(text),
                            Ok(_) | Err(_) => Opened::Wrong,
                        },
                    });
                }
                Ok(opened)
            })
            .await
    }

    /// Gives the file back.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

/// The commitments of an entry: reason, then detail.
#[must_use]
pub fn commitments(entry: &Entry) -> Vec<Commitment> {
    entry.reason.text.into_iter().chain(entry.detail).collect()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    number.max(0).cast_unsigned()
}
