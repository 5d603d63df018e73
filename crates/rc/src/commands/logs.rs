//! `rc logs`: what services print, now and in the past.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use rc_model::{Layout, Timestamp};
use rc_runtime::journal::{Follower, Line, last_lines};
use serde_json::{Map, Value};

use super::up::screen::{DIM, GREEN, RED, YELLOW, paint, printable};
use crate::commands::Outcome;
use crate::cx::Cx;
use crate::fault::Fault;

/// How often files are looked at while they are followed.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Every so many looks, services that are new are found.
const LOOKS_A_SEARCH: u32 = 10;
/// Prefixes of services in turn: cyan, magenta, blue, green, yellow, bright cyan.
const COLORS: [&str; 6] = ["36", "35", "34", "32", "33", "96"];
/// The supervisor's own log, which is shown only when it is named.
const SUPERVISOR: &str = "rc-up";

/// Show what the services printed
///
/// Reads the files under `.royalcrown/logs`, so it also works when nothing runs any more. Without a service
/// the lines of all services are merged by their time. `rc logs rc-up` shows the log of a platform that runs
/// in the background itself.
///
/// `--output json` prints the lines as they are, one JSON object a line; a line that is not JSON becomes
/// `{"ts", "service", "msg"}`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this service
    #[arg(value_name = "SERVICE")]
    service: Option<String>,
    /// Go on with what is printed from now on, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// How many of the last lines
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    lines: usize,
}

/// One service's files.
struct Source {
    name: String,
    follower: Follower,
    color: &'static str,
}

/// A line on its way to the screen.
struct Entry {
    at: Option<Timestamp>,
    source: usize,
    raw: String,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let layout = cx.layout();
    let found = files(&layout)?;
    if let Some(name) = &args.service
        && !found.contains_key(name)
    {
        return Err(unknown(name, &found).into());
    }
    let wanted = |name: &str| {
        args.service
            .as_deref()
            .map_or(name != SUPERVISOR, |wanted| wanted == name)
    };
    let mut view = View {
        cx,
        sources: Vec::new(),
        prefixed: args.service.is_none(),
    };
    let mut entries = Vec::new();
    for (name, path) in found.iter().filter(|(name, _)| wanted(name)) {
        entries.extend(view.open(name, path, args.lines)?);
    }
    entries.sort_by_key(|entry| entry.at);
    entries.drain(..entries.len().saturating_sub(args.lines));
    if view.sources.is_empty() && !args.follow {
        cx.note(format!(
            "there are no logs in {}; `rc up` starts the platform",
            layout.state().join("logs").display()
        ));
        return Ok(Outcome::No);
    }
    if !view.print(&entries) || !args.follow {
        return Ok(Outcome::Done);
    }
    tokio::select! {
        followed = follow(&mut view, &layout, wanted) => followed?,
        signal = rc_serve::tree::terminated() => {
            signal.map_err(|error| Fault::world("RC-SRV-006", "signals cannot be received").because(error))?;
        }
    }
    Ok(Outcome::Done)
}

async fn follow(view: &mut View<'_>, layout: &Layout, wanted: impl Fn(&str) -> bool) -> Result<(), Fault> {
    let mut looks = 0_u32;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(LOOKS_A_SEARCH) {
            let known: Vec<String> = view.sources.iter().map(|source| source.name.clone()).collect();
            for (name, path) in files(layout)?
                .iter()
                .filter(|(name, _)| wanted(name) && !known.contains(name))
            {
                // A new service's lines are all news.
                let entries = view.open(name, path, usize::MAX)?;
                if !view.print(&entries) {
                    return Ok(());
                }
            }
        }
        loop {
            let (entries, more) = view.poll()?;
            if !view.print(&entries) {
                return Ok(());
            }
            if !more {
                break;
            }
        }
    }
}

/// The logs that there are, by service.
fn files(layout: &Layout) -> Result<BTreeMap<String, PathBuf>, Fault> {
    let dir = layout.state().join("logs");
    let entries = match fs_err::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let named = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".log")?.to_owned();
        Some((name, path))
    };
    Ok(entries
        .filter_map(Result::ok)
        .filter_map(|entry| named(entry.path()))
        .collect())
}

fn unreadable(error: std::io::Error) -> Fault {
    Fault::world("RC-UP-003", "the logs cannot be read")
        .because(error)
        .hint("they belong to whoever ran `rc up`")
}

fn unknown(name: &str, found: &BTreeMap<String, PathBuf>) -> Fault {
    let fault = Fault::usage("RC-UP-008", format!("there is no log of a service `{name}`"));
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    if names.is_empty() {
        fault.hint("nothing has run here; `rc up` starts the platform")
    } else {
        fault.hint(format!("there are logs of {}", names.join(", ")))
    }
}

struct View<'a> {
    cx: &'a Cx,
    sources: Vec<Source>,
    /// Whether lines say whose they are.
    prefixed: bool,
}

impl View<'_> {
    /// Begins with a service's last lines and goes on behind them.
    fn open(&mut self, name: &str, path: &std::path::Path, lines: usize) -> Result<Vec<Entry>, Fault> {
        let (lines, follower) = last_lines(path, lines).map_err(unreadable)?;
        let index = self.sources.len();
        self.sources.push(Source {
            name: name.to_owned(),
            follower,
            color: COLORS[index % COLORS.len()],
        });
        let mut entries = Vec::new();
        extend(&mut entries, index, lines);
        Ok(entries)
    }

    /// What was added since the last look, in the order of time; and whether there is more.
    fn poll(&mut self) -> Result<(Vec<Entry>, bool), Fault> {
        let (mut entries, mut more) = (Vec::new(), false);
        for (index, source) in self.sources.iter_mut().enumerate() {
            let (lines, unfinished) = source.follower.poll().map_err(unreadable)?;
            extend(&mut entries, index, lines);
            more |= unfinished;
        }
        entries.sort_by_key(|entry| entry.at);
        Ok((entries, more))
    }

    /// Prints; `false` when nobody reads any more.
    fn print(&self, entries: &[Entry]) -> bool {
        let width = self
            .sources
            .iter()
            .map(|source| source.name.len())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for entry in entries {
            let source = &self.sources[entry.source];
            let line = Line::parse(&entry.raw);
            if self.cx.json() {
                text.push_str(&as_json(&source.name, &line));
            } else {
                if self.prefixed {
                    let prefix = format!("{:<width$} |", source.name);
                    text.push_str(&paint(self.cx.color, source.color, &prefix));
                    text.push(' ');
                }
                text.push_str(&shown(&line, self.cx.color));
            }
            text.push('\n');
        }
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
    }
}

/// Adds lines; one without a time of its own belongs to the line before it.
fn extend(entries: &mut Vec<Entry>, source: usize, lines: Vec<String>) {
    let mut last = None;
    for raw in lines {
        let at = Line::parse(&raw).at.or(last);
        last = at;
        entries.push(Entry { at, source, raw });
    }
}

fn as_json(service: &str, line: &Line<'_>) -> String {
    if line.json {
        return line.text.to_owned();
    }
    let mut object = Map::new();
    if let Some(at) = line.at {
        object.insert("ts".to_owned(), at.to_string().into());
    }
    object.insert("service".to_owned(), service.into());
    object.insert("msg".to_owned(), line.text.into());
    Value::Object(object).to_string()
}

fn shown(line: &Line<'_>, color: bool) -> String {
    if line.json {
        return pretty(line.text, color);
    }
    let text = printable(line.text);
    match line.at {
        Some(at) => format!("{} {text}", paint(color, DIM, clock(&at.to_string()))),
        None => text,
    }
}

/// The time of day of a timestamp.
fn clock(text: &str) -> &str {
    text.get(11..23).unwrap_or(text)
}

/// A JSON line of one of our services for people: time, level, message, then the other fields.
pub(crate) fn pretty(line: &str, color: bool) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(line) else {
        return printable(line);
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
    let level = text("level");
    // The supervisor's remarks stand among the service's own lines.
    let speaker = if text("target") == "supervisor" {
        "rc up: "
    } else {
        ""
    };
    let level_color = match level {
        "error" => RED,
        "warn" => YELLOW,
        "info" => GREEN,
        _ => DIM,
    };
    let mut out = format!(
        "{} {} {}",
        paint(color, DIM, clock(text("ts"))),
        paint(color, level_color, &format!("{:<5}", level.to_uppercase())),
        format_args!("{speaker}{}", indented(text("msg")))
    );
    // Who prints and which module is said elsewhere or nobody's question.
    let rest = fields
        .iter()
        .filter(|(name, _)| !["ts", "level", "service", "msg", "target"].contains(&name.as_str()));
    for (name, value) in rest {
        let value = match value {
            Value::String(text) => indented(text),
            other => other.to_string(),
        };
        out.push_str(&paint(color, DIM, &format!(" {name}={value}")));
    }
    out
}

/// Text of several lines, such as a snippet of a file: the lines stay lines, behind those that begin an entry.
fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(printable).collect();
    lines.join("\n      ")
}

#[cfg(test)]
mod tests;
