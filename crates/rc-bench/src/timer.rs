//! A timer that epoll waits for.

use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::failure::Result;

/// A `timerfd`: finer than any timeout of epoll.
#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    /// Its events have the number `data`.
    pub(crate) fn new(epoll: &OwnedFd, data: u64) -> Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(
            epoll,
            &timer,
            epoll::EventData::new_u64(data),
            epoll::EventFlags::IN,
        )?;
        Ok(Self(timer))
    }

    /// Has it fire once after so many nanoseconds, and not when it would have fired before.
    pub(crate) fn arm(&self, nanoseconds: u64) -> Result<()> {
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // Zero would mean never.
        let nanoseconds = nanoseconds.max(1);
        let once = Itimerspec {
            it_interval: zero,
            it_value: Timespec {
                tv_sec: (nanoseconds / 1_000_000_000) as i64,
                tv_nsec: (nanoseconds % 1_000_000_000) as i64,
            },
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    /// Forgets that it fired.
    pub(crate) fn clear(&self) {
        // How often it fired says nothing that the clock does not say.
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}
