//! `rc events status`: where events are on their way.

use std::sync::Arc;
use std::time::Duration;

use rc_model::catalog::Builtin;
use rc_model::units::ByteSize;
use rc_model::{Clock, SystemClock};
use rc_services::events::status::{ConsumerLine, RelayLine, STATUS_PATH, SlotLine, Status, age_ms};

use super::place::{End, Typed};
use super::{ask, rebuild, table};
use crate::commands::search::printable;
use crate::commands::up::screen::{DIM, paint};
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// A store or a bus that takes longer is as good as none.
const ASK_TIME_MAX: Duration = Duration::from_secs(10);

/// How the names of our slots begin, whichever relay or capture they belong to.
const SLOT_PREFIX: &str = "rc_";

/// Show where events are: what waits in outboxes, how far readers are, and what was set aside
///
/// Inside a project it asks the running services. With `--from` and `--to` it looks at an outbox and a bus
/// anywhere.
///
/// Exit codes: 0 events move, 1 a relay or a reader needs a person, or dead letters wait.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The outbox: `postgres://user@host:port/database` or `sqlite:PATH`
    #[arg(long, value_name = "URL", value_parser = Typed::keep, requires = "to")]
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
}

pub(super) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let status = match &args.to {
        Some(_) => elsewhere(cx, &args).await?,
        None => {
            let reader: Status = ask::get(cx, Builtin::DocsApi, STATUS_PATH).await?;
            let writer: Status = ask::get(cx, Builtin::Ingest, STATUS_PATH).await?;
            reader.and(writer)
        }
    };
    if cx.json() {
        cx.print_json(&status);
    } else {
        cx.say(render(&status, cx.color));
    }
    Ok(if needs_a_person(&status) {
        Outcome::No
    } else {
        Outcome::Done
    })
}

/// An outbox and a bus that no service of ours answers for.
async fn elsewhere(cx: &Cx, args: &Args) -> Result<Status, Fault> {
    let clock: Arc<dyn Clock> = SystemClock::shared();
    let to = End::To.place(cx, args.to.as_ref())?;
    let from = End::From.find(cx, args.from.as_ref())?;
    let bus = to.bus_to_read(&clock).await?;
    let failed =
        |error: rc_events::Error| Fault::world(error.code(), "the events cannot be looked at").because(error);
    let look = async {
        let mut status = Status::of_bus(bus.as_ref()).await.map_err(failed)?;
        if let Some(from) = from {
            let source = from.outbox(&args.origin, &args.schema)?;
            let cursor = bus.cursor(&args.origin).await.map_err(failed)?;
            let backlog = source.backlog(&cursor).await.map_err(failed)?;
            status.relays.push(RelayLine {
                origin: args.origin.clone(),
                state: if backlog.rows == 0 { "idle" } else { "waiting" }.to_owned(),
                waiting: Some(backlog.rows),
                lag_ms: Some(age_ms(&backlog, clock.now())),
                published: 0,
                published_at: None,
                epoch: 0,
                cursor: cursor.to_string(),
                code: None,
                error: None,
            });
            if let Ok(address) = from.address() {
                let slots = rc_events::replication::slots(&address, SLOT_PREFIX).await;
                status.slots = slots.map_err(failed)?.iter().map(SlotLine::from).collect();
            }
        }
        Ok(status)
    };
    let Ok(status) = tokio::time::timeout(ASK_TIME_MAX, look).await else {
        return Err(Fault::world("RC-EVT-012", "no answer in time")
            .hint("do the servers run, and are the URLs right?"));
    };
    status
}

/// What the platform does by itself needs nobody.
fn needs_a_person(status: &Status) -> bool {
    let bad = |state: Option<&str>| matches!(state, Some("failing" | "stuck" | "lost" | "retrying"));
    status.relays.iter().any(|relay| bad(Some(&relay.state)))
        || status
            .consumers
            .iter()
            .any(|consumer| bad(consumer.state.as_deref()))
        || status.slots.iter().any(|slot| bad(Some(&slot.state)))
        || status.letters.iter().any(|counts| counts.letters > 0)
}

fn render(status: &Status, color: bool) -> String {
    let mut parts = Vec::new();
    let mut add = |head: &[&str], rows: Vec<Vec<String>>| {
        if !rows.is_empty() {
            let text = table(head, &rows);
            let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
            parts.push(format!("{}\n{rest}", paint(color, DIM, first)));
        }
    };
    let unknown = || "?".to_owned();
    let relay = |relay: &RelayLine| {
        vec![
            relay.origin.clone(),
            relay.state.clone(),
            relay.waiting.map_or_else(unknown, |waiting| waiting.to_string()),
            relay.lag_ms.map_or_else(unknown, seconds),
            relay.published.to_string(),
            relay
                .published_at
                .map_or_else(|| "-".to_owned(), |at| at.to_string()),
        ]
    };
    add(
        &["RELAY", "STATE", "WAITING", "LAG", "PUBLISHED", "LAST"],
        status.relays.iter().map(relay).collect(),
    );
    let bus = |bus: &rc_services::events::status::BusLine| vec![bus.id.clone(), bus.tail.to_string()];
    add(&["BUS", "EVENTS"], status.buses.iter().map(bus).collect());
    let consumer = |consumer: &ConsumerLine| {
        vec![
            consumer.name.clone(),
            consumer.state.clone().unwrap_or_else(|| "-".to_owned()),
            consumer.position.to_string(),
            consumer.lag.to_string(),
        ]
    };
    add(
        &["CONSUMER", "STATE", "POSITION", "LAG"],
        status.consumers.iter().map(consumer).collect(),
    );
    let slot = |slot: &SlotLine| {
        vec![
            slot.name.clone(),
            slot.state.clone(),
            ByteSize::new(slot.retained_bytes).to_string(),
            slot.safe_bytes.map_or_else(
                || "no bound".to_owned(),
                |bytes| ByteSize::new(bytes.max(0).cast_unsigned()).to_string(),
            ),
        ]
    };
    add(
        &["SLOT", "STATE", "RETAINED", "SAFE FOR"],
        status.slots.iter().map(slot).collect(),
    );
    let mut letters = Vec::new();
    for counts in &status.letters {
        for count in &counts.of {
            letters.push(vec![
                counts.holder.clone(),
                count.state.clone(),
                count.class.clone(),
                count.letters.to_string(),
            ]);
        }
    }
    add(&["DEAD LETTERS", "STATE", "CLASS", "COUNT"], letters);
    let errors = status
        .relays
        .iter()
        .map(|relay| (&relay.origin, &relay.code, &relay.error))
        .chain(
            status
                .consumers
                .iter()
                .map(|consumer| (&consumer.name, &consumer.code, &consumer.error)),
        );
    for (name, code, error) in errors {
        if let (Some(code), Some(error)) = (code, error) {
            parts.push(format!("{name}: {} ({code})", printable(error)));
        }
    }
    parts.extend(status.rebuilds.iter().map(rebuild::building_line));
    if parts.is_empty() {
        return "there are no events".to_owned();
    }
    parts.join("\n\n")
}

/// `0.04 s`, `3 s`.
fn seconds(ms: u64) -> String {
    if ms < 1_000 {
        format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10)
    } else {
        format!("{} s", ms / 1_000)
    }
}

#[cfg(test)]
mod tests;
