//! One line of a journal.

use rc_model::Timestamp;

/// How a line that carries its own time begins.
const JSON_START: &str = "{\"ts\":\"";

/// One line of a journal, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// When it was written, or captured. Absent for a line that something else wrote into the file.
    pub at: Option<Timestamp>,
    /// The line without the time in front; the whole object for JSON.
    pub text: &'a str,
    /// Whether `text` is a JSON object of one of our services.
    pub json: bool,
}

impl<'a> Line<'a> {
    /// Takes `raw` apart.
    #[must_use]
    pub fn parse(raw: &'a str) -> Self {
        if let Some(rest) = raw.strip_prefix(JSON_START) {
            let at = rest.split_once('"').and_then(|(at, _)| Timestamp::parse(at));
            return Self {
                at,
                text: raw,
                json: at.is_some(),
            };
        }
        if let Some((at, text)) = raw.split_once(' ')
            && let Some(at) = Timestamp::parse(at)
        {
            return Self {
                at: Some(at),
                text,
                json: false,
            };
        }
        Self {
            at: None,
            text: raw,
            json: false,
        }
    }
}

/// Whether `line` carries its own time.
pub(super) fn has_own_time(line: &[u8]) -> bool {
    line.starts_with(JSON_START.as_bytes())
}

/// The level of a JSON line of ours, without reading the whole object.
#[must_use]
pub fn level_of(line: &str) -> Option<&str> {
    const KEY: &str = "\"level\":\"";
    let start = line.find(KEY)? + KEY.len();
    line.get(start..)?.split_once('"').map(|(level, _)| level)
}
