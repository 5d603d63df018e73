//! `rc audit log`: the entries, for people and programs.

use std::io::IsTerminal as _;
use std::time::Duration;

use rc_ledger::{Entry, Reader, Vkey};
use rc_model::{Clock as _, Span, SystemClock, Timestamp};
use rc_services::ledger::Texts;

use super::row::{Row, rows};
use super::{Files, Outboxes, counted, no_log, unreadable};
use crate::commands::up::screen::{BOLD, DIM, RED, YELLOW, paint};
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// Entries that are looked at together, from the end backwards: a bundle of the log.
const CHUNK: u64 = 256;
/// How often the log is looked at while it is followed.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Columns when nobody says how many there are.
const COLUMNS: usize = 100;
/// Least columns for the last column; a narrower terminal wraps by itself.
const WHY_COLUMNS_MIN: usize = 24;

/// Show who did what, to what, why and when
///
/// Reads the log's files, so it also works when nothing runs. Entries that the ledger has not written yet are
/// counted at the end. A reason that a person gave, and what else an entry says in words, is kept beside the
/// log: where it was erased, the entry still stands and says so.
///
/// The newest entry comes last. `--output json` prints one object with the entries; with `--follow`, one entry
/// a line.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only what concerns this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Only this action, such as `key.create`, or all of a kind, such as `key`
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only what this one did: `os-user:1000`, `rc-up`
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
    /// Only from then on: a time such as `2026-11-21T10:00:00Z`, or a span back from now such as `2h`
    #[arg(long, value_name = "TIME|SPAN", value_parser = since)]
    since: Option<Since>,
    /// How many of the last entries
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Go on with what is added from now on, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
}

/// From when on.
#[derive(Debug, Clone, Copy)]
enum Since {
    At(Timestamp),
    Ago(Span),
}

fn since(text: &str) -> Result<Since, String> {
    if let Some(at) = Timestamp::parse(text) {
        return Ok(Since::At(at));
    }
    let span = Span::parse(text);
    span.map(Since::Ago).map_err(|error| {
        format!("{error}; a time is RFC 3339 such as `2026-11-21T10:00:00Z`, a span is such as `2h`")
    })
}

/// What `--output json` prints.
#[derive(Debug, serde::Serialize)]
struct Listed {
    entries: Vec<Row>,
    /// Entries in the log.
    size: u64,
    /// Entries that wait to be written.
    waiting: u64,
    /// Outboxes that could not be asked.
    silent: Vec<&'static str>,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let files = Files::of(&cx.layout());
    files.readable()?;
    if !files.any() || files.unmade().await {
        return Err(no_log(cx).into());
    }
    let keys = files.own_keys().map_err(unreadable)?;
    let reader = Reader::open(&files.log, &keys).map_err(unreadable)?;
    let texts = Texts::open(&files.db).ok();
    let filter = Filter::new(&args);
    let size = reader.checkpoint().size();
    let found = last(&reader, &filter, args.limit).map_err(unreadable)?;
    let mut listed = rows(&found, texts.as_ref()).await.map_err(no_texts)?;
    // An entry that waited is written later than it happened.
    listed.sort_by_key(|row| (row.at, row.index));
    let outboxes = Outboxes::look(cx).await?;
    let view = View::new(cx, &listed);
    if !cx.json() {
        view.print(&listed, true);
        tell(cx, &listed, size, &outboxes, texts.is_some());
    } else if args.follow {
        view.print_lines(&listed);
    } else {
        cx.print_json(&Listed {
            entries: listed,
            size,
            waiting: outboxes.rows(),
            silent: outboxes.silent.iter().map(|silent| silent.service).collect(),
        });
    }
    if !args.follow {
        return Ok(Outcome::Done);
    }
    tokio::select! {
        followed = follow(&view, &files, &keys, &filter, size) => followed?,
        signal = rc_serve::tree::terminated() => {
            signal.map_err(|error| Fault::world("RC-SRV-006", "signals cannot be received").because(error))?;
        }
    }
    Ok(Outcome::Done)
}

async fn follow(
    view: &View<'_>,
    files: &Files,
    keys: &[Vkey],
    filter: &Filter<'_>,
    mut from: u64,
) -> Result<(), Fault> {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let reader = Reader::open(&files.log, keys).map_err(unreadable)?;
        let size = reader.checkpoint().size();
        if size <= from {
            continue;
        }
        let mut found = Vec::new();
        take(&reader, filter, from, size, &mut found).map_err(unreadable)?;
        from = size;
        let texts = Texts::open(&files.db).ok();
        let added = rows(&found, texts.as_ref()).await.map_err(no_texts)?;
        if view.cx.json() {
            view.print_lines(&added);
        } else {
            view.print(&added, false);
        }
    }
}

fn no_texts(error: rc_store::Error) -> Fault {
    Fault::world(error.code(), "the texts of entries cannot be read")
        .because(error)
        .hint("they are in `.royalcrown/data/prov-ledger/ledger.db`")
}

/// What a person should know besides the entries.
fn tell(cx: &Cx, listed: &[Row], size: u64, outboxes: &Outboxes, texts: bool) {
    let shown = listed.len() as u64;
    if shown == 0 {
        let entries = counted(size, "entry", "entries");
        cx.note(format!("no entry fits; the log has {entries}"));
    } else if shown < size {
        cx.note(format!("{shown} of {}", counted(size, "entry", "entries")));
    }
    if !texts {
        cx.note("the texts of entries cannot be read: is `ledger.db` gone?");
    }
    let waiting = outboxes.rows();
    if waiting > 0 {
        let verb = if waiting == 1 { "waits" } else { "wait" };
        cx.note(format!(
            "{} {verb} to be written",
            counted(waiting, "entry", "entries")
        ));
    }
    for silent in &outboxes.silent {
        cx.note(format!(
            "whether entries of {} wait cannot be seen",
            silent.service
        ));
    }
}

/// Which entries are wanted.
struct Filter<'a> {
    tenant: Option<&'a str>,
    action: Option<&'a str>,
    actor: Option<&'a str>,
    since_ms: Option<u64>,
}

impl<'a> Filter<'a> {
    fn new(args: &'a Args) -> Self {
        let since = args.since.map(|since| match since {
            Since::At(at) => at.unix_ms(),
            Since::Ago(span) => {
                let ago = i64::try_from(span.duration().as_millis()).unwrap_or(i64::MAX);
                SystemClock.now().unix_ms().saturating_sub(ago)
            }
        });
        Self {
            tenant: args.tenant.as_deref(),
            action: args.action.as_deref(),
            actor: args.actor.as_deref(),
            since_ms: since.map(|ms| u64::try_from(ms).unwrap_or(0)),
        }
    }

    fn wants(&self, entry: &Entry) -> bool {
        let is =
            |wanted: Option<&str>, found: Option<&str>| wanted.is_none_or(|wanted| found == Some(wanted));
        let kind = |wanted: &str| {
            let rest = entry.action.strip_prefix(wanted);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let actor = |wanted: &str| {
            wanted == entry.actor.id || wanted == format!("{}:{}", entry.actor.kind, entry.actor.id)
        };
        is(self.tenant, entry.resource.tenant.as_deref())
            && self.action.is_none_or(kind)
            && self.actor.is_none_or(actor)
            && self.since_ms.is_none_or(|since| entry.at_ms >= since)
    }
}

/// The last `limit` entries that are wanted, in the order of the log.
fn last(reader: &Reader, filter: &Filter<'_>, limit: usize) -> Result<Vec<(u64, Entry)>, rc_ledger::Error> {
    let mut chunks: Vec<Vec<(u64, Entry)>> = Vec::new();
    let mut upto = reader.checkpoint().size();
    let mut count = 0;
    while upto > 0 && count < limit {
        let from = (upto - 1) / CHUNK * CHUNK;
        let mut chunk = Vec::new();
        take(reader, filter, from, upto, &mut chunk)?;
        count += chunk.len();
        chunks.push(chunk);
        upto = from;
    }
    let mut found: Vec<_> = chunks.into_iter().rev().flatten().collect();
    found.drain(..found.len().saturating_sub(limit));
    Ok(found)
}

fn take(
    reader: &Reader,
    filter: &Filter<'_>,
    from: u64,
    upto: u64,
    found: &mut Vec<(u64, Entry)>,
) -> Result<(), rc_ledger::Error> {
    for read in reader.entries(from..upto) {
        let (index, bytes) = read?;
        let entry = Entry::decode(&bytes)?;
        if filter.wants(&entry) {
            found.push((index, entry));
        }
    }
    Ok(())
}

/// The table. Widths are those of the first entries, so that followed ones line up.
struct View<'a> {
    cx: &'a Cx,
    widths: [usize; 3],
    /// The terminal's; a file or a pipe gets whole lines with whole times.
    columns: Option<usize>,
}

const HEAD: [&str; 3] = ["WHO", "WHAT", "ON"];
/// Where in a timestamp the date ends.
const DATE: usize = 10;
/// Where in a timestamp the time of day is, without its fraction.
const TIME: std::ops::Range<usize> = 11..19;

impl<'a> View<'a> {
    fn new(cx: &'a Cx, listed: &[Row]) -> Self {
        let cells = listed.iter().map(|row| [row.who(), row.action.clone(), row.on()]);
        let widths = cells.fold(HEAD.map(str::len), |widths, cells| {
            [0, 1, 2].map(|at| widths[at].max(cells[at].chars().count()))
        });
        let columns = std::io::stdout().is_terminal().then(|| {
            let size = rustix::termios::tcgetwinsize(std::io::stdout());
            size.map_or(COLUMNS, |size| usize::from(size.ws_col)).max(1)
        });
        Self { cx, widths, columns }
    }

    /// A day's date, where it differs from the entry before, then its entries.
    fn print(&self, listed: &[Row], head: bool) {
        if listed.is_empty() {
            return;
        }
        let mut lines = Vec::with_capacity(listed.len() + 2);
        if head {
            let cells = self.cells(self.when("UTC").as_str(), HEAD, "WHY");
            lines.push(paint(self.cx.color, BOLD, cells.trim_end()));
        }
        let mut day = String::new();
        for row in listed {
            let at = row.at.to_string();
            let date = at.get(..DATE).unwrap_or(&at);
            if self.columns.is_some() && date != day {
                date.clone_into(&mut day);
                lines.push(paint(self.cx.color, DIM, date));
            }
            lines.push(self.line(row, &at));
        }
        self.cx.say(lines.join("\n"));
    }

    fn print_lines(&self, listed: &[Row]) {
        for row in listed {
            match serde_json::to_string(row) {
                Ok(line) => self.cx.say(line),
                Err(error) => self
                    .cx
                    .note(format!("an entry cannot be written as JSON: {error}")),
            }
        }
    }

    fn line(&self, row: &Row, at: &str) -> String {
        let when = match self.columns {
            Some(_) => at.get(TIME).unwrap_or(at),
            None => at,
        };
        let color = match (row.action.as_str(), row.outcome) {
            ("service.crash", _) | (_, "refused" | "failed") => Some(RED),
            ("key.revoke", _) => Some(YELLOW),
            _ => None,
        };
        let why = match self.columns {
            Some(columns) => {
                let indent = self.cells(when, ["", "", ""], "").chars().count();
                let width = columns.saturating_sub(indent).max(WHY_COLUMNS_MIN);
                wrap(&row.why(), width).join(&format!("\n{}", " ".repeat(indent)))
            }
            None => row.why(),
        };
        let line = self.cells(when, [&row.who(), &row.action, &row.on()], &why);
        let line = line.trim_end();
        // Painted afterwards: what cannot be seen must not count as width.
        let (when, rest) = line.split_at(when.len());
        let rest = match color {
            Some(color) => rest.replacen(&row.action, &paint(self.cx.color, color, &row.action), 1),
            None => rest.to_owned(),
        };
        format!("{}{rest}", paint(self.cx.color, DIM, when))
    }

    fn cells(&self, when: &str, [who, what, on]: [&str; 3], why: &str) -> String {
        let [a, b, c] = self.widths;
        format!("{when}  {who:<a$}  {what:<b$}  {on:<c$}  {why}")
    }

    /// `text` as wide as the first column.
    fn when(&self, text: &str) -> String {
        let width = if self.columns.is_some() {
            TIME.len()
        } else {
            "2026-11-21T10:00:00.000Z".len()
        };
        format!("{text:<width$}")
    }
}

/// `text` in lines of at most `width` characters, broken at spaces where there are any.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let line = lines.last_mut().expect("there is always a line");
            let used = line.chars().count();
            let gap = usize::from(used > 0);
            if used + gap + word.len() <= width {
                if gap > 0 {
                    line.push(' ');
                }
                line.extend(&word);
                break;
            }
            if used > 0 {
                lines.push(String::new());
                continue;
            }
            line.extend(word.drain(..width));
            lines.push(String::new());
        }
    }
    lines
}

#[cfg(test)]
mod tests;
