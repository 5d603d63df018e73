//! The step before a service gets to work on a request: it takes a seat, waits for one, or is refused.
//!
//! A service works on a request from its last byte on. A request that is whole takes its seat before a connection is
//! made; one whose body is still coming takes it before the end of the body is sent, so that a client that sends slowly
//! holds none.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rc_model::clock::monotonic_ns;
use rc_model::tenants::LimitMode;
use tokio::time::Instant;

use crate::access::Ticket;
use crate::answer::{RATE_LIMITED, Refusal, SERVICE_BUSY, TENANT_BUSY};
use crate::exchange::{Downstream, Fate};
use crate::forward::Forward;
use crate::io::Timer;
use crate::limit::Colour;
use crate::metrics::{SeatCounts, Waits};
use crate::seats::{Claim, Seat, SeatPool, Shed, Turned, Waiting};
use crate::worker::{View, Worker};

/// Jitter on top of the time that a client is told to wait, so that those who were refused together do not come back
/// together.
const JITTER_PART: u64 = 4;

/// One request's way to its seat and back.
pub(crate) struct Place<'a> {
    worker: &'a Worker,
    pool: &'a SeatPool,
    claim: &'a Claim,
    mode: LimitMode,
    strict: bool,
    /// When the tenant's next request within its rate is due, for one that is beyond it: that passes while there is
    /// room, and never waits in front of others.
    beyond_rate: Option<u64>,
    deadline: Instant,
    counts: &'a SeatCounts,
    turn: Turn<'a>,
}

enum Turn<'a> {
    NotAsked,
    Waits {
        waiting: Waiting<'a>,
        since_ns: u64,
        /// Counts the request out again, however it ends.
        _counted: Waits<'a>,
    },
    Seated(Seat<'a>),
    /// The service is done with the request, or answered before it had the whole of it.
    Done,
}

impl<'a> Place<'a> {
    pub(crate) fn new(worker: &'a Worker, view: &'a View, forward: &Forward, ticket: &Ticket) -> Self {
        let active = &*view.active;
        let (claim, mode) = match ticket.tenant {
            Some(tenant) => (&active.limits[tenant].claim, active.snapshot.tenants[tenant].mode),
            None => (&active.anonymous.claim, LimitMode::Enforce),
        };
        Self {
            worker,
            pool: &active.pools[forward.lane],
            claim,
            mode,
            strict: forward.strict,
            beyond_rate: match ticket.colour {
                Some(Colour::Yellow { wait_ns }) => Some(wait_ns),
                Some(Colour::Green { .. } | Colour::Red { .. }) | None => None,
            },
            deadline: forward.deadline,
            counts: active.series(ticket.route, ticket.tenant).seats(worker.index),
            turn: Turn::NotAsked,
        }
    }

    /// The seat, once it is taken and as long as it is held.
    pub(crate) fn seat(&self) -> Option<&Seat<'a>> {
        match &self.turn {
            Turn::Seated(seat) => Some(seat),
            Turn::NotAsked | Turn::Waits { .. } | Turn::Done => None,
        }
    }

    /// A second seat, if one is free at this moment.
    pub(crate) fn another(&self) -> Option<Seat<'a>> {
        self.pool.try_take(self.claim, monotonic_ns())
    }

    pub(crate) fn waits(&self) -> bool {
        matches!(self.turn, Turn::Waits { .. })
    }

    /// Gives the seat back; it is asked for anew.
    pub(crate) fn again(&mut self) {
        self.turn = Turn::NotAsked;
    }

    /// Gives the seat back, or does without one.
    pub(crate) fn done(&mut self) {
        self.turn = Turn::Done;
    }

    /// Ready when the request may go to the service.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        if matches!(self.turn, Turn::NotAsked) {
            match self.ask() {
                Ok(turn) => self.turn = turn,
                Err(turned) => return Poll::Ready(Err(self.refusal(turned))),
            }
        }
        let Turn::Waits {
            waiting, since_ns, ..
        } = &mut self.turn
        else {
            return Poll::Ready(Ok(()));
        };
        let ended = ready!(Pin::new(waiting).poll(cx));
        self.counts.waited(monotonic_ns().saturating_sub(*since_ns));
        Poll::Ready(match ended {
            Ok(seat) => {
                self.turn = Turn::Seated(seat);
                Ok(())
            }
            Err(turned) => {
                self.turn = Turn::Done;
                Err(self.refusal(turned))
            }
        })
    }

    /// What a request is told that still waits at its deadline.
    pub(crate) fn late(&mut self) -> Option<Refusal> {
        let Turn::Waits {
            waiting, since_ns, ..
        } = &self.turn
        else {
            return None;
        };
        self.counts.waited(monotonic_ns().saturating_sub(*since_ns));
        let turned = waiting.turned(Shed::Late);
        self.turn = Turn::Done;
        Some(self.refusal(turned))
    }

    fn ask(&self) -> Result<Turn<'a>, Turned> {
        let now_ns = monotonic_ns();
        if self.mode == LimitMode::Off {
            return Ok(Turn::Seated(self.pool.take_anyway(self.claim, now_ns)));
        }
        if let Some(seat) = self.pool.try_take(self.claim, now_ns) {
            return Ok(Turn::Seated(seat));
        }
        if self.mode == LimitMode::Shadow {
            self.counts.shadowed();
            return Ok(Turn::Seated(self.pool.take_anyway(self.claim, now_ns)));
        }
        if let Some(wait_ns) = self.beyond_rate {
            return Err(Turned {
                shed: Shed::Lent,
                own_excess: true,
                drain_ns: wait_ns,
            });
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let deadline_ns = now_ns.saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
        let waiting = self.pool.wait(self.claim, self.strict, now_ns, deadline_ns)?;
        Ok(Turn::Waits {
            waiting,
            since_ns: now_ns,
            _counted: self.counts.waits(),
        })
    }

    /// Whose fault it was decides: the tenant waits behind its own requests, or there are too few seats.
    fn refusal(&self, turned: Turned) -> Refusal {
        self.counts.shed(turned.shed);
        let kind = match (turned.shed, turned.own_excess) {
            (Shed::Lent, _) => &RATE_LIMITED,
            (_, true) => &TENANT_BUSY,
            (_, false) => &SERVICE_BUSY,
        };
        let detail = match turned.shed {
            Shed::QueueFull => "too many requests of this tenant wait already",
            Shed::PoolFull => "too many requests wait already",
            Shed::Late => "its turn would come after its deadline",
            Shed::Aged => "it waited for too long",
            Shed::Lent => "over the tenant's rate, and the service has no room to lend",
        };
        let jitter_ns = self.worker.random() % (turned.drain_ns / JITTER_PART).max(1);
        Refusal::because(kind, detail).after_ns(turned.drain_ns.saturating_add(jitter_ns))
    }
}

/// Waits until a request that is whole may go to its service.
pub(crate) async fn seated<D: Downstream>(
    place: &mut Place<'_>,
    client: &mut D,
    timer: &mut Timer,
) -> Result<(), Fate> {
    poll_fn(|cx| {
        if let Poll::Ready(ended) = place.poll(cx) {
            return Poll::Ready(ended.map_err(Fate::Refuse));
        }
        // Its place goes with it.
        if client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Fate::Cut));
        }
        ready!(timer.poll(place.deadline, cx));
        Poll::Ready(Err(place.late().map_or(Fate::Cut, Fate::Refuse)))
    })
    .await
}
