//! Types, ranges and sizes.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::Finding;
use super::side::{Side, order, whole};

/// The types of JSON Schema; `number` has `integer` in it.
const TYPES: [&str; 7] = [
    "null", "boolean", "object", "array", "string", "integer", "number",
];

/// Whether `type` of `side` lets values of the type `name` through.
pub(super) fn allows(side: &Side<'_>, name: &str) -> bool {
    let is = |word: &Value| {
        let word = word.as_str();
        word == Some(name)
            || (name == "integer" && word == Some("number"))
            || (name == "number" && word == Some("integer"))
    };
    match side.get("type") {
        None => side.schema != &Value::Bool(false),
        Some(Value::Array(words)) => words.iter().any(is),
        Some(word) => is(word),
    }
}

/// Whether it lets *every* value of the type `name` through: `integer` does not for `number`.
fn allows_all(side: &Side<'_>, name: &str) -> bool {
    match side.get("type") {
        Some(Value::Array(words)) if name == "number" => words.iter().any(|word| word == "number"),
        Some(word @ Value::String(_)) if name == "number" => word == "number",
        _ => allows(side, name),
    }
}

pub(super) fn types_narrower(old: &Side<'_>, new: &Side<'_>) -> Vec<Finding> {
    let gone: Vec<&str> = TYPES
        .into_iter()
        .filter(|name| match *name {
            "number" => allows_all(old, name) && !allows_all(new, name),
            name => allows(old, name) && !allows(new, name),
        })
        .collect();
    match gone[..] {
        [] => Vec::new(),
        // What is left of `number` is `integer`.
        ["number"] => vec![new.breaks("type", "numbers that are not whole are no longer allowed")],
        _ => {
            let names: Vec<String> = gone
                .iter()
                .filter(|name| **name != "integer" || !gone.contains(&"number"))
                .map(|name| format!("`{name}`"))
                .collect();
            vec![new.breaks("type", format!("no longer allowed: {}", names.join(", ")))]
        }
    }
}

/// A keyword that bounds a number or a size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    keyword: &'static str,
    /// The type that it is about.
    of: &'static str,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Least,
    Most,
}

const BOUNDS: [Bound; 10] = [
    bound("minimum", "number", End::Least),
    bound("maximum", "number", End::Most),
    bound("exclusiveMinimum", "number", End::Least),
    bound("exclusiveMaximum", "number", End::Most),
    bound("minLength", "string", End::Least),
    bound("maxLength", "string", End::Most),
    bound("minItems", "array", End::Least),
    bound("maxItems", "array", End::Most),
    bound("minProperties", "object", End::Least),
    bound("maxProperties", "object", End::Most),
];

const fn bound(keyword: &'static str, of: &'static str, end: End) -> Bound {
    Bound { keyword, of, end }
}

impl Bound {
    pub(super) fn of(keyword: &str) -> Option<Self> {
        BOUNDS.into_iter().find(|bound| bound.keyword == keyword)
    }

    /// Whether the bound of `new` lets less through than those of `old`.
    pub(super) fn narrower(self, old: &Side<'_>, new: &Side<'_>) -> Vec<Finding> {
        let Some(Value::Number(now)) = new.get(self.keyword) else {
            return vec![new.unproven(self.keyword, "it is no number")];
        };
        if !allows(old, self.of) || self.holds(old, now) {
            return Vec::new();
        }
        let before = match old.get(self.keyword) {
            Some(before) => format!("was {before}"),
            None => "was not there".to_owned(),
        };
        vec![new.breaks(self.keyword, format!("`{}` is {now} and {before}", self.keyword))]
    }

    /// Whether everything that the bounds of `old` let through is within `now`.
    fn holds(self, old: &Side<'_>, now: &Number) -> bool {
        let inside = |keyword: &str, also_equal: bool| {
            let Some(Value::Number(before)) = old.get(keyword) else {
                return false;
            };
            match order(before, now) {
                Some(Ordering::Equal) => also_equal,
                Some(Ordering::Greater) => self.end == End::Least,
                Some(Ordering::Less) => self.end == End::Most,
                None => false,
            }
        };
        match (self.of, self.end) {
            ("number", End::Least) => {
                inside("exclusiveMinimum", true) || inside("minimum", self.keyword == "minimum")
            }
            ("number", End::Most) => {
                inside("exclusiveMaximum", true) || inside("maximum", self.keyword == "maximum")
            }
            (of, End::Least) => {
                let least = if of == "object" {
                    distinct(old.names("required"))
                } else {
                    0
                };
                inside(self.keyword, true) || now.as_f64().is_some_and(|now| now <= least as f64)
            }
            (_, End::Most) => inside(self.keyword, true),
        }
    }
}

fn distinct(mut names: Vec<&str>) -> usize {
    names.sort_unstable();
    names.dedup();
    names.len()
}

pub(super) fn multiple_narrower(old: &Side<'_>, new: &Side<'_>) -> Vec<Finding> {
    let Some(Value::Number(now)) = new.get("multipleOf") else {
        return vec![new.unproven("multipleOf", "it is no number")];
    };
    let multiple = |before: &Number| match (whole(before), whole(now)) {
        (Some(before), Some(now)) => now != 0 && before % now == 0,
        _ => before == now,
    };
    match old.get("multipleOf") {
        _ if !allows(old, "number") => Vec::new(),
        Some(Value::Number(before)) if multiple(before) => Vec::new(),
        Some(before) => vec![new.breaks("multipleOf", format!("it is {now} and was {before}"))],
        // Whole numbers are multiples of 1.
        None if whole(now) == Some(1) && !allows_all(old, "number") => Vec::new(),
        None => vec![new.breaks("multipleOf", format!("it is {now} and was not there"))],
    }
}
