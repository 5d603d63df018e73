//! How values, types and advice are put into words.

use crate::source::quote;
use crate::yaml::{Node, Value};

/// Most words of a text that a hint writes out as a list.
const WORDS_SHOWN_MAX: usize = 8;

/// What `value` is, with an article.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "`true` or `false`",
        Value::Int(_) => "a number",
        Value::Float(_) => "a number with a fraction",
        Value::Text(_) => "a text",
        Value::List(_) => "a list",
        Value::Map(_) => "a mapping",
    }
}

/// What JSON Schema's type names mean, with an article.
pub(super) fn kinds(types: &[&str], options: bool) -> String {
    if options {
        return "a text".to_owned();
    }
    let words: Vec<&str> = types
        .iter()
        .filter_map(|name| match *name {
            "string" => Some("a text"),
            "integer" => Some("a whole number"),
            "number" => Some("a number"),
            "boolean" => Some("`true` or `false`"),
            "array" => Some("a list"),
            "object" => Some("a mapping"),
            _ => None,
        })
        .collect();
    words.join(" or ")
}

/// `` `a`, `b` and `c` ``
pub(super) fn and(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| quote(name)).collect();
    match quoted.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => quoted.concat(),
    }
}

/// The first sentence of a description, to go on with after a dash.
pub(super) fn about(description: Option<&str>) -> Option<String> {
    let text = description?.replace('\n', " ");
    let sentence = text.split(". ").next()?.trim_end_matches('.');
    let mut chars = sentence.chars();
    let first = chars.next()?;
    Some(first.to_lowercase().chain(chars).collect())
}

/// What to write instead of `node`, which has none of the types `expected`.
pub(super) fn wrong_type_hint(
    expected: &[&str],
    node: &Node,
    written: &str,
    key: &str,
    required: &[&str],
    properties: &[&str],
) -> Option<String> {
    let wants = |name| expected.contains(&name);
    match &node.value {
        Value::Text(text) if wants("integer") && text.parse::<i64>().is_ok() => {
            Some(format!("remove the quotes: `{text}`"))
        }
        Value::Text(text) if wants("boolean") => truth(text)
            .map(|truth| format!("in YAML 1.2 only `true` and `false` are truth values; write `{truth}`")),
        Value::Text(text) if wants("array") && text.contains(['"', '\'']) => {
            Some("write a list, with one item for each word".to_owned())
        }
        Value::Text(text) if wants("array") => Some(format!("write a list: {}", as_list(text))),
        Value::Int(_) | Value::Float(_) | Value::Bool(_) if wants("string") => {
            Some(format!("put it into quotes: `\"{written}\"`"))
        }
        Value::Int(_) | Value::Float(_) | Value::Bool(_) if wants("array") => {
            Some(format!("write a list: `[{written}]`"))
        }
        Value::List(_) if wants("object") && properties.is_empty() => {
            Some("names are keys here: write `NAME:` with its keys below it, without the `-`".to_owned())
        }
        Value::List(_) if wants("object") => {
            Some(format!("it is one mapping, with the keys {}", and(properties)))
        }
        Value::Map(_) if wants("array") => Some("start each item with `- `".to_owned()),
        _ if wants("object") && required.len() == 1 && !key.is_empty() => Some(format!(
            "write `{key}: {{{}: {}}}`",
            required[0],
            shortened(written)
        )),
        _ if wants("object") && !properties.is_empty() => Some(format!(
            "write its keys below it, indented deeper: {}",
            and(properties)
        )),
        _ => None,
    }
}

/// What people who know YAML 1.1 mean by it.
fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "y" | "on" | "true" => Some(true),
        "no" | "n" | "off" | "false" => Some(false),
        _ => None,
    }
}

fn as_list(text: &str) -> String {
    let words: Vec<String> = text
        .split_whitespace()
        .take(WORDS_SHOWN_MAX)
        .map(|word| {
            if is_bare(word) {
                word.to_owned()
            } else {
                format!("{word:?}")
            }
        })
        .collect();
    let more = if text.split_whitespace().nth(WORDS_SHOWN_MAX).is_some() {
        ", …"
    } else {
        ""
    };
    format!("`[{}{more}]`", words.join(", "))
}

/// Whether a word needs no quotes inside of a YAML list in brackets.
fn is_bare(word: &str) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '=');
    word.chars().all(safe) && !word.starts_with('-')
}

fn shortened(written: &str) -> String {
    quote(written.lines().next().unwrap_or("")).replace('`', "")
}
