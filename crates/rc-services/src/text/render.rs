//! Queries and documents in the words of the two full-text engines. Only tokens get here, so nothing that
//! a person typed can be read as syntax.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rc_model::TenantId;

use super::query::{Query, Term};
use super::token::for_each_token;

/// Hex digits of the tenant's hash before each lexeme: 28 bits. A collision costs the two tenants some
/// speed and nothing else, because every query also compares the tenant.
const PREFIX_DIGITS: usize = 7;

/// Positions that PostgreSQL can tell apart in a `tsvector` (`MAXENTRYPOS` is 1 << 14; the last one is
/// where words beyond that are kept, and the one before it stays free, so that no phrase ends there).
const POSITION_MAX: usize = (1 << 14) - 3;

/// Where a word is kept that occurs only beyond [`POSITION_MAX`].
const POSITION_BEYOND: usize = (1 << 14) - 1;

/// Positions that PostgreSQL keeps per lexeme (`MAXNUMPOS` - 1).
const POSITIONS_PER_LEXEME_MAX: usize = 255;

/// What the lexemes and positions of one `tsvector` may take, below PostgreSQL's 1 MiB (`MAXSTRPOS`).
const VECTOR_BYTES_MAX: usize = 1_000_000;

/// Bytes of an attribute's hash: two attributes of one tenant never share 96 bits.
const ATTR_TOKEN_BYTES: usize = 12;

/// Two bytes for the first position, two for the count, one to align.
const LEXEME_EXTRA_BYTES: usize = 5;

/// The query as an FTS5 `MATCH` expression: every token quoted, every operator ours.
#[must_use]
pub fn fts5_match(query: &Query) -> String {
    render(query, " AND ", " NOT ", " OR ", |out, term| {
        out.push('"');
        for (index, token) in term.tokens.iter().enumerate() {
            if index > 0 {
                out.push(' ');
            }
            out.push_str(token);
        }
        out.push_str(if term.prefix { "\" *" } else { "\"" });
    })
}

/// The token that stands for an attribute in the index, so that filters are answered inside it. A hash,
/// because values are matched whole and may be long.
#[must_use]
pub fn attr_token(name: &str, value: &str) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("royalcrown 2026 docs-api attribute token");
    hasher.update(&(name.len() as u64).to_le_bytes());
    hasher.update(name.as_bytes());
    hasher.update(value.as_bytes());
    let mut token = String::with_capacity(2 * ATTR_TOKEN_BYTES);
    for byte in &hasher.finalize().as_bytes()[..ATTR_TOKEN_BYTES] {
        let _ = write!(token, "{byte:02x}");
    }
    token
}

/// The query as a PostgreSQL `tsquery` over lexemes that carry the tenant's prefix.
#[must_use]
pub fn tsquery(query: &Query, prefix: &TenantPrefix) -> String {
    render(query, " & ", " & !", " | ", |out, term| {
        let last = term.tokens.len() - 1;
        if last > 0 {
            out.push('(');
        }
        for (index, token) in term.tokens.iter().enumerate() {
            let star = if term.prefix && index == last { ":*" } else { "" };
            let arrow = if index == last { "" } else { " <-> " };
            let _ = write!(out, "'{}{token}'{star}{arrow}", prefix.word);
        }
        if last > 0 {
            out.push(')');
        }
    })
}

fn render(query: &Query, and: &str, not: &str, or: &str, term: impl Fn(&mut String, &Term)) -> String {
    let list = |out: &mut String, terms: &[Term], between: &str| {
        out.push('(');
        for (index, one) in terms.iter().enumerate() {
            if index > 0 {
                out.push_str(between);
            }
            term(out, one);
        }
        out.push(')');
    };
    let mut out = String::new();
    for (index, group) in query.groups.iter().enumerate() {
        if index > 0 {
            out.push_str(or);
        }
        out.push('(');
        list(&mut out, &group.all, and);
        if !group.none.is_empty() {
            out.push_str(not);
            list(&mut out, &group.none, or);
        }
        out.push(')');
    }
    out
}

/// A short hash of the tenant that begins each of its lexemes: the tenant is inside the GIN index, so
/// that a search walks only the tenant's own lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantPrefix {
    /// Before a word's token.
    word: String,
    /// Before an attribute's token.
    attr: String,
}

impl TenantPrefix {
    /// The prefix of `tenant`, the same for ever.
    #[must_use]
    pub fn of(tenant: &TenantId) -> Self {
        let hash = blake3::derive_key(
            "royalcrown 2026 docs-api lexeme prefix",
            tenant.as_str().as_bytes(),
        );
        let mut hex = String::with_capacity(PREFIX_DIGITS + 1);
        for byte in hash.iter().take(PREFIX_DIGITS.div_ceil(2)) {
            let _ = write!(hex, "{byte:02x}");
        }
        hex.truncate(PREFIX_DIGITS);
        // No token holds either sign: words and attributes never meet.
        Self {
            word: format!("{hex}."),
            attr: format!("{hex}="),
        }
    }

    /// The lexeme of an attribute, quoted for a `tsquery` or a `tsvector`.
    #[must_use]
    pub fn attr_lexeme(&self, name: &str, value: &str) -> String {
        format!("'{}{}'", self.attr, attr_token(name, value))
    }
}

/// The document as the text form of a `tsvector`: title in weight A, text in weight D, a gap between
/// them so that no phrase spans both.
///
/// Beyond the engine's limits (16,381 words, 255 occurrences of one word) a word is still found, but not
/// as part of a phrase; beyond 1 MB of distinct words it is not found.
#[must_use]
pub fn tsvector(title: &str, text: &str, attrs: &BTreeMap<String, String>, prefix: &TenantPrefix) -> String {
    let mut out = words(title, text, prefix);
    // A lexeme without a position: it is found and counts nothing in a rank.
    for (name, value) in attrs {
        out.push_str(&prefix.attr_lexeme(name, value));
        out.push(' ');
    }
    out
}

fn words(title: &str, text: &str, prefix: &TenantPrefix) -> String {
    let mut plain = Plain {
        prefix,
        next: 1,
        bytes: 0,
        out: String::with_capacity(3 * text.len() + title.len()),
        number: itoa::Buffer::new(),
    };
    for_each_token(title, |token, _| plain.add(token, "A "));
    plain.next += 1;
    // D is the weight of a position that names none.
    for_each_token(text, |token, _| plain.add(token, " "));
    if plain.bytes <= VECTOR_BYTES_MAX {
        return plain.out;
    }
    distinct(title, text, prefix)
}

/// One entry per word, in order. PostgreSQL sorts and merges them as it reads the text.
struct Plain<'p> {
    prefix: &'p TenantPrefix,
    next: usize,
    bytes: usize,
    out: String,
    number: itoa::Buffer,
}

impl Plain<'_> {
    fn add(&mut self, token: &str, end: &str) {
        self.bytes += self.prefix.word.len() + token.len() + LEXEME_EXTRA_BYTES;
        if self.bytes > VECTOR_BYTES_MAX {
            return;
        }
        let position = if self.next <= POSITION_MAX {
            self.next
        } else {
            POSITION_BEYOND
        };
        self.next += 1;
        self.out.push('\'');
        self.out.push_str(&self.prefix.word);
        self.out.push_str(token);
        self.out.push_str("':");
        self.out.push_str(self.number.format(position));
        self.out.push_str(end);
    }
}

/// The same with each word once: for the rare document that is too long otherwise.
fn distinct(title: &str, text: &str, prefix: &TenantPrefix) -> String {
    let mut vector = Distinct {
        bytes: 0,
        lexeme_overhead: prefix.word.len() + LEXEME_EXTRA_BYTES,
        next: 1,
        lexemes: BTreeMap::new(),
    };
    for_each_token(title, |token, _| vector.add(token, true));
    vector.next += 1;
    for_each_token(text, |token, _| vector.add(token, false));
    let mut out = String::with_capacity(vector.bytes * 2);
    for (token, places) in &vector.lexemes {
        let _ = write!(out, "'{}{token}'", prefix.word);
        for (index, (position, in_title)) in places.iter().enumerate() {
            let colon = if index == 0 { ':' } else { ',' };
            let weight = if *in_title { "A" } else { "" };
            let _ = write!(out, "{colon}{position}{weight}");
        }
        out.push(' ');
    }
    out
}

struct Distinct {
    bytes: usize,
    lexeme_overhead: usize,
    next: usize,
    /// Positions of each token and whether they are in the title.
    lexemes: BTreeMap<String, Vec<(usize, bool)>>,
}

impl Distinct {
    fn add(&mut self, token: &str, in_title: bool) {
        let position = self.next;
        self.next += 1;
        let exact = position <= POSITION_MAX;
        if let Some(places) = self.lexemes.get_mut(token) {
            if exact && places.len() < POSITIONS_PER_LEXEME_MAX {
                places.push((position, in_title));
                self.bytes += 2;
            }
            return;
        }
        let cost = self.lexeme_overhead + token.len();
        if self.bytes + cost <= VECTOR_BYTES_MAX {
            self.bytes += cost;
            let place = if exact { position } else { POSITION_BEYOND };
            self.lexemes.insert(token.to_owned(), vec![(place, in_title)]);
        }
    }
}
