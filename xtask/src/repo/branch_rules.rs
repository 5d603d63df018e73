//! Branch rules in the forge's own shape of rulesets, so that the data can be read beside its manual.

use serde::Deserialize;
use serde_json::Value;

use super::forge::Forge;
use super::{Change, Difference};
use crate::process::Stop;

pub(super) const FILE: &str = ".github/branch-rules.json";

/// Kinds of rules that we use; a misspelt kind would protect nothing.
const KINDS: &[&str] = &[
    "creation",
    "deletion",
    "non_fast_forward",
    "pull_request",
    "required_linear_history",
    "required_signatures",
    "required_status_checks",
    "update",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rulesets: Vec<Value>,
}

/// A ruleset: its name and the whole object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ruleset {
    pub(super) name: String,
    pub(super) value: Value,
}

/// Reads and validates the data; all faults at once.
pub(super) fn parse(text: &str) -> Result<Vec<Ruleset>, Stop> {
    let file: File = serde_json::from_str(text).map_err(|error| Stop::usage(format!("{FILE}: {error}")))?;
    let mut faults = Vec::new();
    let mut rulesets: Vec<Ruleset> = Vec::new();
    for value in file.rulesets {
        let name = value
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if name.is_empty() || rulesets.iter().any(|other| other.name == name) {
            faults.push(format!("`{name}`: a ruleset has a name of its own"));
        }
        if value.get("target").and_then(Value::as_str) != Some("branch") {
            faults.push(format!("`{name}`: `target` is `branch`"));
        }
        if !matches!(
            value.get("enforcement").and_then(Value::as_str),
            Some("active" | "evaluate" | "disabled")
        ) {
            faults.push(format!(
                "`{name}`: `enforcement` is `active`, `evaluate` or `disabled`"
            ));
        }
        let include = value
            .pointer("/conditions/ref_name/include")
            .and_then(Value::as_array);
        if include.is_none_or(Vec::is_empty) {
            faults.push(format!("`{name}`: `conditions.ref_name.include` names no branch"));
        }
        let rules = value.get("rules").and_then(Value::as_array);
        if rules.is_none_or(Vec::is_empty) {
            faults.push(format!("`{name}` has no rule"));
        }
        for rule in rules.into_iter().flatten() {
            let kind = rule.get("type").and_then(Value::as_str).unwrap_or_default();
            if !KINDS.contains(&kind) {
                faults.push(format!("`{name}`: `{kind}` is no kind of rule"));
            }
        }
        rulesets.push(Ruleset { name, value });
    }
    if faults.is_empty() {
        Ok(rulesets)
    } else {
        Err(Stop::usage(format!("{FILE}: {}", faults.join("; "))))
    }
}

/// The checks that a change must pass, by the names that the forge shows.
#[cfg(test)]
fn required_checks(ruleset: &Ruleset) -> Vec<&str> {
    ruleset.value["rules"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|rule| rule["type"] == "required_status_checks")
        .flat_map(|rule| {
            rule["parameters"]["required_status_checks"]
                .as_array()
                .into_iter()
                .flatten()
        })
        .filter_map(|check| check["context"].as_str())
        .collect()
}

/// A ruleset in the forge's list, which leaves its rules out.
#[derive(Debug, Deserialize)]
struct Listed {
    id: u64,
    name: String,
}

/// What has to be made or changed at the forge.
pub(super) fn compare(wanted: &[Ruleset], forge: &Forge) -> Result<Difference, Stop> {
    let listed: Vec<Listed> = forge.list("rulesets")?;
    let mut changes = Vec::new();
    for ruleset in wanted {
        let Some(there) = listed.iter().find(|listed| listed.name == ruleset.name) else {
            changes.push(Change {
                about: format!("ruleset `{}` is missing", ruleset.name),
                method: "POST",
                path: "rulesets".to_owned(),
                body: ruleset.value.clone(),
            });
            continue;
        };
        let path = format!("rulesets/{}", there.id);
        let mut differences = Vec::new();
        differ(&ruleset.value, &forge.get(&path)?, "", &mut differences);
        if !differences.is_empty() {
            changes.push(Change {
                about: format!("ruleset `{}`: {}", ruleset.name, differences.join("; ")),
                method: "PUT",
                path,
                body: ruleset.value.clone(),
            });
        }
    }
    let only_there = listed
        .into_iter()
        .filter(|listed| !wanted.iter().any(|ruleset| ruleset.name == listed.name))
        .map(|listed| listed.name)
        .collect();
    Ok(Difference { changes, only_there })
}

/// Where `found` lacks something that `wanted` says. What only `found` has is the forge's own (ids, links,
/// defaults), except in lists, which are compared whole; lists of rules by their kind, in any order.
fn differ(wanted: &Value, found: &Value, path: &str, differences: &mut Vec<String>) {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            for (key, value) in wanted {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                match found.get(key) {
                    Some(there) => differ(value, there, &path, differences),
                    None => differences.push(format!("`{path}` is not set")),
                }
            }
        }
        (Value::Array(wanted), Value::Array(found)) => {
            let key = |value: &Value| {
                ["type", "context"]
                    .iter()
                    .find_map(|key| value.get(key))
                    .cloned()
                    .unwrap_or_else(|| value.clone())
            };
            for value in wanted {
                match found.iter().find(|there| key(there) == key(value)) {
                    Some(there) => differ(value, there, &format!("{path}[{}]", key(value)), differences),
                    None => differences.push(format!("`{path}` lacks {}", key(value))),
                }
            }
            for there in found
                .iter()
                .filter(|there| !wanted.iter().any(|value| key(value) == key(there)))
            {
                differences.push(format!("`{path}` has {} too", key(there)));
            }
        }
        (wanted, found) if wanted == found => {}
        (wanted, found) => differences.push(format!("`{path}` is {found}, and should be {wanted}")),
    }
}

#[cfg(test)]
mod tests;
