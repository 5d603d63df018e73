//! From spans to the rows of a picture: which span stands below which, and what is said about it.
//!
//! It refuses to know widths and colours.

use std::collections::BTreeSet;
use std::sync::Arc;

use rc_observe::{AttributeValue, Kept, Record, Trace};

/// Most rows of one picture.
const ROWS_MAX: usize = 500;
/// Deepest nesting that is drawn.
const DEPTH_MAX: usize = 40;

/// One line of the picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) service: Arc<str>,
    /// Tree lines, up to the name.
    pub(super) lines: String,
    pub(super) name: String,
    /// What the span is about, most important first.
    pub(super) notes: Vec<String>,
    pub(super) error: Option<String>,
    pub(super) began_unix_ns: u64,
    pub(super) ended_unix_ns: u64,
}

/// The rows of `trace`, and how many spans were left out.
pub(super) fn rows(trace: &Trace) -> (Vec<Row>, usize) {
    let mut walk = Walk {
        rows: Vec::new(),
        drawn: BTreeSet::new(),
    };
    for root in trace.roots() {
        walk.span(trace, root, "", "", 0);
    }
    let linked: usize = trace.linked.iter().map(|linked| linked.spans.len()).sum();
    let left_out = (trace.spans.len() + linked).saturating_sub(walk.drawn.len());
    (walk.rows, left_out)
}

struct Walk {
    rows: Vec<Row>,
    /// Trace and span: nothing is drawn twice, and a circle of parents ends.
    drawn: BTreeSet<(u128, u64)>,
}

impl Walk {
    /// Draws `kept` and what is below it. `branch` leads to its name, `below` stands before what is below.
    fn span(&mut self, trace: &Trace, kept: &Kept, branch: &str, below: &str, depth: usize) {
        let span = &kept.span;
        if self.rows.len() >= ROWS_MAX || depth > DEPTH_MAX || !self.drawn.insert((trace.id, span.span_id)) {
            return;
        }
        self.rows.push(Row {
            service: Arc::clone(&kept.service),
            lines: branch.to_owned(),
            name: span.name.clone(),
            notes: notes(span),
            error: span.error.clone(),
            began_unix_ns: span.began_unix_ns,
            ended_unix_ns: span.ended_unix_ns,
        });
        let mut children: Vec<(&Trace, &Kept, bool)> = trace
            .children(span.span_id)
            .map(|child| (trace, child, false))
            .chain(
                trace
                    .linking(span.span_id)
                    .map(|(trace, kept)| (trace, kept, true)),
            )
            .filter(|(trace, kept, _)| !self.drawn.contains(&(trace.id, kept.span.span_id)))
            .collect();
        children.sort_by_key(|(_, kept, linked)| (*linked, kept.span.began_unix_ns));
        let count = children.len();
        for (index, (trace, child, linked)) in children.into_iter().enumerate() {
            let last = index + 1 == count;
            let (corner, stem) = if last {
                ("└─", "   ")
            } else {
                ("├─", "│  ")
            };
            let arrow = if linked { "⇢ " } else { " " };
            self.span(
                trace,
                child,
                &format!("{below}{corner}{arrow}"),
                &format!("{below}{stem}"),
                depth + 1,
            );
        }
    }
}

/// What is worth a place beside the name.
fn notes(span: &Record) -> Vec<String> {
    let int = |name: &str| match span.attribute(name) {
        Some(AttributeValue::Int(number)) => Some(*number),
        _ => None,
    };
    let float = |name: &str| match span.attribute(name) {
        Some(AttributeValue::Float(number)) => Some(*number),
        _ => None,
    };
    let text = |name: &str| match span.attribute(name) {
        Some(AttributeValue::Str(text)) => Some(text.as_str()),
        _ => None,
    };
    let mut notes = Vec::new();
    notes.extend(int("http.response.status_code").map(|status| status.to_string()));
    if span.attribute("http.response.status_code").is_some() {
        let who = [text("rc.tenant"), text("rc.tier")];
        let who: Vec<&str> = who.into_iter().flatten().collect();
        if !who.is_empty() {
            notes.push(who.join("/"));
        }
    }
    notes.extend(int("db.operation.batch.size").map(|runs| format!("×{runs}")));
    notes.extend(int("messaging.batch.message_count").map(|count| match count {
        1 => "1 message".to_owned(),
        count => format!("{count} messages"),
    }));
    notes.extend(int("rc.traces").map(|count| format!("for {count} traces")));
    notes.extend(
        int("rc.group_jobs")
            .filter(|jobs| *jobs > 1)
            .map(|jobs| format!("shared by {jobs}")),
    );
    notes.extend(
        float("rc.queue_ms")
            .filter(|ms| *ms >= 0.005)
            .map(|ms| format!("queued {ms:.2} ms")),
    );
    notes.extend(int("db.response.returned_rows").map(|rows| match rows {
        1 => "1 row".to_owned(),
        rows => format!("{rows} rows"),
    }));
    notes.extend(int("rc.spans_beyond").map(|spans| format!("{spans} spans not kept")));
    notes.extend(text("db.query.text").map(|text| statement(&span.name, text)));
    notes
}

/// A statement in one line, without the words in front that its span's name has said already.
fn statement(name: &str, text: &str) -> String {
    const COMMON: [&str; 4] = ["INTO", "OR", "IGNORE", "REPLACE"];
    let said = |word: &str| {
        let word = word.trim_matches('"');
        let is = |known: &str| known.eq_ignore_ascii_case(word);
        name.split(' ').any(is) || COMMON.into_iter().any(is)
    };
    text.split_whitespace()
        .skip_while(|word| said(word))
        .collect::<Vec<_>>()
        .join(" ")
}
