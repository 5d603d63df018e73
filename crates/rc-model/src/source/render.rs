//! A diagnostic as text: what, where, the line with a caret, and what to do.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

use super::secret;
use super::{ByteSpan, Diagnostic, Severity, SourceFile, visible};

/// Widest snippet in columns; of a longer line the part around the caret is shown.
const SNIPPET_COLUMNS_MAX: usize = 100;

/// How much of a long line stands before the caret.
const SNIPPET_LEAD_COLUMNS: usize = 40;

/// What a tab is shown as; its real width depends on who looks.
const TAB: &str = "    ";

/// Escape sequences around the parts of a rendered diagnostic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Palette {
    pub error: &'static str,
    pub warning: &'static str,
    /// Line numbers, bars and places.
    pub frame: &'static str,
    pub hint: &'static str,
    pub bold: &'static str,
    pub reset: &'static str,
}

impl Palette {
    /// No escape sequences.
    pub const PLAIN: Self = Self {
        error: "",
        warning: "",
        frame: "",
        hint: "",
        bold: "",
        reset: "",
    };

    /// ANSI colours (ECMA-48); the words still say everything.
    pub const COLOR: Self = Self {
        error: "\u{1b}[1;31m",
        warning: "\u{1b}[1;33m",
        frame: "\u{1b}[1;34m",
        hint: "\u{1b}[1;36m",
        bold: "\u{1b}[1m",
        reset: "\u{1b}[0m",
    };
}

impl Diagnostic {
    /// The diagnostic as several lines, the last one ending in a line break.
    #[must_use]
    pub fn render(&self, palette: &Palette) -> String {
        let Palette {
            frame,
            hint,
            bold,
            reset,
            ..
        } = *palette;
        let accent = match self.severity {
            Severity::Error => palette.error,
            Severity::Warning => palette.warning,
        };
        let mut out = format!(
            "{accent}{}[{}]{reset}{bold}: {}{reset}\n",
            self.severity.as_str(),
            self.code,
            self.message
        );
        let lines = self.notes.iter().map(|note| note.line).chain([self.line]);
        let gutter = lines.max().unwrap_or(1).to_string().len();
        match &self.source {
            Some(source) => {
                place(
                    &mut out,
                    palette,
                    gutter,
                    "-->",
                    &self.file,
                    (self.line, self.column),
                );
                let mark = Mark {
                    span: self.span,
                    caret: '^',
                    accent,
                    label: self.label.as_deref().unwrap_or(""),
                };
                snippet(&mut out, palette, gutter, source, mark, &self.hidden);
            }
            None => line(
                &mut out,
                format_args!("{frame}{:gutter$}-->{reset} {}", "", self.file),
            ),
        }
        for note in &self.notes {
            place(
                &mut out,
                palette,
                gutter,
                ":::",
                &note.file,
                (note.line, note.column),
            );
            let mark = Mark {
                span: note.span,
                caret: '-',
                accent: frame,
                label: &note.label,
            };
            let same_file = note.file == self.file;
            let hidden = if same_file { &*self.hidden } else { &[] };
            snippet(&mut out, palette, gutter, &note.source, mark, hidden);
        }
        for (index, text) in self.hint.iter().flat_map(|hint| hint.lines()).enumerate() {
            if index == 0 {
                line(
                    &mut out,
                    format_args!("{:gutter$} {frame}={reset} {hint}hint:{reset} {text}", ""),
                );
            } else {
                line(&mut out, format_args!("{:gutter$}         {text}", ""));
            }
        }
        out
    }
}

struct Mark<'a> {
    span: ByteSpan,
    caret: char,
    accent: &'a str,
    label: &'a str,
}

/// Adds one line; trailing blanks would only show up in diffs.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let before = out.len();
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
    let kept = out.trim_end_matches(' ').len().max(before);
    out.truncate(kept);
    out.push('\n');
}

fn place(out: &mut String, palette: &Palette, gutter: usize, arrow: &str, file: &str, at: (usize, usize)) {
    let Palette { frame, reset, .. } = palette;
    line(
        out,
        format_args!("{:gutter$}{frame}{arrow}{reset} {file}:{}:{}", "", at.0, at.1),
    );
}

fn snippet(
    out: &mut String,
    palette: &Palette,
    gutter: usize,
    source: &SourceFile,
    mark: Mark<'_>,
    hidden: &[ByteSpan],
) {
    let Palette { frame, reset, .. } = palette;
    let number = source.position(mark.span.start).line;
    let cells = Cells::of(source, number, mark.span, hidden);
    let (text, lead, width) = cells.window();
    line(out, format_args!("{:gutter$} {frame}|{reset}", ""));
    line(out, format_args!("{frame}{number:>gutter$} |{reset} {text}"));
    let carets: String = std::iter::repeat_n(mark.caret, width.max(1)).collect();
    let (accent, label) = (mark.accent, mark.label);
    line(
        out,
        format_args!(
            "{:gutter$} {frame}|{reset} {:lead$}{accent}{carets} {label}{reset}",
            "", ""
        ),
    );
}

/// The part of a line around the marked characters, as what is shown for each of them.
struct Cells {
    cells: Vec<(String, usize)>,
    /// The characters under which the carets stand.
    marked: std::ops::Range<usize>,
    /// Whether the line has more before the first cell.
    cut: bool,
}

impl Cells {
    fn of(source: &SourceFile, number: usize, span: ByteSpan, hidden: &[ByteSpan]) -> Self {
        let at = source.line_span(number);
        let line = source.slice(at);
        let mut secrets = secret::ranges(line);
        let above = (1..number)
            .rev()
            .map(|above| source.slice(source.line_span(above)));
        if secret::continues(line, above) {
            secrets.push(0..line.len());
        }
        let is_secret = |offset: usize| {
            secrets.iter().any(|secret| secret.contains(&offset))
                || hidden
                    .iter()
                    .any(|hidden| (hidden.start..hidden.end).contains(&(at.start + offset)))
        };
        let inside = |offset: usize| line.floor_char_boundary(offset.saturating_sub(at.start));
        let (start, end) = (inside(span.start), inside(span.end));
        // A line can be as long as the file: look no further than what fits.
        let before = line[..start].char_indices().rev().take(SNIPPET_COLUMNS_MAX);
        let first = before.last().map_or(start, |(offset, _)| offset);
        let shown = line[first..].char_indices().take(3 * SNIPPET_COLUMNS_MAX);
        let mut marked = 0..0;
        let mut cells = Vec::new();
        for (offset, c) in shown {
            let offset = first + offset;
            marked.start += usize::from(offset < start);
            marked.end += usize::from(offset < end);
            cells.push(match c {
                _ if is_secret(offset) => ("*".to_owned(), 1),
                '\t' => (TAB.to_owned(), TAB.len()),
                _ => {
                    let shown = visible(c);
                    (shown.to_string(), shown.width().unwrap_or(1))
                }
            });
        }
        Self {
            cells,
            marked,
            cut: first > 0,
        }
    }

    fn width(&self, range: std::ops::Range<usize>) -> usize {
        self.cells
            .get(range)
            .map_or(0, |cells| cells.iter().map(|(_, width)| width).sum())
    }

    /// The part to show, the columns before the caret, and the columns that carets cover.
    fn window(&self) -> (String, usize, usize) {
        let (start, end) = (self.marked.start, self.marked.end);
        let mut from = 0;
        if self.cut || self.width(0..self.cells.len()) > SNIPPET_COLUMNS_MAX {
            while self.width(from..start) > SNIPPET_LEAD_COLUMNS {
                from += 1;
            }
        }
        let mut text = String::new();
        let mut columns = 0;
        if from > 0 || self.cut {
            text.push('…');
            columns += 1;
        }
        let lead = columns + self.width(from..start);
        let mut covered = 0;
        for (index, (shown, width)) in self.cells.iter().enumerate().skip(from) {
            if columns + width > SNIPPET_COLUMNS_MAX {
                text.push('…');
                break;
            }
            text.push_str(shown);
            columns += width;
            if (start..end).contains(&index) {
                covered += width;
            }
        }
        (text, lead, covered)
    }
}
