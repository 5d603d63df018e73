//! Memory that nobody uses and the allocator keeps.

use std::time::Duration;

use tokio::time::Instant;

/// Least time between two times that memory is given back: the next reload wants it again.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(1);

/// Gives memory back after work that needed much of it for a moment, such as reading files, and not too often.
#[derive(Debug, Default)]
pub struct Slack {
    used: bool,
    given_back: Option<Instant>,
}

impl Slack {
    /// Says that such work was done.
    pub fn used(&mut self) {
        self.used = true;
    }

    /// Gives memory back if there was such work. It takes a few milliseconds and belongs off the async threads.
    pub async fn give_back(&mut self) {
        let lately = self.given_back.is_some_and(|at| at.elapsed() < GIVE_BACK_EVERY);
        if self.used && !lately {
            crate::off_thread(trim).await;
            (self.used, self.given_back) = (false, Some(Instant::now()));
        }
    }
}

/// glibc keeps what was freed below the end of each arena, and every thread that reads files has an arena.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(
    unsafe_code,
    reason = "`malloc_trim` has no wrapper; it takes a number and touches only free memory"
)]
fn trim() {
    unsafe extern "C" {
        safe fn malloc_trim(pad: usize) -> std::ffi::c_int;
    }
    malloc_trim(0);
}

/// Other allocators give memory back by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
