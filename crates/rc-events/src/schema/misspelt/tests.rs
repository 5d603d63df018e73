use serde_json::json;

use super::*;

#[test]
fn what_was_meant_is_told_with_its_place() {
    let schema = json!({
        "type": "object",
        "require": ["id"],
        "properties": {
            "maxLenght": {"type": "string", "maxLenght": 4},
            "a/b": {"items": {"anyOf": [true, {"minimun": 1}]}}
        },
        "$defs": {"x": {"additionalProperty": false}}
    });
    let found = misspelt(&schema);
    let told: Vec<(&str, &str)> = found
        .iter()
        .map(|one| (one.pointer.as_str(), one.what.rsplit("mean ").next().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("/require", "`required`?"),
            ("/properties/maxLenght/maxLenght", "`maxLength`?"),
            ("/properties/a~1b/items/anyOf/1/minimun", "`minimum`?"),
            ("/$defs/x/additionalProperty", "`additionalProperties`?"),
        ]
    );
}

#[test]
fn keywords_of_ones_own_and_values_are_left_alone() {
    let schema = json!({
        "x-maxLenght": 4,
        "nullable": true,
        "discriminator": {"propertyName": "kind"},
        "const": {"maxLenght": 1},
        "enum": [{"minimun": 1}],
        "examples": [{"require": 1}],
        "dependencies": {"typ": ["a"]},
        "items": true
    });
    assert_eq!(misspelt(&schema), []);
    assert_eq!(misspelt(&json!(true)), []);
}
