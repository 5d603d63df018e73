//! Finding kept spans again: the segments of all services, read as they are.
//!
//! It works while services write, after they stopped, and after they were killed, because it asks nobody:
//! it looks at files. It refuses to draw.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::otlp::{self, Link, Record};
use crate::ring::{self, Blocks};

/// Fewest hex digits that name a trace.
const PREFIX_DIGITS_MIN: usize = 4;
/// All of them.
const PREFIX_DIGITS_MAX: usize = 32;
/// Most spans of one trace that are looked at.
const TRACE_SPANS_MAX: usize = 20_000;
/// Most traces that an ambiguous prefix is answered with.
const AMBIGUOUS_MAX: usize = 20;
/// Most traces that are followed from a trace to the batches that it was part of.
const LINKED_TRACES_MAX: usize = 16;
/// Bytes of each service's newest segments that are read for a list of recent traces: over a thousand.
const RECENT_BYTES: u64 = 4 << 20;
/// The same for a list of those that failed, which are few.
const FAILED_BYTES: u64 = 32 << 20;
/// Largest segment that is read: a ring's largest is far below.
const SEGMENT_BYTES_MAX: u64 = 4 << 30;

/// The first digits of a trace's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdPrefix {
    value: u128,
    digits: usize,
}

/// Why a text names no trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a trace's id has 32 hex digits, of which at least the first 4 are needed")]
pub struct NoPrefix;

impl IdPrefix {
    /// Reads hex digits, or a whole `traceparent`.
    ///
    /// # Errors
    /// When there are too few digits, too many, or others.
    pub fn parse(text: &str) -> Result<Self, NoPrefix> {
        let text = text.trim();
        if let Some(context) = rc_model::TraceContext::parse(text.as_bytes()) {
            return Ok(Self {
                value: context.trace_id(),
                digits: PREFIX_DIGITS_MAX,
            });
        }
        let usable = (PREFIX_DIGITS_MIN..=PREFIX_DIGITS_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = u128::from_str_radix(text, 16).ok().filter(|_| usable);
        let digits = text.len();
        value.map(|value| Self { value, digits }).ok_or(NoPrefix)
    }

    fn matches(self, id: u128) -> bool {
        id >> (4 * (PREFIX_DIGITS_MAX - self.digits)) == self.value
    }

    /// What stands in every block with a span of such a trace, or a link to one: whole bytes of the id.
    fn needle(self) -> Vec<u8> {
        let whole = self.value << (4 * (PREFIX_DIGITS_MAX - self.digits));
        otlp::id_needle(&whole.to_be_bytes()[..self.digits / 2])
    }
}

/// A span and the service that kept it.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    pub service: Arc<str>,
    pub span: Record,
}

/// All that is known of one trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    pub id: u128,
    /// In the order of their beginnings.
    pub spans: Vec<Kept>,
    /// Work that this trace shared with others: traces with a span that links to one of this trace's.
    pub linked: Vec<Self>,
}

/// A line about one trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub id: u128,
    /// The name of the span that has no parent here; of the earliest one.
    pub name: String,
    /// Every service that took part, the first one's first.
    pub services: Vec<Arc<str>>,
    pub spans: usize,
    pub began_unix_ns: u64,
    /// How long the first span took: what the caller waited.
    pub took_ns: u64,
    /// How long it took until the last span ended.
    pub whole_ns: u64,
    /// The first span's error, else any.
    pub error: Option<String>,
}

/// What a prefix leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    One(Trace),
    /// Several traces, at most 20 of them, the newest last.
    Many(Vec<Summary>),
    None {
        /// When the oldest trace that is still kept began; `None` when nothing is kept.
        oldest_unix_ns: Option<u64>,
    },
}

/// Reads what the rings of all services hold.
#[derive(Debug, Clone)]
pub struct Reader {
    folder: PathBuf,
}

/// Segments of one service, oldest first.
struct Source {
    service: Arc<str>,
    segments: Vec<PathBuf>,
}

impl Reader {
    /// Over `.royalcrown/traces`.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// The trace whose id begins with `prefix`, with the traces that share its work.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn find(&self, prefix: IdPrefix) -> io::Result<Found> {
        let sources = self.sources()?;
        let mut spans: BTreeMap<u128, Vec<Kept>> = BTreeMap::new();
        let mut linking: BTreeMap<u128, BTreeSet<u128>> = BTreeMap::new();
        scan(&sources, &[prefix.needle()], &mut |seen| {
            if prefix.matches(seen.trace_id) {
                let spans = spans.entry(seen.trace_id).or_default();
                if spans.len() < TRACE_SPANS_MAX {
                    spans.extend(seen.kept());
                }
            }
            for link in otlp::links_of(seen.span) {
                if prefix.matches(link.trace_id) && link.trace_id != seen.trace_id {
                    linking.entry(link.trace_id).or_default().insert(seen.trace_id);
                }
            }
        })?;
        if spans.len() > 1 {
            let mut many: Vec<Summary> = spans.into_iter().filter_map(summary).collect();
            many.sort_by_key(|summary| summary.began_unix_ns);
            let surplus = many.len().saturating_sub(AMBIGUOUS_MAX);
            return Ok(Found::Many(many.split_off(surplus)));
        }
        let Some((id, spans)) = spans.pop_first() else {
            return Ok(Found::None {
                oldest_unix_ns: oldest(&sources)?,
            });
        };
        // A link may stand on either side, or on both: a batch has room for a bounded number of them.
        let own_links = spans.iter().flat_map(|kept| &kept.span.links);
        let wanted: BTreeSet<u128> = linking
            .remove(&id)
            .into_iter()
            .flatten()
            .chain(own_links.map(|link| link.trace_id))
            .filter(|linked| *linked != id)
            .collect();
        let wanted: BTreeSet<u128> = wanted.into_iter().take(LINKED_TRACES_MAX).collect();
        let mut linked: BTreeMap<u128, Vec<Kept>> = BTreeMap::new();
        if !wanted.is_empty() {
            let needles: Vec<Vec<u8>> = wanted
                .iter()
                .map(|id| otlp::id_needle(&id.to_be_bytes()))
                .collect();
            scan(&sources, &needles, &mut |seen| {
                if wanted.contains(&seen.trace_id) {
                    let spans = linked.entry(seen.trace_id).or_default();
                    if spans.len() < TRACE_SPANS_MAX {
                        spans.extend(seen.kept());
                    }
                }
            })?;
        }
        let mut trace = Trace::new(id, spans);
        trace.linked = linked
            .into_iter()
            .map(|(id, spans)| Trace::new(id, spans))
            .collect();
        trace.linked.sort_by_key(Trace::began_unix_ns);
        Ok(Found::One(trace))
    }

    /// The newest traces, at most `max` of them, the newest last. Work that only links to requests is not
    /// listed: it is shown with each of them.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn recent(&self, max: usize) -> io::Result<Vec<Summary>> {
        self.newest(RECENT_BYTES, max, |_| true)
    }

    /// The newest traces in which something failed, at most `max` of them, the newest last.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn failed(&self, max: usize) -> io::Result<Vec<Summary>> {
        self.newest(FAILED_BYTES, max, |trace| trace.error.is_some())
    }

    fn newest(&self, bytes: u64, max: usize, wanted: fn(&Summary) -> bool) -> io::Result<Vec<Summary>> {
        let mut sources = self.sources()?;
        for source in &mut sources {
            let mut left = bytes;
            let newest = source.segments.iter().rev().take_while(|path| {
                let wanted = left > 0;
                left = left.saturating_sub(fs_err::metadata(path).map_or(0, |found| found.len()));
                wanted
            });
            let count = newest.count();
            source.segments.drain(..source.segments.len() - count);
        }
        let mut spans: HashMap<u128, Vec<Kept>> = HashMap::new();
        scan(&sources, &[], &mut |seen| {
            spans.entry(seen.trace_id).or_default().extend(seen.kept());
        })?;
        let mut found: Vec<Summary> = spans
            .into_iter()
            .filter(|(_, spans)| !is_shared(spans))
            .filter_map(summary)
            .filter(wanted)
            .collect();
        found.sort_by_key(|summary| (summary.began_unix_ns, summary.id));
        let surplus = found.len().saturating_sub(max);
        Ok(found.split_off(surplus))
    }

    fn sources(&self) -> io::Result<Vec<Source>> {
        let entries = match fs_err::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut sources = Vec::new();
        for entry in entries {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let segments = ring::segments(&entry.path())?;
            sources.push(Source {
                service: Arc::from(entry.file_name().to_string_lossy()),
                segments: segments.into_iter().map(|(_, path)| path).collect(),
            });
        }
        sources.sort_by(|a, b| a.service.cmp(&b.service));
        Ok(sources)
    }
}

/// One encoded span on the way through the files.
struct Seen<'a> {
    service: &'a Arc<str>,
    trace_id: u128,
    span: &'a [u8],
}

impl Seen<'_> {
    /// `None` for bytes that are no span; their checksum said that they are what was written.
    fn kept(&self) -> Option<Kept> {
        Some(Kept {
            service: Arc::clone(self.service),
            span: Record::decode(self.span).ok()?,
        })
    }
}

/// Looks at every span of the blocks that hold one of `needles`; of all blocks when there are none.
fn scan(sources: &[Source], needles: &[Vec<u8>], look: &mut dyn FnMut(&Seen<'_>)) -> io::Result<()> {
    let finders: Vec<_> = needles.iter().map(memchr::memmem::Finder::new).collect();
    let holds =
        |bytes: &[u8]| finders.is_empty() || finders.iter().any(|finder| finder.find(bytes).is_some());
    for source in sources {
        for path in &source.segments {
            let Some(segment) = read(path)?.filter(|segment| holds(segment)) else {
                continue;
            };
            let blocks = Blocks::of(&segment).filter(|block| holds(block));
            for span in blocks.flat_map(otlp::spans) {
                if let Some(trace_id) = otlp::trace_id_of(span) {
                    look(&Seen {
                        service: &source.service,
                        trace_id,
                        span,
                    });
                }
            }
        }
    }
    Ok(())
}

/// When the oldest span that is kept began: the first one of some service.
fn oldest(sources: &[Source]) -> io::Result<Option<u64>> {
    let mut oldest = None;
    for source in sources {
        for path in &source.segments {
            let segment = read(path)?.unwrap_or_default();
            let first = Blocks::of(&segment).flat_map(otlp::spans).next();
            if let Some(span) = first.and_then(|span| Record::decode(span).ok()) {
                oldest = oldest.into_iter().chain([span.began_unix_ns]).min();
                break;
            }
        }
    }
    Ok(oldest)
}

/// A segment's bytes; `None` when its writer removed it to make room.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let read = fs_err::metadata(path).and_then(|found| {
        if found.len() > SEGMENT_BYTES_MAX {
            let what = format!(
                "{} is no segment of ours: it has {} bytes",
                path.display(),
                found.len()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        fs_err::read(path)
    });
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

impl Trace {
    fn new(id: u128, mut spans: Vec<Kept>) -> Self {
        spans.sort_by_key(|kept| (kept.span.began_unix_ns, kept.span.span_id));
        // A receiver may get a span twice; a file never has it twice, but costs nothing to be sure.
        let mut seen = BTreeSet::new();
        spans.retain(|kept| seen.insert(kept.span.span_id));
        Self {
            id,
            spans,
            linked: Vec::new(),
        }
    }

    /// When its first span began.
    #[must_use]
    pub fn began_unix_ns(&self) -> u64 {
        self.spans.first().map_or(0, |kept| kept.span.began_unix_ns)
    }

    /// When its last span ended, without the traces that share its work.
    #[must_use]
    pub fn ended_unix_ns(&self) -> u64 {
        let ends = self.spans.iter().map(|kept| kept.span.ended_unix_ns);
        ends.max().unwrap_or(0)
    }

    /// Spans whose parent is not here, in the order of their beginnings.
    #[must_use]
    pub fn roots(&self) -> Vec<&Kept> {
        let ids: BTreeSet<u64> = self.spans.iter().map(|kept| kept.span.span_id).collect();
        let is_root = |kept: &&Kept| kept.span.parent.is_none_or(|parent| !ids.contains(&parent));
        self.spans.iter().filter(is_root).collect()
    }

    /// The spans right below the span `id`, in the order of their beginnings.
    pub fn children(&self, id: u64) -> impl Iterator<Item = &Kept> {
        self.spans
            .iter()
            .filter(move |kept| kept.span.parent == Some(id) && kept.span.span_id != id)
    }

    /// Spans of other traces that link to the span `id` of this one, or to which it links.
    pub fn linking(&self, id: u64) -> impl Iterator<Item = (&Self, &Kept)> {
        let here = Link {
            trace_id: self.id,
            span_id: id,
        };
        let own = self.spans.iter().find(|kept| kept.span.span_id == id);
        let own: &[Link] = own.map_or(&[], |kept| &kept.span.links);
        self.linked.iter().flat_map(move |trace| {
            let linking = trace.spans.iter().filter(move |kept| {
                let there = Link {
                    trace_id: trace.id,
                    span_id: kept.span.span_id,
                };
                kept.span.links.contains(&here) || own.contains(&there)
            });
            linking.map(move |kept| (trace, kept))
        })
    }
}

/// Whether a trace is work that requests share: what begins it is not asked for by one of them, and says so.
fn is_shared(spans: &[Kept]) -> bool {
    let begins = |kept: &&Kept| kept.span.parent.is_none();
    let mut first = spans.iter().filter(begins);
    first.any(|kept| !kept.span.links.is_empty())
}

fn summary((id, spans): (u128, Vec<Kept>)) -> Option<Summary> {
    let trace = Trace::new(id, spans);
    let root = &trace.roots().first().copied()?.span;
    let mut services: Vec<Arc<str>> = Vec::new();
    for kept in &trace.spans {
        if !services.contains(&kept.service) {
            services.push(Arc::clone(&kept.service));
        }
    }
    let errors = trace.spans.iter().filter_map(|kept| kept.span.error.as_ref());
    Some(Summary {
        id,
        name: root.name.clone(),
        services,
        spans: trace.spans.len(),
        began_unix_ns: root.began_unix_ns,
        took_ns: root.took_ns(),
        whole_ns: trace.ended_unix_ns().saturating_sub(trace.began_unix_ns()),
        error: root.error.as_ref().into_iter().chain(errors).next().cloned(),
    })
}

#[cfg(test)]
mod tests;
