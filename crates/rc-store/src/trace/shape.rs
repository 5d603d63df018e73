//! What may be shown of a statement: its text without data, and a short name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::lexer::{Piece, Token, pieces};
use super::tally::Tally;

/// Longest shown text in bytes; what is behind is cut.
pub const TEXT_BYTES_MAX: usize = 2_048;

/// Longest name in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// Statements whose shape a store remembers. Statements are constants; more of them than this means that
/// somebody builds text, and then each is looked at anew.
pub const SHAPES_MAX: usize = 1_024;

/// Stands where a text was cut.
const CUT: &str = "…";

/// Verbs that a name may begin with.
const VERBS: [&str; 33] = [
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "REPLACE",
    "MERGE",
    "CREATE",
    "DROP",
    "ALTER",
    "TRUNCATE",
    "BEGIN",
    "START",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT",
    "RELEASE",
    "PRAGMA",
    "VACUUM",
    "ANALYZE",
    "REINDEX",
    "ATTACH",
    "DETACH",
    "SET",
    "SHOW",
    "LOCK",
    "COPY",
    "VALUES",
    "LISTEN",
    "NOTIFY",
    "CALL",
    "DO",
    "GRANT",
    "REVOKE",
];

/// The name of what begins with none of them.
const OTHER: &str = "SQL";

/// A statement as spans show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// The text: each literal is `?`, lists behind `IN` have one element, comments are gone, space is single.
    /// Applying it to itself changes nothing.
    pub text: Box<str>,
    /// Verb and table: `INSERT documents`.
    pub name: Box<str>,
}

impl Shape {
    /// The shape of `sql`, whatever it is.
    #[must_use]
    pub fn of(sql: &str) -> Self {
        let pieces = collapse_lists(pieces(sql));
        Self {
            text: render(&pieces).into(),
            name: name(&pieces).into(),
        }
    }
}

/// A statement that a store has met.
#[derive(Debug)]
pub(crate) struct Known {
    /// The text as it was given.
    pub(crate) source: Box<str>,
    pub(crate) shape: Shape,
    pub(crate) tally: Tally,
}

/// The statements of a store by text: each shape is worked out once, and each run is counted with it.
#[derive(Debug, Default)]
pub struct Shapes(Mutex<HashMap<Box<str>, Arc<Known>>>);

impl Shapes {
    /// What is known of `sql`.
    #[must_use]
    pub(crate) fn get(&self, sql: &str) -> Arc<Known> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(sql) {
            return Arc::clone(found);
        }
        let new = Arc::new(Known {
            source: sql.into(),
            shape: Shape::of(sql),
            tally: Tally::default(),
        });
        if known.len() < SHAPES_MAX {
            known.insert(sql.into(), Arc::clone(&new));
        }
        new
    }

    /// Everything that is remembered.
    pub(crate) fn all(&self) -> Vec<Arc<Known>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().map(Arc::clone).collect()
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(crate) fn known(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Lists of nothing but values behind `IN` become one value: their length is no part of a statement's shape.
fn collapse_lists(pieces: Vec<Piece<'_>>) -> Vec<Piece<'_>> {
    let mut out: Vec<Piece<'_>> = Vec::with_capacity(pieces.len());
    let mut at = 0;
    while at < pieces.len() {
        let piece = pieces[at];
        out.push(piece);
        at += 1;
        if !piece.token.is_word("in") || !pieces.get(at).is_some_and(|next| next.token.is_mark("(")) {
            continue;
        }
        if let Some(close) = value_list_end(&pieces, at) {
            out.push(pieces[at]);
            for token in [Token::Literal, pieces[close].token] {
                out.push(Piece { token, spaced: false });
            }
            at = close + 1;
        }
    }
    out
}

/// The closing parenthesis of the list that opens at `open`, if it holds nothing but values.
fn value_list_end(pieces: &[Piece<'_>], open: usize) -> Option<usize> {
    let mut values = 0_usize;
    for (at, piece) in pieces.iter().enumerate().skip(open + 1) {
        match piece.token {
            Token::Literal | Token::Param(_) => values += 1,
            Token::Mark("," | "-" | "+") => {}
            Token::Mark(")") if values > 0 => return Some(at),
            Token::Mark(_) | Token::Word(_) | Token::Quoted(_) => return None,
        }
    }
    None
}

fn render(pieces: &[Piece<'_>]) -> String {
    let room = TEXT_BYTES_MAX - CUT.len() - 1;
    let mut out = String::new();
    for piece in pieces {
        let text = piece.token.text();
        if out.len() + 1 + text.len() > room {
            out.push(' ');
            out.push_str(CUT);
            break;
        }
        if piece.spaced && !out.is_empty() {
            out.push(' ');
        }
        out.push_str(text);
    }
    out
}

/// Verb and table. Nothing of it comes from data: names of tables are the program's.
fn name(pieces: &[Piece<'_>]) -> String {
    let mut depth = 0_usize;
    let verb = pieces
        .iter()
        .enumerate()
        .find_map(|(at, piece)| match piece.token {
            Token::Mark("(") => {
                depth += 1;
                None
            }
            Token::Mark(")") => {
                depth = depth.saturating_sub(1);
                None
            }
            Token::Word(word) if depth == 0 => {
                let verb = VERBS.iter().find(|verb| word.eq_ignore_ascii_case(verb))?;
                Some((*verb, at))
            }
            _ => None,
        });
    let Some((verb, at)) = verb else {
        return OTHER.to_owned();
    };
    let rest = &pieces[at + 1..];
    let table = match verb {
        "SELECT" => table_behind(rest, &["from", "join"]),
        "DELETE" => table_behind(rest, &["from"]),
        "INSERT" | "REPLACE" | "MERGE" => table_behind(rest, &["into"]),
        "UPDATE" => updated(rest),
        "CREATE" | "DROP" | "ALTER" | "TRUNCATE" => table_behind(rest, &["table", "index", "view", "policy"]),
        _ => None,
    };
    let mut name = verb.to_owned();
    if let Some(table) = table {
        name.push(' ');
        name.push_str(&table);
    }
    name.truncate(name.floor_char_boundary(NAME_BYTES_MAX));
    name
}

/// The first name behind one of `words`, outside parentheses; functions and subqueries are none.
fn table_behind(pieces: &[Piece<'_>], words: &[&str]) -> Option<String> {
    let mut depth = 0_usize;
    for (at, piece) in pieces.iter().enumerate() {
        match piece.token {
            Token::Mark("(") => depth += 1,
            Token::Mark(")") => depth = depth.saturating_sub(1),
            token if depth == 0 && words.iter().any(|word| token.is_word(word)) => {
                if let Some(name) = table(&pieces[at + 1..]) {
                    return Some(name);
                }
            }
            _ => {}
        }
    }
    None
}

/// The table of an `UPDATE`: `UPDATE OR IGNORE t`, `UPDATE ONLY t`.
fn updated(pieces: &[Piece<'_>]) -> Option<String> {
    match pieces {
        [first, _, rest @ ..] if first.token.is_word("or") => table(rest),
        _ => table(pieces),
    }
}

fn table(pieces: &[Piece<'_>]) -> Option<String> {
    // `unnest(..) AS k CROSS JOIN LATERAL (SELECT .. FROM t WHERE t.key = k)` reads `t`.
    if let [lateral, open, inside @ ..] = pieces
        && lateral.token.is_word("lateral")
        && open.token.is_mark("(")
    {
        return table_behind(inside, &["from", "join"]);
    }
    let skipped = ["if", "not", "exists", "only"];
    let start = pieces
        .iter()
        .position(|piece| !skipped.iter().any(|word| piece.token.is_word(word)))?;
    let mut name = plain(pieces[start].token)?.to_owned();
    let mut rest = &pieces[start + 1..];
    while let [dot, part, after @ ..] = rest
        && dot.token.is_mark(".")
        && let Some(part) = plain(part.token)
    {
        name.push('.');
        name.push_str(part);
        rest = after;
    }
    // `FROM unnest(..)`. An INSERT's columns stand in parentheses too, but behind a space.
    let called = rest
        .first()
        .is_some_and(|next| next.token.is_mark("(") && !next.spaced);
    (!called).then_some(name)
}

fn plain(token: Token<'_>) -> Option<&str> {
    match token {
        Token::Word(word) => Some(word),
        Token::Quoted(quoted) => Some(&quoted[1..quoted.len() - 1]),
        Token::Literal | Token::Param(_) | Token::Mark(_) => None,
    }
}

#[cfg(test)]
mod tests;
