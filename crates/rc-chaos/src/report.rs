//! The report: tables made from results, the same text for the same results.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::checker::{Channel, Fault};
use crate::failure::{Failure, Result};
use crate::matrix::{Kept, Part};

const BEGIN: &str = "<!-- chaos: written by `make chaos` from bench/chaos; do not edit -->\n";
const END: &str = "<!-- chaos: end -->\n";

/// Whether a result is what it should be: a promise kept, or a disk that forgot.
#[must_use]
pub fn is_right(kept: &Kept) -> bool {
    match kept.part {
        Part::Faults(_) | Part::Power(_) | Part::Full(_) => kept.outcome.is_whole(),
        Part::Forgetful(_) => kept.outcome.count(Fault::Lost) + kept.outcome.forgotten > 0,
    }
}

/// Puts `text` between the marks of `page`.
///
/// # Errors
/// When the page has no marks.
pub fn insert(page: &str, text: &str) -> Result<String> {
    let before = page.find(BEGIN).map(|at| at + BEGIN.len());
    let after = page.find(END);
    match (before, after) {
        (Some(before), Some(after)) if before <= after => {
            Ok(format!("{}{text}{}", &page[..before], &page[after..]))
        }
        _ => Err(Failure::new(format!(
            "the page does not have the lines\n{BEGIN}{END}"
        ))),
    }
}

/// The tables.
#[must_use]
pub fn text(kept: &[Kept]) -> String {
    let mut out = String::new();
    let faults: Vec<&Kept> = kept
        .iter()
        .filter(|kept| matches!(kept.part, Part::Faults(_)))
        .collect();
    let events: u64 = faults.iter().map(|kept| kept.outcome.events).sum();
    let done: u64 = faults.iter().map(|kept| kept.outcome.faults()).sum();
    let line = |out: &mut String, text: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{text}");
    };
    line(
        &mut out,
        format_args!(
            "\n{} events and {} faults in all.\n",
            number(events),
            number(done)
        ),
    );
    line(
        &mut out,
        format_args!(
            "| source to bus | events | faults | lost | doubled | reordered | phantom | other | doubled in the stream | longest stall | seed |"
        ),
    );
    line(
        &mut out,
        format_args!("|---|---|---|---|---|---|---|---|---|---|---|"),
    );
    for kept in &faults {
        line(&mut out, format_args!("{}", row(kept)));
    }
    line(&mut out, format_args!("\n| fault | {} | all |", heads(&faults)));
    line(&mut out, format_args!("|---|{}---|", "---|".repeat(faults.len())));
    let mut kinds: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (column, kept) in faults.iter().enumerate() {
        for (kind, count) in &kept.outcome.faults {
            kinds.entry(kind).or_insert_with(|| vec![0; faults.len()])[column] += count;
        }
    }
    for (kind, counts) in kinds {
        let cells: Vec<String> = counts.iter().map(|count| number(*count)).collect();
        let all = number(counts.iter().sum());
        line(
            &mut out,
            format_args!("| {kind} | {} | {all} |", cells.join(" | ")),
        );
    }
    line(
        &mut out,
        format_args!("\nLosses of power, on a disk that forgets what was not synced, and full disks:\n"),
    );
    line(
        &mut out,
        format_args!(
            "| source to bus | what | waits for the disk | times | events | lost | forgotten by the bus | as it should be |"
        ),
    );
    line(&mut out, format_args!("|---|---|---|---|---|---|---|---|"));
    for kept in kept {
        let (combination, what, waits) = match kept.part {
            Part::Faults(_) => continue,
            Part::Power(combination) => (combination, "power lost", "yes"),
            Part::Forgetful(combination) => (combination, "power lost", "no"),
            Part::Full(combination) => (combination, "disk full", "yes"),
        };
        let outcome = &kept.outcome;
        // Where an event is missing in the log, it is missing everywhere: once is enough.
        let lost = [Channel::Log, Channel::Stream, Channel::Effects]
            .map(|channel| outcome.count_in(Fault::Lost, channel));
        line(
            &mut out,
            format_args!(
                "| {combination} | {what} | {waits} | {} | {} | {} | {} | {} |",
                outcome.faults(),
                number(outcome.events),
                number(lost.into_iter().max().unwrap_or_default()),
                number(outcome.forgotten),
                if is_right(kept) { "yes" } else { "**no**" },
            ),
        );
    }
    let mut commits: Vec<&str> = kept.iter().map(|kept| kept.commit.as_str()).collect();
    commits.sort_unstable();
    commits.dedup();
    line(&mut out, format_args!("\nRun of {}.\n", commits.join(", ")));
    out
}

fn row(kept: &Kept) -> String {
    let outcome = &kept.outcome;
    let other = [Fault::Gap, Fault::Altered, Fault::Torn].map(|fault| outcome.count(fault));
    let other: u64 = other.into_iter().sum();
    let doubled = outcome.count_in(Fault::Doubled, Channel::Stream);
    #[expect(clippy::cast_precision_loss, reason = "a share in percent with two decimals")]
    let share = doubled as f64 * 100.0 / outcome.stream.max(1) as f64;
    let trouble = match (&outcome.stuck, outcome.panics) {
        (None, 0) => String::new(),
        (stuck, panics) => format!(
            " **stuck: {}; {panics} panics**",
            stuck.as_deref().unwrap_or("no")
        ),
    };
    format!(
        "| {}{trouble} | {} | {} | {} | {} | {} | {} | {other} | {share:.2} % | {:.1} s | {} |",
        outcome.combination,
        number(outcome.events),
        number(outcome.faults()),
        outcome.count(Fault::Lost),
        outcome.count(Fault::Doubled),
        outcome.count(Fault::Reordered),
        outcome.count(Fault::Phantom),
        std::time::Duration::from_millis(outcome.longest_stall_ms).as_secs_f64(),
        outcome.seed,
    )
}

fn heads(faults: &[&Kept]) -> String {
    let names: Vec<String> = faults
        .iter()
        .map(|kept| kept.outcome.combination.to_string())
        .collect();
    names.join(" | ")
}

/// `1,234,567`
fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests;
