//! Building a generation from history beside the one that serves, and letting it take its place.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rc_events::consumer::BusWake;
use rc_events::replay::first_kept;
use rc_events::{
    Applied, Batch, Books, BoxFuture, Bus, Consumer, ConsumerState, ConsumerStatus, Projection, Seq,
};
use rc_model::{Problem, TraceContext};
use rc_serve::ApiError;
use rc_store::{Error, ErrorKind};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::gauge::{Gauge, StatusLine, line};
use super::handover;
use super::record::{Building, Ended, Outcome, Record, Slot};
use super::{AGAIN, Generations};
use crate::audit::{Action, Actor, Resource};
use crate::docs::follow::Follower;
use crate::docs::store::{CONSUMER, Generation};
use crate::events::acts::Asked;
use crate::events::admin;

/// What a rebuild is that cannot begin or end as asked.
const REFUSED: &str = "RC-EVT-070";

/// Events that a generation may still lack when it is about to take over: less than a second of work.
const CAUGHT_UP_EVENTS: Seq = 1_000;

/// How long the one that serves may stand still for the last events. Readers are served meanwhile.
const REACH_TIME_MAX: Duration = Duration::from_secs(10);

/// How often the state of a consumer is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A rebuild of this process.
pub(super) struct Running {
    abort: CancellationToken,
    pub(super) gauge: Arc<Gauge>,
}

/// Why a rebuild does not switch.
enum Stop {
    Aborted,
    Failed {
        code: String,
        why: String,
    },
    /// The service ends: the next start goes on.
    Leaving,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed {
            code: error.code().to_owned(),
            why: error.to_string(),
        }
    }
}

impl From<rc_events::Error> for Stop {
    fn from(error: rc_events::Error) -> Self {
        Self::Failed {
            code: error.code().to_owned(),
            why: error.to_string(),
        }
    }
}

/// The consumer that builds. Nobody is told of what it applies.
struct Shadow {
    status: watch::Receiver<ConsumerStatus>,
    follower: Follower,
}

/// Events that become documents nobody reads yet.
struct Unseen(Arc<dyn Generation>);

impl Projection for Unseen {
    fn name(&self) -> &str {
        CONSUMER
    }

    fn books(&self) -> Arc<dyn Books> {
        self.0.books()
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Applied, rc_events::Error>> {
        Box::pin(async move { Ok(self.0.apply(batch).await?) })
    }
}

fn refused(why: impl Into<String>) -> ApiError {
    Problem::new(409, REFUSED, "a rebuild cannot begin or end as asked")
        .detail(why)
        .into()
}

fn resource() -> Resource {
    Resource {
        kind: "events",
        id: CONSUMER.to_owned(),
        tenant: None,
    }
}

impl Generations {
    /// Begins a rebuild, recorded before anything is done.
    ///
    /// # Errors
    /// When another one goes on, there is no room for it or nothing to read, or it cannot be recorded.
    pub(in crate::docs) async fn begin(self: &Arc<Self>, asked: &Asked) -> Result<(), ApiError> {
        let acts = admin::acts(self.acts.get().and_then(Option::as_ref))?;
        let reading = self
            .reading
            .get()
            .ok_or_else(|| refused("there is no bus yet: nothing was written"))?;
        // Held until it is stored: of two that ask, one wins.
        let mut held = self.record.lock().await;
        let record = held.as_mut().ok_or_else(admin::absent)?;
        if let Some(building) = &record.building {
            return Err(refused(format!(
                "rebuild {} goes on: `--status` shows how far it is",
                building.number
            )));
        }
        if self.running().is_some() {
            return Err(refused(
                "what the last rebuild left is still being removed: ask again in a moment",
            ));
        }
        if let Some(short) = self.shelf.shortage(record.live, false) {
            return Err(refused(format!(
                "a second read model does not fit on the disk: {short}"
            )));
        }
        let first = first_kept(&*reading.bus).await.map_err(admin::problem)?;
        let building = Building {
            number: record.next_number(),
            reason: asked.reason.clone(),
            uid: match asked.actor {
                Actor::OsUser(uid) => Some(uid),
                Actor::Service(_) => None,
            },
            began_at: self.projector.clock.now(),
            first,
        };
        let detail = json!({ "rebuild": building.number, "first": first });
        let act = async {
            self.clear(record.live.other()).await?;
            let next = Record {
                building: Some(building.clone()),
                ..record.clone()
            };
            Ok(self.store(record, next).await?)
        };
        acts.act(asked, Action::EventsRebuild, &resource(), detail, act)
            .await?;
        self.start(building);
        Ok(())
    }

    /// Ends a rebuild and throws away what it has built.
    ///
    /// # Errors
    /// When none goes on, or this cannot be recorded.
    pub(in crate::docs) async fn abort(&self, asked: &Asked) -> Result<(), ApiError> {
        let acts = admin::acts(self.acts.get().and_then(Option::as_ref))?;
        let goes_on = self
            .record
            .lock()
            .await
            .as_ref()
            .is_some_and(|record| record.building.is_some());
        let abort = self.running().as_ref().map(|running| running.abort.clone());
        let abort = abort
            .filter(|_| goes_on)
            .ok_or_else(|| refused("no rebuild goes on"))?;
        let act = async {
            abort.cancel();
            Ok(())
        };
        acts.act(
            asked,
            Action::EventsRebuild,
            &resource(),
            json!({ "abort": true }),
            act,
        )
        .await
    }

    /// Which generation serves, and how far the next one is.
    ///
    /// # Errors
    /// Before that is known.
    pub(in crate::docs) async fn status(&self) -> Result<StatusLine, ApiError> {
        let record = self.record.lock().await.clone().ok_or_else(admin::absent)?;
        let gauge = self.gauge();
        Ok(StatusLine {
            consumer: CONSUMER.to_owned(),
            serving: record.live,
            building: record.building.map(|building| line(building, gauge.as_deref())),
            last: record.last,
        })
    }

    /// Runs a rebuild that stands in the record.
    pub(super) fn start(self: &Arc<Self>, building: Building) {
        let (abort, gauge) = (self.tree.stopping().child_token(), Arc::new(Gauge::new()));
        *self.running() = Some(Running {
            abort: abort.clone(),
            gauge: Arc::clone(&gauge),
        });
        let this = Arc::clone(self);
        self.tree.spawn("docs-api/rebuild", async move {
            this.rebuild(building, &abort, &gauge).await;
            this.projector.meters.rebuild_lag.set(0);
            *this.running() = None;
        });
    }

    async fn rebuild(&self, building: Building, abort: &CancellationToken, gauge: &Gauge) {
        let Some(live) = self.record.lock().await.as_ref().map(|record| record.live) else {
            return;
        };
        let spare = match self.patiently(abort, || self.shelf.open(live.other())).await {
            Ok(spare) => spare,
            Err(stop) => return self.end(&building, live, None, stop).await,
        };
        match self.build(&building, live, &spare, abort, gauge).await {
            Ok(former) => {
                drop(spare);
                tracing::info!(rebuild = building.number, "the rebuilt read model serves");
                self.retire(former, live).await;
            }
            Err(stop) => self.end(&building, live, Some(spare), stop).await,
        }
    }

    /// Reads history, takes over what it lacks, catches up, and switches. Gives back what served before.
    async fn build(
        &self,
        building: &Building,
        live: Slot,
        spare: &Arc<dyn Generation>,
        abort: &CancellationToken,
        gauge: &Gauge,
    ) -> Result<Arc<dyn Generation>, Stop> {
        self.caught_up(spare, live, abort, gauge)
            .await?
            .follower
            .stop()
            .await;
        let filled = async || Ok(handover::fill(&*self.serving.now()?, &**spare).await?);
        let filled = self.patiently(abort, filled).await?;
        gauge.taken_over.fetch_add(filled, Ordering::Relaxed);
        loop {
            let shadow = self.caught_up(spare, live, abort, gauge).await?;
            if let Some(former) = self.switch(building, live, shadow, spare, gauge).await? {
                return Ok(former);
            }
            if abort.is_cancelled() {
                return Err(self.ended_by(abort));
            }
        }
    }

    /// Lets `spare` follow the bus until hardly anything is missing.
    async fn caught_up(
        &self,
        spare: &Arc<dyn Generation>,
        live: Slot,
        abort: &CancellationToken,
        gauge: &Gauge,
    ) -> Result<Shadow, Stop> {
        let Some(reading) = self.reading.get() else {
            return Err(Stop::Leaving);
        };
        let wake = Arc::new(BusWake(Arc::clone(&reading.bus)));
        let projection = Arc::new(Unseen(Arc::clone(spare)));
        let bus = Arc::clone(&reading.bus);
        let consumer = Consumer::with_options(bus, wake, projection, self.rebuild_options());
        let status = consumer.status();
        let follower = Follower::spawn("docs-api/rebuilding", &self.tree, |stop| consumer.run(stop));
        let shadow = Shadow { status, follower };
        match self.watch(&shadow, &*reading.bus, live, abort, gauge).await {
            Ok(()) => Ok(shadow),
            Err(stop) => {
                shadow.follower.stop().await;
                Err(stop)
            }
        }
    }

    async fn watch(
        &self,
        shadow: &Shadow,
        bus: &dyn Bus,
        live: Slot,
        abort: &CancellationToken,
        gauge: &Gauge,
    ) -> Result<(), Stop> {
        loop {
            let now = shadow.status.borrow().clone();
            // A bus that is away is waited for, as the consumer does.
            let tail = bus.tail().await.ok();
            match &now.state {
                ConsumerState::Stuck { code, error } => return Err(failed(code, error)),
                ConsumerState::Retrying { code, error, .. } if *code == ErrorKind::DiskFull.code() => {
                    return Err(failed(code, error));
                }
                ConsumerState::Following => {
                    if let Some(tail) = tail {
                        gauge.at(now.position, tail);
                        self.projector.meters.rebuild_lag.set(tail - now.position);
                        if tail - now.position <= CAUGHT_UP_EVENTS {
                            return Ok(());
                        }
                    }
                }
                ConsumerState::Starting | ConsumerState::Retrying { .. } => {}
            }
            if let Some(short) = self.shelf.shortage(live, true) {
                return Err(failed(ErrorKind::DiskFull.code(), &short));
            }
            if abort
                .run_until_cancelled(tokio::time::sleep(LOOK_EVERY))
                .await
                .is_none()
            {
                return Err(self.ended_by(abort));
            }
        }
    }

    /// Lets `spare` take the place of what serves; `None` when it did not come as far in time, and all is as before.
    async fn switch(
        &self,
        building: &Building,
        live: Slot,
        shadow: Shadow,
        spare: &Arc<dyn Generation>,
        gauge: &Gauge,
    ) -> Result<Option<Arc<dyn Generation>>, Stop> {
        let mut follower = self.follower.lock().await;
        if let Some(serving) = follower.take() {
            serving.stop().await;
        }
        let switched = self.switch_standing(building, live, shadow, spare, gauge).await;
        // Whichever serves.
        *follower = self.follow_serving();
        switched
    }

    /// As [`Self::switch`], while what serves stands still.
    async fn switch_standing(
        &self,
        building: &Building,
        live: Slot,
        mut shadow: Shadow,
        spare: &Arc<dyn Generation>,
        gauge: &Gauge,
    ) -> Result<Option<Arc<dyn Generation>>, Stop> {
        let serving = self.serving.now()?;
        let position = serving.books().position().await;
        let reached = async {
            let Ok(target) = &position else { return };
            let target = target.as_ref().map_or(0, |(_, seq)| *seq);
            // The status ends with its consumer, which nobody but us ends.
            let _ended = shadow.status.wait_for(|now| now.position >= target).await;
        };
        let reached = tokio::time::timeout(REACH_TIME_MAX, reached).await.is_ok();
        shadow.follower.stop().await;
        position?;
        if !reached || self.tree.stopping().is_cancelled() {
            return Ok(None);
        }
        let settled = handover::settle(&*serving, &**spare, self.projector.clock.now()).await?;
        let taken_over = gauge.taken_over.fetch_add(settled, Ordering::Relaxed) + settled;
        self.record_switch(building, taken_over).await?;
        let mut held = self.record.lock().await;
        let Some(record) = held.as_mut().filter(|record| record.builds(building.number)) else {
            return Err(Stop::Leaving);
        };
        let next = record.ended(
            live.other(),
            Ended {
                taken_over,
                ..self.ended(building, Outcome::Switched)
            },
        );
        self.store(record, next).await?;
        let former = self.serving.switch(live.other(), Arc::clone(spare));
        // Reads that begin from now on must not join those that began before.
        self.projector.progress.advance();
        drop(serving);
        Ok(former)
    }

    /// The entry of the switch, before it takes effect.
    async fn record_switch(&self, building: &Building, taken_over: u64) -> Result<(), Stop> {
        let acts = self.acts.get().and_then(Option::as_ref).ok_or(Stop::Leaving)?;
        let detail = json!({ "rebuild": building.number, "switch": true, "taken_over": taken_over });
        let (asked, resource) = (asked(building), resource());
        let written = acts.result(&asked, Action::EventsRebuild, &resource, detail);
        written.await.map_err(|problem| Stop::Failed {
            code: problem.code,
            why: problem.detail.unwrap_or(problem.title),
        })
    }

    /// Throws away what was built, and notes why.
    async fn end(&self, building: &Building, live: Slot, spare: Option<Arc<dyn Generation>>, stop: Stop) {
        let ended = match stop {
            Stop::Leaving => return,
            Stop::Aborted => self.ended(building, Outcome::Aborted),
            Stop::Failed { code, why } => {
                tracing::error!(
                    rebuild = building.number,
                    code,
                    why,
                    "the read model is not rebuilt; the former serves on"
                );
                if let Some(acts) = self.acts.get().and_then(Option::as_ref) {
                    let problem = Problem::new(503, &code, "the rebuild failed").detail(why.clone());
                    acts.failed(&asked(building), Action::EventsRebuild, &resource(), &problem)
                        .await;
                }
                Ended {
                    why: Some(why),
                    code: Some(code),
                    ..self.ended(building, Outcome::Failed)
                }
            }
        };
        // First the room that it takes: the record may need it.
        if let Some(spare) = spare {
            self.discard(spare, live.other()).await;
        }
        let stopping = self.tree.stopping();
        while let Err(error) = self.note_end(&ended).await {
            tracing::error!(code = error.code(), %error, "the end of a rebuild cannot be noted; until it is, the next start begins it again");
            if stopping
                .run_until_cancelled(tokio::time::sleep(AGAIN))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    async fn note_end(&self, ended: &Ended) -> Result<(), Error> {
        let mut held = self.record.lock().await;
        match held.as_mut() {
            Some(record) if record.builds(ended.number) => {
                let next = record.ended(record.live, ended.clone());
                self.store(record, next).await
            }
            // Another process has noted what became of it.
            Some(_) | None => Ok(()),
        }
    }

    fn ended(&self, building: &Building, outcome: Outcome) -> Ended {
        Ended {
            number: building.number,
            reason: building.reason.clone(),
            began_at: building.began_at,
            ended_at: self.projector.clock.now(),
            outcome,
            why: None,
            code: None,
            taken_over: 0,
        }
    }

    /// Stores `next` in place of `record`, which is afterwards what is stored.
    async fn store(&self, record: &mut Record, next: Record) -> Result<(), Error> {
        let stored = Record {
            revision: next.revision + 1,
            ..next.clone()
        };
        let error = match self.shelf.save(&next).await {
            Ok(true) => {
                *record = stored;
                return Ok(());
            }
            Ok(false) => Error::new(
                ErrorKind::Conflict,
                "another process has changed which read model serves",
            ),
            Err(error) => error,
        };
        // Whether it was stored is not known: only the store can say.
        loop {
            match self.shelf.load().await {
                Ok(found) if found == stored => {
                    *record = stored;
                    return Ok(());
                }
                Ok(found) => {
                    *record = found;
                    return Err(error);
                }
                Err(unknown) => {
                    tracing::warn!(code = unknown.code(), %unknown, "which read model serves is not known")
                }
            }
            let stopping = self.tree.stopping();
            if stopping
                .run_until_cancelled(tokio::time::sleep(AGAIN))
                .await
                .is_none()
            {
                return Err(error);
            }
        }
    }

    /// Does `work` again while the store is away. It is dropped where it waits when the rebuild is to end.
    async fn patiently<T, F: Future<Output = Result<T, Error>>>(
        &self,
        abort: &CancellationToken,
        work: impl Fn() -> F,
    ) -> Result<T, Stop> {
        loop {
            let Some(done) = abort.run_until_cancelled(work()).await else {
                return Err(self.ended_by(abort));
            };
            match done {
                Ok(done) => return Ok(done),
                Err(error) if error.retry_after().is_some() => {
                    tracing::warn!(code = error.code(), %error, "a rebuild waits for the store");
                }
                Err(error) => return Err(error.into()),
            }
            if abort
                .run_until_cancelled(tokio::time::sleep(AGAIN))
                .await
                .is_none()
            {
                return Err(self.ended_by(abort));
            }
        }
    }

    /// What a cancelled rebuild was cancelled by.
    fn ended_by(&self, abort: &CancellationToken) -> Stop {
        debug_assert!(abort.is_cancelled(), "asked after it was cancelled");
        if self.tree.stopping().is_cancelled() {
            Stop::Leaving
        } else {
            Stop::Aborted
        }
    }
}

fn failed(code: &str, why: &str) -> Stop {
    Stop::Failed {
        code: code.to_owned(),
        why: why.to_owned(),
    }
}

/// Who asked for a rebuild that may go on after the request, and after the process.
fn asked(building: &Building) -> Asked {
    Asked {
        actor: building
            .uid
            .map_or(Actor::Service(crate::docs::SERVICE), Actor::OsUser),
        reason: building.reason.clone(),
        trace: TraceContext::start(|| fastrand::u64(..)),
    }
}
