use serde_json::Value;

use super::*;
use crate::check::format;

/// Calls `look` for every schema object inside of `value`.
fn walk(value: &Value, look: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            look(members);
            members.values().for_each(|member| walk(member, look));
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, look)),
        _ => {}
    }
}

#[test]
fn every_name_has_a_schema_with_identity() {
    for name in NAMES {
        let schema = schema(name).unwrap();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert_eq!(schema["$id"], format!("urn:royalcrown:schema:{name}"));
        assert_eq!(schema["title"], format!("{name}.yaml"));
        assert_eq!(schema["additionalProperties"], false);
    }
    assert_eq!(schema("tenant"), None);
}

#[test]
fn the_checker_knows_every_keyword_that_the_schemas_use() {
    const KNOWN: &[&str] = &[
        "$defs",
        "$id",
        "$ref",
        "$schema",
        "additionalProperties",
        "anyOf",
        "const",
        "default",
        "description",
        "enum",
        "examples",
        "format",
        "items",
        "maxLength",
        "maximum",
        "minLength",
        "minimum",
        "oneOf",
        "pattern",
        "patternProperties",
        "properties",
        "required",
        "title",
        "type",
        "writeOnly",
    ];
    for name in NAMES {
        let mut schema = schema(name).unwrap();
        let defs = schema["$defs"].take();
        let mut look = |members: &serde_json::Map<String, Value>| {
            if let Some(types) = members.get("type") {
                let unknown: Vec<&String> = members
                    .keys()
                    .filter(|key| !KNOWN.contains(&key.as_str()))
                    .collect();
                assert!(unknown.is_empty(), "{name}: {unknown:?} in {members:?}");
                let format = members.get("format").and_then(Value::as_str).unwrap_or("");
                if members.contains_key("pattern") || members.contains_key("maxLength") {
                    assert!(
                        format::is_ours(format),
                        "{name}: a pattern without a check: {members:?}"
                    );
                }
                if types == "integer" && !format::is_ours(format) {
                    assert!(
                        members.contains_key("minimum") && members.contains_key("maximum"),
                        "{members:?}"
                    );
                }
            }
            if let Some(options) = members.get("anyOf").and_then(Value::as_array) {
                let real = options.iter().filter(|option| option["type"] != "null").count();
                assert_eq!(
                    real, 1,
                    "{name}: the checker follows one alternative: {members:?}"
                );
            }
        };
        // `properties` and `default` hold names and values, not keywords; what counts is below them.
        walk(&schema, &mut look);
        walk(&defs, &mut look);
    }
}

#[test]
fn every_property_is_described() {
    for name in NAMES {
        let schema = schema(name).unwrap();
        walk(&schema, &mut |members| {
            let Some(properties) = members.get("properties").and_then(Value::as_object) else {
                return;
            };
            for (key, property) in properties {
                assert!(
                    property.get("description").is_some(),
                    "{name}: {key} has no description"
                );
            }
        });
    }
}
