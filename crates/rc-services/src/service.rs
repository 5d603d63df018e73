//! What every reference service is given when it starts.

use std::sync::Arc;

use rc_events::Bus;
use rc_events::schema::Registry;
use rc_model::project::{AccessLog, ConsumersSection};
use rc_model::telemetry::TelemetrySink;
use rc_model::{Clock, Layout};
use rc_serve::{Marks, Metrics, Readiness, Tree};

/// Where a service lives and stores.
#[derive(Clone)]
pub struct ServiceConfig {
    /// The project's paths: the service's own data folder and everybody's sockets.
    pub layout: Layout,
    /// `sqlite:` or `postgres://…`; it may hold a password and is never logged.
    pub store_url: String,
    /// How events travel; `None`: by the log in the store.
    pub bus: Option<Arc<dyn Bus>>,
    /// What readers of events do with those that can never be applied.
    pub consumers: ConsumersSection,
    /// The project's own schemas of events.
    pub schemas: Arc<Registry>,
    /// Which requests get a log line.
    pub access: AccessLog,
}

/// What a service shares with the process it runs in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Deps {
    pub tree: Tree,
    pub clock: Arc<dyn Clock>,
    pub metrics: Metrics,
    pub readiness: Readiness,
    /// Where spans go; `None`: nobody records any.
    pub telemetry: Option<Arc<dyn TelemetrySink>>,
    /// What log lines say about users and data.
    pub marks: Marks,
}

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    /// The stable error code.
    pub code: &'static str,
    /// What failed, with values.
    pub message: Box<str>,
    /// What to do.
    pub hint: Option<Box<str>>,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StartError {
    /// A failure of the kind `code`.
    #[must_use]
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into().into_boxed_str(),
            hint: None,
            source: None,
        }
    }

    /// The same failure with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into().into_boxed_str());
        self
    }

    /// The same failure with its cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl std::fmt::Debug for ServiceConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceConfig")
            .field("layout", &self.layout)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}
