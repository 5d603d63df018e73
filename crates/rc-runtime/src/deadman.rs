//! Knowing that the supervisor is gone, however it went.
//!
//! The supervisor holds the write end of each child's standard input and never writes. The kernel closes it
//! with the supervisor, also after `kill -9`, and the child sees a hang-up. Unlike a parent-death signal this
//! does not depend on which thread started the child, and unlike a look at the parent's id it has no race.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio_util::sync::CancellationToken;

/// Small: these threads only wait.
const STACK_BYTES: usize = 64 << 10;

/// A token that is cancelled when the other end of standard input is closed. With a terminal or `/dev/null`
/// as standard input that does not happen, so a service can be run by hand.
///
/// # Errors
/// When the waiting thread cannot be started.
pub fn supervisor_gone() -> std::io::Result<CancellationToken> {
    let gone = CancellationToken::new();
    let cancel = gone.clone();
    std::thread::Builder::new()
        .name("deadman".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            wait_for_hang_up();
            cancel.cancel();
        })?;
    Ok(gone)
}

/// Kills this process `grace` after the supervisor is gone, should it still be there: the last resort for a
/// service whose own way of draining hangs.
///
/// # Errors
/// When the waiting thread cannot be started.
pub fn last_resort(grace: Duration) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("last-resort".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            wait_for_hang_up();
            let seconds = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
            let grace = Timespec {
                tv_sec: seconds,
                tv_nsec: grace.subsec_nanos().into(),
            };
            // Polling nothing is a sleep; an interrupted one only makes the last resort come sooner.
            let _ = poll(&mut [], Some(&grace));
            // Nothing is left to report to when even this fails.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        })?;
    Ok(())
}

/// Blocks until the other end of standard input is closed.
fn wait_for_hang_up() {
    let stdin = std::io::stdin();
    loop {
        // No event is asked for: only a hang-up or an error, which are always told, wake this up.
        let mut watched = [PollFd::new(&stdin, PollFlags::empty())];
        match poll(&mut watched, None) {
            Ok(_) if watched[0].revents().is_empty() => {}
            Ok(_) => return,
            Err(rustix::io::Errno::INTR) => {}
            // Standard input is closed altogether: nobody holds the other end.
            Err(_) => return,
        }
    }
}
