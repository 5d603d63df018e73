//! Which statements have a plan, and what their texts say that a planner has to be told.

use crate::trace::{Token, pieces};

/// What a statement that can be explained begins with.
const EXPLAINED: [&str; 6] = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "REPLACE"];

/// Whether `sql` is one statement that reads or writes rows.
pub(crate) fn is_explained(sql: &str) -> bool {
    let pieces = pieces(sql);
    let end = pieces.iter().position(|piece| piece.token.is_mark(";"));
    let alone = end.is_none_or(|end| end + 1 == pieces.len());
    let begins = |first: Token<'_>| EXPLAINED.iter().any(|verb| first.is_word(verb));
    alone && pieces.first().is_some_and(|first| begins(first.token))
}

/// The highest of `$1`, `$2`, ...
pub(crate) fn parameters(sql: &str) -> usize {
    let numbers = pieces(sql).into_iter().filter_map(|piece| match piece.token {
        Token::Param(name) => name.strip_prefix('$')?.parse().ok(),
        Token::Word(_) | Token::Quoted(_) | Token::Literal | Token::Mark(_) => None,
    });
    numbers.max().unwrap_or(0)
}
