//! What cargo knows of the workspace, reduced to what rules ask.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Tree;
use crate::cx::Cx;
use crate::process::{self, Stop};

/// The members of the workspace and the root manifest.
#[derive(Debug)]
pub(super) struct Workspace {
    pub(super) packages: Vec<Package>,
    pub(super) root: toml::Table,
}

/// A member.
#[derive(Debug, Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) dependencies: Vec<Dependency>,
}

/// An edge from a member to a crate of ours or of others.
#[derive(Debug, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// `None` (normal), `dev` or `build`.
    pub(super) kind: Option<String>,
}

impl Dependency {
    pub(super) fn is_dev(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

impl Package {
    /// The folder that holds the package, from the root.
    pub(super) fn folder(&self) -> String {
        if self.name == "xtask" {
            self.name.clone()
        } else {
            format!("crates/{}", self.name)
        }
    }

    pub(super) fn manifest(&self) -> String {
        format!("{}/Cargo.toml", self.folder())
    }
}

impl Workspace {
    pub(super) fn is_member(&self, name: &str) -> bool {
        self.packages.iter().any(|package| package.name == name)
    }

    /// `[workspace.dependencies]`.
    pub(super) fn shared(&self) -> BTreeMap<&str, &toml::Value> {
        self.root
            .get("workspace")
            .and_then(|workspace| workspace.get("dependencies"))
            .and_then(toml::Value::as_table)
            .map(|table| table.iter().map(|(name, value)| (name.as_str(), value)).collect())
            .unwrap_or_default()
    }
}

pub(super) fn read(cx: &Cx, tree: &Tree) -> Result<Workspace, Stop> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let mut command = process::cargo(cx, &["metadata", "--no-deps", "--format-version=1"]);
    let metadata: Metadata = serde_json::from_str(&process::output(&mut command)?)
        .map_err(|error| Stop::world(format!("`cargo metadata` printed something else: {error}")))?;
    let root = tree
        .text("Cargo.toml")
        .ok_or_else(|| Stop::usage("there is no `Cargo.toml` at the root"))?
        .parse()
        .map_err(|error| Stop::usage(format!("Cargo.toml: {error}")))?;
    let mut packages = metadata.packages;
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Workspace { packages, root })
}

/// The names of every crate that is compiled into the `rc` binary.
pub(super) fn product(cx: &Cx) -> Result<Vec<String>, Stop> {
    let mut command = process::cargo(
        cx,
        &[
            "tree",
            "--package",
            "rc",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ],
    );
    let listed = process::output(&mut command)?;
    Ok(listed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}
