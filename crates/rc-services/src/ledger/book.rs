//! The log with its database: opens both, takes deliveries, and refuses what does not fit.
//!
//! One process holds it at a time: the ledger's service, or the supervisor after every service has ended. A
//! delivery is acknowledged when its entries, a checkpoint over them and the second copy of that checkpoint are
//! on disk.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rc_ledger::{Checkpoint, Entry, Log, Signer, leaf_hash};
use rc_model::{Clock, Layout};
use rc_serve::off_thread;

use super::db::{Db, Known, Place, commitments};
use super::refusal::Refusal;
use crate::audit::wire::{BATCH, Delivery, Receipt};
use crate::audit::{SALT_BYTES, Text};
use crate::service::StartError;

/// Entries that are read at once when places are noted again.
const CATCH_UP_ENTRIES: u64 = 1_024;

/// What makes the origins of two logs differ.
const ORIGIN_PREFIX: &str = "royalcrown/prov-ledger/";

/// The log with its database. Owned by the one task that appends.
pub struct Book {
    /// Taken while a blocking thread works with it.
    log: Option<Log>,
    db: Db,
    /// The number of the last entry of each source that came since the start.
    heads: HashMap<String, u64>,
    /// Set when the log may hold entries that have no place yet.
    behind: bool,
    /// Set when the log refused to append and must be read again.
    stopped: bool,
    /// Whether the places were seen to fit the log.
    fitting: bool,
}

/// An entry that is to be appended.
struct Fresh {
    source: String,
    seq: u64,
    entry: Vec<u8>,
}

impl Book {
    /// Opens the log of a project, and makes one where there has never been any.
    ///
    /// # Errors
    /// When the log, its key and the second copy of its last checkpoint do not fit together, when one of them
    /// is gone, when another process has it open, and what the disk says.
    pub async fn open(layout: &Layout, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let files = Files::of(layout);
        let made = off_thread({
            let files = files.clone();
            move || files.prepare()
        })
        .await;
        made.map_err(|error| {
            StartError::new("RC-SRV-007", "the ledger's data folder cannot be made").because(error)
        })?;
        let db = Db::open(&files.db).await.map_err(|error| {
            StartError::new(error.code(), "the ledger's database cannot be opened").because(error)
        })?;
        let opened = Self::open_log(files, &db, clock).await;
        match opened {
            Ok(log) => {
                let mut book = Self {
                    log: Some(log),
                    db,
                    heads: HashMap::new(),
                    behind: true,
                    stopped: false,
                    fitting: false,
                };
                book.catch_up().await.map_err(|refusal| {
                    StartError::new(refusal.code(), format!("the log cannot be read: {refusal}"))
                })?;
                Ok(book)
            }
            Err(error) => {
                db.close().await;
                Err(error)
            }
        }
    }

    async fn open_log(files: Files, db: &Db, clock: Arc<dyn Clock>) -> Result<Log, StartError> {
        let known = db.known().await.map_err(|error| {
            StartError::new(error.code(), "the ledger's database cannot be read").because(error)
        })?;
        off_thread(move || files.open(known.as_ref(), clock)).await
    }

    /// Entries in the log.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.log().size()
    }

    /// The signed note of the newest checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> &str {
        self.log().checkpoint().text()
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.log().signer().origin()
    }

    fn log(&self) -> &Log {
        self.log.as_ref().expect("the log is back before a call returns")
    }

    /// Takes deliveries as one group: one fsync chain pays for all of them. Answers are in their order.
    pub async fn accept(&mut self, deliveries: Vec<Delivery>) -> Vec<Result<Receipt, Refusal>> {
        if self.behind
            && let Err(refusal) = self.catch_up().await
        {
            return deliveries.iter().map(|_| Err(refusal.clone())).collect();
        }
        let mut fresh = Vec::new();
        let mut texts = Vec::new();
        let mut verdicts = Vec::with_capacity(deliveries.len());
        let mut heads = HashMap::new();
        for delivery in deliveries {
            let verdict = self.check(delivery, &mut heads, &mut fresh, &mut texts).await;
            verdicts.push(verdict);
        }
        let appended = self.append(fresh, texts).await;
        if appended.is_ok() {
            self.heads.extend(heads);
        }
        let size = self.size();
        let answer = |verdict: Result<u64, Refusal>| match (verdict, &appended) {
            (Err(refusal), _) => Err(refusal),
            (Ok(_), Err(refusal)) => Err(refusal.clone()),
            (Ok(next), Ok(())) => Ok(Receipt { next, size }),
        };
        verdicts.into_iter().map(answer).collect()
    }

    /// Looks at one delivery; what is new in it goes to `fresh`. Gives the number that comes next.
    async fn check(
        &mut self,
        delivery: Delivery,
        heads: &mut HashMap<String, u64>,
        fresh: &mut Vec<Fresh>,
        texts: &mut Vec<Text>,
    ) -> Result<u64, Refusal> {
        if delivery.entries.is_empty() || delivery.entries.len() > BATCH.rows {
            return Err(Refusal::malformed(format!(
                "a delivery holds 1 to {} entries",
                BATCH.rows
            )));
        }
        for (at, delivered) in delivery.entries.iter().enumerate() {
            let seq = delivery.first.saturating_add(at as u64);
            check_entry(&delivery.source, seq, &delivered.entry, &delivered.texts)?;
        }
        let Delivery {
            source,
            first,
            entries,
        } = delivery;
        let head = match heads.get(&source).or_else(|| self.heads.get(&source)) {
            Some(head) => *head,
            None => self.db.last(&source).await?,
        };
        if first > head + 1 {
            return Err(Refusal::Gap {
                outbox: source,
                expected: head + 1,
                first,
            });
        }
        let known = usize::try_from(head + 1 - first)
            .unwrap_or(usize::MAX)
            .min(entries.len());
        let (old, new) = entries.split_at(known);
        let last = first.saturating_add(known as u64).saturating_sub(1);
        // What this very group holds already has no place yet: its source sends one delivery at a time.
        let kept = self.db.hashes(&source, first, head.min(last)).await?;
        for (at, (delivered, kept)) in old.iter().zip(&kept).enumerate() {
            if leaf_hash(&delivered.entry) != *kept {
                let seq = first.saturating_add(at as u64);
                return Err(self.conflict(source, seq, *kept).await?);
            }
        }
        let mut next = first.saturating_add(known as u64);
        for delivered in new {
            fresh.push(Fresh {
                source: source.clone(),
                seq: next,
                entry: delivered.entry.clone(),
            });
            texts.extend(delivered.texts.iter().cloned());
            next = next.saturating_add(1);
        }
        heads.insert(source, (next - 1).max(head));
        Ok(next.max(head + 1))
    }

    /// A delivered entry is not the one that has this place with the hash `kept`: so says the database, and the log
    /// is asked before anybody is blamed.
    async fn conflict(
        &mut self,
        source: String,
        seq: u64,
        kept: rc_ledger::Hash,
    ) -> Result<Refusal, Refusal> {
        let index = self
            .db
            .index(&source, seq)
            .await?
            .filter(|index| *index < self.size());
        let there = match index {
            Some(index) => self.with_log(move |log| places(log, index, index + 1)).await?,
            None => Vec::new(),
        };
        let holds = |place: &Place| place.source == source && place.seq == seq && place.hash == kept;
        if there.first().is_some_and(holds) {
            return Ok(Refusal::Conflict { outbox: source, seq });
        }
        (self.behind, self.fitting) = (true, false);
        self.db.forget_places().await?;
        Ok(Refusal::Failed {
            code: "RC-STO-006",
            text: "the ledger's database has other places than the log; they are noted again".to_owned(),
        })
    }

    async fn append(&mut self, fresh: Vec<Fresh>, texts: Vec<Text>) -> Result<(), Refusal> {
        if fresh.is_empty() {
            return Ok(());
        }
        self.db.keep_texts(texts).await?;
        let (entries, places): (Vec<Vec<u8>>, Vec<(String, u64)>) = fresh
            .into_iter()
            .map(|Fresh { source, seq, entry }| (entry, (source, seq)))
            .unzip();
        // Whatever happens from here on, the log may have grown.
        self.behind = true;
        let (appended, entries) = self.with_log(move |log| (log.append(&entries), entries)).await;
        self.stopped = appended.is_err();
        let appended = appended?;
        let places = entries.iter().zip(places).zip(appended.first_index..);
        let places = places.map(|((entry, (source, seq)), index)| Place {
            source,
            seq,
            index,
            hash: leaf_hash(entry),
        });
        let checkpoint = &appended.checkpoint;
        self.db
            .settle(places.collect(), checkpoint.text().to_owned(), checkpoint.size())
            .await?;
        self.behind = false;
        Ok(())
    }

    /// Notes the places of entries that came into the log without them: after a crash, or a full disk.
    async fn catch_up(&mut self) -> Result<(), Refusal> {
        if self.stopped {
            self.with_log(Log::recover).await?;
            self.stopped = false;
        }
        self.heads.clear();
        let (size, checkpoint) = (self.size(), self.checkpoint().to_owned());
        let Some(mut known) = self.db.known().await? else {
            // The first start: the log is empty.
            self.db.settle(Vec::new(), checkpoint, size).await?;
            (self.behind, self.fitting) = (false, true);
            return Ok(());
        };
        if !self.fitting && !self.db.places_fit(&known, size).await {
            tracing::warn!(
                code = "RC-STO-006",
                "the places of entries in the ledger's database do not fit the log; they are noted again"
            );
            self.db.forget_places().await?;
            known.indexed = 0;
        }
        self.fitting = true;
        let mut from = known.indexed;
        while from < size {
            let upto = size.min(from + CATCH_UP_ENTRIES);
            let places = self.with_log(move |log| places(log, from, upto)).await?;
            // The second copy changes with the last step, when it is true.
            let note = if upto == size {
                &checkpoint
            } else {
                &known.checkpoint
            };
            self.db.settle(places, note.clone(), upto).await?;
            from = upto;
        }
        self.behind = false;
        Ok(())
    }

    /// Runs `work` with the log on a blocking thread.
    async fn with_log<T: Send + 'static>(&mut self, work: impl FnOnce(&mut Log) -> T + Send + 'static) -> T {
        let mut log = self.log.take().expect("the log is back before a call returns");
        let (log, done) = off_thread(move || {
            let done = work(&mut log);
            (log, done)
        })
        .await;
        self.log = Some(log);
        done
    }

    /// Gives log and database back.
    pub async fn close(mut self) {
        if let Some(log) = self.log.take()
            && let Err(error) = off_thread(move || log.close()).await
        {
            tracing::warn!(code = error.code(), %error, "the log did not close well; the next start mends it");
        }
        self.db.close().await;
    }
}

impl std::fmt::Debug for Book {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Book")
            .field("behind", &self.behind)
            .finish_non_exhaustive()
    }
}

fn places(log: &Log, from: u64, upto: u64) -> Result<Vec<Place>, rc_ledger::Error> {
    log.entries(from..upto)
        .map(|read| {
            let (index, bytes) = read?;
            let entry = Entry::decode(&bytes)?;
            Ok(Place {
                source: entry.source.id,
                seq: entry.source.seq,
                index,
                hash: leaf_hash(&bytes),
            })
        })
        .collect()
}

/// Whether an entry says of itself what the delivery says of it, and its texts are those that it commits to.
fn check_entry(source: &str, seq: u64, entry: &[u8], texts: &[Text]) -> Result<(), Refusal> {
    let decoded = Entry::decode(entry).map_err(|error| Refusal::malformed(error.to_string()))?;
    if decoded.source.id != source || decoded.source.seq != seq {
        return Err(Refusal::malformed(format!(
            "entry {seq} of `{source}` says that it is {} of `{}`",
            decoded.source.seq, decoded.source.id
        )));
    }
    let commitments = commitments(&decoded);
    let opens = |(commitment, text): (&rc_ledger::Commitment, &Text)| {
        <&[u8; SALT_BYTES]>::try_from(text.salt.as_slice())
            .is_ok_and(|salt| commitment.opens(salt, &text.text))
    };
    if commitments.len() != texts.len() || !commitments.iter().zip(texts).all(opens) {
        return Err(Refusal::malformed(format!(
            "entry {seq} of `{source}` does not commit to the texts that came with it"
        )));
    }
    Ok(())
}

/// Where the ledger keeps its files.
#[derive(Debug, Clone)]
struct Files {
    folder: PathBuf,
    log: PathBuf,
    key: PathBuf,
    db: PathBuf,
}

impl Files {
    fn of(layout: &Layout) -> Self {
        Self {
            folder: layout.ledger_data(),
            log: layout.ledger_log(),
            key: layout.ledger_key(),
            db: layout.ledger_db(),
        }
    }

    fn prepare(&self) -> std::io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        fs_err::create_dir_all(&self.folder)?;
        fs_err::set_permissions(&self.folder, std::fs::Permissions::from_mode(0o700))
    }

    /// A log that is being made lies here until it is whole; its key moves last.
    fn making(&self) -> PathBuf {
        self.folder.join("making")
    }

    /// Opens the log, or makes it where nothing says that there ever was one.
    fn open(&self, known: Option<&Known>, clock: Arc<dyn Clock>) -> Result<Log, StartError> {
        let cannot = |tried: &'static str| {
            move |error: std::io::Error| StartError::new("RC-LED-012", tried).because(error)
        };
        let mut has_key = self.key.exists();
        let has_log = Log::exists(&self.log).map_err(refused)?;
        if !has_log && !has_key && known.is_none() {
            self.make(Arc::clone(&clock))?;
        } else if has_log && !has_key && known.is_none() && self.making().join("key").exists() {
            fs_err::rename(self.making().join("key"), &self.key)
                .map_err(cannot("the key cannot be moved"))?;
        }
        has_key |= self.key.exists();
        if !Log::exists(&self.log).map_err(refused)? {
            let witness = if has_key {
                "its key"
            } else {
                "the second copy of its checkpoint"
            };
            return Err(StartError::new(
                "RC-LED-003",
                format!(
                    "the log in {} is gone, and {witness} is still there; no new one is begun in its place",
                    self.log.display()
                ),
            )
            .hint("restore the folder from a backup; `rc explain RC-LED-003` says what else can be done"));
        }
        let signer = Signer::load(&self.key).map_err(refused)?;
        let copy = known.map(|known| Checkpoint::open(&known.checkpoint, signer.vkeys()));
        let copy = copy.transpose().map_err(|error| {
            StartError::new(
                error.code(),
                format!(
                    "the second copy of the last checkpoint, in {}, was not signed by the key in {}",
                    self.db.display(),
                    self.key.display()
                ),
            )
            .because(error)
        })?;
        let log = Log::open(&self.log, signer, copy.as_ref(), clock).map_err(refused)?;
        if known.is_none() && log.size() > 0 {
            return Err(StartError::new(
                "RC-LED-026",
                format!(
                    "the log has {} entries, and {} does not know of it: the second copy of the last checkpoint \
                     is gone",
                    log.size(),
                    self.db.display()
                ),
            )
            .hint("restore `ledger.db` from a backup"));
        }
        Ok(log)
    }

    /// Makes key and log beside their places and moves them there, the key last: wherever this stops, the next
    /// start sees either nothing or the whole log.
    fn make(&self, clock: Arc<dyn Clock>) -> Result<(), StartError> {
        let making = self.making();
        let cannot =
            |error: std::io::Error| StartError::new("RC-LED-012", "a new log cannot be made").because(error);
        if making.exists() {
            fs_err::remove_dir_all(&making).map_err(cannot)?;
        }
        fs_err::create_dir(&making).map_err(cannot)?;
        let mut name = [0_u8; SALT_BYTES];
        name.copy_from_slice(&rc_ledger::Commitment::salt().map_err(refused)?);
        let origin = format!("{ORIGIN_PREFIX}{}", data_encoding::HEXLOWER.encode(&name[..8]));
        let signer = Signer::generate(&origin).map_err(refused)?;
        signer.store(&making.join("key")).map_err(refused)?;
        let log = Log::create(&making.join("log"), signer, None, clock).map_err(refused)?;
        log.close().map_err(refused)?;
        let sync = |folder: &Path| fs_err::File::open(folder).and_then(|folder| folder.sync_all());
        fs_err::rename(making.join("log"), &self.log)
            .and_then(|()| sync(&self.folder))
            .and_then(|()| fs_err::rename(making.join("key"), &self.key))
            .and_then(|()| sync(&self.folder))
            .and_then(|()| fs_err::remove_dir(&making))
            .map_err(cannot)?;
        tracing::info!(origin, "a new log begins");
        Ok(())
    }
}

fn refused(error: rc_ledger::Error) -> StartError {
    let hint = format!(
        "nothing was changed; `rc explain {}` says what to do",
        error.code()
    );
    StartError::new(error.code(), format!("the ledger does not open its log: {error}")).hint(hint)
}

#[cfg(test)]
mod tests;
