//! Verdicts by hand, and the property that makes them worth something: what is judged compatible is.

use std::collections::BTreeSet;

use fastrand::Rng;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::schema;

fn pointers(old: &Value, new: &Value, certainty: Certainty) -> Vec<String> {
    let findings = compare(old, new).into_iter();
    findings
        .filter(|finding| finding.certainty == certainty)
        .map(|finding| finding.pointer)
        .collect()
}

#[test]
fn what_allows_as_much_may_replace() {
    let open = json!({ "type": "object" });
    let closed = json!({
        "type": "object",
        "required": ["id", "sum"],
        "properties": { "id": { "type": "string", "maxLength": 8 }, "sum": { "type": "integer", "minimum": 0 } },
        "additionalProperties": false,
    });
    let change = |pointer: &str, value: Value| {
        let mut changed = closed.clone();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        changed.pointer_mut(parent).unwrap()[name] = value;
        changed
    };
    let tree = |extra: Value| {
        json!({
            "$ref": "#/$defs/node",
            "$defs": { "node": {
                "type": "object",
                "properties": { "left": { "$ref": "#/$defs/node" }, "name": extra },
                "additionalProperties": false,
            } },
        })
    };
    for (old, new) in [
        (&open, &json!(true)),
        (
            &open,
            &json!({ "title": "words", "x-owner": "us", "type": ["object", "null"] }),
        ),
        (&json!(false), &closed),
        (&closed, &change("/properties/note", json!({ "type": "string" }))),
        (&closed, &change("/required", json!(["id"]))),
        (&closed, &change("/properties/id/maxLength", json!(9))),
        (
            &closed,
            &change(
                "/properties/sum",
                json!({ "type": "number", "exclusiveMinimum": -1 }),
            ),
        ),
        (
            &closed,
            &change("/additionalProperties", json!({ "type": "string" })),
        ),
        (&closed, &change("/minProperties", json!(2))),
        (
            &open,
            &json!({ "type": "object", "properties": { "any": { "description": "words" } } }),
        ),
        (
            &json!({ "enum": [1, "a"] }),
            &json!({ "type": ["integer", "string"], "maximum": 5 }),
        ),
        (&json!({ "const": 2.0 }), &json!({ "enum": [1, 2] })),
        (&json!({ "multipleOf": 6 }), &json!({ "multipleOf": 3 })),
        (
            &json!({ "type": "string", "pattern": "^a" }),
            &json!({ "pattern": "^a", "minimum": 3 }),
        ),
        (
            &json!({ "allOf": [{ "type": "string" }, { "maxLength": 3 }] }),
            &json!({ "type": "string", "maxLength": 3 }),
        ),
        (
            &json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] }),
            &json!({ "type": ["string", "null", "boolean"] }),
        ),
        (
            &json!({ "anyOf": [{ "const": 1 }, { "const": 2 }] }),
            &json!({ "anyOf": [{ "const": 1 }, { "const": 2 }, { "const": 3 }] }),
        ),
        (
            &json!({ "not": { "type": "null" } }),
            &json!({ "not": { "type": "null" }, "title": "words" }),
        ),
        (
            &json!({ "prefixItems": [{ "type": "integer" }], "items": { "type": "string" } }),
            &json!({ "prefixItems": [{ "type": "number" }, { "type": "string" }] }),
        ),
        (
            &json!({ "patternProperties": { "^x": { "type": "integer" } }, "additionalProperties": false }),
            &json!({ "patternProperties": { "^x": { "type": "number" } } }),
        ),
        (&tree(json!({ "maxLength": 3 })), &tree(json!({ "maxLength": 4 }))),
    ] {
        assert_eq!(compare(old, new), [], "{old} -> {new}");
    }
}

#[test]
fn each_narrowing_is_found_where_it_is() {
    let object =
        |members: Value| json!({ "type": "object", "properties": members, "additionalProperties": false });
    for (old, new, at) in [
        (json!({}), json!(false), ""),
        (
            json!({ "type": ["string", "null"] }),
            json!({ "type": "string" }),
            "/type",
        ),
        (json!({ "type": "number" }), json!({ "type": "integer" }), "/type"),
        (json!({ "enum": ["a", "b"] }), json!({ "enum": ["a"] }), "/enum"),
        (json!({}), json!({ "const": 1 }), "/const"),
        (json!({ "minimum": 1 }), json!({ "minimum": 2 }), "/minimum"),
        (
            json!({ "minimum": 1 }),
            json!({ "exclusiveMinimum": 1 }),
            "/exclusiveMinimum",
        ),
        (
            json!({ "maximum": 9_007_199_254_740_993_u64 }),
            json!({ "maximum": 9_007_199_254_740_992_u64 }),
            "/maximum",
        ),
        (json!({ "maxLength": 9 }), json!({ "maxLength": 8 }), "/maxLength"),
        (json!({}), json!({ "minItems": 1 }), "/minItems"),
        (
            json!({ "multipleOf": 3 }),
            json!({ "multipleOf": 6 }),
            "/multipleOf",
        ),
        (json!({}), json!({ "pattern": "a" }), "/pattern"),
        (json!({}), json!({ "uniqueItems": true }), "/uniqueItems"),
        (
            json!({ "required": ["a"] }),
            json!({ "required": ["a", "b~/"] }),
            "/required/1",
        ),
        (
            json!({}),
            json!({ "dependentRequired": { "a": ["b"] } }),
            "/dependentRequired/a",
        ),
        (
            json!({}),
            json!({ "additionalProperties": false }),
            "/additionalProperties",
        ),
        (
            object(json!({ "a": true, "b": true })),
            object(json!({ "a": true })),
            "/additionalProperties",
        ),
        (
            object(json!({ "a/b": { "type": "object" } })),
            object(json!({ "a/b": { "type": "object", "required": ["c"] } })),
            "/properties/a~1b/required/0",
        ),
        // An open object could have had any `b`.
        (
            json!({ "type": "object" }),
            json!({ "properties": { "b": { "type": "string" } } }),
            "/properties/b",
        ),
        (
            json!({ "items": {} }),
            json!({ "items": { "type": "string" } }),
            "/items/type",
        ),
    ] {
        assert_eq!(pointers(&old, &new, Certainty::Breaks), [at], "{old} -> {new}");
        assert_eq!(
            pointers(&old, &new, Certainty::Unproven),
            [""; 0],
            "{old} -> {new}"
        );
    }
}

#[test]
fn what_cannot_be_proved_is_said() {
    let circle = json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } });
    for (old, new, at) in [
        (json!({}), json!({ "requird": ["a"] }), "/requird"),
        (
            json!({ "pattern": "^a+$" }),
            json!({ "pattern": "^a*$" }),
            "/pattern",
        ),
        (json!({}), json!({ "not": { "type": "null" } }), "/not"),
        (json!({}), json!({ "if": {}, "then": false }), "/if"),
        (
            json!({}),
            json!({ "unevaluatedProperties": false }),
            "/unevaluatedProperties",
        ),
        (
            json!({}),
            json!({ "$ref": "https://elsewhere.example/schema" }),
            "/$ref",
        ),
        (
            json!({}),
            json!({ "properties": { "a": { "$id": "x", "type": "string" } } }),
            "",
        ),
        (json!({}), circle, "/$defs/a"),
    ] {
        assert_eq!(pointers(&old, &new, Certainty::Unproven), [at], "{old} -> {new}");
    }
}

#[test]
fn alternatives_in_alternatives_end() {
    let nest = |depth: usize, leaf: &str| {
        (0..depth).fold(
            json!({ "pattern": leaf }),
            |inner, _| json!({ "anyOf": [inner, inner, { "minimum": 3 }] }),
        )
    };
    assert!(!compare(&nest(12, "a"), &nest(12, "b")).is_empty());
}

// Random schemas over few names and small numbers, so that two of them often have to do with each other.

const NAMES: [&str; 3] = ["a", "b", "xa"];

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

fn small(rng: &mut Rng) -> Value {
    json!(rng.i32(-1..4))
}

fn scalar(rng: &mut Rng) -> Value {
    match rng.u8(..8) {
        0 => Value::Null,
        1 => json!(rng.bool()),
        2 | 3 => small(rng),
        4 => json!(f64::from(rng.i32(-2..7)) / 2.0),
        _ => json!(pick(rng, &["", "a", "b", "ab", "aab"])),
    }
}

fn instance(rng: &mut Rng, depth: u8) -> Value {
    match rng.u8(..6) {
        0 | 1 if depth > 0 => NAMES
            .into_iter()
            .chain(["other"])
            .filter(|_| rng.clone().bool())
            .map(|name| name.to_owned())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .filter_map(|name| rng.bool().then(|| (name, instance(rng, depth - 1))))
            .collect::<Map<_, _>>()
            .into(),
        2 if depth > 0 => (0..rng.u8(..4)).map(|_| instance(rng, depth - 1)).collect(),
        _ => scalar(rng),
    }
}

/// One keyword with a value.
fn keyword(rng: &mut Rng, depth: u8) -> (&'static str, Value) {
    let below = |rng: &mut Rng| random_schema(rng, depth.saturating_sub(1));
    let count = |rng: &mut Rng| json!(rng.u8(..4));
    match rng.u8(..if depth > 0 { 30 } else { 14 }) {
        0..=2 => {
            let word = |rng: &mut Rng| {
                json!(pick(
                    rng,
                    &["object", "array", "string", "integer", "number", "null"]
                ))
            };
            let mut words = vec![word(rng)];
            if rng.bool() {
                let more = word(rng);
                if more != words[0] {
                    words.push(more);
                }
            }
            ("type", json!(words))
        }
        3 => ("enum", json!([scalar(rng), scalar(rng), instance(rng, 1)])),
        4 => ("const", scalar(rng)),
        5 => (["minimum", "exclusiveMinimum"][rng.usize(..2)], small(rng)),
        6 => (["maximum", "exclusiveMaximum"][rng.usize(..2)], small(rng)),
        7 => (
            ["minLength", "minItems", "minProperties"][rng.usize(..3)],
            count(rng),
        ),
        8 => (
            ["maxLength", "maxItems", "maxProperties"][rng.usize(..3)],
            count(rng),
        ),
        9 => (
            "multipleOf",
            [json!(1), json!(2), json!(0.5), json!(4)][rng.usize(..4)].clone(),
        ),
        10 => ("pattern", json!(pick(rng, &["^a", "b$"]))),
        11 => ("required", json!([pick(rng, &NAMES)])),
        12 => ("uniqueItems", json!(rng.bool())),
        13 => (
            "dependentRequired",
            json!({ pick(rng, &NAMES): [pick(rng, &NAMES)] }),
        ),
        14..=18 => {
            let members = (0..rng.u8(1..3)).map(|_| (pick(rng, &NAMES).to_owned(), below(rng)));
            ("properties", members.collect::<Map<_, _>>().into())
        }
        19 | 20 => (
            "additionalProperties",
            if rng.bool() { json!(false) } else { below(rng) },
        ),
        21 => (
            "patternProperties",
            json!({ pick(rng, &["^x", "a$"]): below(rng) }),
        ),
        22 => ("propertyNames", below(rng)),
        23 | 24 => ("items", below(rng)),
        25 => ("prefixItems", json!([below(rng)])),
        26 => ("allOf", json!([below(rng), below(rng)])),
        27 => (
            ["anyOf", "oneOf"][rng.usize(..2)],
            json!([below(rng), below(rng)]),
        ),
        28 => (["not", "contains", "if", "then"][rng.usize(..4)], below(rng)),
        _ => ("$ref", json!("#/$defs/a")),
    }
}

fn random_schema(rng: &mut Rng, depth: u8) -> Value {
    match rng.u8(..12) {
        0 => json!(true),
        1 => json!(false),
        _ => (0..rng.u8(..4))
            .map(|_| keyword(rng, depth))
            .map(|(name, value)| (name.to_owned(), value))
            .collect::<Map<_, _>>()
            .into(),
    }
}

/// The same schema with some keyword, somewhere, added, dropped or replaced.
fn changed(rng: &mut Rng, schema: &Value, depth: u8) -> Value {
    let Value::Object(members) = schema else {
        return random_schema(rng, depth);
    };
    let mut members = members.clone();
    let inner: Vec<String> = members
        .iter()
        .filter(|(_, value)| value.is_object())
        .map(|(name, _)| name.clone())
        .collect();
    if !inner.is_empty() && rng.u8(..3) > 0 {
        let name = &inner[rng.usize(..inner.len())];
        let below = if name == "properties" || name == "patternProperties" || name == "$defs" {
            let schemas = members[name].as_object().unwrap().clone();
            let changed = schemas
                .into_iter()
                .map(|(name, schema)| (name, changed(rng, &schema, 0)));
            changed.collect::<Map<_, _>>().into()
        } else {
            changed(rng, &members[name], 0)
        };
        if name != "dependentRequired" {
            members[name] = below;
        }
        return members.into();
    }
    if rng.bool() && !members.is_empty() {
        let name = members.keys().nth(rng.usize(..members.len())).unwrap().clone();
        members.shift_remove(&name);
    } else {
        let (name, value) = keyword(rng, depth);
        members.insert(name.to_owned(), value);
    }
    members.into()
}

/// A schema with something to refer to.
fn rooted(rng: &mut Rng) -> Value {
    let mut root = match random_schema(rng, 3) {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    root.insert("$defs".to_owned(), json!({ "a": random_schema(rng, 1) }));
    root.into()
}

struct Judged {
    compatible: bool,
    /// Instances that the old schema allows.
    allowed: usize,
}

/// Fails when an instance shows that a pair that is judged compatible is not.
fn judge(seed: u64) -> Judged {
    let rng = &mut Rng::with_seed(seed);
    let old = rooted(rng);
    let mut new = changed(rng, &old, 2);
    if rng.bool() {
        new = changed(rng, &new, 2);
    }
    let nothing = Judged {
        compatible: false,
        allowed: 0,
    };
    // A reference in a circle is no schema.
    let (Ok(before), Ok(after)) = (schema::compile(&old), schema::compile(&new)) else {
        return nothing;
    };
    if side::same(&old, &new) && old["$defs"] == new["$defs"] || !compare(&old, &new).is_empty() {
        return nothing;
    }
    let mut allowed = 0;
    for _ in 0..60 {
        let instance = instance(rng, 3);
        if before.is_valid(&instance) {
            allowed += 1;
            assert!(
                after.is_valid(&instance),
                "seed {seed}: {instance} keeps {old}, and breaks {new}, which is judged compatible"
            );
        }
    }
    Judged {
        compatible: true,
        allowed,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn what_is_judged_compatible_is(seed: u64) {
        judge(seed);
    }
}

#[test]
fn the_property_is_not_empty() {
    let judged: Vec<Judged> = (0..400).map(judge).collect();
    let compatible = judged.iter().filter(|judged| judged.compatible).count();
    let allowed: usize = judged.iter().map(|judged| judged.allowed).sum();
    assert!(
        compatible > 50 && allowed > 500,
        "{compatible} pairs, {allowed} instances"
    );
}
