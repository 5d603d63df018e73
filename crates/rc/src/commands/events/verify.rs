//! `rc events verify`: holds a log and a bus against each other.

use std::sync::Arc;

use rc_model::catalog::Builtin;
use rc_model::{Clock, SystemClock};
use rc_services::events::verify::{self, FindingLine, VERIFY_PATH, Verdict, Wish};

use super::ask;
use super::place::{End, Typed};
use crate::commands::search::printable;
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// Check that a bus has every event of an outbox once, in order and unchanged, and nothing else
///
/// Inside a project it checks the platform's own outbox and bus, and what it found goes into the audit log. With
/// `--from` and `--to` it checks any outbox and bus. Both may be in use meanwhile. What the outbox has deleted
/// in its time cannot be compared any more; how much that was is said.
///
/// `--repair` publishes what is missing, with the ids and numbers that it has in the outbox.
///
/// Exit codes: 0 the bus is whole, 1 something is missing, lost, changed or was never written.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The outbox: `postgres://user@host:port/database` or `sqlite:PATH`
    #[arg(long, value_name = "URL", value_parser = Typed::keep)]
    from: Option<Typed>,
    /// The bus: `nats://host:port`, `postgres://…` or `sqlite:PATH`
    #[arg(long, value_name = "URL", value_parser = Typed::keep)]
    to: Option<Typed>,
    /// The name under which the bus keeps the outbox's place
    #[arg(long, value_name = "NAME", default_value = "outbox")]
    origin: String,
    /// The schema of the outbox on PostgreSQL
    #[arg(long, value_name = "NAME", default_value = "rc_events")]
    schema: String,
    /// Publish again what is missing
    #[arg(long, requires = "reason")]
    repair: bool,
    /// Why, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = ask::reason)]
    reason: Option<String>,
}

pub(super) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let verdict = if args.from.is_some() || args.to.is_some() {
        elsewhere(cx, &args).await?
    } else {
        let wish = Wish {
            repair: args.repair,
            reason: args.reason.clone().unwrap_or_else(|| "a check".to_owned()),
        };
        ask::act(cx, Builtin::Ingest, VERIFY_PATH, &wish).await?
    };
    let mended = verdict
        .published
        .is_some_and(|published| published >= verdict.missing.count);
    let rest = [&verdict.lost, &verdict.changed, &verdict.phantom];
    let whole = verdict.whole || (mended && rest.iter().all(|finding| finding.count == 0));
    if cx.json() {
        cx.print_json(&verdict);
    } else {
        tell(cx, &verdict, whole);
    }
    Ok(if whole { Outcome::Done } else { Outcome::No })
}

/// An outbox and a bus that no service of ours answers for.
async fn elsewhere(cx: &Cx, args: &Args) -> Result<Verdict, Fault> {
    let clock: Arc<dyn Clock> = SystemClock::shared();
    let from = End::From.place(cx, args.from.as_ref())?;
    let to = End::To.place(cx, args.to.as_ref())?;
    let bus = if args.repair {
        to.bus(&clock).await?
    } else {
        to.bus_to_read(&clock).await?
    };
    let source = from.outbox(&args.origin, &args.schema)?;
    verify::check(source.as_ref(), bus.as_ref(), args.repair)
        .await
        .map_err(|error| {
            Fault::world(error.code(), "outbox and bus cannot be compared")
                .because(error)
                .hint("do the servers run, and are the URLs right?")
        })
}

fn tell(cx: &Cx, verdict: &Verdict, whole: bool) {
    let mut lines = vec![format!(
        "{} events in the outbox, {} on the bus, {} not relayed yet",
        verdict.log_events, verdict.bus_events, verdict.waiting
    )];
    if verdict.beyond_log > 0 {
        lines.push(format!(
            "{} on the bus are no longer in the outbox, or another service's: they cannot be compared",
            verdict.beyond_log
        ));
    }
    if verdict.beyond_bus > 0 {
        lines.push(format!(
            "{} in the outbox may have aged out of the bus",
            verdict.beyond_bus
        ));
    }
    for (finding, what) in [
        (&verdict.missing, "missing: the outbox has them, the bus does not"),
        (
            &verdict.lost,
            "lost: neither has them, and nothing brings them back",
        ),
        (
            &verdict.changed,
            "changed: on the bus with other content than in the outbox",
        ),
        (
            &verdict.phantom,
            "never written: on the bus with a number that the outbox has not given",
        ),
        (&verdict.doubled, "doubled: consumers pass over the second"),
        (
            &verdict.reordered,
            "late: behind a higher number of their key; consumers wait for them",
        ),
    ] {
        finding_lines(&mut lines, finding, what);
    }
    if let Some(published) = verdict.published {
        lines.push(format!("{published} published again"));
    }
    if let Some(refused) = &verdict.refused {
        finding_lines(&mut lines, refused, "refused by the bus, for ever");
    }
    lines.push(match (verdict.whole, whole) {
        (true, _) => "the bus is whole".to_owned(),
        (false, true) => "the bus is whole again".to_owned(),
        (false, false) => "the bus is not whole".to_owned(),
    });
    cx.say(lines.join("\n"));
    if !whole && verdict.published.is_none() && verdict.missing.count > 0 {
        cx.note("\n`rc events verify --repair --reason TEXT` publishes what is missing");
    }
}

fn finding_lines(lines: &mut Vec<String>, finding: &FindingLine, what: &str) {
    if finding.count == 0 {
        return;
    }
    lines.push(format!("{} {what}", finding.count));
    for example in &finding.examples {
        let at = example
            .position
            .map_or_else(String::new, |at| format!(", place {at} on the bus"));
        lines.push(format!(
            "  {} number {}{at}",
            printable(&example.place),
            example.sequence
        ));
    }
}
