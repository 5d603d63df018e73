//! `rc search`: find documents.

use std::fmt::Write as _;

use rc_client::{Hit, SearchAnswer, SearchQuery};
use rc_model::Timestamp;

use crate::commands::platform::{PlatformArgs, pair, shell_word};
use crate::cx::Cx;
use crate::fault::Outcome;

/// Find documents, the best ones first.
///
/// QUERY holds words that must all be there, "phrases in double quotes", beginnings* of words, OR between
/// alternatives, and -words that must not be there. Put the query in single quotes when it holds any of these.
///
/// Finding nothing is an answer: the exit code is 0.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  rc search list directory contents\n  rc search '\"exit status\" -bash' --filter ext=1\n  rc search 'compress*' --output json"
)]
pub(crate) struct Args {
    /// What to look for; plain words need no quotes
    #[arg(required = true, value_name = "QUERY")]
    query: Vec<String>,
    /// Results on one page
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    /// Only documents with this attribute; repeatable, all must hold
    #[arg(long = "filter", value_name = "NAME=VALUE", value_parser = pair)]
    filters: Vec<(String, String)>,
    /// Only documents from this moment on, such as `2026-11-21T10:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only documents before this moment
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Start where an earlier page ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    #[command(flatten)]
    platform: PlatformArgs,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let platform = args.platform.connect(cx, 1).await?;
    let query = SearchQuery {
        text: args.query.join(" "),
        limit: Some(args.limit),
        cursor: args.cursor.clone(),
        filters: args.filters.clone(),
        since: args.since,
        until: args.until,
    };
    let answer = platform
        .client
        .search(&query)
        .await
        .map_err(|error| platform.fault(error))?
        .value;
    if cx.json() {
        cx.print_json(&answer);
        return Ok(Outcome::Done);
    }
    if answer.hits.is_empty() {
        cx.say("no documents match");
        return Ok(Outcome::Done);
    }
    cx.say(page(&answer, cx.color));
    if let Some(cursor) = &answer.next_cursor {
        let filters: String = args
            .filters
            .iter()
            .map(|(name, value)| format!(" --filter {}", shell_word(&format!("{name}={value}"))))
            .collect();
        let limit = if args.limit == 10 {
            String::new()
        } else {
            format!(" --limit {}", args.limit)
        };
        let times = [("since", args.since), ("until", args.until)];
        let times: String = times
            .into_iter()
            .filter_map(|(name, at)| at.map(|at| format!(" --{name} {at}")))
            .collect();
        let flags = platform.flags(&args.platform);
        cx.note(format!(
            "\nmore: rc search {}{limit}{filters}{times}{flags} --cursor {}",
            shell_word(&query.text),
            shell_word(cursor)
        ));
    }
    Ok(Outcome::Done)
}

/// The hits of one page for people.
fn page(answer: &SearchAnswer, color: bool) -> String {
    let hits: Vec<String> = answer.hits.iter().map(|hit| entry(hit, color)).collect();
    hits.join("\n\n")
}

fn entry(hit: &Hit, color: bool) -> String {
    let style = Style { color };
    let id = printable(&hit.id);
    let title = hit
        .title
        .as_deref()
        .map(printable)
        .filter(|title| !title.is_empty());
    let mut out = style.bold(title.as_deref().unwrap_or(&id));
    let _ = write!(out, "\n{}", style.dim(&format!("{id}  {}", score(hit.score))));
    let snippet = marked(&hit.snippet, &style);
    if !snippet.trim().is_empty() {
        let _ = write!(out, "\n  {}", snippet.trim());
    }
    out
}

/// Three significant digits: `12.3`, `0.0412`, `2.05e-6`.
fn score(score: f64) -> String {
    if score == 0.0 {
        return "0".to_owned();
    }
    let short = format!("{score:.2e}");
    let exponent = short
        .split_once('e')
        .and_then(|(_, exponent)| exponent.parse::<i32>().ok());
    match exponent {
        Some(exponent) if exponent >= -3 => {
            let decimals = usize::try_from(2 - exponent).unwrap_or(0);
            format!("{score:.decimals$}")
        }
        // Very small, or no number at all.
        _ => short,
    }
}

struct Style {
    color: bool,
}

impl Style {
    fn bold(&self, text: &str) -> String {
        if self.color {
            format!("\u{1b}[1m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn dim(&self, text: &str) -> String {
        if self.color {
            format!("\u{1b}[2m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A snippet without its HTML: matches bold on a terminal and between stars elsewhere, entities as what they
/// stand for.
fn marked(snippet: &str, style: &Style) -> String {
    let mut out = String::new();
    let mut rest = snippet;
    while let Some((before, tail)) = rest.split_once("<mark>") {
        let (inside, after) = tail.split_once("</mark>").unwrap_or((tail, ""));
        out.push_str(&plain(before));
        let inside = plain(inside);
        out.push_str(&if style.color {
            style.bold(&inside)
        } else {
            format!("*{inside}*")
        });
        rest = after;
    }
    out.push_str(&plain(rest));
    out
}

/// One line of text out of escaped HTML.
fn plain(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find('&') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let entities = [
            ("&amp;", "&"),
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&quot;", "\""),
            ("&#39;", "'"),
            ("&#x27;", "'"),
        ];
        match entities.iter().find(|(entity, _)| rest.starts_with(entity)) {
            Some((entity, stands_for)) => {
                text.push_str(stands_for);
                rest = &rest[entity.len()..];
            }
            None => {
                text.push('&');
                rest = &rest[1..];
            }
        }
    }
    text.push_str(rest);
    let leading = text.starts_with(char::is_whitespace);
    let trailing = text.ends_with(char::is_whitespace);
    let words = printable(&text).split_whitespace().collect::<Vec<_>>().join(" ");
    match (leading, trailing, words.is_empty()) {
        (_, _, true) => {
            if leading {
                " ".to_owned()
            } else {
                String::new()
            }
        }
        (leading, trailing, false) => format!(
            "{}{words}{}",
            if leading { " " } else { "" },
            if trailing { " " } else { "" }
        ),
    }
}

/// `text` without what a terminal would take for a command: documents are written by strangers.
pub(crate) fn printable(text: &str) -> String {
    let directs = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if directs(c) { ' ' } else { c }).collect()
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "expected a time such as `2026-11-21T10:00:00Z`".to_owned())
}

#[cfg(test)]
mod tests;
