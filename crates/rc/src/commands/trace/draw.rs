//! The picture of one trace: a tree, and beside it the time that each span took.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rc_model::Timestamp;
use rc_observe::Trace;

use super::Look;
use super::tree::{Row, rows};
use crate::commands::search::printable;
use crate::commands::up::screen::{BOLD, DIM, RED, paint};

/// The colours of services, in the order of their appearance.
const PALETTE: [&str; 6] = ["36", "32", "35", "33", "34", "96"];
/// Widest column of services.
const SERVICE_WIDTH_MAX: usize = 14;
/// The column of beginnings, and of durations, in milliseconds: `1234.56`.
const TIME_WIDTH: usize = 7;
/// The share of the width that the time line gets, as a divisor.
const LINE_SHARE: usize = 5;

/// Draws `trace`.
pub(super) fn trace(trace: &Trace, look: &Look) -> String {
    let (rows, left_out) = rows(trace);
    let (Some(first), Some(scale)) = (rows.first(), Scale::of(trace, &rows)) else {
        return String::new();
    };
    let mut services: Vec<Arc<str>> = Vec::new();
    for row in &rows {
        if !services.contains(&row.service) {
            services.push(Arc::clone(&row.service));
        }
    }
    let colors: BTreeMap<&str, &str> = services
        .iter()
        .map(|service| &**service)
        .zip(PALETTE.into_iter().cycle())
        .collect();
    let widths = Widths::of(&services, look.width);

    let mut out = head(trace, first, &scale, &services, look);
    out.push_str(&paint(look.color, DIM, &widths.titles(&scale)));
    out.push('\n');
    for row in &rows {
        out.push_str(&line(row, &scale, &widths, &colors, look.color));
        out.push('\n');
    }
    if left_out > 0 {
        let text = format!("and {left_out} more spans; `--output json` has them all");
        out.push_str(&paint(look.color, DIM, &text));
    }
    out.trim_end().to_owned()
}

/// Lines about the whole trace, and an empty one.
fn head(trace: &Trace, first: &Row, scale: &Scale, services: &[Arc<str>], look: &Look) -> String {
    let answered = first.ended_unix_ns.saturating_sub(first.began_unix_ns);
    let took = if scale.whole_ns > answered + answered / 20 {
        let (answered, whole) = (time(answered), time(scale.whole_ns));
        format!("answered after {answered}, all done after {whole}")
    } else {
        format!("took {}", time(scale.whole_ns))
    };
    let began = i64::try_from(scale.zero_unix_ns / 1_000_000).unwrap_or(i64::MAX);
    let spans = trace.spans.len();
    let names: Vec<String> = services.iter().map(|service| printable(service)).collect();
    let about = format!(
        "{}  {spans} {} of {}",
        Timestamp::from_unix_ms(began),
        if spans == 1 { "span" } else { "spans" },
        names.join(", ")
    );
    let line = |code: &str, text: &str| paint(look.color, code, &fitted(text, look.width));
    let mut out = format!(
        "{}\n{}\n",
        line(BOLD, &format!("trace {:032x}", trace.id)),
        line(DIM, &about)
    );
    match &first.error {
        Some(error) => out.push_str(&line(RED, &format!("{took}  ✗ {}", printable(error)))),
        None => out.push_str(&fitted(&took, look.width)),
    }
    out.push_str("\n\n");
    out
}

/// Where the time line begins and ends.
struct Scale {
    zero_unix_ns: u64,
    whole_ns: u64,
}

impl Scale {
    /// From the trace's own first span to the last end of anything that is drawn. Work that was shared may
    /// have begun before; its bar begins at the edge.
    fn of(trace: &Trace, rows: &[Row]) -> Option<Self> {
        let zero_unix_ns = trace.spans.iter().map(|kept| kept.span.began_unix_ns).min()?;
        let end = rows.iter().map(|row| row.ended_unix_ns).max()?;
        Some(Self {
            zero_unix_ns,
            whole_ns: end.saturating_sub(zero_unix_ns).max(1),
        })
    }

    /// The same for all rows of a picture, so that points stand below each other: microseconds, where a
    /// column has room for them.
    fn decimals(&self) -> usize {
        if self.whole_ns < 100_000_000 { 3 } else { 2 }
    }
}

struct Widths {
    service: usize,
    tree: usize,
    line: usize,
}

impl Widths {
    fn of(services: &[Arc<str>], width: usize) -> Self {
        let longest = services.iter().map(|service| service.chars().count()).max();
        let service = longest.unwrap_or(0).min(SERVICE_WIDTH_MAX);
        let line = width / LINE_SHARE;
        // Two columns of times, two gaps of one before them, two elsewhere.
        let taken = service + 2 + 1 + TIME_WIDTH + 1 + TIME_WIDTH + 2 + line;
        Self {
            service,
            tree: width.saturating_sub(taken).max(20),
            line,
        }
    }

    fn titles(&self, scale: &Scale) -> String {
        let whole = time(scale.whole_ns);
        let room = self.line.saturating_sub(whole.chars().count() + 1);
        format!(
            "{:<service$}  {:<tree$} {:>TIME_WIDTH$} {:>TIME_WIDTH$}  0{:<room$}{whole}",
            "",
            "",
            "at ms",
            "took ms",
            "",
            service = self.service,
            tree = self.tree,
        )
    }
}

fn line(row: &Row, scale: &Scale, widths: &Widths, colors: &BTreeMap<&str, &str>, color: bool) -> String {
    let own = colors.get(&*row.service).copied().unwrap_or(DIM);
    let service = fitted(&printable(&row.service), widths.service);
    let begins_before = row.began_unix_ns < scale.zero_unix_ns;
    let at = if begins_before {
        let before = scale.zero_unix_ns - row.began_unix_ns;
        format!("-{}", ms(before, scale.decimals()))
    } else {
        ms(row.began_unix_ns - scale.zero_unix_ns, scale.decimals())
    };
    let took = ms(
        row.ended_unix_ns.saturating_sub(row.began_unix_ns),
        scale.decimals(),
    );
    let bar_color = if row.error.is_some() { RED } else { own };
    format!(
        "{}  {} {} {}  {}",
        paint(color, own, &padded(&service, widths.service)),
        subject(row, widths.tree, color),
        paint(color, DIM, &format!("{at:>TIME_WIDTH$}")),
        format_args!("{took:>TIME_WIDTH$}"),
        paint(color, bar_color, &bar(row, scale, widths.line)),
    )
    .trim_end()
    .to_owned()
}

/// Tree lines, name, error and notes in exactly `width` columns.
fn subject(row: &Row, width: usize, color: bool) -> String {
    let mut room = width;
    let mut out = String::new();
    let mut put = |code: Option<&str>, text: &str| {
        let text = fitted(text, room);
        room -= columns(&text);
        match code {
            Some(code) if !text.is_empty() => out.push_str(&paint(color, code, &text)),
            _ => out.push_str(&text),
        }
    };
    put(Some(DIM), &row.lines);
    let name = printable(&row.name);
    match &row.error {
        Some(error) => {
            put(Some(RED), &format!("{name} ✗ {}", printable(error)));
        }
        None => put(None, &name),
    }
    if !row.notes.is_empty() {
        let notes = printable(&row.notes.join(" · "));
        put(Some(DIM), &format!("  {notes}"));
    }
    out.push_str(&" ".repeat(room));
    out
}

/// The span's time as a bar of eighths of a column.
fn bar(row: &Row, scale: &Scale, width: usize) -> String {
    const ENDS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = |unix_ns: u64| {
        let offset = unix_ns.saturating_sub(scale.zero_unix_ns).min(scale.whole_ns);
        let at = u128::from(offset) * (width as u128 * 8) / u128::from(scale.whole_ns);
        usize::try_from(at).unwrap_or(usize::MAX)
    };
    let begin = (eighths(row.began_unix_ns) / 8).min(width.saturating_sub(1));
    // A bar begins at a whole column; what is too short to see is still there.
    let len = eighths(row.ended_unix_ns).saturating_sub(begin * 8).max(1);
    format!("{}{}{}", " ".repeat(begin), "█".repeat(len / 8), ENDS[len % 8])
}

/// Milliseconds with `decimals` decimals; none above a second.
fn ms(ns: u64, decimals: usize) -> String {
    let ms = Duration::from_nanos(ns).as_secs_f64() * 1e3;
    let decimals = if ms < 1_000.0 { decimals } else { 0 };
    format!("{ms:.decimals$}")
}

/// A length of time with its unit: `0.41 ms`, `1.25 s`.
pub(super) fn time(ns: u64) -> String {
    if ns < 1_000_000_000 {
        format!("{} ms", ms(ns, 2))
    } else {
        format!("{:.2} s", Duration::from_nanos(ns).as_secs_f64())
    }
}

/// At most `width` columns; what is cut ends with `…`.
pub(super) fn fitted(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        out.push('…');
    }
    out
}

pub(super) fn padded(text: &str, width: usize) -> String {
    format!("{text:<width$}")
}

/// Names of spans are ours, and every character of ours takes one column.
fn columns(text: &str) -> usize {
    text.chars().count()
}
