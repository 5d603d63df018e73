//! The query language that people type: words, `"phrases"`, `prefixes*`, `OR`, and `-` for without.
//!
//! ```text
//! query = group *("OR" group)        ; OR binds weakest: a b OR c = (a b) OR c
//! group = 1*(["-"] term)             ; all of them; at least one without the minus
//! term  = (word / DQUOTE *char DQUOTE) ["*"]
//! ```
//! Punctuation separates words. A word that gives several tokens (`foo_bar`, `e-mail`, `東京`) is a phrase.
//! `AND` in capitals is what happens anyway. `--long` is the word `long`: people paste options.

use super::token::{for_each_token, is_unspaced};

/// Longest query in bytes.
pub const QUERY_BYTES_MAX: usize = 1024;

/// Most words and phrases in a query; each one is a list to merge in the index.
pub const QUERY_TERMS_MAX: usize = 32;

/// Most prefixes in a query: each one is merged from the lists of all words that begin with it.
pub const PREFIX_TERMS_MAX: usize = 4;

/// Fewest characters of a prefix. One letter stands for a large part of all words. In scripts without
/// spaces a character is a word, and no other word begins with it.
pub const PREFIX_CHARS_MIN: usize = 2;

/// A word, a prefix or a phrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// One token, or several that must follow each other.
    pub tokens: Vec<String>,
    /// The last token matches whatever begins with it.
    pub prefix: bool,
}

/// Terms that must all be there, and terms that must not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) all: Vec<Term>,
    pub(super) none: Vec<Term>,
}

/// A parsed query: any of the groups. Never without a positive term.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    pub(super) groups: Vec<Group>,
}

/// Why a text is not a query. Positions count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("a query has at most {max} bytes, this one has {len}")]
    TooLong { len: usize, max: usize },
    #[error("a query has at most {max} words and phrases")]
    TooManyTerms { position: usize, max: usize },
    #[error("a query has at most {max} prefixes")]
    TooManyPrefixes { position: usize, max: usize },
    #[error("a prefix has at least {min} characters before the `*`")]
    ShortPrefix { position: usize, min: usize },
    #[error("the quote is never closed")]
    OpenQuote { position: usize },
    #[error("there is no word to search for")]
    Empty,
    #[error("a search needs at least one word without `-`")]
    OnlyNegative { position: usize },
    #[error("`OR` needs a word on each side")]
    DanglingOr { position: usize },
}

impl QueryError {
    /// Where in the query the fault is, in characters from 1; `None` where it is the whole.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        match self {
            Self::TooLong { .. } | Self::Empty => None,
            Self::TooManyTerms { position, .. }
            | Self::TooManyPrefixes { position, .. }
            | Self::ShortPrefix { position, .. }
            | Self::OpenQuote { position }
            | Self::OnlyNegative { position }
            | Self::DanglingOr { position } => Some(*position),
        }
    }
}

impl Query {
    /// Reads what a person typed.
    ///
    /// # Errors
    /// The first rule that `text` breaks, with its position.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.len() > QUERY_BYTES_MAX {
            return Err(QueryError::TooLong {
                len: text.len(),
                max: QUERY_BYTES_MAX,
            });
        }
        let mut parser = Parser {
            text,
            at: 0,
            terms: 0,
            prefixes: 0,
            groups: Vec::new(),
            open: Open::default(),
            last_or: None,
        };
        while parser.step()? {}
        parser.finish()
    }

    /// The terms that a hit is there for; what a highlighter marks.
    pub fn positive(&self) -> impl Iterator<Item = &Term> {
        self.groups.iter().flat_map(|group| &group.all)
    }
}

/// The group that is being read.
#[derive(Default)]
struct Open {
    all: Vec<Term>,
    none: Vec<Term>,
    /// Byte offset of its first negative term.
    negative_at: usize,
}

struct Parser<'t> {
    text: &'t str,
    /// Byte offset of what is read next.
    at: usize,
    terms: usize,
    prefixes: usize,
    groups: Vec<Group>,
    open: Open,
    /// Byte offset of the `OR` before the open group.
    last_or: Option<usize>,
}

impl Parser<'_> {
    /// Reads one term or operator; `false` at the end.
    fn step(&mut self) -> Result<bool, QueryError> {
        let rest = &self.text[self.at..];
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        if trimmed.is_empty() {
            return Ok(false);
        }
        let start = self.at;
        let body = trimmed.strip_prefix('-').unwrap_or(trimmed);
        let negative = body.len() < trimmed.len() && !body.starts_with('-');
        let (words, used) = if let Some(quoted) = body.strip_prefix('"') {
            let Some(close) = quoted.find('"') else {
                return Err(QueryError::OpenQuote {
                    position: self.position(start + trimmed.len() - body.len()),
                });
            };
            (&quoted[..close], close + 2)
        } else {
            let end = body
                .find(|c: char| c.is_whitespace() || c == '"')
                .unwrap_or(body.len());
            (&body[..end], end)
        };
        self.at = start + (trimmed.len() - body.len()) + used;
        let quoted = body.starts_with('"');
        let prefix = if quoted {
            self.text[self.at..].starts_with('*')
        } else {
            words.ends_with('*')
        };
        match words {
            "OR" if !quoted && !negative => self.close_group(start)?,
            "AND" if !quoted && !negative => {}
            _ => self.add(words, prefix, negative, start)?,
        }
        Ok(true)
    }

    fn add(&mut self, words: &str, prefix: bool, negative: bool, start: usize) -> Result<(), QueryError> {
        let mut tokens = Vec::new();
        for_each_token(words, |token, _| tokens.push(token.to_owned()));
        if tokens.is_empty() {
            return Ok(());
        }
        self.terms += 1;
        if self.terms > QUERY_TERMS_MAX {
            return Err(QueryError::TooManyTerms {
                position: self.position(start),
                max: QUERY_TERMS_MAX,
            });
        }
        if prefix {
            self.check_prefix(tokens.last().map_or("", String::as_str), start)?;
        }
        let term = Term { tokens, prefix };
        if !negative {
            self.open.all.push(term);
            return Ok(());
        }
        if self.open.none.is_empty() {
            self.open.negative_at = start;
        }
        self.open.none.push(term);
        Ok(())
    }

    fn check_prefix(&mut self, token: &str, start: usize) -> Result<(), QueryError> {
        if token.chars().count() < PREFIX_CHARS_MIN && !token.starts_with(is_unspaced) {
            return Err(QueryError::ShortPrefix {
                position: self.position(start),
                min: PREFIX_CHARS_MIN,
            });
        }
        self.prefixes += 1;
        if self.prefixes > PREFIX_TERMS_MAX {
            return Err(QueryError::TooManyPrefixes {
                position: self.position(start),
                max: PREFIX_TERMS_MAX,
            });
        }
        Ok(())
    }

    fn close_group(&mut self, or_at: usize) -> Result<(), QueryError> {
        let open = std::mem::take(&mut self.open);
        if open.all.is_empty() {
            return Err(if open.none.is_empty() {
                QueryError::DanglingOr {
                    position: self.position(or_at),
                }
            } else {
                QueryError::OnlyNegative {
                    position: self.position(open.negative_at),
                }
            });
        }
        self.groups.push(Group {
            all: open.all,
            none: open.none,
        });
        self.last_or = Some(or_at);
        Ok(())
    }

    fn finish(mut self) -> Result<Query, QueryError> {
        if self.open.all.is_empty() && self.open.none.is_empty() && self.last_or.is_none() {
            return Err(QueryError::Empty);
        }
        let or_at = self.last_or.unwrap_or(0);
        self.close_group(or_at)?;
        Ok(Query { groups: self.groups })
    }

    /// The character that begins at byte `offset`, counted from 1.
    fn position(&self, offset: usize) -> usize {
        self.text[..offset].chars().count() + 1
    }
}
