//! Making faults happen, and ending them.

use std::time::Duration;

use rc_test::chaos::Weather;
use rc_test::disk::fail_writes;
use tokio::time::Instant;

use super::{LOOK_EVERY, Run, millis};
use crate::failure::Result;
use crate::fault::{Fault, MAKES_SLOT, Network, Planned, Role};
use crate::process::Process;

/// How long an armed process may take to come to its crash point: a relay first waits for the lease of the one before.
const CRASH_TIME_MAX: Duration = Duration::from_secs(9);

/// How long a machine has its power at least.
const POWER_TIME: Duration = Duration::from_millis(600);

/// How long a relay that goes on after its lease runs beside the one that has it.
const ZOMBIE_TIME: Duration = Duration::from_millis(700);

impl Run<'_> {
    /// Makes one fault happen and ends it; `false` when it could not take place.
    pub(super) async fn inflict(&mut self, planned: Planned) -> Result<bool> {
        let lasts = planned.lasts;
        match planned.fault {
            Fault::Kill(role) => Ok(self.kill(role)),
            Fault::Crash(role, point) => self.crash(role, point, millis(lasts)).await,
            Fault::Pause(role) => {
                let Some(process) = &self.place(role).process else {
                    return Ok(false);
                };
                process.pause(true);
                self.rest(lasts).await?;
                if let Some(process) = &self.place(role).process {
                    process.pause(false);
                }
                Ok(true)
            }
            Fault::Zombie(point) => self.zombie(point, lasts).await,
            Fault::SecondRelay => {
                let args = self.args(Role::Relay);
                let second = Process::start(&self.options.program, &args, &self.log())?;
                self.rest(lasts).await?;
                drop(second);
                Ok(true)
            }
            Fault::DiskFails(role) => {
                let Some(pid) = self.place(role).process.as_ref().map(Process::pid) else {
                    return Ok(false);
                };
                fail_writes(pid, true);
                self.rest(lasts).await?;
                // The same process or a later one, which has its own limit.
                if self.place(role).process.as_ref().map(Process::pid) == Some(pid) {
                    fail_writes(pid, false);
                }
                Ok(true)
            }
            Fault::Clock(role) => {
                // An hour forward or back, or a day.
                let seconds =
                    [3_600, -3_600, 86_400, -86_400][usize::try_from(millis(lasts) % 4).unwrap_or(0)];
                let Some(process) = &mut self.place(role).process else {
                    return Ok(false);
                };
                process.step_clock(seconds);
                self.rest(lasts).await?;
                Ok(true)
            }
            Fault::Network(kind) => self.network(kind, lasts).await,
            Fault::KillPostgres => {
                if let Some(server) = self.world.postgres() {
                    server.postgres.kill();
                    server.postgres.start_again();
                }
                Ok(true)
            }
            Fault::KillNats => {
                if let Some(server) = self.world.nats() {
                    server.nats.kill();
                    server.nats.start_again();
                }
                Ok(true)
            }
            Fault::DropSlot => Ok(self.world.drop_slot()),
            Fault::Failover => {
                let Some(standby) = self.world.standby() else {
                    return Ok(false);
                };
                self.rest(lasts).await?;
                self.world.fail_over(standby);
                Ok(true)
            }
            Fault::DiskFull => {
                let filled = self.world.fill_disk()?;
                self.rest(lasts).await?;
                self.world.make_room()?;
                Ok(filled)
            }
            Fault::PowerLoss => {
                // Something must have happened since the last time.
                self.rest(POWER_TIME).await?;
                let acknowledged = self.status(Role::Relay).at;
                for role in Role::ALL {
                    self.kill(role);
                }
                let lost = self.world.lose_power(&mut self.rng)?;
                let tail = self.world.tail().await.unwrap_or(acknowledged);
                self.forgotten += acknowledged.saturating_sub(tail).max(0).cast_unsigned();
                Ok(lost)
            }
            Fault::KillBackend => {
                if let Some(server) = self.world.postgres() {
                    server.postgres.revive();
                    server.postgres.kill_a_backend();
                }
                Ok(true)
            }
        }
    }

    async fn network(&mut self, kind: Network, lasts: Duration) -> Result<bool> {
        let weather = match kind {
            Network::Cut => {
                return Ok(self
                    .world
                    .proxies()
                    .iter()
                    .map(|proxy| proxy.cut())
                    .sum::<usize>()
                    > 0);
            }
            Network::Slow => Weather::Slow(Duration::from_millis(30)),
            Network::Silent => Weather::Silent,
            Network::Refusing => Weather::Refusing,
            Network::Unanswered => Weather::Unanswered,
            Network::HalfOpen => Weather::HalfOpen,
        };
        for proxy in self.world.proxies() {
            proxy.set(weather);
        }
        self.rest(lasts).await?;
        for proxy in self.world.proxies() {
            if matches!(kind, Network::Unanswered | Network::HalfOpen | Network::Refusing) {
                // What was swallowed must not come after all.
                proxy.cut();
            }
            proxy.set(Weather::Clear);
        }
        Ok(true)
    }

    fn kill(&mut self, role: Role) -> bool {
        match &mut self.place(role).process {
            Some(process) => {
                process.kill();
                true
            }
            None => false,
        }
    }

    /// Starts `role` again with a crash point, and waits until it came there. One that has nothing to do does not.
    async fn crash(&mut self, role: Role, point: &'static str, visit: u64) -> Result<bool> {
        if self.place(role).finished {
            return Ok(false);
        }
        self.place(role).armed = Some((point, visit));
        self.kill(role);
        if MAKES_SLOT.contains(&point) {
            self.world.drop_slot();
        }
        let until = Instant::now() + CRASH_TIME_MAX;
        while self.place(role).armed.is_some() && Instant::now() < until {
            self.rest(LOOK_EVERY).await?;
        }
        let crashed = self.place(role).armed.take().is_none();
        if !crashed {
            // An armed process must not stay behind.
            self.kill(role);
        }
        Ok(crashed)
    }

    /// A relay that stops at `point` while another takes over, and then goes on where it was.
    async fn zombie(&mut self, point: &'static str, lasts: Duration) -> Result<bool> {
        self.place(Role::Relay).armed = Some((point, 3));
        self.place(Role::Relay).stops = true;
        self.kill(Role::Relay);
        let until = Instant::now() + CRASH_TIME_MAX;
        let mut stopped = false;
        while !stopped && Instant::now() < until {
            self.rest(LOOK_EVERY).await?;
            stopped = self
                .place(Role::Relay)
                .process
                .as_ref()
                .is_some_and(Process::is_stopped);
        }
        self.place(Role::Relay).armed = None;
        self.place(Role::Relay).stops = false;
        if stopped {
            let args = self.args(Role::Relay);
            let second = Process::start(&self.options.program, &args, &self.log())?;
            self.rest(lasts).await?;
            if let Some(process) = &self.place(Role::Relay).process {
                process.pause(false);
            }
            // Both at once, for a moment.
            self.rest(ZOMBIE_TIME).await?;
            drop(second);
        }
        Ok(stopped)
    }
}
