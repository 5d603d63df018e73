//! What every manifest says, so that no crate changes features by being built alone.

use toml::{Table, Value};

use super::workspace::{Package, Workspace};
use super::{Fault, Tree};

/// Keys of `[package]` that come from the workspace.
const INHERITED: &[&str] = &[
    "version",
    "edition",
    "rust-version",
    "license",
    "repository",
    "publish",
];

const SECTIONS: &[&str] = &["dependencies", "dev-dependencies", "build-dependencies"];

pub(super) fn check(tree: &Tree, workspace: &Workspace) -> Vec<Fault> {
    let mut faults = shared(workspace);
    for package in &workspace.packages {
        let path = package.manifest();
        let Some(text) = tree.text(&path) else {
            faults.push(Fault::file(
                &path,
                "the folder of a crate is named like the crate",
            ));
            continue;
        };
        let manifest: Table = match text.parse() {
            Ok(manifest) => manifest,
            Err(error) => {
                faults.push(Fault::file(&path, error.to_string()));
                continue;
            }
        };
        faults.extend(
            member(&path, &manifest)
                .into_iter()
                .map(|message| Fault::file(&path, message)),
        );
        faults.extend(unused(tree, package));
    }
    faults
}

/// The crate that breaks the platform on purpose; never part of the product.
const CHAOS: &str = "crates/rc-chaos/Cargo.toml";

/// The faults of one member's manifest.
fn member(path: &str, manifest: &Table) -> Vec<String> {
    let mut messages = Vec::new();
    let from_workspace = |value: Option<&Value>| {
        value
            .and_then(|value| value.get("workspace"))
            .and_then(Value::as_bool)
            == Some(true)
    };
    for key in INHERITED {
        if !from_workspace(manifest.get("package").and_then(|package| package.get(key))) {
            messages.push(format!("write `{key}.workspace = true`"));
        }
    }
    if !from_workspace(manifest.get("lints")) {
        messages.push("write `[lints] workspace = true`".to_owned());
    }
    let targets = manifest.get("lib").into_iter().chain(
        manifest
            .get("bin")
            .and_then(Value::as_array)
            .into_iter()
            .flatten(),
    );
    let mut any = false;
    for target in targets {
        any = true;
        if target.get("doctest").and_then(Value::as_bool) != Some(false) {
            messages.push("write `doctest = false` in `[lib]` or `[[bin]]`".to_owned());
        }
    }
    if !any {
        messages.push("write `[lib] doctest = false`".to_owned());
    }
    if path != "crates/rc/Cargo.toml"
        && manifest
            .get("features")
            .is_some_and(|features| !only_testing(features))
    {
        messages.push("features exist only on `rc`, but for an empty `testing`".to_owned());
    }
    if manifest.contains_key("profile") || manifest.contains_key("patch") {
        messages.push("profiles and patches belong to the root".to_owned());
    }
    for section in SECTIONS {
        let entries = manifest
            .get(*section)
            .and_then(Value::as_table)
            .into_iter()
            .flatten();
        for (name, value) in entries {
            if !from_workspace(Some(value)) {
                messages.push(format!(
                    "`{name}` comes from the root's table: `{name}.workspace = true`"
                ));
            }
            // The product must not carry a clock that tests can stop, so only tests ask for it.
            let paused_time =
                *section == "dev-dependencies" && name == "tokio" && adds_only(value, "test-util");
            // Crash points and contract suites of ours are for tests, and for crates that only test.
            let testing = (*section == "dev-dependencies" || path == CHAOS)
                && name.starts_with("rc-")
                && adds_only(value, "testing");
            let known = paused_time || testing;
            if (value.get("features").is_some() && !known) || value.get("default-features").is_some() {
                messages.push(format!(
                    "`{name}`: its whole feature list stands in the root's table"
                ));
            }
        }
    }
    messages
}

/// The faults of `[workspace.dependencies]` and of the profiles.
fn shared(workspace: &Workspace) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, value) in workspace.shared() {
        let ours = value.get("path").is_some();
        if !ours && value.get("default-features").and_then(Value::as_bool) != Some(false) {
            faults.push(Fault::file(
                "Cargo.toml",
                format!("`{name}`: write `default-features = false`"),
            ));
        }
        if value.get("git").is_some() {
            faults.push(Fault::file(
                "Cargo.toml",
                format!("`{name}` comes from git, not from the registry"),
            ));
        }
        let used = workspace.packages.iter().any(|package| {
            package
                .dependencies
                .iter()
                .any(|dependency| dependency.name == name)
        });
        if !used {
            faults.push(Fault::file("Cargo.toml", format!("no crate uses `{name}`")));
        }
    }
    if workspace
        .root
        .get("profile")
        .and_then(|profile| profile.get("test"))
        .is_some()
    {
        faults.push(Fault::file(
            "Cargo.toml",
            "`profile.test` would split the cache: set `profile.dev`",
        ));
    }
    faults
}

/// Dependencies that no source of the crate names.
fn unused(tree: &Tree, package: &Package) -> Vec<Fault> {
    let folder = package.folder();
    let sources: Vec<&str> = tree
        .files
        .iter()
        .filter(|file| file.below(&folder) && file.has_extension(&["rs"]))
        .map(|file| file.text.as_str())
        .collect();
    package
        .dependencies
        .iter()
        .filter(|dependency| {
            let name = dependency.name.replace('-', "_");
            !sources.iter().any(|text| names(text, &name))
        })
        .map(|dependency| {
            Fault::file(
                &package.manifest(),
                format!("no source of the crate names `{}`", dependency.name),
            )
        })
        .collect()
}

/// Whether `text` has `name` as a whole word.
fn names(text: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(name).any(|(start, _)| {
        !text[..start].ends_with(is_word) && !text[start + name.len()..].starts_with(is_word)
    })
}

/// Whether a crate's only feature is `testing`, which turns nothing else on.
fn only_testing(features: &Value) -> bool {
    features.as_table().is_some_and(|table| {
        table.len() == 1
            && table
                .get("testing")
                .and_then(Value::as_array)
                .is_some_and(Vec::is_empty)
    })
}

/// Whether the entry's own feature list is exactly `feature`.
fn adds_only(entry: &Value, feature: &str) -> bool {
    let features = entry.get("features").and_then(Value::as_array);
    features.is_some_and(|list| list.len() == 1 && list[0].as_str() == Some(feature))
}

#[cfg(test)]
mod tests;
