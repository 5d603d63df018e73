//! Traces as lines, one each.

use std::time::Duration;

use rc_model::Timestamp;
use rc_observe::Summary;

use super::Look;
use super::draw::{fitted, padded, time};
use crate::commands::search::printable;
use crate::commands::status::span;
use crate::commands::up::screen::{DIM, RED, paint};

/// As many digits of an id as stand in the list: nobody types more, and two rarely share them.
const ID_DIGITS: usize = 12;
/// Widest column of services.
const SERVICES_WIDTH_MAX: usize = 30;

const HEAD: [&str; 6] = ["TRACE", "AGE", "TOOK", "SPANS", "SERVICES", "REQUEST"];

/// The table of `traces`, in their order.
pub(super) fn table(traces: &[Summary], now: Timestamp, look: &Look) -> String {
    let row = |trace: &Summary| {
        let began = i64::try_from(trace.began_unix_ns / 1_000_000).unwrap_or(i64::MAX);
        let age = now.since(Timestamp::from_unix_ms(began));
        let services: Vec<String> = trace.services.iter().map(|service| printable(service)).collect();
        let id = format!("{:032x}", trace.id);
        [
            id[..ID_DIGITS].to_owned(),
            span(Duration::from_secs(age.as_secs())),
            time(trace.took_ns),
            trace.spans.to_string(),
            fitted(&services.join(", "), SERVICES_WIDTH_MAX),
        ]
    };
    let rows: Vec<[String; 5]> = traces.iter().map(row).collect();
    let width = |at: usize| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.chain([HEAD[at].len()]).max().unwrap_or(0)
    };
    let widths: [usize; 5] = std::array::from_fn(width);
    let left: usize = widths.iter().map(|width| width + 2).sum();
    let room = look.width.saturating_sub(left).max(16);
    let line = |cells: [&str; 5]| {
        format!(
            "{}  {:>age$}  {:>took$}  {:>spans$}  {}  ",
            padded(cells[0], widths[0]),
            cells[1],
            cells[2],
            cells[3],
            padded(cells[4], widths[4]),
            age = widths[1],
            took = widths[2],
            spans = widths[3],
        )
    };
    let [head @ .., last] = HEAD;
    let mut out = paint(look.color, DIM, &format!("{}{last}", line(head)));
    for (trace, row) in traces.iter().zip(&rows) {
        let text = match &trace.error {
            Some(error) => {
                let text = format!("{} ✗ {}", printable(&trace.name), printable(error));
                paint(look.color, RED, &fitted(&text, room))
            }
            None => fitted(&printable(&trace.name), room),
        };
        out.push('\n');
        out.push_str(&line(row.each_ref().map(String::as_str)));
        out.push_str(&text);
    }
    out
}
