//! Documents that can be counted: each set has words that no other has, so that searches find exactly it, and
//! the bus tells whether any of it came twice.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use rc_store::{Sqlite, SqliteOptions};

use crate::world::{World, eventually};

/// Documents that share one word: one page of search results.
const CHUNK: usize = 100;

/// The text of a document, about 600 bytes with its id and title.
const TEXT_BYTES: usize = 520;

/// A set of documents.
#[derive(Debug, Clone)]
pub(super) struct Set {
    name: String,
    count: usize,
}

/// What the bus has of a set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OnBus {
    pub(super) events: i64,
    pub(super) documents: i64,
    /// The highest number of an event of one document: 1 when each came once.
    pub(super) kseq_max: i64,
}

impl Set {
    /// `count` documents whose ids and words begin with `name`: lower-case letters and digits.
    pub(super) fn new(name: &str, count: usize) -> Self {
        Self {
            name: name.to_owned(),
            count,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn id(&self, number: usize) -> String {
        format!("{}-{number:05}", self.name)
    }

    fn word(&self, chunk: usize) -> String {
        format!("{}w{chunk}", self.name)
    }

    /// One document as JSON.
    pub(super) fn document(&self, number: usize) -> String {
        const WORDS: [&str; 8] = [
            "harbour", "report", "crane", "winter", "ledger", "signal", "meadow", "copper",
        ];
        let mut text = self.word(number / CHUNK);
        let mut turn = number;
        while text.len() < TEXT_BYTES {
            turn = turn.wrapping_mul(31).wrapping_add(17);
            let _ = write!(text, " {}{}", WORDS[turn % WORDS.len()], turn % 1_000);
        }
        let id = self.id(number);
        format!("{{\"id\":\"{id}\",\"title\":\"Document {number}\",\"text\":\"{text}\"}}")
    }

    /// All of them, one a line, as a file of the project.
    pub(super) fn file(&self, world: &World) -> PathBuf {
        let lines: Vec<String> = (0..self.count).map(|number| self.document(number)).collect();
        world.write(&format!("{}.ndjson", self.name), &(lines.join("\n") + "\n"))
    }

    /// Every document is found by its set's words, once, and no other is.
    pub(super) fn expect_searchable(&self, world: &World, key: &str) {
        for chunk in 0..self.count.div_ceil(CHUNK) {
            let first = chunk * CHUNK;
            let mut wanted: Vec<String> = (first..self.count.min(first + CHUNK))
                .map(|number| self.id(number))
                .collect();
            wanted.sort();
            let path = format!("/search?q={}&limit={CHUNK}", self.word(chunk));
            let found = eventually(&format!("{} is searchable", self.word(chunk)), || {
                let answer = world.get(&path, key);
                if answer.status != 200 {
                    return None;
                }
                let found = answer.json();
                let hits = found["hits"].as_array().unwrap().iter();
                let mut ids: Vec<String> = hits.map(|hit| hit["id"].as_str().unwrap().to_owned()).collect();
                ids.sort();
                (ids.len() >= wanted.len()).then_some(ids)
            });
            assert_eq!(found, wanted, "{}", self.word(chunk));
        }
    }

    /// Every document has exactly one event on the embedded bus, and the bus has no hole.
    pub(super) fn expect_once_on_bus(&self, world: &World) {
        let file = world.path().join(".royalcrown/data/ingest/bus.db");
        let once = OnBus {
            events: self.count as i64,
            documents: self.count as i64,
            kseq_max: 1,
        };
        assert_eq!(self.on_bus(&file), once, "{}", self.name);
    }

    /// What the bus in `file` has of the set.
    ///
    /// # Panics
    /// When the bus has a hole anywhere.
    pub(super) fn on_bus(&self, file: &std::path::Path) -> OnBus {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (from, to) = (format!("{}-", self.name), format!("{}.", self.name));
        runtime.block_on(async {
            let bus = Sqlite::open_readonly(file, SqliteOptions::default()).unwrap();
            let (holes, found) = bus
                .read("check", move |conn| {
                    let holes: i64 =
                        conn.query_row("SELECT max(seq) - min(seq) + 1 - count(*) FROM bus", [], |row| {
                            row.get(0)
                        })?;
                    let found = conn.query_row(
                        "SELECT count(*), count(DISTINCT key), max(kseq) FROM bus WHERE key > ?1 AND key < ?2",
                        (from, to),
                        |row| {
                            Ok(OnBus {
                                events: row.get(0)?,
                                documents: row.get(1)?,
                                kseq_max: row.get(2)?,
                            })
                        },
                    )?;
                    Ok((holes, found))
                })
                .await
                .unwrap();
            assert_eq!(holes, 0, "the bus has holes");
            bus.close().await;
            found
        })
    }
}

/// How long an `rc ingest` may take to end once nothing fails any more.
pub(super) const INGEST_MAX: Duration = Duration::from_secs(90);
