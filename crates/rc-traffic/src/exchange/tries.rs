//! The tries of one request: whether there is another one, and what each showed.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use tokio::time::Instant;

use super::{Downstream, Fail, Fate};
use crate::access::Ticket;
use crate::answer::{CIRCUIT_OPEN, Refusal};
use crate::forward::Forward;
use crate::health::{Pass, Refused, Verdict};
use crate::io::Timer;
use crate::latency::Latency;
use crate::metrics::{Trial, TrialCounts};
use crate::retry::{self, Books, Rule};
use crate::upstream::ResponseHead;
use crate::waiting::Place;
use crate::worker::{Chosen, UpstreamPools, View, Worker};

pub(super) struct Tries<'a> {
    worker: &'a Worker,
    pools: &'a UpstreamPools,
    books: &'a Books,
    counts: &'a TrialCounts,
    latency: Option<&'a Latency>,
    rule: Rule,
    slot: u32,
    deadline: Instant,
    /// The service's circuit is half open, and this request is to see.
    pass: Option<Pass>,
    /// How long such requests take at most until their answer begins, if that is known and asked for.
    pub(super) usual: Option<Duration>,
    /// What copies of it are paid from, and when one is sent.
    hedge: Option<(Rule, Duration)>,
    /// It may be done twice, and the tenant has a budget for that.
    many: bool,
    /// Tries that the service may have seen.
    made: u32,
    /// Further tries that were paid for.
    further: u32,
}

impl<'a> Tries<'a> {
    /// # Errors
    /// When the service fails and is left alone.
    pub(super) fn new(
        worker: &'a Worker,
        view: &'a View,
        forward: &Forward,
        ticket: &Ticket,
    ) -> Result<Self, Refusal> {
        let active = &*view.active;
        let (slot, rule, adaptive) = match ticket.tenant {
            Some(tenant) => {
                let policy = &active.snapshot.tenants[tenant];
                (active.limits[tenant].claim.slot, policy.retry, policy.adaptive)
            }
            None => (active.anonymous.claim.slot, active.snapshot.anonymous.retry, None),
        };
        let pools = &view.upstreams[forward.upstream];
        let counts = active.series(ticket.route, ticket.tenant).trials(worker.index);
        let pass = match pools.health.circuits.are_closed() {
            true => None,
            false => enter(worker, pools, slot, counts)?,
        };
        let books = &*view.books[forward.route];
        if rule.is_on() {
            books.retries.earn(slot, &rule, ticket.start_ns());
        }
        let latency = active.latency(forward.route, ticket.tenant);
        let hedge = match active.snapshot.routes[forward.route].hedge {
            Some(hedge) if forward.safe => {
                let rule = Rule::from(hedge);
                books.hedges.earn(slot, &rule, ticket.start_ns());
                latency.and_then(Latency::p95).map(|after| (rule, after))
            }
            _ => None,
        };
        Ok(Self {
            worker,
            pools,
            books,
            counts,
            latency,
            rule,
            slot,
            deadline: forward.deadline,
            pass,
            usual: adaptive.and_then(|rule| latency?.limit(&rule)),
            hedge,
            many: forward.repeatable && rule.is_on(),
            made: 0,
            further: 0,
        })
    }

    /// Whether there can be more than one.
    pub(super) fn are_many(&self) -> bool {
        self.many
    }

    /// Begins a try. The number is for the service, where the gateway is who tries again.
    pub(super) fn next(&mut self) -> Option<u32> {
        self.made += 1;
        self.many.then_some(self.made)
    }

    pub(super) fn resends(&self) -> u32 {
        self.made.saturating_sub(1)
    }

    /// When the next try is due; `None` when there is none.
    pub(super) fn again(&mut self) -> Option<Instant> {
        if !self.many || self.further >= self.rule.max {
            return None;
        }
        let wait = retry::backoff(self.further + 1, self.worker.random());
        let until = Instant::now()
            .checked_add(wait)
            .filter(|until| *until < self.deadline)?;
        if !self.books.retries.spend(self.slot, &self.rule, monotonic_ns()) {
            self.counts.count(Trial::Exhausted);
            return None;
        }
        self.counts.count(Trial::Retried);
        self.further += 1;
        Some(until)
    }

    /// When a copy of the first try is due, if there may be one.
    pub(super) fn hedge_due(&self, now: Instant) -> Option<Instant> {
        let (_, after) = self.hedge.filter(|_| self.made == 1)?;
        now.checked_add(after)
    }

    /// Where a copy goes, if the tenant has the budget for one.
    pub(super) fn hedge(&self, first: &Chosen) -> Option<Chosen> {
        let (rule, _) = self.hedge?;
        let paid = self.books.hedges.spend(self.slot, &rule, monotonic_ns());
        paid.then(|| {
            self.counts.count(Trial::Hedged);
            self.pools.choose(Some(first.at))
        })
    }

    pub(super) fn hedge_won(&self) {
        self.counts.count(Trial::HedgeWon);
    }

    pub(super) fn random(&self) -> u64 {
        self.worker.random()
    }

    /// A try that had to be made again for the gateway's own sake.
    pub(super) fn owe(&self) {
        if self.rule.is_on() {
            self.books.retries.owe(self.slot, &self.rule, monotonic_ns());
        }
    }

    /// An endpoint took no connection, which shows `verdict` about the service.
    pub(super) fn not_connected(&mut self, chosen: &mut Chosen, verdict: Verdict) {
        let now_ns = monotonic_ns();
        if let Some(probe) = chosen.probe.take() {
            probe.tell(Verdict::Failed, now_ns, self.worker.random());
        }
        self.pools
            .health
            .not_connected(chosen.at, now_ns, self.worker.random());
        self.ended(chosen, verdict, now_ns);
    }

    /// What a try showed about the service and the endpoint.
    pub(super) fn ended(&mut self, chosen: &mut Chosen, verdict: Verdict, now_ns: u64) {
        self.pools.tally.count(chosen.at, self.slot, verdict);
        if let Some(probe) = chosen.probe.take() {
            probe.tell(verdict, now_ns, self.worker.random());
        }
        if let Some(pass) = self.pass.take() {
            pass.tell(verdict, now_ns, self.worker.random());
        }
    }

    /// How long the service took, as far as that says how long it takes. Errors may be quick because nothing was done.
    pub(super) fn took(&self, head: &Result<ResponseHead, Fail>, head_ns: u64) {
        if matches!(head, Err(Fail::Slow)) {
            self.counts.count(Trial::Slow);
        }
        let Some(latency) = self.latency else { return };
        match head {
            Ok(head) if head.status < 500 => latency.record(self.worker.index, head_ns),
            // Longer than that; so the limit follows a service that becomes slower.
            Err(Fail::Slow) => latency.record(self.worker.index, head_ns),
            Ok(_) | Err(_) => {}
        }
    }
}

fn enter(
    worker: &Worker,
    pools: &UpstreamPools,
    slot: u32,
    counts: &TrialCounts,
) -> Result<Option<Pass>, Refusal> {
    let entered = pools.health.circuits.enter(slot, monotonic_ns(), worker.random());
    entered.map_err(|Refused { own, wait_ns }| {
        let (trial, detail) = match own {
            true => (Trial::TenantCircuit, "most requests of this tenant failed lately"),
            false => (
                Trial::ServiceCircuit,
                "most requests of most tenants failed lately",
            ),
        };
        counts.count(trial);
        Refusal::because(&CIRCUIT_OPEN, detail).after_ns(wait_ns)
    })
}

/// Waits for the next try, without a seat: the service does nothing for the request meanwhile.
pub(super) async fn pause<D: Downstream>(
    client: &mut D,
    place: &mut Place<'_>,
    timer: &mut Timer,
    until: Instant,
) -> Result<(), Fate> {
    place.again();
    poll_fn(|cx| {
        if client.has_whole_body() && client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Fate::Cut));
        }
        timer.poll(until, cx).map(Ok)
    })
    .await
}
