//! Members of objects and items of arrays: which schema each of them has to keep, before and after.

use serde_json::{Value, json};

use super::side::{ANYTHING, Side};
use super::{Compare, Finding, bounds};
use crate::schema;

/// What an object's schema says about its members.
struct Members<'m, 's> {
    side: &'m Side<'s>,
    named: Vec<(&'s str, Side<'s>)>,
    patterns: Vec<(&'s str, Side<'s>)>,
    /// For members that are neither named nor match.
    others: Side<'s>,
}

impl<'m, 's> Members<'m, 's> {
    fn of(side: &'m Side<'s>) -> Self {
        let list = |keyword: &str| -> Vec<(&'s str, Side<'s>)> {
            let members = side.get(keyword).and_then(Value::as_object);
            members
                .into_iter()
                .flatten()
                .map(|(name, schema)| (name.as_str(), side.at(schema, &[keyword, name])))
                .collect()
        };
        Self {
            side,
            named: list("properties"),
            patterns: list("patternProperties"),
            others: side.below("additionalProperties"),
        }
    }

    /// The schemas that the member `name` has to keep, all of them.
    fn all_of(&self, name: &str) -> Vec<&Side<'s>> {
        let matching = self.patterns.iter().filter(|(pattern, _)| matches(pattern, name));
        let mut all: Vec<&Side<'s>> = find(&self.named, name)
            .into_iter()
            .chain(matching.map(|(_, schema)| schema))
            .collect();
        if all.is_empty() {
            all.push(&self.others);
        }
        all
    }
}

fn find<'m, 's>(list: &'m [(&'s str, Side<'s>)], name: &str) -> Option<&'m Side<'s>> {
    let found = list.iter().find(|(known, _)| *known == name);
    found.map(|(_, schema)| schema)
}

/// As the validator matches. A pattern that is none is refused when the schema is read.
fn matches(pattern: &str, name: &str) -> bool {
    schema::compile(&json!({ "pattern": pattern })).is_ok_and(|compiled| compiled.is_valid(&json!(name)))
}

pub(super) fn of_objects<'s>(
    compare: &mut Compare<'s>,
    old: &Side<'s>,
    new: &Side<'s>,
    depth: usize,
) -> Vec<Finding> {
    if !bounds::allows(old, "object") {
        return Vec::new();
    }
    let (old, new) = (Members::of(old), Members::of(new));
    let mut findings = Vec::new();
    for (name, schema) in &new.named {
        findings.extend(named_narrower(compare, &old, name, schema, depth));
    }
    for (pattern, schema) in &new.patterns {
        findings.extend(pattern_narrower(compare, &old, pattern, schema, depth));
    }
    findings.extend(others_narrower(compare, &old, &new, depth));
    findings
}

/// The member `name` was held by `old`; now by `schema`.
fn named_narrower<'s>(
    compare: &mut Compare<'s>,
    old: &Members<'_, 's>,
    name: &str,
    schema: &Side<'s>,
    depth: usize,
) -> Vec<Finding> {
    let mut first = None;
    for side in old.all_of(name) {
        let findings = compare.narrower(side, schema, depth + 1);
        if findings.is_empty() {
            return findings;
        }
        if side.schema == &ANYTHING && side.pointer == old.others.pointer {
            let what = format!(
                "the member `{name}` was not described and could be anything: `additionalProperties` was not `false`"
            );
            return vec![schema.breaks("", what)];
        }
        first.get_or_insert(findings);
    }
    first.unwrap_or_default()
}

/// Members that match `pattern` were held by `old`; now by `schema`.
fn pattern_narrower<'s>(
    compare: &mut Compare<'s>,
    old: &Members<'_, 's>,
    pattern: &str,
    schema: &Side<'s>,
    depth: usize,
) -> Vec<Finding> {
    if let Some(before) = find(&old.patterns, pattern)
        && compare.narrower(before, schema, depth + 1).is_empty()
    {
        return Vec::new();
    }
    // Each member that matches is one of these.
    let mut findings = Vec::new();
    for (name, _) in old.named.iter().filter(|(name, _)| matches(pattern, name)) {
        findings.extend(named_narrower(compare, old, name, schema, depth));
    }
    for side in old.patterns.iter().map(|(_, side)| side).chain([&old.others]) {
        findings.extend(compare.narrower(side, schema, depth + 1));
    }
    findings
}

/// Members that `new` neither names nor matches were held by `old`; now by `additionalProperties`.
fn others_narrower<'s>(
    compare: &mut Compare<'s>,
    old: &Members<'_, 's>,
    new: &Members<'_, 's>,
    depth: usize,
) -> Vec<Finding> {
    let closed = |members: &Members<'_, '_>| members.others.schema == &Value::Bool(false);
    let refuse = |what: String| new.side.breaks("additionalProperties", what);
    let mut findings = Vec::new();
    for (name, _) in &old.named {
        let known = find(&new.named, name).is_some()
            || new.patterns.iter().any(|(pattern, _)| matches(pattern, name));
        if known || named_narrower(compare, old, name, &new.others, depth).is_empty() {
            continue;
        }
        findings.push(refuse(if closed(new) {
            format!("the member `{name}` was removed, and others are not allowed")
        } else {
            format!("the member `{name}` was removed, and does not fit what is demanded of others")
        }));
    }
    for (pattern, side) in &old.patterns {
        let known = find(&new.patterns, pattern).is_some();
        if !known && !compare.narrower(side, &new.others, depth + 1).is_empty() {
            findings.push(refuse(format!(
                "members that match `{pattern}` were described, and are not"
            )));
        }
    }
    if closed(new) && !closed(old) {
        findings.push(refuse(
            "members that are not described were allowed, and are not".to_owned(),
        ));
    } else {
        findings.extend(compare.narrower(&old.others, &new.others, depth + 1));
    }
    findings
}

pub(super) fn of_arrays<'s>(
    compare: &mut Compare<'s>,
    old: &Side<'s>,
    new: &Side<'s>,
    depth: usize,
) -> Vec<Finding> {
    if !bounds::allows(old, "array") {
        return Vec::new();
    }
    let (old_first, new_first) = (old.branches("prefixItems"), new.branches("prefixItems"));
    let (old_rest, new_rest) = (old.below("items"), new.below("items"));
    let longest = old.get("maxItems").and_then(Value::as_u64).unwrap_or(u64::MAX);
    let described = old_first.len().max(new_first.len());
    let mut findings = Vec::new();
    for index in (0..described).take_while(|index| (*index as u64) < longest) {
        let old = old_first.get(index).unwrap_or(&old_rest);
        let new = new_first.get(index).unwrap_or(&new_rest);
        findings.extend(compare.narrower(old, new, depth + 1));
    }
    if longest > described as u64 {
        findings.extend(compare.narrower(&old_rest, &new_rest, depth + 1));
    }
    findings
}
