//! `rc events dlq`: events that were set aside, and what becomes of them.

use std::num::NonZeroU32;

use clap::Subcommand;
use rc_model::TenantId;
use rc_services::events::wire::{
    Changed, Counts, LetterLine, LetterView, Payload, Replayed, Selection, What,
};
use serde::Serialize;

use super::ask::{self, Moment};
use super::table;
use crate::commands::search::printable;
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

mod desk;

use desk::{Beside, Desk};

/// Letters that one `list` shows.
const LIST_DEFAULT: usize = 50;

/// Dead letters: events that were set aside because they cannot be applied or published.
///
/// A consumer that cannot apply an event sets it aside, and later events of its key wait behind it, so that their
/// order is kept; all other keys go on. A relay does the same with an event that the bus refuses. A letter is
/// called by its holder and number, such as `docs-api/7`; a number alone is one of docs-api.
///
/// Every change needs a reason, which goes into the audit log before anything is done.
///
/// With `--from` and `--to` these are the letters of a relay beside a service of your own, such as `outbox/7`. Its
/// acts are written to stderr; there is no audit log.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    beside: Beside,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(List),
    Show(Show),
    Edit(Edit),
    Replay(Replay),
    Drop(Drop),
}

/// `docs-api/7`, or `7`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Name {
    holder: Option<String>,
    number: i64,
}

fn name(text: &str) -> Result<Name, String> {
    let (holder, number) = match text.rsplit_once('/') {
        Some((holder, number)) => (Some(holder.to_owned()), number),
        None => (None, text),
    };
    let number = number.parse().ok().filter(|number| *number > 0);
    let number = number.ok_or("expected a letter such as `docs-api/7` or `7`")?;
    Ok(Name { holder, number })
}

/// Which letters; everything that is given must hold.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Which letters")]
struct Which {
    /// Of this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,
    /// Of this topic
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Of this key, such as a document's id
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Of this type of event, such as `doc.put.v1`
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Of this class of fault, such as `decode`, `gap` or `behind`
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// In this state: `parked`, `waiting`, `skipped`, `dropped` or `stuck`
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Set aside then or later: a time such as `2026-11-21T10:00:00Z`, or a span back from now such as `2h`
    #[arg(long, value_name = "TIME|SPAN", value_parser = Moment::parse)]
    since: Option<Moment>,
    /// Set aside before
    #[arg(long, value_name = "TIME|SPAN", value_parser = Moment::parse)]
    until: Option<Moment>,
}

impl Which {
    fn selection(&self) -> Selection {
        Selection {
            tenant: self.tenant.clone(),
            topic: self.topic.clone(),
            key: self.key.clone(),
            event_type: self.event_type.clone(),
            class: self.class.clone(),
            state: self.state.clone(),
            since: self.since.map(Moment::at),
            until: self.until.map(Moment::at),
            ..Selection::default()
        }
    }

    fn is_everything(&self) -> bool {
        let Self {
            tenant,
            topic,
            key,
            event_type,
            class,
            state,
            since,
            until,
        } = self;
        let texts = [topic, key, event_type, class, state];
        tenant.is_none() && texts.iter().all(|text| text.is_none()) && since.is_none() && until.is_none()
    }
}

/// List dead letters, oldest first.
///
/// Exit codes: 0 there are none, 1 there are some.
#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    which: Which,
    /// Only of this holder: `docs-api` or `ingest`
    #[arg(long, value_name = "HOLDER")]
    holder: Option<String>,
    /// How many of each holder at most
    #[arg(long, short = 'n', value_name = "N", default_value_t = LIST_DEFAULT)]
    limit: usize,
}

/// Show one letter: the event, what was wrong with it, and what was tried.
#[derive(Debug, clap::Args)]
struct Show {
    /// Which, such as `docs-api/7`
    #[arg(value_name = "LETTER", value_parser = name)]
    letter: Name,
}

/// Change what will be applied when the letter is replayed. The event as it came stays.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("edit").required(true)))]
struct Edit {
    /// Which, such as `docs-api/7`
    #[arg(value_name = "LETTER", value_parser = name)]
    letter: Name,
    /// A JSON Patch (RFC 6902), or `@FILE`
    #[arg(long, value_name = "JSON|@FILE", group = "edit")]
    patch: Option<String>,
    /// A whole payload, or `@FILE`
    #[arg(long, value_name = "JSON|@FILE", group = "edit")]
    payload: Option<String>,
    /// Take the payload as it came
    #[arg(long, group = "edit")]
    original: bool,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = ask::reason)]
    reason: String,
}

/// Try letters again, the letters of a key in their order.
///
/// A letter that is applied is gone, and what waited behind it goes on. One that fails three times with the same
/// error is stuck, and is then tried only with `--force`.
///
/// Exit codes: 0 all of them are applied, 1 some failed again.
#[derive(Debug, clap::Args)]
struct Replay {
    #[command(flatten)]
    target: Target,
    /// Also letters that are stuck
    #[arg(long)]
    force: bool,
    /// Letters a second at most
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
}

/// Give letters up: their numbers pass without an effect, and what waits behind them goes on.
#[derive(Debug, clap::Args)]
struct Drop {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Args)]
struct Target {
    /// Which, such as `docs-api/7`; without any, those that the options choose
    #[arg(value_name = "LETTER", value_parser = name)]
    letters: Vec<Name>,
    #[command(flatten)]
    which: Which,
    /// Whose letters the options choose from; in a project `docs-api`, unless it is said
    #[arg(long, value_name = "HOLDER")]
    holder: Option<String>,
    /// All letters of the holder
    #[arg(long)]
    all: bool,
    /// Only say how many that would be
    #[arg(long)]
    dry_run: bool,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = ask::reason)]
    reason: String,
}

impl Target {
    /// The holder and the selection.
    fn chosen(&self) -> Result<(Option<&str>, Selection), Fault> {
        let Some(first) = self.letters.first() else {
            if self.which.is_everything() && !self.all {
                return Err(Fault::usage("RC-CLI-002", "no letter was chosen")
                    .hint("name letters, choose them with `--class` and the like, or give `--all`"));
            }
            return Ok((self.holder.as_deref(), self.which.selection()));
        };
        if self.letters.iter().any(|letter| letter.holder != first.holder) {
            return Err(Fault::usage("RC-CLI-002", "these letters have different holders")
                .hint("one command works on the letters of one holder"));
        }
        if self.all || !self.which.is_everything() {
            return Err(
                Fault::usage("RC-CLI-002", "letters are both named and chosen by options")
                    .hint("do one or the other"),
            );
        }
        let numbers = self.letters.iter().map(|letter| letter.number).collect();
        let selection = Selection {
            numbers,
            ..Selection::default()
        };
        Ok((first.holder.as_deref(), selection))
    }
}

pub(super) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let Args { beside, verb } = args;
    match verb {
        Verb::List(args) => list(cx, &beside, &args).await,
        Verb::Show(args) => show(cx, &beside, &args).await,
        Verb::Edit(args) => edit(cx, &beside, args).await,
        Verb::Replay(args) => replay(cx, &beside, args).await,
        Verb::Drop(args) => give_up(cx, &beside, args).await,
    }
}

/// What `list --output json` prints.
#[derive(Debug, Serialize)]
struct All {
    letters: Vec<LetterLine>,
    /// How many match, shown or not.
    total: u64,
}

async fn list(cx: &Cx, beside: &Beside, args: &List) -> Result<Outcome, miette::Report> {
    let select = Selection {
        limit: args.limit,
        ..args.which.selection()
    };
    let mut all = All {
        letters: Vec::new(),
        total: 0,
    };
    for desk in Desk::all(cx, beside, args.holder.as_deref()).await? {
        let listed = desk.list(&select).await?;
        all.total += listed.total;
        all.letters.extend(listed.letters);
    }
    if cx.json() {
        cx.print_json(&all);
    } else if all.letters.is_empty() {
        cx.say("no dead letters");
    } else {
        tell(cx, &all);
    }
    Ok(if all.total == 0 {
        Outcome::Done
    } else {
        Outcome::No
    })
}

fn tell(cx: &Cx, all: &All) {
    let row = |line: &LetterLine| {
        vec![
            format!("{}/{}", line.holder, line.number),
            if line.edited {
                format!("{} (edited)", line.state)
            } else {
                line.state.clone()
            },
            line.class.clone(),
            printable(&format!(
                "{}/{}/{} {}",
                line.tenant, line.topic, line.key, line.sequence
            )),
            line.event_type.clone(),
            line.last_at.to_string(),
            printable(&line.why),
        ]
    };
    let rows: Vec<Vec<String>> = all.letters.iter().map(row).collect();
    let head = ["LETTER", "STATE", "CLASS", "EVENT", "TYPE", "LAST", "WHY"];
    cx.say(table(&head, &rows));
    let shown = all.letters.len() as u64;
    if shown < all.total {
        cx.note(format!("{} more; `--limit` shows them", all.total - shown));
    }
    if let Some(first) = all.letters.first() {
        cx.note(format!(
            "\n`rc events dlq show {}/{}` shows one",
            first.holder, first.number
        ));
    }
}

async fn show(cx: &Cx, beside: &Beside, args: &Show) -> Result<Outcome, miette::Report> {
    let Name { holder, number } = &args.letter;
    let desk = Desk::of(cx, beside, holder.as_deref()).await?;
    let view = desk.show(*number).await?;
    if cx.json() {
        cx.print_json(&view);
    } else {
        cx.say(described(&view));
        cx.note(format!(
            "\n`rc events dlq edit|replay|drop {}/{number} --reason TEXT` decides about it",
            desk.holder()
        ));
    }
    Ok(Outcome::Done)
}

fn described(view: &LetterView) -> String {
    let line = &view.line;
    let mut text = String::new();
    let mut field = |name: &str, value: String| text.push_str(&format!("{name:<9} {}\n", printable(&value)));
    field("letter", format!("{}/{}", line.holder, line.number));
    field("state", format!("{}, since {}", line.state, line.first_at));
    field(
        "why",
        format!("{} ({}, class {})", line.why, line.code, line.class),
    );
    field(
        "tried",
        format!(
            "{} times before it was set aside, {} times since; last {}",
            line.attempts, line.replays, line.last_at
        ),
    );
    field(
        "event",
        format!(
            "{} {} (schema {}), at {}",
            line.event_id, line.event_type, view.schema, view.event_at
        ),
    );
    field(
        "key",
        format!(
            "{}/{}/{}, number {}",
            line.tenant, line.topic, line.key, line.sequence
        ),
    );
    field("position", view.position.to_string());
    if let Some(trace) = &line.trace_id {
        field("trace", format!("{trace}; `rc trace {trace}` draws it"));
    }
    text.push_str(&format!("payload\n{}", payload(&view.payload)));
    if let Some(edited) = &view.edited_payload {
        text.push_str(&format!("\nto be applied instead\n{}", payload(edited)));
    }
    text
}

fn payload(payload: &Payload) -> String {
    match payload {
        Payload::Json(value) => format!("{value:#}"),
        Payload::Base64(text) => format!("{text} (base64: it is not JSON)"),
    }
}

async fn edit(cx: &Cx, beside: &Beside, args: Edit) -> Result<Outcome, miette::Report> {
    let Name { holder, number } = args.letter;
    let desk = Desk::of(cx, beside, holder.as_deref()).await?;
    let what = match (&args.patch, &args.payload) {
        (Some(patch), _) => What::Patch {
            number,
            patch: json(cx, patch)?,
        },
        (None, Some(payload)) => What::Payload {
            number,
            payload: json(cx, payload)?,
        },
        (None, None) => What::Original { number },
    };
    let changed = desk.change(args.reason, false, what).await?;
    if cx.json() {
        cx.print_json(&changed);
        return Ok(Outcome::Done);
    }
    if let Changed::Edited(view) = &changed {
        let applied = view.edited_payload.as_ref().unwrap_or(&view.payload);
        cx.say(format!(
            "letter {}/{number} will be applied as\n{}",
            desk.holder(),
            payload(applied)
        ));
    }
    cx.note(format!(
        "\n`rc events dlq replay {}/{number} --reason TEXT` applies it",
        desk.holder()
    ));
    Ok(Outcome::Done)
}

/// JSON from an argument, or from the file that `@` names.
fn json(cx: &Cx, text: &str) -> Result<serde_json::Value, Fault> {
    let read;
    let text = match text.strip_prefix('@') {
        Some(path) => {
            read = fs_err::read_to_string(cx.cwd.join(path))
                .map_err(|error| Fault::usage("RC-CLI-002", "the file cannot be read").because(error))?;
            &read
        }
        None => text,
    };
    serde_json::from_str(text).map_err(|error| Fault::usage("RC-CLI-002", "this is not JSON").because(error))
}

async fn replay(cx: &Cx, beside: &Beside, args: Replay) -> Result<Outcome, miette::Report> {
    let (holder, select) = args.target.chosen()?;
    let desk = Desk::of(cx, beside, holder).await?;
    let what = What::Replay {
        select,
        force: args.force,
        rate: args.rate,
    };
    let changed = desk.change(args.target.reason, args.target.dry_run, what).await?;
    let outcome = match &changed {
        Changed::Replayed(done) if !done.failed.is_empty() || done.stuck_keys > 0 => Outcome::No,
        _ => Outcome::Done,
    };
    if cx.json() {
        cx.print_json(&changed);
        return Ok(outcome);
    }
    match &changed {
        Changed::Would(counts) => would(cx, "be replayed", counts),
        Changed::Replayed(done) => replayed(cx, done),
        Changed::Dropped { .. } | Changed::Edited(_) => {}
    }
    Ok(outcome)
}

fn replayed(cx: &Cx, done: &Replayed) {
    let mut text = format!("{} applied", letters(done.applied));
    if done.passed > 0 {
        text.push_str(&format!(", {} that had been given up", done.passed));
    }
    cx.say(text);
    for failed in &done.failed {
        let stuck = if failed.stuck { "; it is stuck now" } else { "" };
        cx.say(format!(
            "letter {} failed again: {} ({}){stuck}",
            failed.number,
            printable(&failed.why),
            failed.code
        ));
    }
    if done.stuck_keys > 0 {
        cx.say(format!(
            "{} keys were not tried: their first letter is stuck; `--force` tries it",
            done.stuck_keys
        ));
    }
}

async fn give_up(cx: &Cx, beside: &Beside, args: Drop) -> Result<Outcome, miette::Report> {
    let (holder, select) = args.target.chosen()?;
    let desk = Desk::of(cx, beside, holder).await?;
    let what = What::Drop { select };
    let changed = desk.change(args.target.reason, args.target.dry_run, what).await?;
    if cx.json() {
        cx.print_json(&changed);
        return Ok(Outcome::Done);
    }
    match &changed {
        Changed::Would(counts) => would(cx, "be given up", counts),
        Changed::Dropped { letters: count } => cx.say(format!("{} given up", letters(*count))),
        Changed::Replayed(_) | Changed::Edited(_) => {}
    }
    Ok(Outcome::Done)
}

fn would(cx: &Cx, verb: &str, counts: &Counts) {
    cx.say(format!(
        "{} of {} keys would {verb}; nothing was done",
        letters(counts.letters),
        counts.keys
    ));
    for count in &counts.of {
        cx.say(format!("  {:>7}  {} {}", count.letters, count.state, count.class));
    }
}

fn letters(count: u64) -> String {
    if count == 1 {
        "1 letter".to_owned()
    } else {
        format!("{count} letters")
    }
}

#[cfg(test)]
mod tests;
