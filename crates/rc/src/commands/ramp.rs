//! `rc ramp`: how much of a service goes to another version.

use clap::Subcommand;
use http::Method;
use rc_client::Client;
use rc_model::split::{Owner, Share, SplitBy};
use rc_model::{RolloutId, Timestamp};
use serde::{Deserialize, Serialize};

use super::platform;
use super::search::printable;
use super::tenant::table;
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// How much of a service goes to another version, changed while it runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Set(Set),
    Show(Show),
    Undo(Undo),
}

/// Send this part of a service's requests to the new version.
///
/// It holds within a second, survives restarts, and is written into the audit log. Whoever is on the new version stays
/// there while the part grows.
#[derive(Debug, clap::Args)]
struct Set {
    /// The rollout's name under `rollouts:` in `tenants.yaml`
    #[arg(value_name = "ROLLOUT")]
    rollout: RolloutId,
    /// The part, from 0 to 100
    #[arg(long, value_name = "PERCENT")]
    percent: Share,
    #[command(flatten)]
    how: How,
}

/// Go back to the part before the latest change.
#[derive(Debug, clap::Args)]
struct Undo {
    /// The rollout's name
    #[arg(value_name = "ROLLOUT")]
    rollout: RolloutId,
    #[command(flatten)]
    how: How,
}

/// How a weight is changed.
#[derive(Debug, clap::Args)]
struct How {
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = platform::reason)]
    reason: String,
    /// Only if this is still its generation, as `rc ramp show` says it; of two at once one is refused
    #[arg(long, value_name = "N")]
    generation: Option<u64>,
    /// Also when a rollout that runs by itself owns it; from then on it does not move it
    #[arg(long = "override")]
    overrides: bool,
}

/// Show the parts, who owns them, and what they were.
#[derive(Debug, clap::Args)]
struct Show {
    /// Only this rollout
    #[arg(value_name = "ROLLOUT")]
    rollout: Option<RolloutId>,
}

/// A rollout as the administration describes it.
#[derive(Debug, Serialize, Deserialize)]
struct Ramp {
    rollout: RolloutId,
    service: String,
    route: Option<String>,
    to: String,
    by: SplitBy,
    percent: Share,
    generation: u64,
    owner: Owner,
    members: Option<Vec<String>>,
    pin: serde_json::Value,
    percent_of: serde_json::Value,
    percent_at_start: Share,
    percent_before: Option<Share>,
    changed_at: Option<Timestamp>,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Ramps {
    ramps: Vec<Ramp>,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let client = platform::administration(cx).await?;
    match args.verb {
        Verb::Set(args) => {
            let target = format!("/-/ramps/{}", args.rollout);
            change(cx, &client, Method::PUT, target, Some(args.percent), &args.how).await
        }
        Verb::Undo(args) => {
            let target = format!("/-/ramps/{}/undo", args.rollout);
            change(cx, &client, Method::POST, target, None, &args.how).await
        }
        Verb::Show(args) => show(cx, &client, args.rollout.as_ref()).await,
    }
}

async fn change(
    cx: &Cx,
    client: &Client,
    method: Method,
    target: String,
    percent: Option<Share>,
    how: &How,
) -> Result<Outcome, miette::Report> {
    let mut body = serde_json::json!({
        "generation": how.generation,
        "override": how.overrides,
        "reason": how.reason,
    });
    if let Some(percent) = percent {
        body["percent"] = percent.percent().into();
    }
    let ramp: Ramp = platform::administer(client, "ramps", method, target, Some(&body)).await?;
    if cx.json() {
        cx.print_json(&ramp);
        return Ok(Outcome::Done);
    }
    cx.say(format!(
        "{}: {} of {} goes to {}, {} before (generation {})",
        ramp.rollout,
        ramp.percent,
        ramp.service,
        ramp.to,
        ramp.percent_before.unwrap_or(ramp.percent_at_start),
        ramp.generation,
    ));
    cx.note(format!(
        "\nback again: rc ramp undo {} --reason TEXT",
        ramp.rollout
    ));
    Ok(Outcome::Done)
}

async fn show(cx: &Cx, client: &Client, only: Option<&RolloutId>) -> Result<Outcome, miette::Report> {
    let Ramps { mut ramps } =
        platform::administer(client, "ramps", Method::GET, "/-/ramps".to_owned(), None).await?;
    if let Some(only) = only {
        ramps.retain(|ramp| ramp.rollout == *only);
        if ramps.is_empty() {
            let fault = Fault::no("RC-GW-080", format!("there is no rollout `{only}`"));
            return Err(fault
                .hint("`rc ramp show` lists them; they are `rollouts:` in `tenants.yaml`")
                .into());
        }
    }
    if cx.json() {
        cx.print_json(&serde_json::json!({ "ramps": ramps }));
        return Ok(Outcome::Done);
    }
    if ramps.is_empty() {
        cx.say("there are no rollouts; `rollouts:` in `tenants.yaml` describes them");
        return Ok(Outcome::Done);
    }
    let head = [
        "ROLLOUT",
        "REQUESTS OF",
        "TO",
        "BY",
        "PERCENT",
        "OWNER",
        "GENERATION",
        "CHANGED",
        "REASON",
    ];
    cx.say(table(&head, &ramps.iter().map(row).collect::<Vec<_>>()));
    Ok(Outcome::Done)
}

fn row(ramp: &Ramp) -> Vec<String> {
    let by = match ramp.by {
        SplitBy::Request => "request",
        SplitBy::User => "user",
        SplitBy::Tenant => "tenant",
        SplitBy::Traffic => "traffic",
    };
    let route = ramp.route.as_deref().unwrap_or_default();
    vec![
        ramp.rollout.to_string(),
        format!("{} {route}", ramp.service).trim_end().to_owned(),
        ramp.to.clone(),
        by.to_owned(),
        ramp.percent.to_string(),
        ramp.owner.to_string(),
        ramp.generation.to_string(),
        ramp.changed_at.map_or_else(String::new, |at| at.to_string()),
        printable(ramp.reason.as_deref().unwrap_or_default()),
    ]
}
