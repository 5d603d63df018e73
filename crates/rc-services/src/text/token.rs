//! The tokenizer: lower case, without diacritics, split at everything that is not a letter or a digit.
//!
//! Compatibility forms are unfolded (`ﬁ` is `fi`, `Ａ` is `a`), Hangul and kana are composed again. Scripts
//! that are written without spaces give one token per character, so that a word of theirs is a phrase.
//! A token holds ASCII `a-z0-9` and characters above U+007F only. SQLite's `ascii` tokenizer passes
//! exactly these through, and none of them needs quoting in a PostgreSQL lexeme.

use std::ops::Range;

use unicode_normalization::char as unicode;

/// Longest token in characters; what follows is cut. Longer runs are encoded data, not words.
pub const TOKEN_CHARS_MAX: usize = 64;

/// Byte classes of the ASCII path: 0 for a separator, else the byte in lower case.
const FOLDED: [u8; 128] = {
    let mut table = [0_u8; 128];
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// Calls `each` with every token of `text` in order and the bytes of `text` that it came from.
///
/// The ranges ascend. Two tokens share a range only when one character unfolds into both (`½`).
pub fn for_each_token(text: &str, mut each: impl FnMut(&str, Range<usize>)) {
    // Indexed loops over a table: this runs over every byte that is ingested, in the dev profile too,
    // where iterator chains cost ten times as much.
    let bytes = text.as_bytes();
    let mut word = Word::default();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let mut changed = false;
        while at < bytes.len() {
            let byte = bytes[at];
            if byte >= 128 {
                break;
            }
            let folded = FOLDED[byte as usize];
            if folded == 0 {
                break;
            }
            changed |= folded != byte;
            at += 1;
        }
        if at < bytes.len() && bytes[at] >= 128 {
            at = fold_run(text, start, &mut word, &mut each);
            continue;
        }
        if at == start {
            at += 1;
            continue;
        }
        let end = at.min(start + TOKEN_CHARS_MAX);
        if changed {
            word.text.clear();
            word.text.push_str(&text[start..end]);
            word.text.make_ascii_lowercase();
            each(&word.text, start..at);
            word.text.clear();
        } else {
            each(&text[start..end], start..at);
        }
    }
}

/// All tokens of `text` in one line, separated by spaces: what the SQLite index is fed.
#[must_use]
pub fn fold(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for_each_token(text, |token, _| {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(token);
    });
    line
}

/// The token that grows character by character.
#[derive(Default)]
struct Word {
    text: String,
    chars: usize,
    /// The last character, to compose a following mark with.
    last: Option<char>,
    /// A character of a script without spaces: the next base character ends the token.
    single: bool,
    /// Bytes of the source, so far.
    source: Range<usize>,
}

impl Word {
    fn push(&mut self, folded: char, source: Range<usize>, each: &mut impl FnMut(&str, Range<usize>)) {
        if is_dropped(folded) {
            // A mark belongs to the word before it.
            if !self.text.is_empty() {
                self.source.end = source.end;
            }
            return;
        }
        if let Some(last) = self.last
            && let Some(composed) = unicode::compose(last, folded)
        {
            self.text.pop();
            self.text.push(composed);
            self.last = Some(composed);
            self.source.end = source.end;
            return;
        }
        let mark = unicode::is_combining_mark(folded);
        if mark && self.text.is_empty() {
            return;
        }
        if !mark {
            if !folded.is_alphanumeric() {
                self.finish(each);
                return;
            }
            let single = is_unspaced(folded);
            if single || self.single {
                self.finish(each);
            }
            self.single = single;
        }
        if self.text.is_empty() {
            self.source = source;
        } else {
            self.source.end = source.end;
        }
        if self.chars < TOKEN_CHARS_MAX {
            self.text.push(folded);
            self.chars += 1;
            self.last = Some(folded);
        } else {
            self.last = None;
        }
    }

    fn finish(&mut self, each: &mut impl FnMut(&str, Range<usize>)) {
        if !self.text.is_empty() {
            each(&self.text, self.source.clone());
        }
        self.text.clear();
        self.chars = 0;
        self.last = None;
        self.single = false;
    }
}

/// Tokens of a run that holds characters beyond ASCII, from `start` to the next ASCII separator.
/// Returns where that is.
fn fold_run(text: &str, start: usize, word: &mut Word, each: &mut impl FnMut(&str, Range<usize>)) -> usize {
    let mut end = text.len();
    for (offset, source) in text[start..].char_indices() {
        let at = start + offset;
        if source.is_ascii() && FOLDED[source as usize] == 0 {
            end = at;
            break;
        }
        let range = at..at + source.len_utf8();
        unicode::decompose_compatible(source, |part| {
            for lower in part.to_lowercase() {
                let folded = if lower == 'ς' { 'σ' } else { lower };
                word.push(folded, range.clone(), each);
            }
        });
    }
    word.finish(each);
    end
}

/// Marks that a person leaves out when typing: accents, Hebrew points, Arabic vowels, joiners, soft
/// hyphens and variation selectors. Vowel signs of Indic scripts are letters to their readers and stay.
fn is_dropped(character: char) -> bool {
    matches!(u32::from(character),
        0x00AD | 0x0300..=0x036F | 0x0483..=0x0489 | 0x0591..=0x05BD | 0x05BF | 0x05C1..=0x05C2
        | 0x05C4..=0x05C5 | 0x05C7 | 0x0610..=0x061A | 0x0640 | 0x064B..=0x065F | 0x0670
        | 0x06D6..=0x06DC | 0x06DF..=0x06E4 | 0x06E7..=0x06E8 | 0x06EA..=0x06ED
        | 0x1AB0..=0x1AFF | 0x1DC0..=0x1DFF | 0x200B..=0x200D | 0x2060 | 0x20D0..=0x20FF
        | 0xFE00..=0xFE0F | 0xFE20..=0xFE2F | 0xFEFF | 0xE0100..=0xE01EF)
}

/// Scripts written without spaces between words: Han, kana, Thai, Lao, Burmese, Khmer.
pub(super) fn is_unspaced(character: char) -> bool {
    matches!(u32::from(character),
        0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0x3005..=0x3007 | 0x3040..=0x30FF
        | 0x31F0..=0x31FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x1B000..=0x1B16F
        | 0x20000..=0x3FFFF)
}
