//! The consumer's own task: reads the bus, feeds the lanes, and does between batches what people ask for.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::core::Core;
use super::handle::Command;
use super::history::Running;
use super::lanes::{Lanes, Told};
use super::redeliver::Redelivery;
use super::{
    APPLY_BYTES_MAX, APPLY_ROWS_MAX, ConsumerState, ConsumerStatus, Entered, POLL_MAX, POLL_MIN,
    SPURIOUS_PAUSE, STUCK_PAUSE, TELL_TIME_MAX, WAKE_TIME_MAX,
};
use crate::Error;
use crate::bus::{BusId, ReadLimit};
use crate::event::{Event, Seq};
use crate::relay::retry_pause;

/// A running consumer. All of it belongs to the task that runs it; lanes are tasks of its own.
pub(super) struct Engine {
    core: Arc<Core>,
    /// `None` when nobody can ask any more.
    commands: Option<mpsc::Receiver<Command>>,
    redelivery: Option<Redelivery>,
    replay: Option<Running>,
    /// Work and events take turns.
    worked: bool,
}

/// What the engine does next.
enum Next {
    Stop,
    Failed(Error),
    Command(Option<Command>),
    Read(Result<Vec<Event>, Error>),
    Work,
}

impl Engine {
    pub(super) fn new(core: Arc<Core>, commands: mpsc::Receiver<Command>) -> Self {
        Self {
            core,
            commands: Some(commands),
            redelivery: None,
            replay: None,
            worked: false,
        }
    }

    /// Runs until `stop`.
    pub(super) async fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let Err(error) = self.follow(stop).await else {
                return;
            };
            let failures = self
                .core
                .failures
                .fetch_add(1, Ordering::Relaxed)
                .saturating_add(1);
            let wait = self.core.report(&error, failures);
            if stop.run_until_cancelled(self.pause(wait)).await.is_none() {
                return;
            }
        }
    }

    /// Applies batches until something fails or `stop` comes.
    async fn follow(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let core = Arc::clone(&self.core);
        // After a failure it is unknown whether the transaction stands: the store knows.
        let bus = core.bus.id().await?;
        let entered = core.enter(&bus).await?;
        let mut at = entered.positions.iter().copied().min().unwrap_or(0);
        core.redeliver_ready(&bus, None).await?;
        self.replay = core.running().await?;
        let halt = stop.child_token();
        let _ends_lanes = halt.clone().drop_guard();
        let mut lanes = Lanes::spawn(&core, &bus, &entered.positions, &halt);
        let mut told = Told::default();
        let mut poll = POLL_MIN;
        let limit = ReadLimit {
            rows: APPLY_ROWS_MAX,
            bytes: APPLY_BYTES_MAX,
        };
        loop {
            told.tell(&core, &lanes).await;
            match self.next(&core, &mut lanes, at, limit, stop).await {
                Next::Stop => {
                    // What is being applied is finished first.
                    halt.cancel();
                    lanes.ended().await;
                    return Ok(());
                }
                Next::Failed(error) => return Err(error),
                Next::Command(command) => {
                    if lanes.drained(&core, &mut told, at, stop).await? {
                        self.execute(&bus, command).await?;
                    }
                }
                Next::Work => {
                    if lanes.drained(&core, &mut told, at, stop).await? {
                        self.work(&bus).await?;
                    }
                    self.worked = true;
                }
                Next::Read(read) => {
                    self.worked = false;
                    let events = read?;
                    let Some(last) = events.last() else {
                        if !lanes.drained(&core, &mut told, at, stop).await? {
                            continue;
                        }
                        core.settled(at);
                        if let Some(command) = self.idle(&core, at, &mut poll, stop).await {
                            self.execute(&bus, command).await?;
                        }
                        continue;
                    };
                    at = last.pos;
                    poll = POLL_MIN;
                    lanes.send(events, at, stop).await;
                }
            }
        }
    }

    /// What comes first: an end, a request, a piece of work that is due, or events.
    async fn next(
        &mut self,
        core: &Core,
        lanes: &mut Lanes,
        at: Seq,
        limit: ReadLimit,
        stop: &CancellationToken,
    ) -> Next {
        let busy = self.redelivery.is_some();
        let due = self.due();
        tokio::select! {
            biased;
            () = stop.cancelled() => Next::Stop,
            error = lanes.failed() => Next::Failed(error),
            command = receive(&mut self.commands, busy) => Next::Command(command),
            () = sleep_until(due), if !self.worked && due.is_some_and(|due| due <= Instant::now()) => Next::Work,
            read = core.bus.read(at, limit) => Next::Read(read),
        }
    }

    /// When the next piece of work is due.
    fn due(&self) -> Option<Instant> {
        let redelivery = self.redelivery.as_ref().map(|work| work.due);
        let replay = self.replay.as_ref().map(|running| running.due);
        redelivery.into_iter().chain(replay).min()
    }

    /// Does what was asked; no lane is at work.
    async fn execute(&mut self, bus: &BusId, command: Option<Command>) -> Result<(), Error> {
        match command {
            None => self.commands = None,
            Some(Command::Resume) => self.core.close_breaker(),
            Some(Command::Look) => {
                self.core.redeliver_ready(bus, None).await?;
                self.replay = self.core.running().await?;
            }
            Some(Command::Replay { filter, how, answer }) => {
                self.redelivery = self.core.redelivery(&filter, how, answer).await;
            }
        }
        Ok(())
    }

    /// A piece of each work that is due; no lane is at work.
    async fn work(&mut self, bus: &BusId) -> Result<(), Error> {
        let now = Instant::now();
        if self.redelivery.as_ref().is_some_and(|work| work.due <= now)
            && let Some(work) = self.redelivery.take()
        {
            self.redelivery = self.core.redeliver_some(bus, work).await?;
        }
        if self.replay.as_ref().is_some_and(|running| running.due <= now)
            && let Some(running) = self.replay.take()
        {
            self.replay = self.core.replay_some(bus, running).await?;
        }
        Ok(())
    }

    /// Waits for something new; gives back a request that came instead.
    async fn idle(
        &mut self,
        core: &Core,
        at: Seq,
        poll: &mut Duration,
        stop: &CancellationToken,
    ) -> Option<Option<Command>> {
        let (due, busy) = (self.due(), self.redelivery.is_some());
        tokio::select! {
            () = stop.cancelled() => None,
            command = receive(&mut self.commands, busy) => Some(command),
            () = sleep_until(due) => None,
            () = core.idle(at, poll) => None,
        }
    }

    /// The pause after a failure. Requests are heard: one of them may be what helps.
    async fn pause(&mut self, wait: Duration) {
        let until = Instant::now() + wait;
        let sleep = tokio::time::sleep_until(until);
        tokio::pin!(sleep);
        loop {
            let busy = self.redelivery.is_some();
            let command = tokio::select! {
                () = &mut sleep => return,
                command = receive(&mut self.commands, busy) => command,
            };
            let resumed = matches!(command, Some(Command::Resume));
            let done = match self.core.bus.id().await {
                Ok(bus) => match self.execute(&bus, command).await {
                    Ok(()) => self.finish(&bus).await,
                    failed => failed,
                },
                failed => failed.map(drop),
            };
            if let Err(error) = done {
                tracing::warn!(consumer = &*self.core.name, code = error.code(), %error, "a request failed");
            }
            if resumed {
                return;
            }
        }
    }

    /// Replays the letters that were asked for; nothing else happens meanwhile.
    async fn finish(&mut self, bus: &BusId) -> Result<(), Error> {
        while let Some(work) = self.redelivery.take() {
            tokio::time::sleep_until(work.due).await;
            self.redelivery = self.core.redeliver_some(bus, work).await?;
        }
        Ok(())
    }
}

async fn receive(commands: &mut Option<mpsc::Receiver<Command>>, busy: bool) -> Option<Command> {
    match commands {
        Some(commands) if !busy => commands.recv().await,
        _ => pending().await,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => pending().await,
    }
}

impl Core {
    /// Makes the stored positions fit this bus and the number of lanes.
    async fn enter(&self, bus: &BusId) -> Result<Entered, Error> {
        let at_first_kept = match self.books.position().await? {
            Some((of, _)) => !of.as_str().is_empty() && of != *bus,
            None => self.options.rebuilds,
        };
        let start = if at_first_kept {
            crate::replay::first_kept(&*self.bus).await?
        } else {
            0
        };
        let entered = self.books.enter(bus, self.lanes(), start).await?;
        if let Some(former) = &entered.former {
            tracing::warn!(
                consumer = &*self.name,
                %former,
                %bus,
                start,
                "this is another bus than the one it read before; it begins at the start, and the keys' numbers \
                 skip what was applied"
            );
        }
        Ok(entered)
    }

    /// Asks the wake-up for the tail without waiting for it to grow: a consumer that is never idle has a
    /// true lag all the same, and a wake-up of another process hears where the consumer is.
    pub(super) async fn tell(&self, position: Seq) {
        let asked = self.wake.wait(position, Duration::ZERO);
        if let Ok(Ok(tail)) = tokio::time::timeout(TELL_TIME_MAX, asked).await {
            self.status
                .send_modify(|status| status.tail = status.tail.max(tail));
        }
    }

    /// Waits for something new. While the wake-up works nothing is polled; while it fails the bus is
    /// looked at from time to time.
    async fn idle(&self, position: Seq, poll: &mut Duration) {
        match self.wake.wait(position, WAKE_TIME_MAX).await {
            Ok(tail) => {
                *poll = POLL_MIN;
                self.status.send_if_modified(|status| {
                    let changed = status.tail < tail;
                    status.tail = status.tail.max(tail);
                    changed
                });
                if tail <= position {
                    tokio::time::sleep(SPURIOUS_PAUSE).await;
                }
            }
            Err(error) => {
                tracing::debug!(consumer = &*self.name, %error, "no wake-up; polling");
                tokio::time::sleep(*poll).await;
                *poll = (*poll * 2).min(POLL_MAX);
            }
        }
    }

    fn settled(&self, position: Seq) {
        self.failures.store(0, Ordering::Relaxed);
        self.status.send_if_modified(|status| {
            let settled = ConsumerStatus {
                position,
                tail: position,
                state: ConsumerState::Following,
                ..status.clone()
            };
            let changed = *status != settled;
            *status = settled;
            changed
        });
    }

    /// Puts the failure into the status; returns how long to wait.
    fn report(&self, error: &Error, failures: u32) -> Duration {
        let stuck = match error {
            Error::Gap(_)
            | Error::Mismatch(_)
            | Error::Pruned { .. }
            | Error::Restored { .. }
            | Error::Invalid(_)
            | Error::Refused(_)
            | Error::Poison(_)
            | Error::Full(_)
            | Error::Breaker(_)
            | Error::Letter(_)
            | Error::Job(_)
            | Error::Halted(_)
            | Error::Damaged(_) => true,
            Error::Fenced(_)
            | Error::Moved(_)
            | Error::Unreachable { .. }
            | Error::Replication(_)
            | Error::Store { .. } => false,
            Error::Server(fault) => fault.retry_after.is_none(),
        };
        let (code, text) = (error.code(), error.to_string());
        tracing::warn!(
            consumer = &*self.name,
            code,
            error = text,
            stuck,
            failures,
            "the consumer failed and tries again"
        );
        self.status.send_modify(|status| {
            status.state = if stuck {
                ConsumerState::Stuck { code, error: text }
            } else {
                ConsumerState::Retrying {
                    code,
                    error: text,
                    failures,
                }
            };
        });
        let pause = retry_pause(failures, error);
        // The first attempts may meet a passing fault; after that, patience.
        if stuck && failures > 3 {
            pause.max(STUCK_PAUSE)
        } else {
            pause
        }
    }
}
