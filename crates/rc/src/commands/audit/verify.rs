//! `rc audit verify`: proves that nobody changed the audit log, as far as what is at hand can prove it.

use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use rc_ledger::{Checkpoint, Entry, FaultKind, Reader, Report, Trust, Vkey};
use rc_model::Timestamp;
use rc_services::ledger::{Opened, Texts, commitments};

use super::{Files, Outboxes, no_log};
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

mod stores;
mod verdict;

use stores::Heads;
use verdict::{Found, TextCounts, Verdict, print};

/// Faults that are listed; all are counted.
const LISTED_MAX: usize = 20;
/// Entries whose texts are compared together.
const CHUNK: usize = 256;
/// Exit code of a check that found no fault and could not ask everybody.
const UNSEEN: u8 = 3;
/// What follows when the second copy is missing.
const GONE: &str = "the second copy of the last checkpoint and the texts of entries are gone: entries that were cut \
                    off from the end cannot be seen by it";
/// Largest checkpoint or key file that is read.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Check that nobody changed the audit log
///
/// Every entry is hashed again up to the signed root, every tile is compared, each source's numbers must be
/// 1, 2, 3 and so on, the last checkpoint that was kept in a second place must be contained, texts must be those
/// that entries commit to, and no entry may be missing that a service was told is written.
///
/// With keys and checkpoints from the same disk this shows that the log agrees with itself: whoever can write
/// the disk could write another log with another key. To see that too, keep the checkpoint and the public keys
/// somewhere else: `--save` writes them, `--checkpoint` and `--key` take them back.
///
/// What services keep on this disk is held against it: an outbox that cannot be read, or that is older than the
/// log, is a fault. A PostgreSQL server that does not answer is none, but then something is unknown.
///
/// Exit code 0: the log is whole. 1: it is not, and each fault is named. 3: there is no log yet, another user's
/// files cannot be read, or no fault was found but a store could not be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A public key that must have signed, instead of the key on this disk; `@FILE` reads keys from a file, one
    /// a line. Can be given more than once
    #[arg(long, value_name = "VKEY|@FILE")]
    key: Vec<String>,
    /// A checkpoint of this log that was kept elsewhere: the log must contain it. Can be given more than once
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// When the log is whole, write its checkpoint to this file, and the public keys to FILE.keys. Files that
    /// are there from an earlier time are checked first, as if given by `--checkpoint` and `--key`
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let files = Files::of(&cx.layout());
    files.readable()?;
    // Before the log is read: what is acknowledged or signed by now must be in it.
    let outboxes = Outboxes::look(cx).await?;
    let mut check = Check::new(cx, &files);
    if !files.any() || files.unmade().await {
        check.gone(&outboxes);
        if check.total == 0 {
            return Err(no_log(cx).into());
        }
        let verdict = check.verdict(&[], &args, &None, &outboxes);
        return Ok(told(cx, &verdict, &outboxes, false));
    }
    let keys = check.keys(&args)?;
    let texts = check.second_copy(&keys).await;
    check.kept_elsewhere(&args, &keys)?;
    let report = check.log(&keys)?;
    check.no_copy(texts.as_ref(), report.as_ref()).await;
    if let Some(heads) = check.entries(&keys, texts.as_ref(), &report).await? {
        check.outboxes(&heads, &outboxes).await?;
    }
    let mut verdict = check.verdict(&keys, &args, &report, &outboxes);
    // What cannot be kept is said after what was found: that is the answer.
    let mut unsaved = None;
    if let (true, Some(path)) = (verdict.whole, &args.save) {
        match save(&cx.cwd.join(path), &files, &keys) {
            Ok(()) => verdict.saved = Some(path.clone()),
            Err(fault) => unsaved = Some(fault),
        }
    }
    let outcome = told(cx, &verdict, &outboxes, texts.is_some());
    match unsaved {
        Some(fault) => Err(fault.into()),
        None => Ok(outcome),
    }
}

/// Shows the verdict. The exit code says yes only when nothing was left out.
fn told(cx: &Cx, verdict: &Verdict, outboxes: &Outboxes, with_texts: bool) -> Outcome {
    if cx.json() {
        cx.print_json(verdict);
    } else {
        print(cx, verdict, outboxes, with_texts);
    }
    match (verdict.whole, verdict.silent.is_empty()) {
        (true, true) => Outcome::Done,
        (true, false) => Outcome::Code(UNSEEN),
        (false, _) => Outcome::No,
    }
}

/// The check as it goes on.
struct Check<'a> {
    cx: &'a Cx,
    files: &'a Files,
    older: Vec<Checkpoint>,
    /// How many of them were kept elsewhere.
    given: usize,
    texts: TextCounts,
    faults: Vec<Found>,
    total: u64,
    warnings: Vec<Found>,
}

impl<'a> Check<'a> {
    fn new(cx: &'a Cx, files: &'a Files) -> Self {
        Self {
            cx,
            files,
            older: Vec::new(),
            given: 0,
            texts: TextCounts::default(),
            faults: Vec::new(),
            total: 0,
            warnings: Vec::new(),
        }
    }

    fn fault(
        &mut self,
        kind: &'static str,
        file: &Path,
        index: Option<u64>,
        text: String,
        meaning: &'static str,
    ) {
        self.total += 1;
        if self.faults.len() < LISTED_MAX {
            let file = self.shown(file);
            self.faults.push(Found {
                kind,
                file,
                index,
                text,
                meaning,
            });
        }
    }

    /// A path below the project as such.
    fn shown(&self, path: &Path) -> String {
        let project = self.cx.project_dir();
        path.strip_prefix(&project).unwrap_or(path).display().to_string()
    }

    /// The keys that must have signed: those that were given, else the ledger's own.
    fn keys(&mut self, args: &Args) -> Result<Vec<Vkey>, Fault> {
        let mut texts: Vec<String> = Vec::new();
        for given in &args.key {
            match given.strip_prefix('@') {
                Some(path) => texts.extend(lines(&self.cx.cwd.join(path))?),
                None => texts.push(given.clone()),
            }
        }
        if let Some(kept) = args
            .save
            .as_ref()
            .map(|path| keys_beside(&self.cx.cwd.join(path)))
            && texts.is_empty()
            && kept.exists()
        {
            texts = lines(&kept)?;
        }
        if !texts.is_empty() {
            let parsed = texts.iter().map(|text| Vkey::parse(text));
            return parsed.collect::<Result<_, _>>().map_err(|error| {
                Fault::usage("RC-LED-029", "a key that was given is not one").because(error)
            });
        }
        match self.files.own_keys() {
            Ok(keys) => Ok(keys),
            Err(error) => {
                let key = self.files.key.clone();
                let meaning = "without the key nobody can say whose signature the log has; give the public key \
                               with --key if it was kept elsewhere";
                self.fault("key", &key, None, error.to_string(), meaning);
                Ok(Vec::new())
            }
        }
    }

    /// The checkpoint that the ledger keeps in a second place.
    async fn second_copy(&mut self, keys: &[Vkey]) -> Option<Texts> {
        let db = self.files.db.clone();
        let opened = Texts::open(&db);
        let texts = match opened {
            Ok(texts) => texts,
            Err(error) => {
                self.fault("second-copy", &db, None, format!("{error:?}"), GONE);
                return None;
            }
        };
        match texts.second_copy().await {
            Ok(Some(text)) if !keys.is_empty() => match Checkpoint::open(&text, keys) {
                Ok(checkpoint) => self.older.push(checkpoint),
                Err(error) => {
                    let meaning = "the second copy was signed by another key: the key was replaced, or the \
                                   database belongs to another log";
                    self.fault("second-copy", &db, None, error.to_string(), meaning);
                }
            },
            // Without one: see `no_copy`.
            Ok(Some(_) | None) => {}
            Err(error) => {
                self.fault("second-copy", &db, None, format!("{error:?}"), GONE);
                return None;
            }
        }
        Some(texts)
    }

    /// The ledger writes its first second copy after the log was made and before it takes an entry.
    async fn no_copy(&mut self, texts: Option<&Texts>, report: Option<&Report>) {
        let entries = report.is_none_or(|report| report.size > 0 || !report.is_whole());
        if let (true, Some(texts)) = (entries, texts)
            && let Ok(None) = texts.second_copy().await
        {
            let db = self.files.db.clone();
            self.fault("second-copy", &db, None, "it has no checkpoint".to_owned(), GONE);
        }
    }

    /// Checkpoints from other places.
    fn kept_elsewhere(&mut self, args: &Args, keys: &[Vkey]) -> Result<(), Fault> {
        let save = args.save.iter().filter(|path| self.cx.cwd.join(path).exists());
        let paths: Vec<PathBuf> = args
            .checkpoint
            .iter()
            .chain(save)
            .map(|path| self.cx.cwd.join(path))
            .collect();
        for path in paths {
            let text = read(&path)?;
            // A signed note ends with lines that begin so (C2SP signed-note).
            if !text.contains("\n\n\u{2014} ") {
                return Err(
                    Fault::usage("RC-LED-029", format!("{} is not a checkpoint", path.display()))
                        .hint("give the file that `rc audit verify --save FILE` wrote"),
                );
            }
            if keys.is_empty() {
                continue;
            }
            match Checkpoint::open(&text, keys) {
                Ok(checkpoint) => {
                    self.older.push(checkpoint);
                    self.given += 1;
                }
                Err(error) => {
                    let meaning = "this checkpoint was signed by another key than the log's: the key was replaced, \
                                   or it is of another log";
                    self.fault("older", &path, None, error.to_string(), meaning);
                }
            }
        }
        Ok(())
    }

    /// The log itself. `None` when there is nothing to read.
    fn log(&mut self, keys: &[Vkey]) -> Result<Option<Report>, Fault> {
        if keys.is_empty() {
            return Ok(None);
        }
        let mut trust = Trust::new(keys);
        trust.older.clone_from(&self.older);
        let log = self.files.log.clone();
        let report = match rc_ledger::verify(&log, &trust) {
            Ok(report) => report,
            Err(rc_ledger::Error::NoLog(_)) => {
                let meaning = "the log is gone, and its key or its database shows that there was one: every \
                               entry is lost";
                self.fault("log", &log, None, "the log is missing".to_owned(), meaning);
                return Ok(None);
            }
            Err(error) => {
                let code = error.code();
                return Err(Fault::world(code, "the log cannot be read").because(error));
            }
        };
        let other_root = report.faults.iter().any(|fault| fault.kind == FaultKind::Root);
        for fault in &report.faults {
            if let (true, Some(index), Some(bundle)) = (other_root, fault.index, bundle(fault)) {
                // Tile and entry differ, and the entries are not those that were signed: it is the entry.
                let text = format!("entry {index} is not the one that was signed");
                let kind = FaultKind::Entry;
                self.fault(kind.as_str(), &log.join(bundle), Some(index), text, meaning(kind));
                continue;
            }
            let file = fault
                .file
                .as_ref()
                .map_or_else(|| log.clone(), |file| log.join(file));
            let meaning = meaning(fault.kind);
            self.fault(
                fault.kind.as_str(),
                &file,
                fault.index,
                fault.text.clone(),
                meaning,
            );
        }
        self.total += report.faults_total.saturating_sub(report.faults.len() as u64);
        for warning in &report.warnings {
            let file = warning
                .file
                .as_ref()
                .map_or_else(|| log.clone(), |file| log.join(file));
            self.warnings.push(Found {
                kind: warning.kind.as_str(),
                file: self.shown(&file),
                index: warning.index,
                text: warning.text.clone(),
                meaning: meaning(warning.kind),
            });
        }
        Ok(Some(report))
    }

    /// What entries commit to. Gives the number of the newest entry of each source, or `None` when entries cannot
    /// be read.
    async fn entries(
        &mut self,
        keys: &[Vkey],
        texts: Option<&Texts>,
        report: &Option<Report>,
    ) -> Result<Option<Heads>, Fault> {
        let (Some(_), Ok(reader)) = (report, Reader::open(&self.files.log, keys)) else {
            return Ok(None);
        };
        let mut last = Heads::new();
        let mut chunk = Vec::with_capacity(CHUNK);
        // What cannot be read or is not an entry was told above.
        let entries = reader
            .entries(0..reader.checkpoint().size())
            .map_while(Result::ok)
            .filter_map(|(index, bytes)| Some((index, Entry::decode(&bytes).ok()?)));
        for (index, entry) in entries {
            let newest = last.entry(entry.source.id.clone()).or_default();
            *newest = (*newest).max(entry.source.seq);
            chunk.extend(
                commitments(&entry)
                    .into_iter()
                    .map(|commitment| (index, commitment)),
            );
            if chunk.len() >= CHUNK {
                self.open(texts, std::mem::take(&mut chunk)).await?;
            }
        }
        self.open(texts, chunk).await?;
        Ok(Some(last))
    }

    async fn open(
        &mut self,
        texts: Option<&Texts>,
        wanted: Vec<(u64, rc_ledger::Commitment)>,
    ) -> Result<(), Fault> {
        let (Some(texts), false) = (texts, self.texts.unreadable) else {
            return Ok(());
        };
        let commitments = wanted.iter().map(|(_, commitment)| *commitment).collect();
        let opened = match texts.read(commitments).await {
            Ok(opened) => opened,
            Err(error) if error.retry_after().is_some() => {
                let fault = Fault::world(error.code(), "the texts of entries cannot be read");
                return Err(fault.because(error));
            }
            Err(error) => {
                self.texts.unreadable = true;
                let meaning = "the ledger's database is damaged: reasons and details of entries are lost";
                let db = self.files.db.clone();
                self.fault("text", &db, None, format!("{error:?}"), meaning);
                return Ok(());
            }
        };
        for ((index, _), opened) in wanted.into_iter().zip(opened) {
            match opened {
                Opened::Text(_) => self.texts.opened += 1,
                Opened::Erased => self.texts.erased += 1,
                Opened::Wrong => {
                    self.texts.wrong += 1;
                    let text = "a text is not the one that the entry commits to".to_owned();
                    let meaning =
                        "the reason or the detail that is kept for this entry was changed, or the entry was";
                    let db = self.files.db.clone();
                    self.fault("text", &db, Some(index), text, meaning);
                }
            }
        }
        Ok(())
    }

    fn verdict(self, keys: &[Vkey], args: &Args, report: &Option<Report>, outboxes: &Outboxes) -> Verdict {
        let number = |field: fn(&Report) -> u64| report.as_ref().map_or(0, field);
        let beside = args
            .save
            .as_ref()
            .map(|path| keys_beside(&self.cx.cwd.join(path)));
        Verdict {
            whole: self.total == 0,
            origin: report
                .as_ref()
                .map(|report| report.origin.clone())
                .unwrap_or_default(),
            keys: keys.iter().map(ToString::to_string).collect(),
            keys_given: !args.key.is_empty() || beside.is_some_and(|path| path.exists()),
            size: number(|report| report.size),
            root: report
                .as_ref()
                .map(|report| BASE64.encode(&report.root))
                .unwrap_or_default(),
            signed_at: report.as_ref().and_then(|report| report.signed_at_s).map(moment),
            entries: number(|report| report.entries),
            entry_bytes: number(|report| report.entry_bytes),
            files: number(|report| report.files),
            sources: number(|report| report.sources),
            unfinished: number(|report| report.unfinished),
            older: number(|report| report.older_contained),
            checkpoints_given: self.given,
            texts: self.texts,
            waiting: outboxes.rows(),
            silent: outboxes.silent.clone(),
            faults: self.faults,
            faults_total: self.total,
            warnings: self.warnings,
            saved: None,
        }
    }
}

fn moment(seconds: u64) -> Timestamp {
    Timestamp::from_unix_ms(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000))
}

/// What follows from a fault of the log.
fn meaning(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Checkpoint => {
            "nobody with the trusted key signed the log as it is: the checkpoint or the key was changed"
        }
        FaultKind::Root => "entries were changed, added or removed after they were signed",
        FaultKind::Older => "the log was cut off or rewritten since that checkpoint was signed",
        FaultKind::File => "this file was changed, cut off or removed after it was written",
        FaultKind::Entry => "this entry was changed, or written by something else than the ledger",
        FaultKind::Sequence => "entries of this source are missing, or are there twice",
        FaultKind::Clock => "the times of entries of this source cannot be relied on around here",
        FaultKind::Unpublished => "this is no file of the log, and nothing of it was read as one",
    }
}

/// The file of the entries whose hashes a tile of the lowest level has (C2SP tlog-tiles), for a fault of such
/// a tile.
fn bundle(fault: &rc_ledger::Fault) -> Option<String> {
    let of_tile = fault.file.as_ref().filter(|_| fault.kind == FaultKind::File)?;
    let name = of_tile.strip_prefix("tile/0/")?;
    Some(format!("tile/entries/{name}"))
}

/// `FILE.keys`
fn keys_beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".keys");
    PathBuf::from(name)
}

fn read(path: &Path) -> Result<String, Fault> {
    let cannot =
        |why: String| Fault::usage("RC-LED-029", format!("{} cannot be used: {why}", path.display()));
    let found = fs_err::metadata(path).map_err(|error| cannot(error.to_string()))?;
    if !found.is_file() || found.len() > FILE_BYTES_MAX {
        return Err(cannot("it is too large, or not a file".to_owned()));
    }
    fs_err::read_to_string(path).map_err(|error| cannot(error.to_string()))
}

/// The lines of a key file that say something.
fn lines(path: &Path) -> Result<Vec<String>, Fault> {
    let text = read(path)?;
    let lines: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    if lines.is_empty() {
        return Err(Fault::usage(
            "RC-LED-029",
            format!("{} has no key", path.display()),
        ));
    }
    Ok(lines)
}

/// Writes checkpoint and keys, each whole.
fn save(path: &Path, files: &Files, keys: &[Vkey]) -> Result<(), Fault> {
    let write = || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let reader = Reader::open(&files.log, keys)?;
        let lines: String = keys.iter().map(|key| format!("{key}\n")).collect();
        for (path, text) in [
            (keys_beside(path), lines.as_str()),
            (path.to_owned(), reader.checkpoint().text()),
        ] {
            let mut fresh = path.as_os_str().to_owned();
            fresh.push(".new");
            fs_err::write(&fresh, text)?;
            fs_err::rename(&fresh, &path)?;
        }
        Ok(())
    };
    write().map_err(|error| {
        Fault::world(
            "RC-LED-030",
            format!("the checkpoint cannot be kept in {}", path.display()),
        )
        .because(error)
        .hint("give a file in a folder that exists and that you may write to")
    })
}

#[cfg(test)]
mod tests;
