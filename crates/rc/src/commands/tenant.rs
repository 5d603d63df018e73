//! `rc tenant`: tenants and their keys.

use clap::Subcommand;

use crate::cx::Cx;
use crate::fault::Outcome;

mod key;
mod list;

/// Tenants and their API keys.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::Args),
    Key(key::Args),
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    match args.verb {
        Verb::List(args) => list::run(cx, args).await,
        Verb::Key(args) => key::run(cx, args).await,
    }
}

/// Columns of equal width under their names, two spaces apart; for people.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(head.to_vec())];
    lines.extend(
        rows.iter()
            .map(|row| line(row.iter().map(String::as_str).collect())),
    );
    lines.join("\n")
}

/// The name that was probably meant: the nearest of `known`, when it is near.
fn did_you_mean<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = typed.chars().count().div_ceil(3).max(1);
    known
        .map(|name| (distance(typed, name), name))
        .filter(|(distance, _)| *distance <= near)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein's distance; names have at most 63 characters, so this is at most 4,000 steps.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;
