//! Histories: what was tried, what was answered, and what was found afterwards. NDJSON, one [`Line`] each, so that
//! files of several processes can be put behind each other.

use std::io::{BufRead as _, BufReader, Write};
use std::path::Path;

use rc_events::NewEvent;
use serde::{Deserialize, Serialize};

/// What tells one event from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub struct Fact {
    /// Whose order it is part of: `tenant/topic/key`.
    pub place: String,
    /// Its number there.
    pub kseq: u64,
    /// Who it is.
    pub id: u128,
    /// A checksum of its type and payload.
    pub content: u32,
}

/// `["acme/orders/k1",1,"<32 hex digits>",4711]`
#[derive(Serialize, Deserialize)]
struct Wire(String, u64, String, u32);

impl From<Fact> for Wire {
    fn from(fact: Fact) -> Self {
        Self(fact.place, fact.kseq, format!("{:032x}", fact.id), fact.content)
    }
}

impl From<Wire> for Fact {
    fn from(Wire(place, kseq, id, content): Wire) -> Self {
        // An id that is no number belongs to nobody: the checker then finds a phantom.
        let id = u128::from_str_radix(&id, 16).unwrap_or_default();
        Self {
            place,
            kseq,
            id,
            content,
        }
    }
}

impl Fact {
    /// The fact of an event of the engine; `None` for one that is about a table and not about a row.
    #[must_use]
    pub fn of(event: &NewEvent) -> Option<Self> {
        if event.event_type.starts_with(CAPTURED) {
            return crate::source::foreign::captured(event);
        }
        Some(Self {
            place: event.place().to_string(),
            kseq: event.kseq,
            id: event.id.as_u128(),
            content: content(&event.event_type, &event.payload),
        })
    }
}

/// How the types of a capture's events begin.
pub(crate) const CAPTURED: &str = "rc.cdc.";

/// The checksum in [`Fact::content`].
#[must_use]
pub fn content(event_type: &str, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(event_type.as_bytes());
    hasher.update(&[0]);
    hasher.update(payload);
    hasher.finalize()
}

/// One line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// A writer is about to commit these events in one transaction.
    Begin {
        /// The transaction, unique in the history.
        tx: String,
        /// Its events.
        events: Vec<Fact>,
    },
    /// The writer was told that the transaction stands.
    Committed(String),
    /// The writer rolled the transaction back.
    RolledBack(String),
    /// The log has this event after recovery; in no particular order.
    Log(Fact),
    /// The bus gives this event, in this order.
    Stream(Fact),
    /// A consumer has this effect, in this order.
    Effect(Fact),
}

/// What a writer knows of the end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was acknowledged: it must be everywhere.
    Committed,
    /// It was taken back: it must be nowhere.
    RolledBack,
    /// No answer came. All of it or nothing of it is in the log.
    Unknown,
}

/// A transaction and what its writer knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its events.
    pub events: Vec<Fact>,
    /// How it ended.
    pub end: End,
}

/// Everything that is known about one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// What was tried.
    pub transactions: Vec<Transaction>,
    /// What the log has after recovery; `None` when it no longer has everything.
    pub log: Option<Vec<Fact>>,
    /// What the bus gives.
    pub stream: Vec<Fact>,
    /// What the consumer did.
    pub effects: Vec<Fact>,
}

/// Puts lines together to a [`History`].
#[derive(Debug, Default)]
pub struct Reader {
    history: History,
    open: std::collections::HashMap<String, usize>,
}

impl Reader {
    /// Takes the lines of a file. The last line of a process that was killed may be torn: a line without an end
    /// was never said.
    ///
    /// # Errors
    /// As the file says; [`std::io::ErrorKind::InvalidData`] for a whole line that is none.
    pub fn read(&mut self, path: &Path) -> std::io::Result<()> {
        let mut reader = BufReader::new(fs_err::File::open(path)?);
        let mut text = Vec::new();
        let mut number = 0_u64;
        while reader.read_until(b'\n', &mut text)? > 0 && text.ends_with(b"\n") {
            number += 1;
            let line = serde_json::from_slice(&text)
                .map_err(|error| std::io::Error::other(format!("{}:{number}: {error}", path.display())))?;
            self.push(line);
            text.clear();
        }
        Ok(())
    }

    /// Takes one line.
    pub fn push(&mut self, line: Line) {
        let history = &mut self.history;
        match line {
            Line::Begin { tx, events } => {
                self.open.insert(tx, history.transactions.len());
                history.transactions.push(Transaction {
                    events,
                    end: End::Unknown,
                });
            }
            Line::Committed(tx) => self.end(&tx, End::Committed),
            Line::RolledBack(tx) => self.end(&tx, End::RolledBack),
            Line::Log(fact) => history.log.get_or_insert_default().push(fact),
            Line::Stream(fact) => history.stream.push(fact),
            Line::Effect(fact) => history.effects.push(fact),
        }
    }

    fn end(&mut self, tx: &str, end: End) {
        if let Some(index) = self.open.remove(tx) {
            self.history.transactions[index].end = end;
        }
    }

    /// The whole history.
    #[must_use]
    pub fn history(self) -> History {
        self.history
    }
}

impl History {
    /// Writes it down, so that [`Reader`] gives the same back.
    ///
    /// # Errors
    /// As the writer says.
    pub fn write(&self, to: &mut dyn Write) -> std::io::Result<()> {
        let mut put = |line: &Line| {
            serde_json::to_writer(&mut *to, line)?;
            to.write_all(b"\n")
        };
        for (number, transaction) in self.transactions.iter().enumerate() {
            let tx = number.to_string();
            put(&Line::Begin {
                tx: tx.clone(),
                events: transaction.events.clone(),
            })?;
            match transaction.end {
                End::Committed => put(&Line::Committed(tx))?,
                End::RolledBack => put(&Line::RolledBack(tx))?,
                End::Unknown => {}
            }
        }
        for fact in self.log.iter().flatten() {
            put(&Line::Log(fact.clone()))?;
        }
        for fact in &self.stream {
            put(&Line::Stream(fact.clone()))?;
        }
        for fact in &self.effects {
            put(&Line::Effect(fact.clone()))?;
        }
        Ok(())
    }
}
