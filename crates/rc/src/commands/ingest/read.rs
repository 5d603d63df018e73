//! Reads the sources one after the other and packs their documents into batches.
//!
//! Runs on a thread of its own: it blocks on files and on the queue of batches, which is bounded, so a slow
//! platform slows the reading and nothing piles up.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use rc_client::Document;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::batch::{Batch, Batcher};
use super::text;
use super::walk::{Kind, Skip, Skips, Source, TEXT_FILE_BYTES_MAX, count};

/// Longest line of a line-delimited file: ingest's largest document with every character escaped.
const LINE_BYTES_MAX: usize = 2 << 20;

/// What some editors and exports write in front of UTF-8; it belongs to no document.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Ids that are remembered to keep repetitions in order. Beyond it, batches go one after the other.
const SEEN_IDS_MAX: usize = 4_000_000;

/// Refusals that are kept word by word; beyond it they are counted.
pub(super) const REJECTS_LISTED_MAX: usize = 20;

/// What has been read so far; the progress bar looks at it.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    /// Bytes of the sources (as they are on disk).
    pub(super) bytes: AtomicU64,
}

/// A document that was not stored, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Reject {
    /// The file, with the line where there is one.
    pub(super) source: String,
    /// Where in the document (JSON Pointer).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pointer: Option<String>,
    /// The error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) code: Option<String>,
    /// What is wrong.
    pub(super) detail: String,
}

/// Refused documents: the first ones word by word, all of them counted.
#[derive(Debug, Default)]
pub(super) struct Rejects {
    pub(super) listed: Vec<Reject>,
    pub(super) count: u64,
}

impl Rejects {
    pub(super) fn push(&mut self, reject: Reject) {
        self.count += 1;
        if self.listed.len() < REJECTS_LISTED_MAX {
            self.listed.push(reject);
        }
    }

    pub(super) fn append(&mut self, other: Self) {
        let known = other.listed.len() as u64;
        let unlisted = other.count - known;
        other.listed.into_iter().for_each(|reject| self.push(reject));
        self.count += unlisted;
    }
}

/// What the reading came to.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Files that were read as Windows-1252.
    pub(super) guessed: u64,
    pub(super) skips: Skips,
    pub(super) rejects: Rejects,
}

/// Why reading ended early.
#[derive(Debug)]
enum Stop {
    /// Nobody takes batches any more.
    Gone,
    /// This source cannot be read.
    Io(std::io::Error),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// The reader and what it keeps between sources.
struct Reader<'a> {
    batcher: Batcher,
    out: &'a mpsc::Sender<Batch>,
    gauge: Arc<Gauge>,
    attrs: &'a BTreeMap<String, String>,
    /// Ids of earlier batches, hashed: a document that comes again must not overtake the first.
    earlier: HashSet<u64>,
    /// Ids of the batch being filled.
    current: HashSet<u64>,
    /// Ids that files gave: two files must not silently become one document.
    of_files: HashSet<u64>,
    report: Reading,
}

/// Reads `sources` to their end, or until nobody takes batches any more.
pub(super) fn read(
    sources: &[Source],
    attrs: &BTreeMap<String, String>,
    out: &mpsc::Sender<Batch>,
    gauge: Arc<Gauge>,
) -> Reading {
    let mut reader = reader(out, attrs, gauge);
    for source in sources {
        match reader.source(source) {
            Ok(()) => {}
            Err(Stop::Gone) => return reader.report,
            Err(Stop::Io(error)) => {
                // Named on purpose or found by a walk: either way the person wants to know which.
                count(&mut reader.report.skips, Skip::Unreadable);
                reader.reject(&source.name, None, error.to_string());
            }
        }
    }
    // When nobody takes the last batch, the sender has reported why.
    let _ = reader.flush();
    reader.report
}

fn reader<'a>(
    out: &'a mpsc::Sender<Batch>,
    attrs: &'a BTreeMap<String, String>,
    gauge: Arc<Gauge>,
) -> Reader<'a> {
    Reader {
        batcher: Batcher::default(),
        out,
        gauge,
        attrs,
        earlier: HashSet::new(),
        current: HashSet::new(),
        of_files: HashSet::new(),
        report: Reading::default(),
    }
}

impl Reader<'_> {
    fn source(&mut self, source: &Source) -> Result<(), Stop> {
        if source.kind == Kind::Stdin {
            let stdin = std::io::stdin();
            return self.stdin(&mut stdin.lock());
        }
        let file = Counted {
            inner: fs_err::File::open(&source.path)?,
            gauge: Arc::clone(&self.gauge),
        };
        let mut file = BufReader::with_capacity(128 << 10, file);
        let zipped = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
        if zipped {
            self.content(source, &mut BufReader::new(MultiGzDecoder::new(file)))
        } else {
            self.content(source, &mut file)
        }
    }

    fn content(&mut self, source: &Source, from: &mut dyn BufRead) -> Result<(), Stop> {
        if source.kind == Kind::Lines {
            self.report.files += 1;
            return self.lines(&source.name, &mut without_mark(from)?);
        }
        let mut bytes = Vec::new();
        from.take(TEXT_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > TEXT_FILE_BYTES_MAX {
            count(&mut self.report.skips, Skip::TooLarge);
            return Ok(());
        }
        if source.kind == Kind::Json
            && let Some(documents) = json_documents(&bytes)
        {
            self.report.files += 1;
            self.report.bytes += bytes.len() as u64;
            return self.raw_documents(&source.name, &documents);
        }
        let Some(decoded) = text::decode(&bytes) else {
            count(&mut self.report.skips, Skip::Binary);
            return Ok(());
        };
        if decoded.text.trim().is_empty() {
            count(&mut self.report.skips, Skip::Empty);
            return Ok(());
        }
        self.report.files += 1;
        self.report.bytes += bytes.len() as u64;
        self.report.guessed += u64::from(decoded.guessed);
        for document in text::documents(&source.name, &decoded.text, self.attrs) {
            self.document(&source.name, &document)?;
        }
        Ok(())
    }

    /// A document made from a file.
    fn document(&mut self, source: &str, document: &Document) -> Result<(), Stop> {
        let id = document.id.as_deref().expect("a file's document has an id");
        if !self.of_files.insert(hash(id)) {
            let detail =
                format!("another file has the id `{id}` already; name the folder above both instead");
            self.reject(source, None, detail);
            return Ok(());
        }
        let line = serde_json::to_vec(document).expect("strings and maps of strings always serialise");
        self.push(&line, source.to_owned(), Some(id))
    }

    fn stdin(&mut self, from: &mut dyn BufRead) -> Result<(), Stop> {
        self.report.files += 1;
        let from: &mut dyn BufRead = &mut without_mark(from)?;
        let first = first_visible(from)?;
        if first == Some(b'[') {
            let mut bytes = Vec::new();
            from.take(TEXT_FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
            self.report.bytes += bytes.len() as u64;
            self.gauge.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if bytes.len() as u64 > TEXT_FILE_BYTES_MAX {
                self.reject(
                    "stdin",
                    None,
                    "a JSON array of more than 64 MiB; send one document a line instead".to_owned(),
                );
                return Ok(());
            }
            return match serde_json::from_slice::<Vec<&RawValue>>(&bytes) {
                Ok(items) => {
                    self.raw_documents("stdin", &items.iter().map(|item| item.get()).collect::<Vec<_>>())
                }
                Err(error) => {
                    self.reject("stdin", None, format!("not a JSON array: {error}"));
                    Ok(())
                }
            };
        }
        self.lines("stdin", from)
    }

    /// One JSON document a line. A line that is none is refused, the others go on.
    fn lines(&mut self, name: &str, from: &mut dyn BufRead) -> Result<(), Stop> {
        let mut line = Vec::new();
        let mut number = 0_u64;
        loop {
            line.clear();
            let taken = (&mut *from)
                .take(LINE_BYTES_MAX as u64 + 1)
                .read_until(b'\n', &mut line)?;
            if taken == 0 {
                return Ok(());
            }
            number += 1;
            let mut size = taken as u64;
            let origin = format!("{name}:{number}");
            if taken > LINE_BYTES_MAX {
                size += skip_line(from, line.ends_with(b"\n"))?;
                self.reject(
                    &origin,
                    None,
                    format!("a line of more than {LINE_BYTES_MAX} bytes"),
                );
            } else if !line.trim_ascii().is_empty() {
                self.line(line.trim_ascii(), origin)?;
            }
            self.report.bytes += size;
            if name == "stdin" {
                self.gauge.bytes.fetch_add(size, Ordering::Relaxed);
            }
        }
    }

    fn raw_documents(&mut self, name: &str, documents: &[&str]) -> Result<(), Stop> {
        for (index, document) in documents.iter().enumerate() {
            // Line breaks inside JSON strings are escaped, so those that are left only separate.
            let line: Vec<u8> = document
                .bytes()
                .map(|byte| {
                    if byte == b'\n' || byte == b'\r' {
                        b' '
                    } else {
                        byte
                    }
                })
                .collect();
            self.line(line.trim_ascii(), format!("{name}[{index}]"))?;
        }
        Ok(())
    }

    /// A document that somebody else wrote, without white space around it: looked at just enough to send it,
    /// judged by the platform.
    fn line(&mut self, line: &[u8], origin: String) -> Result<(), Stop> {
        #[derive(serde::Deserialize)]
        struct Probe<'a> {
            #[serde(borrow, default)]
            id: Option<&'a RawValue>,
        }
        let text = match std::str::from_utf8(line) {
            Ok(text) => text,
            Err(error) => {
                self.reject(
                    &origin,
                    None,
                    format!("not UTF-8 after byte {}", error.valid_up_to()),
                );
                return Ok(());
            }
        };
        if !text.starts_with('{') {
            self.reject(&origin, None, "not a JSON object".to_owned());
            return Ok(());
        }
        let probe: Probe<'_> = match serde_json::from_str(text) {
            Ok(probe) => probe,
            Err(error) => {
                let whole = if error.is_eof() {
                    "; one document takes one line (`jq -c .` makes it so)"
                } else {
                    ""
                };
                self.reject(&origin, None, format!("not a JSON object: {error}{whole}"));
                return Ok(());
            }
        };
        let id = probe
            .id
            .and_then(|id| serde_json::from_str::<String>(id.get()).ok());
        if self.attrs.is_empty() {
            return self.push(line, origin, id.as_deref());
        }
        let line = with_attrs(text, self.attrs);
        self.push(&line, origin, id.as_deref())
    }

    fn push(&mut self, line: &[u8], origin: String, id: Option<&str>) -> Result<(), Stop> {
        if !self.batcher.has_room(line.len()) {
            self.flush()?;
        }
        if let Some(id) = id {
            let id = hash(id);
            if self.earlier.len() >= SEEN_IDS_MAX || self.earlier.contains(&id) {
                self.batcher.after_all();
            }
            if self.earlier.len() < SEEN_IDS_MAX {
                self.current.insert(id);
            }
        }
        self.batcher.push(line, origin);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stop> {
        self.earlier.extend(self.current.drain());
        match self.batcher.take() {
            Some(batch) => self.out.blocking_send(batch).map_err(|_gone| Stop::Gone),
            None => Ok(()),
        }
    }

    fn reject(&mut self, source: &str, pointer: Option<String>, detail: String) {
        self.report.rejects.push(Reject {
            source: source.to_owned(),
            pointer,
            code: None,
            detail,
        });
    }
}

/// A file that counts what is read of it.
struct Counted {
    inner: fs_err::File,
    gauge: Arc<Gauge>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let taken = self.inner.read(buffer)?;
        self.gauge.bytes.fetch_add(taken as u64, Ordering::Relaxed);
        Ok(taken)
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// `from` without the byte order mark that it may begin with.
fn without_mark(from: &mut dyn BufRead) -> std::io::Result<impl BufRead> {
    let mut start = Vec::with_capacity(BYTE_ORDER_MARK.len());
    (&mut *from)
        .take(BYTE_ORDER_MARK.len() as u64)
        .read_to_end(&mut start)?;
    if start == BYTE_ORDER_MARK {
        start.clear();
    }
    Ok(std::io::Cursor::new(start).chain(from))
}

/// The first byte that is not white space; it stays in the reader.
fn first_visible(from: &mut dyn BufRead) -> std::io::Result<Option<u8>> {
    loop {
        let buffer = from.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        if let Some(at) = buffer.iter().position(|byte| !byte.is_ascii_whitespace()) {
            let byte = buffer[at];
            return Ok(Some(byte));
        }
        let all = buffer.len();
        from.consume(all);
    }
}

/// Passes over the rest of a line, without keeping it.
fn skip_line(from: &mut dyn BufRead, ended: bool) -> std::io::Result<u64> {
    let mut skipped = 0_u64;
    if ended {
        return Ok(skipped);
    }
    loop {
        let buffer = from.fill_buf()?;
        if buffer.is_empty() {
            return Ok(skipped);
        }
        let (used, done) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), false),
        };
        from.consume(used);
        skipped += used as u64;
        if done {
            return Ok(skipped);
        }
    }
}

/// The documents of a `.json` file: an object with a `text`, or an array of such. Anything else (a package
/// manifest, a lock file) is text like any other.
fn json_documents(bytes: &[u8]) -> Option<Vec<&str>> {
    #[derive(serde::Deserialize)]
    struct Shape<'a> {
        #[serde(borrow, default)]
        text: Option<&'a RawValue>,
    }
    let is_document = |raw: &&RawValue| {
        raw.get().starts_with('{')
            && serde_json::from_str::<Shape<'_>>(raw.get())
                .is_ok_and(|shape| shape.text.is_some_and(|text| text.get().starts_with('"')))
    };
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes).trim_ascii();
    let items: Vec<&RawValue> = match bytes.first()? {
        b'[' => serde_json::from_slice(bytes).ok()?,
        b'{' => vec![serde_json::from_slice(bytes).ok()?],
        _ => return None,
    };
    let documents = !items.is_empty() && items.iter().all(is_document);
    documents.then(|| items.into_iter().map(RawValue::get).collect())
}

/// `line` with further attributes; its own win. What has no room for attributes is left to the platform to
/// refuse.
fn with_attrs(line: &str, attrs: &BTreeMap<String, String>) -> Vec<u8> {
    let Ok(Value::Object(mut document)) = serde_json::from_str(line) else {
        return line.as_bytes().to_vec();
    };
    let own = document
        .entry("attrs")
        .or_insert_with(|| Value::Object(serde_json::Map::new()));
    if let Value::Object(own) = own {
        for (name, value) in attrs {
            if !own.contains_key(name) {
                own.insert(name.clone(), Value::String(value.clone()));
            }
        }
    }
    serde_json::to_vec(&document).unwrap_or_else(|_| line.as_bytes().to_vec())
}

#[cfg(test)]
mod tests;
