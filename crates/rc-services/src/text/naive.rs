//! The definition of a match, written as plainly as possible: the judge of both stores in tests.

use super::query::{Query, Term};
use super::token::for_each_token;

/// Whether `query` finds a document.
pub(crate) fn finds(query: &Query, title: &str, text: &str) -> bool {
    let fields = [tokens(title), tokens(text)];
    let has = |term: &Term| fields.iter().any(|field| field_has(field, term));
    query
        .groups
        .iter()
        .any(|group| group.all.iter().all(has) && !group.none.iter().any(has))
}

fn field_has(field: &[String], term: &Term) -> bool {
    let last = term.tokens.len() - 1;
    field.windows(term.tokens.len()).any(|window| {
        window
            .iter()
            .zip(&term.tokens)
            .enumerate()
            .all(|(index, (token, wanted))| {
                token == wanted || (term.prefix && index == last && token.starts_with(wanted.as_str()))
            })
    })
}

/// The tokens of `text`.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for_each_token(text, |token, _| tokens.push(token.to_owned()));
    tokens
}
