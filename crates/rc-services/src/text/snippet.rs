//! Snippets: the passage of a document that shows best why it was found, escaped for HTML.

use std::ops::Range;

use super::query::{Query, Term};
use super::token::for_each_token;

/// Words in a snippet.
pub const SNIPPET_WORDS: usize = 30;

/// How much of a text is looked at for the best passage: a page of hits must not cost megabytes of
/// tokenizing. A document whose only match lies beyond shows its beginning.
pub const SNIPPET_SCAN_BYTES_MAX: usize = 64 << 10;

/// Longest passage in bytes of the source, for texts with long runs between words.
const SNIPPET_BYTES_MAX: usize = 480;

/// The best passage of `text` for `query`: matches inside `<mark>`, everything else escaped for HTML,
/// white space collapsed, `…` where the text goes on.
#[must_use]
pub fn snippet(text: &str, query: &Query) -> String {
    let scanned = &text[..floor_boundary(text, SNIPPET_SCAN_BYTES_MAX)];
    let words = Words::of(scanned);
    let found = words.matches(query);
    let shown = words.window(&found);
    let from = if shown.start == 0 {
        0
    } else {
        words.source[shown.start].start
    };
    let to = if shown.end == words.source.len() {
        scanned.len()
    } else {
        words.source[shown.end - 1].end
    };
    let anchor = found
        .iter()
        .find(|hit| hit.words.start >= shown.start && hit.words.end <= shown.end)
        .map_or(from, |hit| words.source[hit.words.start].start);
    let bytes = clamp(text, from..to, anchor);
    let marks = words.marks(&found, &bytes);
    let mut out = String::with_capacity(bytes.len() + 32);
    if !text[..bytes.start].trim().is_empty() {
        out.push('…');
    }
    write_marked(&mut out, text, &bytes, &marks);
    if !text[bytes.end..].trim().is_empty() {
        out.push('…');
    }
    out
}

/// One match: which words, of which term.
struct Match {
    words: Range<usize>,
    term: usize,
}

/// A text cut into tokens.
struct Words {
    /// All tokens, one after the other.
    folded: String,
    /// Where each token is in `folded`.
    token: Vec<Range<usize>>,
    /// Where each token came from.
    source: Vec<Range<usize>>,
}

impl Words {
    fn of(text: &str) -> Self {
        let mut words = Self {
            folded: String::with_capacity(text.len()),
            token: Vec::new(),
            source: Vec::new(),
        };
        for_each_token(text, |token, source| {
            let start = words.folded.len();
            words.folded.push_str(token);
            words.token.push(start..words.folded.len());
            words.source.push(source);
        });
        words
    }

    /// Every place where a positive term matches, by its first word.
    fn matches(&self, query: &Query) -> Vec<Match> {
        let mut found = Vec::new();
        for first in 0..self.token.len() {
            for (term, wanted) in query.positive().enumerate() {
                if self.matches_at(first, wanted) {
                    found.push(Match {
                        words: first..first + wanted.tokens.len(),
                        term,
                    });
                }
            }
        }
        found
    }

    fn matches_at(&self, first: usize, term: &Term) -> bool {
        let last = term.tokens.len() - 1;
        if first + last >= self.token.len() {
            return false;
        }
        term.tokens.iter().enumerate().all(|(index, wanted)| {
            let token = &self.folded[self.token[first + index].clone()];
            token == wanted || (term.prefix && index == last && token.starts_with(wanted.as_str()))
        })
    }

    /// The words to show: where most different terms match, then most often, then first.
    fn window(&self, found: &[Match]) -> Range<usize> {
        let mut best = (0, 0, 0..0);
        for (index, first) in found.iter().enumerate() {
            let end = first.words.start + SNIPPET_WORDS;
            let inside = found[index..].iter().take_while(|hit| hit.words.end <= end);
            let (mut terms, mut count, mut last) = (0_u64, 0, first.words.end);
            for hit in inside {
                // At most QUERY_TERMS_MAX = 32 terms: they fit a word.
                terms |= 1 << hit.term;
                count += 1;
                last = last.max(hit.words.end);
            }
            let different = terms.count_ones();
            if (different, count) > (best.0, best.1) {
                best = (different, count, first.words.start..last);
            }
        }
        let core = best.2;
        let before = SNIPPET_WORDS.saturating_sub(core.len()) / 2;
        let start = core.start.saturating_sub(before);
        let end = (start + SNIPPET_WORDS).max(core.end).min(self.token.len());
        let start = start.min(end.saturating_sub(SNIPPET_WORDS));
        start..end
    }

    /// Byte ranges to mark inside `shown`, ascending, apart from each other.
    fn marks(&self, found: &[Match], shown: &Range<usize>) -> Vec<Range<usize>> {
        let mut marks: Vec<Range<usize>> = Vec::new();
        for hit in found {
            let range = self.source[hit.words.start].start..self.source[hit.words.end - 1].end;
            if range.start < shown.start || range.end > shown.end {
                continue;
            }
            match marks.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => marks.push(range),
            }
        }
        marks
    }
}

/// The largest character boundary of `text` that is at most `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}

/// `range` cut down to [`SNIPPET_BYTES_MAX`] bytes that hold `anchor`.
fn clamp(text: &str, range: Range<usize>, anchor: usize) -> Range<usize> {
    if range.len() <= SNIPPET_BYTES_MAX {
        return range;
    }
    let start = if anchor - range.start <= SNIPPET_BYTES_MAX / 2 {
        range.start
    } else {
        floor_boundary(text, anchor - SNIPPET_BYTES_MAX / 4)
    };
    let end = floor_boundary(text, (start + SNIPPET_BYTES_MAX).min(range.end));
    start..end
}

fn write_marked(out: &mut String, text: &str, shown: &Range<usize>, marks: &[Range<usize>]) {
    let mut marks = marks.iter().peekable();
    let mut open_until = None;
    let mut space = false;
    for (offset, character) in text[shown.clone()].char_indices() {
        let at = shown.start + offset;
        if open_until.is_some_and(|end| at >= end) {
            out.push_str("</mark>");
            open_until = None;
        }
        if character.is_whitespace() || character.is_control() {
            space = !out.is_empty() && out != "…";
            continue;
        }
        if std::mem::take(&mut space) {
            out.push(' ');
        }
        if let Some(mark) = marks.next_if(|mark| mark.start <= at) {
            out.push_str("<mark>");
            open_until = Some(mark.end);
        }
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            plain => out.push(plain),
        }
    }
    if open_until.is_some() {
        out.push_str("</mark>");
    }
}
