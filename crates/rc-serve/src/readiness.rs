//! Whether the process can serve, and if not, which part is missing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The parts a process needs before it can serve. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    parts: Arc<Mutex<BTreeMap<&'static str, State>>>,
}

#[derive(Debug, Clone)]
enum State {
    Starting,
    Ready,
    /// It can serve, and a person should know this.
    Noted(String),
    Down(String),
}

impl State {
    fn is_ready(&self) -> bool {
        matches!(self, Self::Ready | Self::Noted(_))
    }
}

/// One part. It begins as starting, which counts as not ready.
#[derive(Debug, Clone)]
pub struct Component {
    name: &'static str,
    readiness: Readiness,
}

/// What `/ready` answers.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Report {
    /// `ready` or `unready`.
    pub state: String,
    /// Each part: `ready`, `ready: <note>`, `starting`, or `down: <reason>`.
    pub components: BTreeMap<String, String>,
}

impl Readiness {
    /// A process that needs nothing yet, and so is ready.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a part that is needed.
    #[must_use]
    pub fn component(&self, name: &'static str) -> Component {
        self.parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(name)
            .or_insert(State::Starting);
        Component {
            name,
            readiness: self.clone(),
        }
    }

    /// Whether every part is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.values().all(State::is_ready)
    }

    /// The state of every part.
    #[must_use]
    pub fn report(&self) -> Report {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let ready = parts.values().all(State::is_ready);
        let components: BTreeMap<String, String> = parts
            .iter()
            .map(|(name, state)| {
                let state = match state {
                    State::Starting => "starting".to_owned(),
                    State::Ready => "ready".to_owned(),
                    State::Noted(note) => format!("ready: {note}"),
                    State::Down(reason) => format!("down: {reason}"),
                };
                ((*name).to_owned(), state)
            })
            .collect();
        Report {
            state: if ready { "ready" } else { "unready" }.to_owned(),
            components,
        }
    }
}

impl Component {
    /// The part can serve.
    pub fn set_ready(&self) {
        self.set(State::Ready);
    }

    /// The part can serve, and a person should know `note`, which holds no secret.
    pub fn set_noted(&self, note: impl Into<String>) {
        self.set(State::Noted(note.into()));
    }

    /// The part cannot serve; `reason` is for people and holds no secret.
    pub fn set_down(&self, reason: impl Into<String>) {
        self.set(State::Down(reason.into()));
    }

    fn set(&self, state: State) {
        let mut parts = self
            .readiness
            .parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        parts.insert(self.name, state);
    }
}

#[cfg(test)]
mod tests;
