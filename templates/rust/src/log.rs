//! The log: one JSON object a line on standard output.

use std::io::Write as _;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::app::NAME;

/// Something to know.
pub fn info(message: &str, fields: Value) {
    line("info", message, fields);
}

/// Something that should not happen often.
pub fn warn(message: &str, fields: Value) {
    line("warn", message, fields);
}

/// Something that somebody should look at.
pub fn error(message: &str, fields: Value) {
    line("error", message, fields);
}

fn line(level: &str, message: &str, fields: Value) {
    let ts = OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .unwrap_or_default();
    let mut entry = Map::new();
    for (name, text) in [
        ("ts", ts.as_str()),
        ("level", level),
        ("service", NAME),
        ("msg", message),
    ] {
        entry.insert(name.to_owned(), text.into());
    }
    if let Value::Object(fields) = fields {
        entry.extend(fields);
    }
    // Whoever reads the log may be gone; serving goes on.
    let _ = writeln!(std::io::stdout().lock(), "{}", Value::Object(entry));
}
