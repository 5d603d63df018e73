//! A text that a user wrote, and what is wrong with it and where.
//!
//! A [`Diagnostic`] is complete in itself: it carries the text it speaks of, so that whoever gets it can
//! print it. It knows nothing about terminals; colours are a [`Palette`] that the caller picks.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

mod render;
mod secret;

pub use render::Palette;

/// Longest message, label or hint in characters; the rest of a hostile value is of no help to anybody.
const TEXT_CHARS_MAX: usize = 600;

/// Longest user text that a message repeats, in characters.
const QUOTE_CHARS_MAX: usize = 60;

/// A text with the name under which the user knows it.
///
/// A byte order mark at the start is dropped; all offsets are into the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceFile {
    name: String,
    text: String,
    /// Byte offsets at which lines start. `\n`, `\r\n` and a lone `\r` end a line, as in YAML.
    line_starts: Vec<usize>,
}

/// A place in a text for people: both count from 1, columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

/// A range of byte offsets, the end excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
pub struct ByteSpan {
    pub start: usize,
    pub end: usize,
}

impl ByteSpan {
    /// From `start` up to `end`; empty at `start` when they are the wrong way round.
    #[must_use]
    pub fn new(start: usize, end: usize) -> Self {
        Self {
            start,
            end: end.max(start),
        }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

impl SourceFile {
    /// `text` under the name `name`, such as `tenants.yaml`.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        let bytes = text.as_bytes();
        let ends_line = |at: usize| match bytes[at] {
            b'\n' => true,
            b'\r' => bytes.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        let starts = (0..bytes.len()).filter(|at| ends_line(*at)).map(|at| at + 1);
        Self {
            name: name.into(),
            line_starts: std::iter::once(0).chain(starts).collect(),
            text,
        }
    }

    /// The name that messages use.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text, without a byte order mark.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line and column of the byte `offset`; offsets past the end are the end.
    #[must_use]
    pub fn position(&self, offset: usize) -> Position {
        let offset = self.text.floor_char_boundary(offset);
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = self.line_starts[line - 1];
        Position {
            line,
            column: self.text[start..offset].chars().count() + 1,
        }
    }

    /// The text of `span`; what lies outside of the file is left out.
    #[must_use]
    pub fn slice(&self, span: ByteSpan) -> &str {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.floor_char_boundary(span.end).max(start);
        &self.text[start..end]
    }

    /// Where the line `line` (from 1) is, without its line break.
    fn line_span(&self, line: usize) -> ByteSpan {
        let start = self.line_starts[line - 1];
        let end = self.line_starts.get(line).copied().unwrap_or(self.text.len());
        let content = self.text[start..end].trim_end_matches(['\n', '\r']);
        ByteSpan::new(start, start + content.len())
    }

    /// The rest of the line after `offset`.
    #[must_use]
    pub fn rest_of_line(&self, offset: usize) -> &str {
        let line = self.position(offset).line;
        self.slice(ByteSpan::new(offset, self.line_span(line).end))
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The files are refused.
    Error,
    /// The files are taken; something in them is probably not what was meant.
    Warning,
}

impl Severity {
    /// The word for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Another place that belongs to a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub label: String,
    #[serde(skip)]
    span: ByteSpan,
    #[serde(skip)]
    source: Arc<SourceFile>,
}

/// One thing that is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The stable error code, such as `RC-CFG-005`; `rc explain` says more.
    pub code: &'static str,
    pub severity: Severity,
    /// What is wrong: one line, lower case, no full stop.
    pub message: String,
    /// The file's name.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Where it is, in bytes.
    pub span: ByteSpan,
    /// A few words that stand beside the caret.
    pub label: Option<String>,
    /// What to do. May have several lines.
    pub hint: Option<String>,
    /// Other places that belong to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// `None` when the file could not be read at all.
    #[serde(skip)]
    source: Option<Arc<SourceFile>>,
    /// What must not be shown although it is on the same line: values that may be secret.
    #[serde(skip)]
    hidden: Arc<[ByteSpan]>,
}

impl Diagnostic {
    /// An error at `span` of `source`.
    #[must_use]
    pub fn error(
        code: &'static str,
        source: &Arc<SourceFile>,
        span: ByteSpan,
        message: impl Into<String>,
    ) -> Self {
        let Position { line, column } = source.position(span.start);
        Self {
            code,
            severity: Severity::Error,
            message: clean(&message.into(), false),
            file: source.name().to_owned(),
            line,
            column,
            span,
            label: None,
            hint: None,
            notes: Vec::new(),
            source: Some(Arc::clone(source)),
            hidden: Arc::default(),
        }
    }

    /// A warning at `span` of `source`.
    #[must_use]
    pub fn warning(
        code: &'static str,
        source: &Arc<SourceFile>,
        span: ByteSpan,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, source, span, message)
        }
    }

    /// An error of a file that has no text to show.
    #[must_use]
    pub fn of_file(code: &'static str, file: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: clean(&message.into(), false),
            file: clean(file, false),
            line: 1,
            column: 1,
            span: ByteSpan::default(),
            label: None,
            hint: None,
            notes: Vec::new(),
            source: None,
            hidden: Arc::default(),
        }
    }

    /// The same with a few words beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(clean(&label.into(), false));
        self
    }

    /// The same with what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(clean(&hint.into(), true));
        self
    }

    /// The same with what to do, where that is known.
    #[must_use]
    pub fn hint_if(self, hint: Option<impl Into<String>>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// The same with another place that belongs to it.
    #[must_use]
    pub fn note(mut self, source: &Arc<SourceFile>, span: ByteSpan, label: impl Into<String>) -> Self {
        let Position { line, column } = source.position(span.start);
        self.notes.push(Note {
            file: source.name().to_owned(),
            line,
            column,
            label: clean(&label.into(), false),
            span,
            source: Arc::clone(source),
        });
        self
    }

    /// The same, never showing the text of `spans` of its own file.
    #[must_use]
    pub fn hide(mut self, spans: &Arc<[ByteSpan]>) -> Self {
        self.hidden = Arc::clone(spans);
        self
    }

    /// The same as a mere warning.
    #[must_use]
    pub fn demoted(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Whether the files are refused because of it.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// Without colours, ending in a line break.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(&Palette::PLAIN))
    }
}

/// User text inside a message: in backticks, shortened, without control characters.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut quoted: String = text.chars().take(QUOTE_CHARS_MAX).map(visible).collect();
    if text.chars().nth(QUOTE_CHARS_MAX).is_some() {
        quoted.push('…');
    }
    format!("`{quoted}`")
}

/// Makes `text` safe to print, and not endless.
fn clean(text: &str, lines: bool) -> String {
    let shown = |c: char| if lines && c == '\n' { c } else { visible(c) };
    let mut cleaned: String = text.chars().take(TEXT_CHARS_MAX).map(shown).collect();
    if text.chars().nth(TEXT_CHARS_MAX).is_some() {
        cleaned.push('…');
    }
    cleaned
}

/// `c`, or a stand-in where `c` could move the cursor, ring a bell or turn the text around.
fn visible(c: char) -> char {
    match c {
        '\0'..='\u{1f}' => char::from_u32(u32::from(c) + 0x2400).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}'
        | '\u{feff}' => '\u{fffd}',
        other => other,
    }
}

#[cfg(test)]
mod tests;
