//! Words: how text becomes tokens, how a person's query becomes terms, how both reach a full-text engine.
//!
//! One tokenizer serves both stores, so that SQLite and PostgreSQL find the same documents. User text is
//! never handed to an engine: a query is parsed by our own grammar and rendered from the tokens alone.
//! It knows nothing of tenants' data, HTTP or SQL connections.
//!
//! Read first: [`for_each_token`], [`Query`], [`snippet`].

mod query;
mod render;
mod snippet;
mod token;

pub use query::{
    PREFIX_CHARS_MIN, PREFIX_TERMS_MAX, QUERY_BYTES_MAX, QUERY_TERMS_MAX, Query, QueryError, Term,
};
pub use render::{TenantPrefix, attr_token, fts5_match, tsquery, tsvector};
pub use snippet::{SNIPPET_SCAN_BYTES_MAX, SNIPPET_WORDS, snippet};
pub use token::{TOKEN_CHARS_MAX, fold, for_each_token};

#[cfg(test)]
pub(crate) mod naive;
#[cfg(test)]
mod tests;
