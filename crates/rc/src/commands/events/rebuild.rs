//! `rc events rebuild`: builds a read model anew from history, beside the one that serves.

use rc_model::catalog::Builtin;
use rc_services::docs::generations::{
    BuildingLine, Ended, Outcome as End, REBUILD_PATH, RebuildWish, StatusLine,
};

use super::ask;
use crate::commands::search::printable;
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// Build a read model anew from history, beside the one that serves, and let it take over
///
/// For after a change of how documents are indexed, or when a read model is in doubt. A second one reads the bus from its
/// first event on while the former serves; when it has caught up it takes over at once: no read fails, and none
/// sees an older state. What the bus has forgotten, and what people decided about dead letters, it takes over from
/// the former, which is then removed. Until then both need room on the disk.
///
/// It goes on in the service, also after a restart: `--status` shows how far it is, `--abort` ends it. When it fails the
/// former serves on.
///
/// Exit codes: 0 done, 1 with `--status`: the last one failed.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("instead").args(["status", "abort"])))]
pub(super) struct Args {
    /// Whose read model
    #[arg(value_name = "CONSUMER", value_parser = super::replay::consumer, default_value = "docs-api")]
    consumer: Builtin,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = ask::reason)]
    reason: Option<String>,
    /// Only show how far it is, or how the last one ended
    #[arg(long)]
    status: bool,
    /// End it and remove what it has built
    #[arg(long)]
    abort: bool,
}

pub(super) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let status: StatusLine = if args.status {
        ask::get(cx, args.consumer, REBUILD_PATH).await?
    } else {
        let reason = args.reason.ok_or_else(|| {
            Fault::usage("RC-CLI-002", "`--reason` is missing").hint("it goes into the audit log")
        })?;
        let wish = if args.abort {
            RebuildWish::Abort { reason }
        } else {
            RebuildWish::Begin { reason }
        };
        ask::act(cx, args.consumer, REBUILD_PATH, &wish).await?
    };
    if cx.json() {
        cx.print_json(&status);
    } else if args.abort {
        cx.say(format!(
            "the rebuild of {} ends; the former serves on",
            status.consumer
        ));
    } else {
        cx.say(render(&status));
        if !args.status {
            cx.note("\n`rc events rebuild --status` shows how far it is, `rc events rebuild --abort --reason TEXT` ends it");
        }
    }
    let failed = status
        .last
        .as_ref()
        .is_some_and(|last| last.outcome == End::Failed);
    Ok(if args.status && status.building.is_none() && failed {
        Outcome::No
    } else {
        Outcome::Done
    })
}

fn render(status: &StatusLine) -> String {
    match (&status.building, &status.last) {
        (Some(building), _) => building_line(building),
        (None, Some(last)) => ended_line(last),
        (None, None) => format!("{} was never rebuilt", status.consumer),
    }
}

/// How far a rebuild is.
pub(super) fn building_line(line: &BuildingLine) -> String {
    if line.total == 0 {
        return format!(
            "rebuild {} has begun at {}",
            line.building.number, line.building.began_at
        );
    }
    let mut text = format!(
        "rebuild {} since {}: {} of {} events",
        line.building.number, line.building.began_at, line.done, line.total
    );
    if let (Some(rate), Some(left_s)) = (line.rate, line.left_s) {
        text.push_str(&format!(", {rate:.0}/s, {left_s} s left"));
    }
    text
}

fn ended_line(last: &Ended) -> String {
    let how = match last.outcome {
        End::Switched => "serves",
        End::Aborted => "was aborted",
        End::Failed => "failed",
    };
    let mut text = format!("rebuild {} {how} since {}", last.number, last.ended_at);
    if last.taken_over > 0 {
        text.push_str(&format!(
            "; {} keys were taken over as they were",
            last.taken_over
        ));
    }
    if let Some(why) = &last.why {
        let code = last.code.as_deref().unwrap_or_default();
        text.push_str(&format!("\n{} ({code})", printable(why)));
    }
    text
}

#[cfg(test)]
mod tests;
