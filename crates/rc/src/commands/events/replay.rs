//! `rc events replay`: gives a consumer events of the past once more.

use std::num::NonZeroU32;

use rc_model::TenantId;
use rc_model::catalog::Builtin;
use rc_services::events::history::{Answer, JobLine, Jobs, REPLAYS_PATH, Which, Wish};

use super::ask::{self, Moment};
use super::table;
use crate::commands::search::printable;
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// Give a consumer events of the past once more, and nobody else
///
/// It repairs effects, such as documents that were removed from the read model by hand. An event that the consumer
/// has not come to yet is left to come by itself, and an old version never replaces a newer one. The replay
/// goes on in the service, also after a restart: `--list` shows it, `--cancel` ends it.
///
/// `--dry-run` shows how many events that would be, with a plan; `--plan` then replays exactly that, or nothing.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("instead").args(["list", "cancel", "dry_run"])))]
pub(super) struct Args {
    /// Whose events
    #[arg(long, value_name = "CONSUMER", value_parser = consumer, default_value = "docs-api")]
    consumer: Builtin,
    /// That happened then or later: a time such as `2026-11-21T10:00:00Z`, or a span back from now such as `2h`
    #[arg(long, value_name = "TIME|SPAN", value_parser = Moment::parse)]
    since: Option<Moment>,
    /// That happened before
    #[arg(long, value_name = "TIME|SPAN", value_parser = Moment::parse)]
    until: Option<Moment>,
    /// Of this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,
    /// Of this topic
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Of this key, such as a document's id
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Of this type, such as `doc.put.v1`
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Everything that the bus still has
    #[arg(long)]
    all: bool,
    /// Events a second at most
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,
    /// Only say how many events that would be
    #[arg(long)]
    dry_run: bool,
    /// The plan that `--dry-run` showed
    #[arg(long, value_name = "PLAN")]
    plan: Option<String>,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = ask::reason)]
    reason: Option<String>,
    /// Show the newest replays
    #[arg(long)]
    list: bool,
    /// End this replay where it is
    #[arg(long, value_name = "NUMBER")]
    cancel: Option<i64>,
}

/// For arguments that name a consumer.
pub(super) fn consumer(text: &str) -> Result<Builtin, String> {
    match Builtin::from_name(text) {
        Some(Builtin::DocsApi) => Ok(Builtin::DocsApi),
        _ => Err("the platform's consumer is `docs-api`".to_owned()),
    }
}

pub(super) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    if args.list {
        let jobs: Jobs = ask::get(cx, args.consumer, REPLAYS_PATH).await?;
        list(cx, &jobs);
        return Ok(Outcome::Done);
    }
    let reason = || {
        args.reason.clone().ok_or_else(|| {
            Fault::usage("RC-CLI-002", "`--reason` is missing").hint("it goes into the audit log")
        })
    };
    let wish = match args.cancel {
        Some(number) => Wish::Cancel {
            number,
            reason: reason()?,
        },
        None => {
            let which = which(&args)?;
            if args.dry_run {
                Wish::Plan { which }
            } else {
                Wish::Start {
                    which,
                    rate: args.rate,
                    plan: args.plan.clone(),
                    reason: reason()?,
                }
            }
        }
    };
    let answer: Answer = ask::act(cx, args.consumer, REPLAYS_PATH, &wish).await?;
    if cx.json() {
        cx.print_json(&answer);
        return Ok(Outcome::Done);
    }
    match &answer {
        Answer::Planned(plan) => {
            cx.say(format!(
                "{} events of the places {} to {} would be replayed to {}; nothing was done",
                plan.events,
                plan.first + 1,
                plan.upto,
                args.consumer.name()
            ));
            cx.say(format!("plan {}", plan.plan));
        }
        Answer::Started(job) => {
            cx.say(format!(
                "replay {} gives {} events to {} once more",
                job.number,
                job.events,
                args.consumer.name()
            ));
            cx.note(format!(
                "\n`rc events replay --list` shows how far it is, `rc events replay --cancel {} --reason TEXT` ends it",
                job.number
            ));
        }
        Answer::Cancelled(number) => cx.say(format!("replay {number} is ended where it was")),
    }
    Ok(Outcome::Done)
}

/// The events that were chosen; nothing is chosen by leaving everything out.
fn which(args: &Args) -> Result<Which, Fault> {
    let which = Which {
        since: args.since.map(Moment::at),
        until: args.until.map(Moment::at),
        tenant: args.tenant.clone(),
        topic: args.topic.clone(),
        key: args.key.clone(),
        event_type: args.event_type.clone(),
    };
    if which == Which::default() && !args.all {
        return Err(Fault::usage("RC-CLI-002", "no event was chosen")
            .hint("choose with `--since`, `--key` and the like, or give `--all`"));
    }
    Ok(which)
}

fn list(cx: &Cx, jobs: &Jobs) {
    if cx.json() {
        cx.print_json(jobs);
        return;
    }
    if jobs.replays.is_empty() {
        cx.say("no replays");
        return;
    }
    let row = |job: &JobLine| {
        vec![
            job.number.to_string(),
            job.state.clone(),
            job.events.to_string(),
            job.applied.to_string(),
            job.failed.to_string(),
            format!("{} of {}", job.at, job.upto),
            job.began_at.to_string(),
            printable(&job.reason),
        ]
    };
    let rows: Vec<Vec<String>> = jobs.replays.iter().map(row).collect();
    let head = [
        "REPLAY", "STATE", "EVENTS", "APPLIED", "FAILED", "AT", "BEGAN", "WHY",
    ];
    cx.say(table(&head, &rows));
}
