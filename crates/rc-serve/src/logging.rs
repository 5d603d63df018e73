//! Logs: one JSON object a line, or aligned text on a terminal.
//!
//! Fields of the enclosing request span (`request_id`, `trace_id`, `tenant`, `user`) stand on every line, and
//! so does the version of the data and the configuration. Values are written as they are given: never pass a
//! secret as a field, and a user only as a [`crate::Pseudonym`].

use std::fmt::{self, Write as _};
use std::sync::{Arc, PoisonError, RwLock};

use rc_model::project::LogLevel;
use rc_model::{Clock as _, Digest, SystemClock};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use crate::pseudonym::Pseudonymizer;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty { color: bool },
}

/// Logging of one process.
#[derive(Debug, Clone)]
pub struct LogConfig {
    pub format: LogFormat,
    pub level: LogLevel,
    pub service: &'static str,
    /// Stands on every line once it is known.
    pub data_version: DataVersion,
}

/// Which data and which configuration a process works with: `<newest migration of its own store>+<first
/// 12 hex digits of the configuration's digest>`. All clones show the same value.
#[derive(Debug, Clone, Default)]
pub struct DataVersion(Arc<RwLock<Known>>);

#[derive(Debug, Default)]
struct Known {
    migration: usize,
    configuration: Option<Digest>,
    /// The two as they are written; empty before anything is known.
    text: Arc<str>,
}

impl DataVersion {
    /// The store has all migrations up to this number.
    pub fn set_migration(&self, number: usize) {
        self.change(|known| known.migration = number);
    }

    /// The configuration in force.
    pub fn set_configuration(&self, digest: Digest) {
        self.change(|known| known.configuration = Some(digest));
    }

    /// As it stands on lines; `None` before the configuration is known.
    #[must_use]
    pub fn text(&self) -> Option<Arc<str>> {
        let text = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).text);
        (!text.is_empty()).then_some(text)
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        if let Some(digest) = known.configuration {
            known.text = Arc::from(format!("{}+{}", known.migration, digest.short()));
        }
    }
}

/// What log lines say besides the event itself. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    /// Gives users their names; `None`: lines name no users.
    pub users: Option<Pseudonymizer>,
    /// The process's own; whoever opens its store or reads its configuration says so here.
    pub data_version: DataVersion,
}

/// Starts logging to stderr. A second call in one process changes nothing.
pub fn init(config: LogConfig) {
    let level = match config.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        // The reader of our stderr may be gone, and with it the only place to complain: the default would
        // panic there, in the middle of a drain.
        .log_internal_errors(false);
    let (service, data_version) = (config.service, config.data_version);
    // It fails only where a subscriber is already set: the first call wins.
    let _ = match config.format {
        LogFormat::Json => tracing::subscriber::set_global_default(
            builder
                .fmt_fields(JsonFields)
                .event_format(JsonLine {
                    service,
                    data_version,
                })
                .finish(),
        ),
        LogFormat::Pretty { color } => tracing::subscriber::set_global_default(
            builder
                .with_ansi(color)
                .fmt_fields(PrettyFields)
                .event_format(PrettyLine { service })
                .finish(),
        ),
    };
}

/// Writes an event as one JSON object: `ts`, `level`, `service`, `msg`, then its own and its spans' fields.
#[derive(Debug, Clone)]
pub struct JsonLine {
    service: &'static str,
    data_version: DataVersion,
}

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        write!(
            out,
            "{{\"ts\":\"{}\",\"level\":\"{level}\",\"service\":\"{}\"",
            SystemClock.now(),
            self.service
        )?;
        let mut own = String::new();
        event.record(&mut JsonVisitor { out: &mut own });
        out.write_str(&own)?;
        for span in ctx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                out.write_str(&fields.fields)?;
            }
        }
        if let Some(version) = self.data_version.text() {
            write!(out, ",\"data_version\":\"{version}\"")?;
        }
        write!(out, ",\"target\":\"{}\"}}", event.metadata().target())?;
        writeln!(out)
    }
}

/// Writes span fields as `,"name":value` pieces that a [`JsonLine`] joins.
#[derive(Debug, Clone, Copy)]
pub struct JsonFields;

impl<'writer> FormatFields<'writer> for JsonFields {
    fn format_fields<R: tracing_subscriber::field::RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut text = String::new();
        fields.record(&mut JsonVisitor { out: &mut text });
        writer.write_str(&text)
    }
}

struct JsonVisitor<'a> {
    out: &'a mut String,
}

impl JsonVisitor<'_> {
    fn name(&mut self, field: &Field) {
        let name = if field.name() == "message" {
            "msg"
        } else {
            field.name()
        };
        // Writing to a String cannot fail; field names are identifiers and need no escape.
        let _ = write!(self.out, ",\"{name}\":");
    }

    fn text(&mut self, text: &str) {
        self.out
            .push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
    }
}

impl Visit for JsonVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        self.text(value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.name(field);
        let _ = write!(self.out, "{value}");
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.name(field);
        let _ = write!(self.out, "{value}");
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.name(field);
        let _ = write!(self.out, "{value}");
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.name(field);
        if value.is_finite() {
            let _ = write!(self.out, "{}", (value * 1000.0).round() / 1000.0);
        } else {
            self.out.push_str("null");
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.name(field);
        self.text(&chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        self.text(&format!("{value:?}"));
    }
}

/// An error with its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    text
}

/// Writes an event for people: time, level, service, message, fields.
#[derive(Debug, Clone, Copy)]
pub struct PrettyLine {
    service: &'static str,
}

impl<S, N> FormatEvent<S, N> for PrettyLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (level, style) = match *event.metadata().level() {
            Level::ERROR => ("ERROR", "\x1b[31m"),
            Level::WARN => ("WARN ", "\x1b[33m"),
            Level::INFO => ("INFO ", "\x1b[32m"),
            Level::DEBUG => ("DEBUG", "\x1b[34m"),
            Level::TRACE => ("TRACE", "\x1b[35m"),
        };
        let now = SystemClock.now().to_string();
        let time = now.get(11..23).unwrap_or(&now);
        let (on, dim, off) = if out.has_ansi_escapes() {
            (style, "\x1b[2m", "\x1b[0m")
        } else {
            ("", "", "")
        };
        write!(out, "{dim}{time}{off} {on}{level}{off} {:<8}", self.service)?;
        let mut own = String::new();
        let mut visitor = PrettyVisitor {
            out: &mut own,
            message: String::new(),
        };
        event.record(&mut visitor);
        let message = visitor.message;
        write!(out, " {message}{dim}{own}")?;
        for span in ctx.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                out.write_str(&fields.fields)?;
            }
        }
        writeln!(out, "{off}")
    }
}

/// Writes span fields as ` name=value`.
#[derive(Debug, Clone, Copy)]
pub struct PrettyFields;

impl<'writer> FormatFields<'writer> for PrettyFields {
    fn format_fields<R: tracing_subscriber::field::RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut text = String::new();
        fields.record(&mut PrettyVisitor {
            out: &mut text,
            message: String::new(),
        });
        writer.write_str(&text)
    }
}

struct PrettyVisitor<'a> {
    out: &'a mut String,
    message: String,
}

impl Visit for PrettyVisitor<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            let _ = write!(self.out, " {}={value}", field.name());
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        let _ = write!(self.out, " {}={value:.3}", field.name());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let _ = write!(self.out, " {}={:?}", field.name(), chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            let _ = write!(self.out, " {}={value:?}", field.name());
        }
    }
}

#[cfg(test)]
mod tests;
