//! SQL in the pieces that matter for hiding data: both dialects at once, so in doubt a piece is a literal.
//!
//! It refuses to know grammar. Text that is no SQL comes out as some pieces too, and never as a panic.

/// One piece of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'s> {
    /// A keyword or a plain name.
    Word(&'s str),
    /// A quoted name, with its quotes.
    Quoted(&'s str),
    /// A string, number or blob; what it said is gone.
    Literal,
    /// A parameter: `?`, `?1`, `$1`, `:name`, `@name`.
    Param(&'s str),
    /// Anything else, one character at a time (`::` is one).
    Mark(&'s str),
}

impl<'s> Token<'s> {
    /// How it is shown.
    pub(crate) fn text(self) -> &'s str {
        match self {
            Self::Word(text) | Self::Quoted(text) | Self::Param(text) | Self::Mark(text) => text,
            Self::Literal => "?",
        }
    }

    pub(crate) fn is_word(self, word: &str) -> bool {
        matches!(self, Self::Word(text) if text.eq_ignore_ascii_case(word))
    }

    pub(crate) fn is_mark(self, mark: &str) -> bool {
        matches!(self, Self::Mark(text) if text == mark)
    }
}

/// A piece, and whether space or a comment stood before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'s> {
    pub(crate) token: Token<'s>,
    pub(crate) spaced: bool,
}

/// Takes `sql` apart.
pub(crate) fn pieces(sql: &str) -> Vec<Piece<'_>> {
    let text = sql.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut spaced) = (0, false);
    while let Some(first) = text.get(at) {
        let next = text.get(at + 1).copied();
        if first.is_ascii_whitespace() || first.is_ascii_control() {
            (at, spaced) = (at + 1, true);
            continue;
        }
        if (*first, next) == (b'-', Some(b'-')) {
            at = text[at..]
                .iter()
                .position(|byte| *byte == b'\n')
                .map_or(text.len(), |end| at + end);
            spaced = true;
            continue;
        }
        if (*first, next) == (b'/', Some(b'*')) {
            (at, spaced) = (comment_end(text, at), true);
            continue;
        }
        let (token, end) = piece(sql, at);
        found.push(Piece { token, spaced });
        (at, spaced) = (end, false);
    }
    found
}

/// The piece that begins at `at`, and where it ends.
fn piece(sql: &str, at: usize) -> (Token<'_>, usize) {
    let text = sql.as_bytes();
    let (first, next) = (text[at], text.get(at + 1).copied());
    let digit = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_digit());
    match first {
        b'\'' => (Token::Literal, string_end(text, at, false)),
        b'"' | b'`' => match quoted_end(text, at) {
            Some(end) => (Token::Quoted(&sql[at..end]), end),
            None => (Token::Literal, text.len()),
        },
        b'$' => dollar(sql, at),
        b'?' => {
            let end = while_in(text, at + 1, u8::is_ascii_digit);
            (Token::Param(&sql[at..end]), end)
        }
        b':' if next == Some(b':') => (Token::Mark(&sql[at..at + 2]), at + 2),
        b':' | b'@' if next.is_some_and(starts_word) => {
            let end = while_in(text, at + 1, |byte| in_word(*byte));
            (Token::Param(&sql[at..end]), end)
        }
        b'0'..=b'9' => (Token::Literal, number_end(text, at)),
        b'.' if digit(next) => (Token::Literal, number_end(text, at)),
        byte if starts_word(byte) => {
            let end = while_in(text, at, |byte| in_word(*byte));
            let word = &sql[at..end];
            let prefixes = ["e", "x", "b", "n"];
            if text.get(end) == Some(&b'\'')
                && prefixes.iter().any(|prefix| word.eq_ignore_ascii_case(prefix))
            {
                let escapes = word.eq_ignore_ascii_case("e");
                return (Token::Literal, string_end(text, end, escapes));
            }
            (Token::Word(word), end)
        }
        _ => (Token::Mark(&sql[at..=at]), at + 1),
    }
}

/// `$1`, `$name`, or a dollar quoted string.
fn dollar(sql: &str, at: usize) -> (Token<'_>, usize) {
    let text = sql.as_bytes();
    let digits = while_in(text, at + 1, u8::is_ascii_digit);
    if digits > at + 1 {
        return (Token::Param(&sql[at..digits]), digits);
    }
    let tag = while_in(text, at + 1, |byte| in_word(*byte) && *byte != b'$');
    if text.get(tag) == Some(&b'$') {
        let fence = &text[at..=tag];
        let body = tag + 1;
        let close = text[body..].windows(fence.len()).position(|part| part == fence);
        return (
            Token::Literal,
            close.map_or(text.len(), |close| body + close + fence.len()),
        );
    }
    if tag > at + 1 {
        return (Token::Param(&sql[at..tag]), tag);
    }
    (Token::Mark(&sql[at..=at]), at + 1)
}

/// Behind the string whose quote is at `at`; the end of the text when it is not closed.
fn string_end(text: &[u8], at: usize, escapes: bool) -> usize {
    let mut end = at + 1;
    while let Some(byte) = text.get(end) {
        match byte {
            b'\\' if escapes => end += 2,
            b'\'' if text.get(end + 1) == Some(&b'\'') => end += 2,
            b'\'' => return end + 1,
            _ => end += 1,
        }
    }
    text.len()
}

fn quoted_end(text: &[u8], at: usize) -> Option<usize> {
    let quote = text[at];
    let close = text[at + 1..].iter().position(|byte| *byte == quote)?;
    Some(at + close + 2)
}

fn number_end(text: &[u8], at: usize) -> usize {
    let mut end = at;
    while let Some(byte) = text.get(end) {
        let sign = matches!(byte, b'+' | b'-')
            && matches!(text[end - 1], b'e' | b'E')
            && text.get(end + 1).is_some_and(u8::is_ascii_digit);
        if !(byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'_')
            || *byte >= 0x80
            || (end > at && sign))
        {
            break;
        }
        end += 1;
    }
    end
}

/// PostgreSQL's comments nest. Where SQLite's do not, more is taken for a comment, and so is not shown.
fn comment_end(text: &[u8], at: usize) -> usize {
    let (mut end, mut depth) = (at, 0_usize);
    while end < text.len() {
        match (text[end], text.get(end + 1)) {
            (b'/', Some(b'*')) => (end, depth) = (end + 2, depth + 1),
            (b'*', Some(b'/')) => {
                (end, depth) = (end + 2, depth - 1);
                if depth == 0 {
                    return end;
                }
            }
            _ => end += 1,
        }
    }
    text.len()
}

fn while_in(text: &[u8], from: usize, inside: impl Fn(&u8) -> bool) -> usize {
    text[from..]
        .iter()
        .position(|byte| !inside(byte))
        .map_or(text.len(), |count| from + count)
}

/// Bytes beyond ASCII belong to names in both dialects.
fn starts_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn in_word(byte: u8) -> bool {
    starts_word(byte) || byte.is_ascii_digit() || byte == b'$'
}
