//! Supervised tasks: every task has a name, hears about the stop, and is waited for.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Read as _;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A set of tasks that end together. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    tracker: TaskTracker,
    stopping: CancellationToken,
    running: Arc<Mutex<Running>>,
    failed: Arc<AtomicBool>,
}

/// Names of the tasks that run, so that a shutdown can say which one hangs.
#[derive(Debug, Default)]
struct Running {
    next: u64,
    names: BTreeMap<u64, Arc<str>>,
}

impl Tree {
    /// A tree without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task. `name` is what a person reads when the task does not end.
    ///
    /// The task must end soon after [`Tree::stopping`] is cancelled.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns tasks")]
    pub fn spawn<F>(&self, name: impl Into<Arc<str>>, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let name = name.into();
        let id = {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.next += 1;
            let id = running.next;
            running.names.insert(id, Arc::clone(&name));
            id
        };
        // Dropped when the task ends, is aborted, or panics.
        let entry = Entry {
            id,
            running: Arc::clone(&self.running),
        };
        let (failed, stopping, label) = (Arc::clone(&self.failed), self.stopping.clone(), Arc::clone(&name));
        let task = async move {
            let _entry = entry;
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                // Going on without a part of the process would be a process that looks alive.
                tracing::error!(task = &*label, "a task panicked, stopping");
                failed.store(true, Ordering::Relaxed);
                stopping.cancel();
            }
        };
        drop(tokio::spawn(self.tracker.track_future(task)));
    }

    /// The signal that the tree stops. Select on it in every loop.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Says that a part of the process failed and cannot be made good, and tells every task to end.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
        self.stop();
    }

    /// Whether a task panicked or [`Tree::fail`] was called.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Tells every task to end.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Stops, then waits until all tasks have ended.
    ///
    /// # Errors
    /// The names of the tasks that still run after `deadline`.
    pub async fn drain(&self, deadline: Duration) -> Result<(), Vec<String>> {
        self.stop();
        self.tracker.close();
        if tokio::time::timeout(deadline, self.tracker.wait()).await.is_ok() {
            return Ok(());
        }
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        Err(running
            .names
            .values()
            .map(|name| name.as_ref().to_owned())
            .collect())
    }
}

struct Entry {
    id: u64,
    running: Arc<Mutex<Running>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .names
            .remove(&self.id);
    }
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// When the handlers cannot be installed.
pub async fn terminated() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// SIGHUP, each time that it comes. From now on it does not end the process.
///
/// # Errors
/// When the handler cannot be installed.
pub fn hang_ups() -> std::io::Result<tokio::signal::unix::Signal> {
    signal(SignalKind::hangup())
}

/// Waits until the supervisor is gone: it holds the other end of our stdin, and never writes.
///
/// A thread of its own reads, so that neither a busy runtime nor its shutdown can miss the end.
pub async fn parent_gone() {
    let (gone, wait) = tokio::sync::oneshot::channel::<()>();
    let reader = std::thread::Builder::new()
        .name("parent-watch".to_owned())
        .spawn(move || {
            let mut stdin = std::io::stdin().lock();
            let mut sink = [0_u8; 64];
            loop {
                match stdin.read(&mut sink) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            // Nobody may be waiting any more.
            let _ = gone.send(());
        });
    if let Err(error) = reader {
        tracing::error!(%error, "the watch on the supervisor did not start");
        return std::future::pending().await;
    }
    // The sender is dropped only after it sent.
    let _ = wait.await;
}

#[cfg(test)]
mod tests;
