//! A value of PostgreSQL in its text form, as JSON.
//!
//! | type | JSON |
//! |---|---|
//! | `boolean` | true, false |
//! | `smallint`, `integer`, `bigint`, `oid` | number |
//! | `real`, `double precision` | number; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | `numeric`, `money` | string: exact |
//! | `json`, `jsonb` | itself |
//! | `bytea` | string, base64 |
//! | `timestamptz` | string, RFC 3339 in UTC |
//! | `timestamp` | string, RFC 3339 without a zone |
//! | arrays of these | array, nested for each dimension |
//! | everything else (text, uuid, date, time, interval, enums, ranges, domains, ...) | string, as PostgreSQL writes it |

use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};

/// Levels of a nested array; PostgreSQL has at most six.
const ARRAY_DEPTH_MAX: usize = 6;

/// How a type is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Bool,
    Integer,
    Float,
    Json,
    Bytes,
    Zoned,
    Unzoned,
    Text,
}

/// The form of a built-in type, and whether it is an array of it. Oids of built-in types never change.
fn form(type_oid: u32) -> (Form, bool) {
    match type_oid {
        16 => (Form::Bool, false),
        20 | 21 | 23 | 26 => (Form::Integer, false),
        700 | 701 => (Form::Float, false),
        114 | 3802 => (Form::Json, false),
        17 => (Form::Bytes, false),
        1184 => (Form::Zoned, false),
        1114 => (Form::Unzoned, false),
        1000 => (Form::Bool, true),
        1005 | 1007 | 1016 | 1028 => (Form::Integer, true),
        1021 | 1022 => (Form::Float, true),
        199 | 3807 => (Form::Json, true),
        1001 => (Form::Bytes, true),
        1185 => (Form::Zoned, true),
        1115 => (Form::Unzoned, true),
        // name, text, bpchar, varchar, date, time, timetz, interval, numeric, money, uuid, inet, cidr
        1003 | 1009 | 1014 | 1015 | 1182 | 1183 | 1270 | 1187 | 1231 | 791 | 2951 | 1041 | 651 => {
            (Form::Text, true)
        }
        _ => (Form::Text, false),
    }
}

/// Appends the value with this type and text to `out`.
pub(super) fn write(out: &mut String, type_oid: u32, text: &str) {
    match form(type_oid) {
        (form, false) => scalar(out, form, text),
        (form, true) => {
            let start = out.len();
            if array(out, form, text).is_none() {
                // Not written as arrays are, for instance with bounds of its own: as it stands.
                out.truncate(start);
                string(out, text);
            }
        }
    }
}

/// Appends a JSON string.
pub(super) fn string(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn scalar(out: &mut String, form: Form, text: &str) {
    match form {
        Form::Bool => out.push_str(if text == "t" { "true" } else { "false" }),
        Form::Integer if text.parse::<i64>().is_ok() => out.push_str(text),
        Form::Float => match text.parse::<f64>() {
            // PostgreSQL's own text is the shortest that is exact, and almost JSON.
            Ok(value) if value.is_finite() => out.push_str(text),
            _ => string(out, text),
        },
        Form::Json if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() => out.push_str(text),
        Form::Bytes => match text
            .strip_prefix("\\x")
            .map(|hex| HEXLOWER_PERMISSIVE.decode(hex.as_bytes()))
        {
            Some(Ok(bytes)) => string(out, &BASE64.encode(&bytes)),
            _ => string(out, text),
        },
        Form::Zoned => match text.strip_suffix("+00") {
            Some(utc) => string(out, &(utc.replacen(' ', "T", 1) + "Z")),
            // `infinity`, and years that RFC 3339 does not have.
            None => string(out, text),
        },
        Form::Unzoned => string(out, &text.replacen(' ', "T", 1)),
        Form::Integer | Form::Json | Form::Text => string(out, text),
    }
}

/// `{1,NULL,"a \"b\"",{...}}`; `None` when it is not one.
fn array(out: &mut String, form: Form, text: &str) -> Option<()> {
    let rest = items(out, form, text, 0)?;
    rest.is_empty().then_some(())
}

/// One level of braces at the start of `text`; gives what is behind it.
fn items<'t>(out: &mut String, form: Form, text: &'t str, depth: usize) -> Option<&'t str> {
    let mut rest = text.strip_prefix('{').filter(|_| depth < ARRAY_DEPTH_MAX)?;
    out.push('[');
    if let Some(rest) = rest.strip_prefix('}') {
        out.push(']');
        return Some(rest);
    }
    loop {
        rest = match rest.as_bytes().first()? {
            b'{' => items(out, form, rest, depth + 1)?,
            b'"' => {
                let (item, behind) = quoted(rest.get(1..)?)?;
                scalar(out, form, &item);
                behind
            }
            _ => {
                let end = rest.find([',', '}'])?;
                let (item, behind) = rest.split_at(end);
                if item == "NULL" {
                    out.push_str("null");
                } else {
                    scalar(out, form, item);
                }
                behind
            }
        };
        if let Some(behind) = rest.strip_prefix('}') {
            out.push(']');
            return Some(behind);
        }
        rest = rest.strip_prefix(',')?;
        out.push(',');
    }
}

/// A quoted item without its first quote: its text, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut item = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((item, text.get(at + 1..)?)),
            '\\' => item.push(chars.next()?.1),
            c => item.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests;
