//! The parser's complaints in the words of somebody who edits a file.

use std::sync::Arc;

use crate::source::{ByteSpan, Diagnostic, SourceFile};

/// What one complaint means: a part of the parser's text, our message, our hint.
struct Meaning(&'static str, &'static str, &'static str);

/// The first entry whose first field is part of the parser's text counts.
const MEANINGS: &[Meaning] = &[
    Meaning(
        "tab",
        "a tab stands where only spaces may",
        "YAML is indented with spaces; replace the tab by two spaces",
    ),
    Meaning(
        "mapping values are not allowed in this context",
        "a `:` does not fit here",
        "check the indentation of this line and of the one above; a text that contains `: ` needs quotes",
    ),
    Meaning(
        "illegal placement of ':' indicator",
        "a `:` does not fit here",
        "check the indentation of this line and of the one above; a text that contains `: ` needs quotes",
    ),
    Meaning(
        "simple key expect",
        "this line is not a `key: value`",
        "write a `:` and a space after the key; a text of several lines needs quotes or `|`",
    ),
    Meaning(
        "did not find expected key",
        "this line does not fit into the mapping around it",
        "all keys of one mapping start in the same column; a quoted text ends with its quote",
    ),
    Meaning(
        "did not find expected '-' indicator",
        "this line does not fit into the list around it",
        "all `-` of one list stand in the same column",
    ),
    Meaning(
        "block sequence entries are not allowed",
        "a `-` does not fit here",
        "start the list on the line below its key, each item with `- `",
    ),
    Meaning(
        "did not find expected ',' or '}'",
        "a `,` or the closing `}` is missing",
        "close the `{` that is open here, or put a `,` between its entries",
    ),
    Meaning(
        "expected ',' or ']'",
        "a `,` or the closing `]` is missing",
        "close the `[` that is open here, or put a `,` between its items",
    ),
    Meaning(
        "invalid indentation in flow construct",
        "a `[` or `{` is not closed",
        "close it, or indent its lines deeper than its key",
    ),
    Meaning(
        "misplaced bracket",
        "a closing bracket without its opening one",
        "remove it; a text that starts or ends with a bracket needs quotes",
    ),
    Meaning(
        "unexpected end of stream",
        "a quote is not closed",
        "end the text with the quote it starts with",
    ),
    Meaning(
        "unexpected document indicator",
        "a quote is not closed",
        "end the text with the quote it starts with",
    ),
    Meaning(
        "invalid indentation in quoted scalar",
        "a quote is not closed, or its text is not indented",
        "end the text with the quote it starts with",
    ),
    Meaning(
        "invalid trailing content after double-quoted scalar",
        "something follows the closing quote",
        r#"put the whole value into quotes, and write a quote inside of it as `\"`"#,
    ),
    Meaning(
        "unknown escape character",
        "this escape does not exist in a double-quoted text",
        r"write `\\` for a backslash, or use single quotes, which know no escapes",
    ),
    Meaning(
        "hexadecimal number",
        "an escape needs hexadecimal digits",
        r"two after `\x`, four after `\u`, eight after `\U`; or use single quotes, which know no escapes",
    ),
    Meaning(
        "invalid Unicode character escape code",
        "this escape is not a character",
        r"write the character itself, or its own code, such as `\u00e9`; halves of pairs do not exist in YAML",
    ),
    Meaning(
        "unknown anchor",
        "the alias stands for an anchor that was not written before",
        "a text that starts with `*` needs quotes",
    ),
    Meaning(
        "scanning an anchor or alias",
        "a name is missing after `&` or `*`",
        "a text that starts with `&` or `*` needs quotes",
    ),
    Meaning(
        "unexpected character",
        "a text cannot start with this character",
        "put the text into quotes",
    ),
    Meaning(
        "plain scalar cannot start with",
        "a text cannot start with this character",
        "put the text into quotes",
    ),
    Meaning(
        "while scanning a block scalar",
        "the text block after `|` or `>` starts wrongly",
        "nothing but a comment may follow `|` or `>` on its line; a text that starts with them needs quotes",
    ),
    Meaning(
        "wrongly indented line in block scalar",
        "a line of the text block is indented less than its first one",
        "indent all lines of the text alike",
    ),
    Meaning(
        "while parsing a tag",
        "the tag after `!` is malformed",
        "a text that starts with `!` needs quotes",
    ),
    Meaning(
        "while scanning a tag",
        "the tag after `!` is malformed",
        "a text that starts with `!` needs quotes",
    ),
    Meaning(
        "the handle wasn't declared",
        "this tag is not known",
        "a text that starts with `!` needs quotes",
    ),
    Meaning(
        "directive",
        "a line that starts with `%` is for YAML itself",
        "a text that starts with `%` needs quotes",
    ),
    Meaning(
        "did not find expected node content",
        "a value is missing here",
        "write the value, or remove what announces it",
    ),
    Meaning(
        "byte order mark",
        "a byte order mark stands in the middle of the file",
        "were two files joined? Remove the invisible character",
    ),
    Meaning(
        "document start",
        "this does not belong to the document",
        "check the indentation: the keys of the top level start in the first column",
    ),
    Meaning(
        "comment intercepting the multiline text",
        "a comment stands in the middle of a text",
        "the line below is indented deeper, so it continues this value: check its indentation",
    ),
    Meaning(
        "invalid indentation",
        "the indentation does not fit",
        "keys and items that belong together start in the same column",
    ),
];

/// The diagnostic for the parser's complaint `info` at the byte `offset`, inside the brackets that were
/// opened at `bracket`.
pub(super) fn explain(
    source: &Arc<SourceFile>,
    offset: usize,
    bracket: Option<usize>,
    info: &str,
) -> Diagnostic {
    let text = source.text();
    // Complaints about the end of the file point behind the last line break, where there is nothing to see.
    let offset = if offset >= text.len() {
        text.trim_end().len()
    } else {
        text.floor_char_boundary(offset)
    };
    let error = |span, message: &str| Diagnostic::error("RC-CFG-003", source, span, message);
    if let Some(bracket) = bracket.filter(|at| source.position(*at).line < source.position(offset).line) {
        let (open, close) = if text[bracket..].starts_with('{') {
            ('{', '}')
        } else {
            ('[', ']')
        };
        return error(one_char(text, offset), &format!("the `{open}` is not closed"))
            .note(source, ByteSpan::new(bracket, bracket + 1), "opened here")
            .hint(if comment_has(source.rest_of_line(bracket), close) {
                format!("the `{close}` stands after ` #`, which starts a comment; put the text with the `#` into quotes")
            } else {
                format!("end it with `{close}`, or indent its lines deeper than its key")
            });
    }
    // The parser looks ahead, and gives up before the events get there.
    if info.contains("recursion limit") {
        return super::tree::too_deep(source, one_char(text, offset));
    }
    if info.contains("mapping values are not allowed") {
        return stray_colon(source, offset);
    }
    let span = if info.contains("tab") {
        tab_in_indentation(source, offset)
    } else if info.contains("escape") || info.contains("hexadecimal") {
        bad_escape(text, offset)
    } else if info.contains("unknown anchor") {
        Some(word(text, offset))
    } else {
        None
    };
    let span = span.unwrap_or_else(|| one_char(text, offset));
    match MEANINGS.iter().find(|meaning| info.contains(meaning.0)) {
        Some(Meaning(_, message, hint)) => error(span, message).hint(*hint),
        None => error(span, &format!("this is not YAML: {info}"))
            .hint("check quotes, brackets and the indentation of this line and of the one above"),
    }
}

/// A `:` where no key can be: the line is indented wrongly, the one above lacks its own, or there are two.
fn stray_colon(source: &Arc<SourceFile>, offset: usize) -> Diagnostic {
    let text = source.text();
    let colon = one_char(text, offset);
    let start = text[..offset].rfind(['\n', '\r']).map_or(0, |at| at + 1);
    let key = text[start..offset].trim_start();
    let key_span = ByteSpan::new(offset - key.len(), offset);
    let error = |span, message: &str| Diagnostic::error("RC-CFG-003", source, span, message);
    if key.contains(':') {
        return error(colon, "a second `: ` on the same line")
            .hint("put the text after the first one into quotes, or start a new line for the key");
    }
    let above = text[..start].trim_end();
    let above_start = above.rfind(['\n', '\r']).map_or(0, |at| at + 1);
    let above = above[above_start..].trim_start();
    let above_span = {
        let end = text[..start].trim_end().len();
        ByteSpan::new(end - above.len(), end)
    };
    if !above.is_empty() && !above.contains(':') && !above.starts_with(['-', '#']) {
        return error(above_span, "this line is not a `key: value`")
            .hint("write a `:` and a space after the key");
    }
    if above.contains(':') && key_span.start - start > above_span.start - above_start {
        return error(key_span, "this key is indented deeper than it may be")
            .note(source, above_span, "this already has its value")
            .hint("start both in the same column, or move the value of the upper one to a line of its own");
    }
    error(colon, "a `:` does not fit here").hint(
        "check the indentation of this line and of the one above; a text that contains `: ` needs quotes",
    )
}

fn one_char(text: &str, offset: usize) -> ByteSpan {
    let first = text[offset..].chars().next();
    let width = first
        .filter(|c| !matches!(c, '\n' | '\r'))
        .map_or(0, char::len_utf8);
    ByteSpan::new(offset, offset + width)
}

/// From `offset` to the next blank.
fn word(text: &str, offset: usize) -> ByteSpan {
    let rest = &text[offset..];
    let len = rest
        .find(|c: char| c.is_whitespace() || matches!(c, ',' | ']' | '}'))
        .unwrap_or(rest.len());
    ByteSpan::new(offset, offset + len)
}

/// The first tab in the indentation of the line of `offset`, or of the next one that has any.
fn tab_in_indentation(source: &SourceFile, offset: usize) -> Option<ByteSpan> {
    let text = source.text();
    let start = text[..offset].rfind(['\n', '\r']).map_or(0, |at| at + 1);
    let mut at = start;
    for line in text[start..].split_inclusive(['\n', '\r']) {
        let blanks = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line[..blanks].find('\t') {
            return Some(ByteSpan::new(at + tab, at + tab + 1));
        }
        if at > offset && !line.trim().is_empty() {
            return None;
        }
        at += line.len();
    }
    None
}

/// The first escape that YAML does not know in the double-quoted text that starts at `offset`.
fn bad_escape(text: &str, offset: usize) -> Option<ByteSpan> {
    let mut rest = text[offset..].char_indices().skip(1);
    while let Some((at, c)) = rest.next() {
        if c != '\\' {
            continue;
        }
        let (_, kind) = rest.next()?;
        let digits = match kind {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            '0' | 'a' | 'b' | 't' | '\t' | 'n' | 'v' | 'f' | 'r' | 'e' | ' ' | '"' | '/' | '\\' | 'N'
            | '_' | 'L' | 'P' | '\n' | '\r' => continue,
            _ => 0,
        };
        let start = offset + at;
        let body = start + 1 + kind.len_utf8();
        let written = text[body..]
            .chars()
            .take(digits)
            .take_while(char::is_ascii_hexdigit);
        let written = written.count();
        let valid = written == digits
            && u32::from_str_radix(&text[body..body + written], 16)
                .ok()
                .and_then(char::from_u32)
                .is_some();
        if !valid {
            return Some(ByteSpan::new(start, body + written));
        }
    }
    None
}

/// Whether `line` has the character `wanted` only inside of a comment.
fn comment_has(line: &str, wanted: char) -> bool {
    line.find(" #")
        .is_some_and(|comment| !line[..comment].contains(wanted) && line[comment..].contains(wanted))
}
