//! Keywords that nobody knows and that look like some that everybody does: `maxLenght` checks nothing.
//!
//! The standard lets a schema have keywords of its own (JSON Schema 2020-12 Core, 4.3.1), so this is advice for who
//! writes one, not a reason to refuse it.

use rc_model::closest;
use serde_json::Value;

use super::Malformed;

/// Keywords whose value is a schema.
const ONE: [&str; 12] = [
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
    "additionalItems",
];

/// Keywords whose value is a list of schemas.
const LIST: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];

/// Keywords whose value is an object of schemas under names that the author chose.
const NAMED: [&str; 5] = [
    "$defs",
    "definitions",
    "dependentSchemas",
    "patternProperties",
    "properties",
];

/// All others.
const PLAIN: [&str; 40] = [
    "$anchor",
    "$comment",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$ref",
    "$schema",
    "$vocabulary",
    "const",
    "contentEncoding",
    "contentMediaType",
    "default",
    "dependencies",
    "dependentRequired",
    "deprecated",
    "description",
    "enum",
    "example",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "readOnly",
    "required",
    "title",
    "type",
    "uniqueItems",
    "writeOnly",
];

/// The keywords in `schema` that were probably meant to be others, each with its place.
pub(super) fn misspelt(schema: &Value) -> Vec<Malformed> {
    let mut found = Vec::new();
    walk(schema, "", &mut found);
    found
}

fn walk(schema: &Value, at: &str, found: &mut Vec<Malformed>) {
    let Value::Object(members) = schema else {
        return;
    };
    for (keyword, value) in members {
        let here = format!("{at}/{}", keyword.replace('~', "~0").replace('/', "~1"));
        let keyword = keyword.as_str();
        if ONE.contains(&keyword) {
            walk(value, &here, found);
        } else if LIST.contains(&keyword) {
            let items = value.as_array().into_iter().flatten().enumerate();
            items.for_each(|(place, item)| walk(item, &format!("{here}/{place}"), found));
        } else if NAMED.contains(&keyword) {
            for (name, part) in value.as_object().into_iter().flatten() {
                let name = name.replace('~', "~0").replace('/', "~1");
                walk(part, &format!("{here}/{name}"), found);
            }
        } else if !PLAIN.contains(&keyword) && !keyword.starts_with("x-") {
            let known = ONE.iter().chain(&LIST).chain(&NAMED).chain(&PLAIN);
            if let Some(meant) = closest(keyword, known.copied()) {
                found.push(Malformed {
                    pointer: here,
                    what: format!("`{keyword}` is no keyword and checks nothing: did you mean `{meant}`?"),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
