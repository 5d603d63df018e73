//! The keywords of a schema, in groups that say something only together, and what each demands.

use serde_json::{Map, Value};

use super::bounds::{self, Bound};
use super::side::{Side, is_note, listed};
use super::{Compare, Finding, members};
use crate::schema;

/// Keywords that are compared together.
const TOGETHER: [&[&str]; 4] = [
    &["properties", "patternProperties", "additionalProperties"],
    &["prefixItems", "items"],
    &["contains", "minContains", "maxContains"],
    &["if", "then", "else"],
];

/// Keywords of a schema that say something only together.
#[derive(Debug)]
pub(super) enum Group<'s> {
    One(&'s str),
    Together(&'static [&'static str]),
}

/// The groups of `schema`, without its notes.
pub(super) fn groups(schema: &Map<String, Value>) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = TOGETHER
        .into_iter()
        .filter(|names| names.iter().any(|name| schema.contains_key(*name)))
        .map(Group::Together)
        .collect();
    let alone = schema
        .keys()
        .filter(|name| !is_note(name) && !TOGETHER.iter().any(|names| names.contains(&name.as_str())));
    groups.extend(alone.map(|name| Group::One(name)));
    groups
}

impl<'s> Group<'s> {
    /// Its keywords, also those that the schema does not have.
    pub(super) fn names(&self) -> &[&'s str] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Together(names) => names,
        }
    }

    /// Whether it says the same whatever stands beside it.
    pub(super) fn self_contained(&self) -> bool {
        !self.names().iter().any(|name| name.starts_with("unevaluated"))
    }

    /// Whether it takes every one of `values`.
    pub(super) fn admits(&self, root: &Value, schema: &Map<String, Value>, values: &[&Value]) -> bool {
        if !self.self_contained() {
            return false;
        }
        let mut alone = Map::new();
        let mut take = |from: &Map<String, Value>, name: &str| {
            if let Some(value) = from.get(name) {
                alone.insert(name.to_owned(), value.clone());
            }
        };
        for name in self.names() {
            take(schema, name);
        }
        for definitions in ["$defs", "definitions"] {
            if let Value::Object(root) = root {
                take(root, definitions);
            }
        }
        // A reference to elsewhere in the root does not resolve in this part of it, and so proves nothing.
        let compiled = schema::compile(&Value::Object(alone));
        compiled.is_ok_and(|compiled| values.iter().all(|value| compiled.is_valid(value)))
    }
}

impl<'s> Compare<'s> {
    /// Every way in which `group` of `new` allows less than the same keywords of `old`.
    pub(super) fn direct(
        &mut self,
        old: &Side<'s>,
        new: &Side<'s>,
        keywords: &'s Map<String, Value>,
        group: &Group<'s>,
        depth: usize,
    ) -> Vec<Finding> {
        let name = match group {
            Group::Together(names) => {
                return match names[0] {
                    "properties" => members::of_objects(self, old, new, depth),
                    "prefixItems" => members::of_arrays(self, old, new, depth),
                    first => vec![new.unproven(first, format!("`{first}` is new or was changed"))],
                };
            }
            Group::One(name) => *name,
        };
        let value = &keywords[name];
        match name {
            "type" => bounds::types_narrower(old, new),
            "enum" | "const" => values_narrower(old, new, name),
            "required" => required(old, new),
            "dependentRequired" => dependent_required(old, new),
            "pattern" => pattern(old, new),
            "uniqueItems" => unique(old, new, value),
            "multipleOf" => bounds::multiple_narrower(old, new),
            "propertyNames" => {
                let (old, new) = (old.below(name), new.below(name));
                self.narrower(&old, &new, depth + 1)
            }
            "allOf" => {
                let parts = new.branches(name);
                parts
                    .iter()
                    .flat_map(|part| self.narrower(old, part, depth))
                    .collect()
            }
            "anyOf" => {
                let branches = new.branches(name);
                let mut takes_all = |branch| self.narrower(old, branch, depth).is_empty();
                if branches.iter().any(&mut takes_all) {
                    return Vec::new();
                }
                vec![new.unproven(name, "no branch takes everything that was allowed")]
            }
            "$ref" => match new.target(self.new_root) {
                Some(target) => self.narrower(old, &target, depth),
                None => vec![new.unproven(name, "the reference is not followed")],
            },
            "dependentSchemas" => {
                let members = value.as_object().into_iter().flatten();
                members
                    .flat_map(|(member, schema)| {
                        let new = new.at(schema, &[name, member]);
                        self.narrower(old, &new, depth)
                    })
                    .collect()
            }
            "not" | "oneOf" | "unevaluatedItems" | "unevaluatedProperties" => {
                vec![new.unproven(
                    name,
                    format!("`{name}` is new, or something beside it was changed"),
                )]
            }
            _ => match Bound::of(name) {
                Some(bound) => bound.narrower(old, new),
                None => {
                    let what = format!("`{name}` is no keyword of JSON Schema that is known here");
                    vec![new.unproven(name, what)]
                }
            },
        }
    }
}

fn values_narrower(old: &Side<'_>, new: &Side<'_>, keyword: &str) -> Vec<Finding> {
    let now = listed(new.schema).unwrap_or_default();
    let what = match listed(old.schema) {
        Some(before) => {
            let gone: Vec<String> = before
                .iter()
                .filter(|value| !now.contains(value))
                .map(|value| format!("`{value}`"))
                .collect();
            format!("no longer allowed: {}", gone.join(", "))
        }
        None => "only some values are allowed, and any were".to_owned(),
    };
    vec![new.breaks(keyword, what)]
}

fn required(old: &Side<'_>, new: &Side<'_>) -> Vec<Finding> {
    if !bounds::allows(old, "object") {
        return Vec::new();
    }
    let before = old.names("required");
    let here = new.below("required");
    let list = new.names("required").into_iter().enumerate();
    list.filter(|(_, name)| !before.contains(name))
        .map(|(index, name)| {
            here.breaks(
                &index.to_string(),
                format!("the member `{name}` is required, and was not"),
            )
        })
        .collect()
}

fn dependent_required(old: &Side<'_>, new: &Side<'_>) -> Vec<Finding> {
    if !bounds::allows(old, "object") {
        return Vec::new();
    }
    let required = old.names("required");
    let (before, here) = (old.below("dependentRequired"), new.below("dependentRequired"));
    let mut findings = Vec::new();
    for (member, _) in here.schema.as_object().into_iter().flatten() {
        let promised = before.names(member);
        let missing = here
            .names(member)
            .into_iter()
            .filter(|name| !promised.contains(name) && !required.contains(name));
        findings.extend(missing.map(|name| {
            let what = format!("with `{member}`, the member `{name}` is required, and was not");
            here.breaks(member, what)
        }));
    }
    findings
}

fn pattern(old: &Side<'_>, new: &Side<'_>) -> Vec<Finding> {
    match old.get("pattern") {
        _ if !bounds::allows(old, "string") => Vec::new(),
        before if before == new.get("pattern") => Vec::new(),
        None => vec![new.breaks("pattern", "a pattern is demanded, and none was")],
        Some(_) => {
            let what = "another pattern is demanded: it may refuse what the old one took";
            vec![new.unproven("pattern", what)]
        }
    }
}

fn unique(old: &Side<'_>, new: &Side<'_>, value: &Value) -> Vec<Finding> {
    let demanded = |value: Option<&Value>| value == Some(&Value::Bool(true));
    if !demanded(Some(value)) || demanded(old.get("uniqueItems")) || !bounds::allows(old, "array") {
        return Vec::new();
    }
    vec![new.breaks("uniqueItems", "items have to differ, and had not")]
}
