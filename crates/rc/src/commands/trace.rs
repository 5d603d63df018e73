//! `rc trace`: what happened to a request, from the gateway to the document that can be found.
//!
//! It reads the files that services keep, so it works while they run, after they stopped, and after they
//! were killed.

use std::time::Duration;

use rc_model::project::Traces;
use rc_model::{Clock as _, SystemClock};
use rc_observe::{Found, IdPrefix, Reader};
use rc_serve::off_thread;

use crate::commands::Outcome;
use crate::cx::Cx;
use crate::fault::Fault;

mod draw;
mod json;
mod list;
mod tree;

/// Draw one trace as a tree, or list the recent ones
///
/// The id stands in every log line, in every problem that the platform answers with, and in `traceparent`.
/// Its first digits are enough. The tree shows each span with the service that did the work, when it began,
/// how long it took, and what it was about; `⇢` leads to work that the request shared with others.
///
/// Each service keeps its recent spans in `.royalcrown/traces`, as many as `telemetry.keep` in
/// `royalcrown.yaml` says. Exit code 1 when there is no such trace, or when the digits fit several.
///
/// `--output json` prints the trace with its `spans`, and `linked` traces; without an id, `traces`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The trace's id, its first digits (at least 4), or a whole `traceparent`; without it, recent traces
    #[arg(value_name = "ID", value_parser = prefix)]
    id: Option<Wanted>,
    /// How many recent traces are listed, the newest last
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20, conflicts_with = "id",
          value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Of the recent traces, only those in which something failed
    #[arg(long, conflicts_with = "id")]
    errors: bool,
}

/// An id as it was typed, and what it means.
#[derive(Debug, Clone)]
struct Wanted {
    text: String,
    prefix: IdPrefix,
}

fn prefix(text: &str) -> Result<Wanted, String> {
    let prefix = IdPrefix::parse(text).map_err(|error| error.to_string())?;
    Ok(Wanted {
        text: text.to_owned(),
        prefix,
    })
}

/// A flush is at most this far away: a trace that is not there yet may be there then.
const FLUSH_WAIT: Duration = Duration::from_millis(300);

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let reader = Reader::new(&cx.layout().traces());
    match args.id {
        Some(wanted) => one(cx, &reader, &wanted).await,
        None => recent(cx, &reader, usize::from(args.limit), args.errors).await,
    }
}

async fn one(cx: &Cx, reader: &Reader, wanted: &Wanted) -> Result<Outcome, miette::Report> {
    let found = match find(cx, reader, wanted.prefix).await? {
        Found::None { .. } => {
            tokio::time::sleep(FLUSH_WAIT).await;
            find(cx, reader, wanted.prefix).await?
        }
        found => found,
    };
    match found {
        Found::One(trace) => {
            if cx.json() {
                cx.print_json(&json::trace(&trace));
            } else {
                cx.say(draw::trace(&trace, &look(cx)));
            }
            Ok(Outcome::Done)
        }
        Found::Many(traces) => {
            if cx.json() {
                cx.print_json(&json::list(&traces));
            } else {
                cx.note(format!(
                    "`{}` is the beginning of {} ids:\n",
                    wanted.text,
                    traces.len()
                ));
                cx.say(list::table(&traces, SystemClock.now(), &look(cx)));
            }
            Ok(Outcome::No)
        }
        Found::None { oldest_unix_ns } => Err(missing(cx, wanted, oldest_unix_ns).into()),
    }
}

async fn recent(
    cx: &Cx,
    reader: &Reader,
    limit: usize,
    only_errors: bool,
) -> Result<Outcome, miette::Report> {
    let work = reader.clone();
    let traces = off_thread(move || {
        if only_errors {
            work.failed(limit)
        } else {
            work.recent(limit)
        }
    });
    let traces = traces.await.map_err(|error| unreadable(cx, error))?;
    if cx.json() {
        cx.print_json(&json::list(&traces));
    } else if traces.is_empty() {
        let what = if only_errors {
            "no trace with an error is"
        } else {
            "no traces are"
        };
        cx.say(format!(
            "{what} kept in {}{}",
            cx.project_dir().display(),
            hint(cx)
        ));
    } else {
        cx.say(list::table(&traces, SystemClock.now(), &look(cx)));
        cx.note("\n`rc trace ID` draws one of them");
    }
    Ok(Outcome::Done)
}

async fn find(cx: &Cx, reader: &Reader, prefix: IdPrefix) -> Result<Found, Fault> {
    let reader = reader.clone();
    off_thread(move || reader.find(prefix))
        .await
        .map_err(|error| unreadable(cx, error))
}

fn unreadable(cx: &Cx, error: std::io::Error) -> Fault {
    let folder = cx.layout().traces();
    Fault::world(
        "RC-TEL-004",
        format!("the traces in {} cannot be read", folder.display()),
    )
    .because(error)
    .hint("they belong to the user who runs the platform")
}

fn missing(cx: &Cx, wanted: &Wanted, oldest_unix_ns: Option<u64>) -> Fault {
    let project = cx.project_dir();
    let message = format!(
        "no trace that is kept in {} begins with `{}`",
        project.display(),
        wanted.text
    );
    let reach = match oldest_unix_ns {
        Some(oldest) => {
            let now_ns = u64::try_from(SystemClock.now().unix_ms())
                .unwrap_or(0)
                .saturating_mul(1_000_000);
            let age = Duration::from_nanos(now_ns.saturating_sub(oldest));
            format!(
                "traces are kept here since {} ago; it may be older, not sampled, or of another project \
                 (`--project DIR`); `rc trace` lists recent ones",
                super::status::span(age)
            )
        }
        None => format!("nothing is kept here yet{}", hint(cx)),
    };
    Fault::no("RC-TEL-003", message).hint(reach)
}

/// Why nothing may be there, when the project's file says it.
fn hint(cx: &Cx) -> &'static str {
    match cx.model() {
        Ok(model) if model.project.telemetry.traces == Traces::Off => {
            ": `telemetry.traces` is `off` in `royalcrown.yaml`"
        }
        Ok(model) if model.project.telemetry.sample <= 0.0 => {
            ": `telemetry.sample` is 0 in `royalcrown.yaml`"
        }
        _ => "",
    }
}

/// How wide, and with colours or not.
#[derive(Debug, Clone, Copy)]
struct Look {
    width: usize,
    color: bool,
}

/// The narrowest and the widest picture; and the width of what is no terminal.
const WIDTH_MIN: usize = 72;
const WIDTH_MAX: usize = 160;
const WIDTH_DEFAULT: usize = 100;

fn look(cx: &Cx) -> Look {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    Look {
        width: if columns == 0 {
            WIDTH_DEFAULT
        } else {
            columns.clamp(WIDTH_MIN, WIDTH_MAX)
        },
        color: cx.color,
    }
}

#[cfg(test)]
mod tests;
