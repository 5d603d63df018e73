//! A JSON value as block-style YAML 1.2: the same value always gives the same text.

use std::fmt::Write as _;

use serde_json::Value;

/// Writes `value`, with a line break at the end.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0);
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// Writes `value` where a line begins, indented by `indent`.
fn block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                let _ = write!(out, "{:indent$}{}:", "", scalar_text(name));
                after_marker(out, member, indent + 2);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let _ = write!(out, "{:indent$}-", "");
                item_after_dash(out, item, indent + 2);
            }
        }
        _ => {
            let _ = writeln!(out, "{:indent$}{}", "", scalar(value));
        }
    }
}

/// Writes `value` after `name:`.
fn after_marker(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            out.push('\n');
            block(out, value, indent);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(out, value, indent);
        }
        Value::String(text) if is_literal(text) => literal(out, text, indent),
        _ => {
            let _ = writeln!(out, " {}", scalar(value));
        }
    }
}

/// Writes `value` after `-`; an object's first member stands on the same line.
fn item_after_dash(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            let mut inner = String::new();
            block(&mut inner, value, indent);
            out.push(' ');
            out.push_str(&inner[indent..]);
        }
        _ => after_marker(out, value, indent),
    }
}

fn literal(out: &mut String, text: &str, indent: usize) {
    out.push_str(" |-\n");
    for line in text.lines() {
        if line.is_empty() {
            out.push('\n');
        } else {
            let _ = writeln!(out, "{:indent$}{line}", "");
        }
    }
}

/// Text of several lines that a literal block gives back unchanged.
fn is_literal(text: &str) -> bool {
    text.contains('\n')
        && !text.ends_with('\n')
        && !text.starts_with([' ', '\n'])
        && !text.chars().any(|c| c.is_control() && c != '\n')
        && text
            .lines()
            .all(|line| !line.trim().is_empty() || line.is_empty())
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => scalar_text(text),
        // Null, booleans, numbers and empty collections look the same in both languages.
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

/// A plain scalar where nothing can be misread, else a JSON string, which YAML reads too.
fn scalar_text(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        Value::String(text.to_owned()).to_string()
    }
}

fn is_plain(text: &str) -> bool {
    // What YAML 1.1 or 1.2 readers take for something else than text.
    const WORDS: [&str; 11] = [
        "true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf",
    ];
    let safe = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, ' ' | '_' | '-' | '.' | '/' | '(' | ')' | ';' | '+')
    };
    let first = text.chars().next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == '/')
        && !text.ends_with(' ')
        && text.chars().all(|c| safe(c) || c == ',')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}
