//! YAML 1.2 (core schema) into a tree in which every key and value knows where it was written.
//!
//! One document a file. It refuses what would surprise: the same key twice, keys that are not text, tags
//! of an application, and aliases that blow a small file up. `no`, `on` and `yes` are text.

use std::sync::Arc;

use crate::source::{ByteSpan, Diagnostic, SourceFile};

mod de;
mod scalar;
mod syntax;
mod tree;

/// Largest file. A tenant takes about 60 bytes, so this is some 15,000 tenants.
pub const FILE_BYTES_MAX: usize = 1 << 20;

/// Deepest nesting of mappings and lists.
pub const DEPTH_MAX: usize = 64;

/// How much aliases may add to a file, in nodes (and one more for each 32 bytes of text).
pub const ALIAS_NODES_MAX: usize = 100_000;

/// Most problems that are reported for one file.
pub const PROBLEMS_MAX: usize = 100;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    /// Where the value is. For a value that was left out, the place of its key.
    pub span: ByteSpan,
    pub value: Value,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_span: ByteSpan,
    pub value: Node,
}

impl Node {
    /// The entries of a mapping; none for anything else.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for anything else.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The entry of `key` in a mapping.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The value of `key` in a mapping.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The text of a text.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number of a whole number.
    #[must_use]
    pub fn as_int(&self) -> Option<i128> {
        match self.value {
            Value::Int(number) => Some(number),
            _ => None,
        }
    }

    /// The value as JSON. Numbers beyond 64 bits become floating point.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(flag) => Json::Bool(*flag),
            Value::Int(number) => i64::try_from(*number)
                .map(Json::from)
                .or_else(|_beyond| u64::try_from(*number).map(Json::from))
                .unwrap_or_else(|_beyond| Json::from(*number as f64)),
            Value::Float(number) => Json::from(*number),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

/// Reads `source`. An empty file is [`Value::Null`].
///
/// # Errors
/// Everything that is wrong with it as YAML: the first syntax error, or all doubled keys and the like.
pub fn parse(source: &Arc<SourceFile>) -> Result<Node, Vec<Diagnostic>> {
    if let Some(refusal) = refuse_unreadable(source) {
        return Err(vec![refusal]);
    }
    tree::build(source)
}

/// Size and characters; the parser below must not meet a NUL, which it takes for the end.
fn refuse_unreadable(source: &Arc<SourceFile>) -> Option<Diagnostic> {
    let text = source.text();
    if text.len() > FILE_BYTES_MAX {
        return Some(
            Diagnostic::of_file(
                "RC-CFG-002",
                source.name(),
                format!("the file has {} bytes, the limit is {FILE_BYTES_MAX}", text.len()),
            )
            .hint("is this the right file? Models are small; data belongs into the store"),
        );
    }
    let unprintable = |c: char| {
        matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{7f}'..='\u{84}'
            | '\u{86}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}')
    };
    if let Some((offset, c)) = text.char_indices().find(|(_, c)| unprintable(*c)) {
        let span = ByteSpan::new(offset, offset + c.len_utf8());
        let hint = match c {
            '\0' => "is the file UTF-16 or binary? Save it as UTF-8 text",
            _ => r#"remove it, or write it as an escape in double quotes, such as "\u001b""#,
        };
        return Some(
            Diagnostic::error(
                "RC-CFG-002",
                source,
                span,
                format!("the character U+{:04X} is not allowed in YAML", u32::from(c)),
            )
            .label("this cannot be seen, and is not text")
            .hint(hint),
        );
    }
    None
}

#[cfg(test)]
mod tests;
