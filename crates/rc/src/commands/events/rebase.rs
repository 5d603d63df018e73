//! `rc events rebase`: an outbox in PostgreSQL whose cluster was restored.

use std::sync::Arc;

use rc_events::outbox::postgres::rebase;
use rc_model::{Clock, SystemClock, TenantId};

use super::place::{End, Typed};
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// Let an outbox go on after its PostgreSQL cluster was restored from a copy
///
/// The relay reads an outbox by transaction numbers, and a restored cluster counts them anew (RC-EVT-006). This
/// compares the outbox with the bus key by key, settles what the bus has, and leaves the rest to be relayed. Stop
/// the relay and the service that appends first. It can be repeated, and does no harm to an outbox that is well.
///
/// When the bus is ahead of the outbox, the copy is older than what was published: the service would give out numbers
/// again that consumers have seen, and those events would be passed over. That is refused, unless `--accept-loss`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The outbox: `postgres://user@host:port/database`; RC_EVENTS_FROM says it too
    #[arg(long, value_name = "URL", value_parser = Typed::keep)]
    from: Option<Typed>,
    /// The bus: `nats://host:port`, `postgres://…` or `sqlite:PATH`; RC_EVENTS_TO says it too
    #[arg(long, value_name = "URL", value_parser = Typed::keep)]
    to: Option<Typed>,
    /// The name under which the bus keeps the outbox's place
    #[arg(long, value_name = "NAME", default_value = "outbox")]
    origin: String,
    /// The schema of the outbox
    #[arg(long, value_name = "NAME", default_value = "rc_events")]
    schema: String,
    /// Whose event carries the new place; it has no effect
    #[arg(long, value_name = "TENANT")]
    tenant: TenantId,
    /// Go on although the bus has later events than the outbox
    #[arg(long)]
    accept_loss: bool,
}

pub(super) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let clock: Arc<dyn Clock> = SystemClock::shared();
    let from = End::From.place(cx, args.from.as_ref())?;
    let bus = End::To.place(cx, args.to.as_ref())?.bus(&clock).await?;
    let db = from.database(&args.schema)?;
    let done = rebase::rebase(
        &db,
        bus.as_ref(),
        &args.origin,
        &args.tenant,
        clock.as_ref(),
        args.accept_loss,
    )
    .await
    .map_err(|error| {
        Fault::world(error.code(), format!("the outbox at {from} was not settled"))
            .because(error)
            .hint("do outbox and bus belong together, and are relay and service stopped?")
    })?;
    if cx.json() {
        cx.print_json(&serde_json::json!({
            "settled": done.settled,
            "waiting": done.waiting,
            "behind": done.behind,
        }));
    } else {
        cx.say(format!(
            "{} rows are on the bus, {} wait for the relay, {} keys are behind the bus",
            done.settled, done.waiting, done.behind
        ));
        cx.note("next: start the relay, then the service");
    }
    Ok(Outcome::Done)
}
