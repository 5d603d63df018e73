//! What a person sees of a run: the bar while it lasts, the summary at its end.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rc_model::clock::monotonic_ns;
use serde::Serialize;

use super::read::{Gauge, Reading, Reject};
use super::send::Sent;
use super::walk::Skips;

/// The bar on a terminal's stderr; nothing elsewhere.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    gauge: Arc<Gauge>,
    started_ns: u64,
}

impl Progress {
    /// A bar for `total` bytes; `None` for standard input, whose end nobody knows.
    pub(super) fn new(draw: bool, total: Option<u64>, gauge: Arc<Gauge>) -> Self {
        let bar = draw.then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(10);
            let bar = ProgressBar::with_draw_target(total, target);
            let template = match total {
                Some(_) => "{bar:30} {percent:>3} %  {bytes:>10} of {total_bytes}  {msg}  {eta} left",
                None => "{spinner} {bytes:>10}  {msg}",
            };
            let style = ProgressStyle::with_template(template).expect("the template is a constant");
            bar.with_style(style.progress_chars("━╸─"))
        });
        Self {
            bar,
            gauge,
            started_ns: monotonic_ns(),
        }
    }

    /// Draws `documents` that are stored by now.
    pub(super) fn show(&self, documents: u64) {
        let Some(bar) = &self.bar else { return };
        bar.set_position(self.gauge.bytes.load(Ordering::Relaxed));
        let rate = per_second(documents, self.elapsed());
        bar.set_message(format!("{} documents, {}/s", grouped(documents), grouped(rate)));
    }

    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_nanos(monotonic_ns().saturating_sub(self.started_ns))
    }

    /// Takes the bar away, so that the summary has the screen.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The end of a run, as `--output json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// `complete`, `interrupted` or `stopped`.
    pub(super) state: &'static str,
    /// As whom.
    pub(super) tenant: String,
    /// Documents, by what became of them.
    pub(super) documents: Documents,
    /// Files, by what became of them.
    pub(super) files: Files,
    /// Bytes of text that were read, after decompression.
    pub(super) bytes: u64,
    /// From the first byte read to the last answer.
    pub(super) seconds: f64,
    /// Stored documents a second.
    pub(super) documents_per_second: u64,
    /// With `--wait`: whether all of them can be found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) searchable: Option<bool>,
    /// The first refused documents.
    pub(super) rejects: Vec<Reject>,
    /// Refused documents that are not listed.
    pub(super) rejects_not_listed: u64,
    /// What to type next.
    pub(super) next: String,
}

/// Documents, by what became of them.
#[derive(Debug, Serialize)]
pub(super) struct Documents {
    pub(super) accepted: u64,
    pub(super) duplicate: u64,
    pub(super) rejected: u64,
    /// Stored by the interrupted run that this one continues.
    pub(super) stored_before: u64,
}

/// Files, by what became of them.
#[derive(Debug, Serialize)]
pub(super) struct Files {
    pub(super) read: u64,
    /// Read as Windows-1252, because they are not UTF-8.
    pub(super) not_utf8: u64,
    pub(super) skipped: Skipped,
}

/// Skipped files by reason; written as an object.
#[derive(Debug)]
pub(super) struct Skipped(pub(super) Skips);

impl Serialize for Skipped {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(reason, count)| (reason.name(), count)))
    }
}

impl Summary {
    pub(super) fn new(
        state: &'static str,
        tenant: &str,
        reading: Reading,
        sent: &mut Sent,
        elapsed: Duration,
        next: String,
    ) -> Self {
        let mut rejects = reading.rejects;
        rejects.append(std::mem::take(&mut sent.rejects));
        let not_listed = rejects.count - rejects.listed.len() as u64;
        Self {
            state,
            tenant: tenant.to_owned(),
            documents: Documents {
                accepted: sent.accepted,
                duplicate: sent.duplicates,
                rejected: rejects.count,
                stored_before: sent.before,
            },
            files: Files {
                read: reading.files,
                not_utf8: reading.guessed,
                skipped: Skipped(reading.skips),
            },
            bytes: reading.bytes,
            seconds: (elapsed.as_secs_f64() * 1_000.0).round() / 1_000.0,
            documents_per_second: per_second(sent.accepted + sent.duplicates, elapsed),
            searchable: None,
            rejects: rejects.listed,
            rejects_not_listed: not_listed,
            next,
        }
    }

    /// The summary for people.
    pub(super) fn text(&self) -> String {
        let documents = &self.documents;
        let stored = documents.accepted + documents.duplicate;
        let mut out = String::new();
        let noun = if stored == 1 { "document" } else { "documents" };
        let ended = if self.state == "complete" {
            String::new()
        } else {
            format!("{}: ", self.state)
        };
        let head = format!(
            "{ended}{} {noun} stored as {} in {}",
            grouped(stored),
            self.tenant,
            seconds(self.seconds)
        );
        let rate = if stored > 1 {
            format!(", {} a second", grouped(self.documents_per_second))
        } else {
            String::new()
        };
        let _ = writeln!(out, "{head}{rate}\n");
        let mut row = |name: &str, text: String| {
            let _ = writeln!(out, "  {name:<11} {text}");
        };
        row("accepted", grouped(documents.accepted));
        row("duplicate", grouped(documents.duplicate));
        row("rejected", grouped(documents.rejected));
        if documents.stored_before > 0 {
            row(
                "before",
                format!(
                    "{} stored by the run that this one continues",
                    grouped(documents.stored_before)
                ),
            );
        }
        let files = &self.files;
        let read = format!("{} in {}", bytes(self.bytes), plural(files.read, "file", "files"));
        let guessed = if files.not_utf8 == 0 {
            String::new()
        } else {
            format!(", {} not UTF-8 and read as Windows-1252", grouped(files.not_utf8))
        };
        row("read", format!("{read}{guessed}"));
        if !files.skipped.0.is_empty() {
            let reasons: Vec<String> = files
                .skipped
                .0
                .iter()
                .map(|(reason, count)| format!("{} {}", grouped(*count), reason.text()))
                .collect();
            row("skipped", reasons.join(", "));
        }
        match self.searchable {
            Some(true) => row("searchable", "all of them".to_owned()),
            Some(false) => row("searchable", "not all of them yet".to_owned()),
            None => {}
        }
        if !self.rejects.is_empty() {
            let _ = writeln!(out, "\nrejected:");
            for reject in &self.rejects {
                let _ = writeln!(out, "  {}", line(reject));
            }
            if self.rejects_not_listed > 0 {
                let _ = writeln!(out, "  and {} more", grouped(self.rejects_not_listed));
            }
        }
        let _ = write!(out, "\nnext: {}", self.next);
        out
    }
}

fn line(reject: &Reject) -> String {
    let mut line = super::super::search::printable(&reject.source);
    for part in [&reject.pointer, &Some(reject.detail.clone())]
        .into_iter()
        .flatten()
    {
        line.push_str("  ");
        line.push_str(&super::super::search::printable(part));
    }
    if let Some(code) = &reject.code {
        let _ = write!(line, "  ({code})");
    }
    line
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

fn seconds(seconds: f64) -> String {
    if seconds < 10.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{seconds:.0} s")
    }
}

/// `1,234,567`
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
    let exact = count as f64;
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{:.1} KiB", exact / 1_024.0),
        _ => format!("{:.1} MiB", exact / 1_048_576.0),
    }
}

fn per_second(count: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    count.saturating_mul(1_000) / millis
}

#[cfg(test)]
mod tests;
