//! From a file's bytes to documents: decoding, titles, parts, ids. Pure.

use std::collections::BTreeMap;

use rc_client::Document;
use rc_model::Digest;
use rc_model::id::DOC_ID_BYTES_MAX;

use super::walk;

/// Longest text of one document, in bytes of UTF-8: what ingest takes. Longer files become parts.
pub(super) const PART_BYTES_MAX: usize = 256 << 10;

/// Longest title made from a line, in characters.
const TITLE_CHARS_MAX: usize = 200;

/// Lines in which a title is looked for.
const TITLE_LINES_MAX: usize = 50;

/// Lines in which a manual page's heading is looked for: generated pages begin with pages of macros.
const ROFF_LINES_MAX: usize = 500;

/// Room that an id keeps for the number of its part.
const PART_SUFFIX_BYTES: usize = 8;

/// More control characters than one in this many mean that a file is not text.
const CONTROL_SHARE: usize = 20;

/// Text, and whether it had to be guessed how it was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decoded {
    pub(super) text: String,
    /// It was neither UTF-8 nor marked UTF-16, and was read as Windows-1252.
    pub(super) guessed: bool,
}

/// Reads bytes as text: UTF-8, UTF-16 with a byte order mark, else Windows-1252, in which every Western
/// text of the time before UTF-8 is readable. `None` for what is not text.
pub(super) fn decode(bytes: &[u8]) -> Option<Decoded> {
    let exact = |text: String| Decoded { text, guessed: false };
    if let Some(rest) = bytes.strip_prefix(&[0xff, 0xfe]) {
        return utf16(rest, u16::from_le_bytes).map(exact);
    }
    if let Some(rest) = bytes.strip_prefix(&[0xfe, 0xff]) {
        return utf16(rest, u16::from_be_bytes).map(exact);
    }
    let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(bytes);
    // No text has U+0000, and ingest refuses it; PDF has text's look in its first lines.
    if bytes.contains(&0) || bytes.starts_with(b"%PDF-") || mostly_control(bytes) {
        return None;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(exact(text.to_owned())),
        Err(_) => Some(Decoded {
            text: bytes.iter().map(|byte| windows_1252(*byte)).collect(),
            guessed: true,
        }),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let units = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    let text: String = char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    (!text.contains('\0')).then_some(text)
}

fn mostly_control(bytes: &[u8]) -> bool {
    // Backspace, tab, line feed, form feed, carriage return and escape are at home in text.
    let control = |byte: &&u8| **byte < 0x20 && !matches!(**byte, 8..=10 | 12 | 13 | 27);
    bytes.iter().filter(control).count() * CONTROL_SHARE > bytes.len()
}

/// <https://encoding.spec.whatwg.org/index-windows-1252.txt>, with the five unused bytes as U+FFFD.
fn windows_1252(byte: u8) -> char {
    const HIGH: [char; 32] = [
        '€', '\u{fffd}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{fffd}', 'Ž', '\u{fffd}',
        '\u{fffd}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{fffd}', 'ž', 'Ÿ',
    ];
    match byte {
        0x80..=0x9f => HIGH[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

/// The documents of a text file called `name`: one, or numbered parts when it is longer than one may be.
pub(super) fn documents(name: &str, text: &str, attrs: &BTreeMap<String, String>) -> Vec<Document> {
    let stem = id_stem(name);
    let title = title(text).unwrap_or_else(|| name.to_owned());
    let parts = parts(text);
    let count = parts.len();
    let mut attrs = attrs.clone();
    attrs.entry("path".to_owned()).or_insert_with(|| name.to_owned());
    if let Some(extension) = std::path::Path::new(walk::plain_name(name)).extension() {
        attrs
            .entry("ext".to_owned())
            .or_insert_with(|| extension.to_string_lossy().to_ascii_lowercase());
    }
    parts
        .into_iter()
        .enumerate()
        .map(|(index, text)| {
            let number = index + 1;
            Document {
                id: Some(if index == 0 {
                    stem.clone()
                } else {
                    format!("{stem}#{number}")
                }),
                title: Some(if count == 1 {
                    title.clone()
                } else {
                    format!("{title} ({number}/{count})")
                }),
                text: text.to_owned(),
                attrs: attrs.clone(),
                time: None,
            }
        })
        .collect()
}

/// A document id made from a file's name: the name itself where it can be one, else its beginning and a
/// digest of the whole.
pub(super) fn id_stem(name: &str) -> String {
    let max = DOC_ID_BYTES_MAX - PART_SUFFIX_BYTES;
    let odd = |c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER;
    if name.len() <= max && !name.is_empty() && !name.chars().any(odd) {
        return name.to_owned();
    }
    let digest = Digest::of(name.as_bytes()).short();
    let room = max - digest.len() - 1;
    let clean: String = name.chars().map(|c| if odd(c) { '_' } else { c }).collect();
    let cut = clean.floor_char_boundary(room.min(clean.len()));
    format!("{}~{digest}", &clean[..cut])
}

/// The first line that says something, without the marks of a heading; of a manual page its name and section.
fn title(text: &str) -> Option<String> {
    let roff = [".\\\"", "'\\\"", ".TH ", ".Dd "]
        .iter()
        .any(|mark| text.starts_with(mark));
    let line = if roff {
        manual_title(text)?
    } else {
        plain_title(text)?
    };
    let clean: String = line
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let words = clean.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut title: String = words.chars().take(TITLE_CHARS_MAX).collect();
    if title.len() < words.len() {
        title.push('…');
    }
    Some(title)
}

/// Markdown `#`, reStructuredText and AsciiDoc `=`, rules and comment signs are no part of a title.
fn plain_title(text: &str) -> Option<String> {
    let strip = |line: &'_ str| {
        line.trim_matches(|c: char| c.is_whitespace() || "#=*-_/;%\"".contains(c))
            .to_owned()
    };
    text.lines()
        .take(TITLE_LINES_MAX)
        .map(strip)
        .find(|line| line.chars().any(char::is_alphanumeric))
}

/// `ls(1)` out of `.TH LS "1" "September 2022"` or `.Dt LS 1`.
fn manual_title(text: &str) -> Option<String> {
    let heading = text
        .lines()
        .take(ROFF_LINES_MAX)
        .find_map(|line| line.strip_prefix(".TH ").or_else(|| line.strip_prefix(".Dt ")))?;
    let mut words = heading
        .split_whitespace()
        .map(|word| word.trim_matches('"').replace('\\', ""));
    let name = words.next().filter(|name| !name.is_empty())?;
    // `LS` is how headings are written; `Algorithm::Diff` is a name.
    let name = if name.chars().any(char::is_lowercase) {
        name
    } else {
        name.to_lowercase()
    };
    Some(
        words
            .next()
            .map_or_else(|| name.clone(), |section| format!("{name}({section})")),
    )
}

/// Cuts a text into pieces of at most [`PART_BYTES_MAX`] that lose nothing: before a heading where one is in
/// the second half of the piece, else after a paragraph, a line, a word, a character.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while rest.len() > PART_BYTES_MAX {
        let window = &rest[..rest.floor_char_boundary(PART_BYTES_MAX)];
        let half = window.floor_char_boundary(window.len() / 2);
        let late = &window[half..];
        let cut = ["\n# ", "\n## ", "\n.SH", "\n\n", "\n", " "]
            .iter()
            .find_map(|mark| late.rfind(mark))
            .map_or(window.len(), |at| half + at + 1);
        let (part, tail) = rest.split_at(cut);
        parts.push(part);
        rest = tail;
    }
    if parts.is_empty() || !rest.trim().is_empty() {
        parts.push(rest);
    }
    parts
}

#[cfg(test)]
mod tests;
