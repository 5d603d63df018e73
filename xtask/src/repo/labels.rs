//! Labels: a taxonomy of groups (`kind/…`, `area/…`), each label with a colour and a meaning.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::json;

use super::forge::Forge;
use super::{Change, Difference};
use crate::process::Stop;

pub(super) const FILE: &str = ".github/labels.json";

/// The forge refuses longer descriptions.
const DESCRIPTION_CHARS_MAX: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the part before the slash means.
    groups: BTreeMap<String, Group>,
    /// Labels by group, then by the part after the slash, with their meaning.
    labels: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    about: String,
    color: String,
}

/// A label as the forge has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Label {
    pub(super) name: String,
    color: String,
    #[serde(default)]
    description: Option<String>,
}

/// Reads and validates the data; all faults at once.
pub(super) fn parse(text: &str) -> Result<Vec<Label>, Stop> {
    let file: File = serde_json::from_str(text).map_err(|error| Stop::usage(format!("{FILE}: {error}")))?;
    let mut faults = Vec::new();
    for (name, group) in &file.groups {
        let is_color = group.color.len() == 6
            && group
                .color
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_color {
            faults.push(format!(
                "group `{name}`: `{}` is not six hex digits in lower case",
                group.color
            ));
        }
        if group.about.trim().is_empty() {
            faults.push(format!("group `{name}` does not say what it is about"));
        }
        if file.labels.get(name).is_none_or(BTreeMap::is_empty) {
            faults.push(format!("group `{name}` has no label"));
        }
    }
    let mut labels = Vec::new();
    for (group, members) in &file.labels {
        let Some(Group { color, .. }) = file.groups.get(group) else {
            faults.push(format!("labels of `{group}`: there is no such group"));
            continue;
        };
        for (member, meaning) in members {
            let name = format!("{group}/{member}");
            if !name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'/'))
            {
                faults.push(format!("`{name}`: use `a` to `z`, `0` to `9` and `-`"));
            }
            if meaning.trim().is_empty() || meaning.chars().count() > DESCRIPTION_CHARS_MAX {
                faults.push(format!(
                    "`{name}`: a meaning has 1 to {DESCRIPTION_CHARS_MAX} characters"
                ));
            }
            labels.push(Label {
                name,
                color: color.clone(),
                description: Some(meaning.clone()),
            });
        }
    }
    if faults.is_empty() {
        Ok(labels)
    } else {
        Err(Stop::usage(format!("{FILE}: {}", faults.join("; "))))
    }
}

/// What has to be made or changed at the forge.
pub(super) fn compare(wanted: &[Label], forge: &Forge) -> Result<Difference, Stop> {
    Ok(difference(wanted, &forge.list("labels")?))
}

fn difference(wanted: &[Label], found: &[Label]) -> Difference {
    let by_name: BTreeMap<&str, &Label> = found.iter().map(|label| (label.name.as_str(), label)).collect();
    let changes = wanted
        .iter()
        .filter_map(|label| {
            let body = json!({
                "name": label.name,
                "color": label.color,
                "description": label.description,
            });
            match by_name.get(label.name.as_str()) {
                None => Some(Change {
                    about: format!("label `{}` is missing", label.name),
                    method: "POST",
                    path: "labels".to_owned(),
                    body,
                }),
                Some(there) if *there == label => None,
                Some(there) => Some(Change {
                    about: format!(
                        "label `{}` is {} {:?}, and should be {} {:?}",
                        label.name,
                        there.color,
                        there.description.as_deref().unwrap_or_default(),
                        label.color,
                        label.description.as_deref().unwrap_or_default(),
                    ),
                    method: "PATCH",
                    // A slash in a label's name is part of the name, not of the path.
                    path: format!("labels/{}", label.name.replace('/', "%2F")),
                    body,
                }),
            }
        })
        .collect();
    let names: BTreeSet<&str> = wanted.iter().map(|label| label.name.as_str()).collect();
    let only_there = found
        .iter()
        .filter(|label| !names.contains(label.name.as_str()))
        .map(|label| label.name.clone())
        .collect();
    Difference { changes, only_there }
}

#[cfg(test)]
mod tests;
