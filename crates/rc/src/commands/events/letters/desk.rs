//! Who holds letters and answers about them: a service of the project over its socket, or the tables of a relay
//! beside somebody's service.

use std::sync::Arc;

use rc_events::letters::{LetterFilter, Letters as _};
use rc_events::{Error, ParkedLetters};
use rc_model::catalog::Builtin;
use rc_model::{Clock, SystemClock};
use rc_services::events::admin::LETTERS_PATH;
use rc_services::events::wire::{Change, Changed, Counts, LetterLine, LetterView, Listed, Selection, What};

use crate::commands::events::ask::{self, HOLDERS};
use crate::commands::events::place::{End, Typed};
use crate::cx::Cx;
use crate::fault::Fault;

/// An outbox and a bus that no service of ours answers for.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Beside a service of your own")]
pub(super) struct Beside {
    /// The outbox: `postgres://user@host:port/database`
    #[arg(long, value_name = "URL", value_parser = Typed::keep, global = true)]
    from: Option<Typed>,
    /// The bus: `nats://host:port`, `postgres://…` or `sqlite:PATH`
    #[arg(long, value_name = "URL", value_parser = Typed::keep, global = true)]
    to: Option<Typed>,
    /// The name under which the bus keeps the outbox's place
    #[arg(long, value_name = "NAME", default_value = "outbox", global = true)]
    origin: String,
    /// The schema of the outbox, or of the relay's own tables
    #[arg(long, value_name = "NAME", default_value = "rc_events", global = true)]
    schema: String,
}

/// A holder of letters.
pub(super) enum Desk<'a> {
    Service(&'a Cx, Builtin),
    Relay(&'a Cx, String, ParkedLetters),
}

impl<'a> Desk<'a> {
    /// Every holder, or the one that is named.
    ///
    /// # Errors
    /// When there is none of that name, or its place cannot be used.
    pub(super) async fn all(cx: &'a Cx, beside: &Beside, holder: Option<&str>) -> Result<Vec<Self>, Fault> {
        if holder.is_none() && beside.is_none() {
            return Ok(HOLDERS.map(|service| Self::Service(cx, service)).into());
        }
        Ok(vec![Self::of(cx, beside, holder).await?])
    }

    /// The holder that is named; without a name, docs-api or the one relay.
    ///
    /// # Errors
    /// As [`Self::all`].
    pub(super) async fn of(cx: &'a Cx, beside: &Beside, holder: Option<&str>) -> Result<Self, Fault> {
        if !beside.is_none() {
            return match holder {
                Some(other) if other != beside.origin => Err(Fault::usage(
                    "RC-CLI-002",
                    format!("there is no holder `{other}` here"),
                )
                .hint(format!(
                    "the relay's letters are `{0}/NUMBER`; `--origin` says which relay",
                    beside.origin
                ))),
                _ => Self::relay(cx, beside).await,
            };
        }
        let name = holder.unwrap_or_else(|| Builtin::DocsApi.name());
        let known = HOLDERS.into_iter().find(|known| known.name() == name);
        known.map(|service| Self::Service(cx, service)).ok_or_else(|| {
            Fault::usage("RC-CLI-002", format!("there is no holder `{name}`"))
                .hint("holders are `docs-api` (its consumer) and `ingest` (its relay)")
        })
    }

    async fn relay(cx: &'a Cx, beside: &Beside) -> Result<Self, Fault> {
        let clock: Arc<dyn Clock> = SystemClock::shared();
        let from = End::From.place(cx, beside.from.as_ref())?;
        let to = End::To.place(cx, beside.to.as_ref())?;
        let parked = from
            .outbox(&beside.origin, &beside.schema)?
            .parked()
            .ok_or_else(|| {
                Fault::usage("RC-EVT-050", format!("the relay of {from} sets nothing aside"))
                    .hint("it only reads the file, and stops at an event that its bus refuses")
            })?;
        let bus = to.bus(&clock).await?;
        let letters = ParkedLetters::new(&beside.origin, parked, bus, clock);
        Ok(Self::Relay(cx, from.to_string(), letters))
    }

    /// Its name, as letters have it.
    pub(super) fn holder(&self) -> &str {
        match self {
            Self::Service(_, service) => service.name(),
            Self::Relay(_, _, letters) => letters.holder(),
        }
    }

    pub(super) async fn list(&self, select: &Selection) -> Result<Listed, Fault> {
        match self {
            Self::Service(cx, service) => ask::find(cx, *service, "/-/letters/list", select).await,
            Self::Relay(_, from, letters) => {
                let filter = filter(select)?;
                let all = LetterFilter {
                    after: 0,
                    limit: 0,
                    ..filter.clone()
                };
                let look = async {
                    let found = letters.list(&filter).await?;
                    let total = letters.count(&all).await?.letters;
                    let letters = found.iter().map(LetterLine::from).collect();
                    Ok(Listed { letters, total })
                };
                look.await.map_err(failed(from))
            }
        }
    }

    pub(super) async fn show(&self, number: i64) -> Result<LetterView, Fault> {
        match self {
            Self::Service(cx, service) => ask::get(cx, *service, &format!("{LETTERS_PATH}/{number}")).await,
            Self::Relay(_, from, letters) => {
                let found = letters.get(number).await.map_err(failed(from))?;
                found.as_ref().map(LetterView::from).ok_or_else(|| {
                    Fault::no(
                        "RC-EVT-052",
                        format!("there is no letter {number} here; it may have been replayed"),
                    )
                })
            }
        }
    }

    pub(super) async fn change(&self, reason: String, dry_run: bool, what: What) -> Result<Changed, Fault> {
        match self {
            Self::Service(cx, service) => {
                let change = Change {
                    reason,
                    dry_run,
                    what,
                };
                ask::act(cx, *service, LETTERS_PATH, &change).await
            }
            Self::Relay(cx, from, letters) => {
                if dry_run && let What::Replay { select, .. } | What::Drop { select } = &what {
                    let counts = letters.count(&filter(select)?).await.map_err(failed(from))?;
                    return Ok(Changed::Would(Counts::of(letters.holder(), counts)));
                }
                let changed = what.apply(letters).await.map_err(failed(from))?;
                cx.note(format!("because: {reason}"));
                Ok(changed)
            }
        }
    }
}

impl Beside {
    /// Nothing of it was said: the project's services are meant.
    fn is_none(&self) -> bool {
        self.from.is_none() && self.to.is_none()
    }
}

fn filter(select: &Selection) -> Result<LetterFilter, Fault> {
    select.filter().map_err(|why| Fault::usage("RC-EVT-051", why))
}

fn failed(from: &str) -> impl FnOnce(Error) -> Fault {
    let tried = format!("the letters beside {from} cannot be worked on");
    move |error| Fault::world(error.code(), tried).because(error)
}
