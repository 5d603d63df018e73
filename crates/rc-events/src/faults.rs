//! Places where a test ends the process, and mistakes that a test switches on to see whether it would
//! notice them. Without the feature `testing` all of this compiles to nothing.

/// Ends the process without unwinding, flushing or destructors, when a test has armed this point.
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// Whether a test wants this mistake made.
#[cfg(not(feature = "testing"))]
#[inline(always)]
#[must_use]
pub const fn mutated(_name: &'static str) -> bool {
    false
}

#[cfg(feature = "testing")]
pub use armed::{Armed, arm, mutated, point};

#[cfg(feature = "testing")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering};

    /// What a test wants of this process.
    #[derive(Debug, Default)]
    pub struct Armed {
        /// The point at which something happens, and at which of its visits: 1 is the first.
        pub point: Option<(String, AtomicI64)>,
        /// What happens there; `None`: the process ends.
        pub act: Option<fn()>,
        /// Mistakes to make.
        pub mutations: Vec<String>,
    }

    static ARMED: OnceLock<Armed> = OnceLock::new();

    /// Arms the process, once and before it does anything.
    ///
    /// # Errors
    /// Gives `armed` back when the process is armed already.
    pub fn arm(armed: Armed) -> Result<(), Armed> {
        ARMED.set(armed)
    }

    /// Does what the process is armed for, if this visit of this point is the armed one.
    pub fn point(name: &'static str) {
        let Some(armed) = ARMED.get() else { return };
        if let Some((point, left)) = &armed.point
            && point == name
            && left.fetch_sub(1, Ordering::SeqCst) == 1
        {
            match armed.act {
                Some(act) => act(),
                // As `kill -9` would: nothing is flushed, nothing unwinds.
                None => std::process::abort(),
            }
        }
    }

    /// Whether a test wants this mistake made.
    #[must_use]
    pub fn mutated(name: &'static str) -> bool {
        ARMED
            .get()
            .is_some_and(|armed| armed.mutations.iter().any(|mutation| mutation == name))
    }
}
