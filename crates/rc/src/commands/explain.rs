//! `rc explain`: what an error code means and what to do.

use rc_model::closest;
use rc_model::code::{self, Code};
use serde::Serialize;

use crate::commands::Outcome;
use crate::cx::Cx;
use crate::fault::Fault;

mod pages;

/// Longest line of a page on a terminal, in characters.
const PAGE_COLUMNS: usize = 100;

/// Explain an error code: what happened, why, and what to do
///
/// Every error of `rc`, of its services and in their answers carries a code such as `RC-CFG-005`. Without a
/// code, all of them are listed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The code, in any case
    code: Option<String>,
}

#[derive(Debug, Serialize)]
struct Listed {
    code: &'static str,
    title: &'static str,
}

#[derive(Debug, Serialize)]
struct Explained {
    code: &'static str,
    title: &'static str,
    /// Markdown.
    page: &'static str,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let Some(wanted) = args.code else {
        list(cx);
        return Ok(Outcome::Done);
    };
    let found = code::lookup(wanted.trim()).and_then(|Code { code, title }| {
        let page = pages::page(code)?;
        Some(Explained { code, title, page })
    });
    let Some(explained) = found else {
        return Err(unknown(&wanted).into());
    };
    if cx.json() {
        cx.print_json(&explained);
    } else {
        cx.say(for_people(explained.page, cx.color));
    }
    Ok(Outcome::Done)
}

fn list(cx: &Cx) {
    if cx.json() {
        let listed: Vec<Listed> = code::all()
            .map(|Code { code, title }| Listed { code, title })
            .collect();
        cx.print_json(&listed);
    } else {
        let lines: Vec<String> = code::all()
            .map(|Code { code, title }| format!("{code}  {title}"))
            .collect();
        cx.say(lines.join("\n"));
    }
}

fn unknown(wanted: &str) -> Fault {
    let wanted = wanted.trim();
    // `cfg-5`, `CFG-005` and `5` are what people type from memory.
    let short = |code: &str| {
        code.trim_start_matches("RC-")
            .replace("-00", "-")
            .replace("-0", "-")
    };
    let upper = wanted.to_uppercase();
    let guess = code::all()
        .map(|entry| entry.code)
        .find(|code| code.trim_start_matches("RC-") == upper || short(code) == short(&upper))
        .or_else(|| closest(wanted, code::all().map(|entry| entry.code)));
    let hint = match guess {
        Some(guess) => format!("did you mean `{guess}`? `rc explain` lists all codes"),
        None => "`rc explain` lists all codes".to_owned(),
    };
    Fault::usage(
        "RC-CLI-001",
        format!("there is no error code {}", rc_model::source::quote(wanted)),
    )
    .hint(hint)
}

/// A page without its Markdown marks, wrapped; headings are bold where `color` allows it.
fn for_people(page: &str, color: bool) -> String {
    let bold = |text: &str| {
        if color {
            format!("\u{1b}[1m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    };
    let mut lines = Vec::new();
    let mut verbatim = false;
    for line in page.lines() {
        if line.starts_with("```") {
            verbatim = !verbatim;
        } else if verbatim {
            lines.push(format!("    {line}"));
        } else if let Some(title) = line.strip_prefix("# ") {
            lines.push(bold(title));
        } else if let Some(heading) = line.strip_prefix("**").and_then(|line| line.strip_suffix("**")) {
            lines.push(bold(heading));
        } else {
            wrap(line, &mut lines);
        }
    }
    lines.join("\n")
}

/// Breaks `line` at blanks; what follows a list mark stays under its text.
fn wrap(line: &str, lines: &mut Vec<String>) {
    let text = line.trim_start_matches([' ', '-', '*']);
    let indent = " ".repeat(line.chars().count() - text.chars().count());
    let mut current = line[..line.len() - text.len()].to_owned();
    let mut empty = true;
    for word in text.split(' ') {
        if !empty && current.chars().count() + 1 + word.chars().count() > PAGE_COLUMNS {
            lines.push(std::mem::replace(&mut current, indent.clone()));
            empty = true;
        }
        if !empty {
            current.push(' ');
        }
        current.push_str(word);
        empty = false;
    }
    lines.push(current);
}

#[cfg(test)]
mod tests;
