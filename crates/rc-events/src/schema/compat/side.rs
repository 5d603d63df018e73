//! One of the two schemas at one place, and what can be told of it without the other.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::{Certainty, Finding};

/// What a place that says nothing allows.
pub(super) static ANYTHING: Value = Value::Bool(true);

/// Keywords that check nothing.
const NOTES: [&str; 16] = [
    "$comment",
    "$defs",
    "$id",
    "$schema",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "examples",
    "format",
    "readOnly",
    "title",
    "writeOnly",
];

/// Whether `keyword` checks nothing: a note of the standard, or somebody's own.
pub(super) fn is_note(keyword: &str) -> bool {
    NOTES.contains(&keyword) || keyword.starts_with("x-")
}

/// A schema at one place.
#[derive(Debug, Clone)]
pub(super) struct Side<'s> {
    pub(super) schema: &'s Value,
    /// Where it is, from the root.
    pub(super) pointer: String,
    /// How many references and branches led here without a step into the instance.
    pub(super) hops: usize,
}

impl<'s> Side<'s> {
    pub(super) fn root(schema: &'s Value) -> Self {
        Self {
            schema,
            pointer: String::new(),
            hops: 0,
        }
    }

    /// A keyword's value; `None` for a schema that is `true` or `false`.
    pub(super) fn get(&self, keyword: &str) -> Option<&'s Value> {
        self.schema.get(keyword)
    }

    /// The schema that is the value of `keyword`; anything goes without it.
    pub(super) fn below(&self, keyword: &str) -> Self {
        self.at(self.get(keyword).unwrap_or(&ANYTHING), &[keyword])
    }

    /// `schema`, which is at `path` from here.
    pub(super) fn at(&self, schema: &'s Value, path: &[&str]) -> Self {
        Self {
            schema,
            pointer: path
                .iter()
                .fold(self.pointer.clone(), |pointer, token| join(&pointer, token)),
            hops: 0,
        }
    }

    /// The schemas in the list that is the value of `keyword`.
    pub(super) fn branches(&self, keyword: &str) -> Vec<Self> {
        let list = self.get(keyword).and_then(Value::as_array);
        let list = list.map_or(&[] as &[Value], Vec::as_slice);
        let branch = |(index, schema): (usize, &'s Value)| Self {
            hops: self.hops + 1,
            ..self.at(schema, &[keyword, &index.to_string()])
        };
        list.iter().enumerate().map(branch).collect()
    }

    /// What it refers to in `root`, if that is there.
    pub(super) fn target(&self, root: &'s Value) -> Option<Self> {
        let pointer = self.get("$ref")?.as_str()?.strip_prefix('#')?;
        // A pointer with escapes of URLs is not followed, and proves nothing.
        if pointer.contains('%') || !(pointer.is_empty() || pointer.starts_with('/')) {
            return None;
        }
        Some(Self {
            schema: root.pointer(pointer)?,
            pointer: pointer.to_owned(),
            hops: self.hops + 1,
        })
    }

    /// The list of names that is the value of `keyword`.
    pub(super) fn names(&self, keyword: &str) -> Vec<&'s str> {
        let list = self.get(keyword).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    pub(super) fn breaks(&self, keyword: &str, what: impl Into<String>) -> Finding {
        self.finding(keyword, Certainty::Breaks, what.into())
    }

    pub(super) fn unproven(&self, keyword: &str, what: impl Into<String>) -> Finding {
        self.finding(keyword, Certainty::Unproven, what.into())
    }

    fn finding(&self, keyword: &str, certainty: Certainty, what: String) -> Finding {
        let pointer = match keyword {
            "" => self.pointer.clone(),
            keyword => join(&self.pointer, keyword),
        };
        Finding {
            pointer,
            certainty,
            what,
        }
    }
}

fn join(pointer: &str, token: &str) -> String {
    format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"))
}

/// The values that a schema lists, where it does.
pub(super) fn listed(schema: &Value) -> Option<Vec<&Value>> {
    match (schema.get("const"), schema.get("enum").and_then(Value::as_array)) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(values)) => Some(values.iter().collect()),
        (None, None) => None,
    }
}

/// Whether two schemas check the same, by their text without notes. References may still lead elsewhere.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    let (Value::Object(a), Value::Object(b)) = (a, b) else {
        return a == b;
    };
    let checks = |(name, _): &(&String, &Value)| !is_note(name);
    a.iter().filter(checks).count() == b.iter().filter(checks).count()
        && a.iter()
            .filter(checks)
            .all(|(name, value)| b.get(name) == Some(value))
}

/// Whether there is a reference in `value`. A member that only has the name of one counts: it costs a proof.
pub(super) fn refers(value: &Value) -> bool {
    any_member(value, &|name| name == "$ref" || name == "$dynamicRef")
}

/// A keyword in `schema` by which references lead elsewhere than their text says.
pub(super) fn unresolvable(schema: &Value) -> Option<&'static str> {
    let named = schema.get("$id").is_some();
    ["$id", "$anchor", "$dynamicAnchor", "$dynamicRef"]
        .into_iter()
        .find(|keyword| match (*keyword, schema) {
            // The name of the whole schema changes nothing inside of it.
            ("$id", Value::Object(members)) if named => members
                .values()
                .any(|value| any_member(value, &|name| name == "$id")),
            (keyword, schema) => any_member(schema, &|name| name == keyword),
        })
}

fn any_member(value: &Value, is: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| is(name) || any_member(value, is)),
        Value::Array(items) => items.iter().any(|item| any_member(item, is)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// How two numbers compare; `None` when that cannot be told exactly.
pub(super) fn order(a: &Number, b: &Number) -> Option<Ordering> {
    /// Up to here every whole number is a `f64`.
    const EXACT_MAX: i128 = 1 << 53;
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        (Some(whole), None) | (None, Some(whole)) if whole.abs() > EXACT_MAX => None,
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// The number as a whole one, if it was written as one.
pub(super) fn whole(number: &Number) -> Option<i128> {
    number
        .as_i64()
        .map(i128::from)
        .or_else(|| number.as_u64().map(i128::from))
}
