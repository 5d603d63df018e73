//! Rules for the repository's own pages and commands: each crate and dependency is explained, and an editor
//! offers the same tasks as the Makefile.

use serde::Deserialize;

use super::workspace::Workspace;
use super::{Fault, Tree};

const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// Longest ARCHITECTURE.md that is still read.
const ARCHITECTURE_LINES_MAX: usize = 250;

const MAKEFILE: &str = "Makefile";

const TASKS: &str = ".devcontainer/tasks.json";

/// Targets of the Makefile that an editor has no use for as a task.
const NOT_A_TASK: &[&str] = &["help"];

/// A target of the Makefile.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) about: String,
    /// The lines that the target runs.
    recipe: Vec<String>,
}

/// The targets in the order of the file: `name: ## about`, then lines that begin with a tab.
pub(crate) fn makefile_targets(text: &str) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix('\t') {
            if let Some(target) = targets.last_mut() {
                target.recipe.push(command.to_owned());
            }
        } else if let Some((name, about)) = line.split_once(": ## ") {
            targets.push(Target {
                name: name.to_owned(),
                about: about.to_owned(),
                recipe: Vec::new(),
            });
        }
    }
    targets
}

pub(super) fn check(tree: &Tree, workspace: &Workspace) -> Vec<Fault> {
    let mut faults = architecture(tree.text(ARCHITECTURE).unwrap_or_default(), workspace);
    let targets = makefile_targets(tree.text(MAKEFILE).unwrap_or_default());
    faults.extend(makefile(&targets));
    faults.extend(tasks(tree.text(TASKS).unwrap_or_default(), &targets));
    faults
}

/// ARCHITECTURE.md names every crate of ours and says why each dependency is there.
fn architecture(text: &str, workspace: &Workspace) -> Vec<Fault> {
    let mut faults = Vec::new();
    let lines = text.lines().count();
    if lines == 0 || lines > ARCHITECTURE_LINES_MAX {
        let message = format!("{lines} lines; it has at least one and at most {ARCHITECTURE_LINES_MAX}");
        faults.push(Fault::file(ARCHITECTURE, message));
    }
    let ours = workspace.packages.iter().map(|package| package.name.as_str());
    let others = workspace
        .shared()
        .into_keys()
        .filter(|name| !workspace.is_member(name));
    for name in ours.chain(others) {
        if !text.contains(&format!("`{name}`")) {
            faults.push(Fault::file(
                ARCHITECTURE,
                format!("does not say why `{name}` is there"),
            ));
        }
    }
    faults
}

/// Each target is one line that calls xtask.
fn makefile(targets: &[Target]) -> Vec<Fault> {
    targets
        .iter()
        .filter(|target| !matches!(target.recipe.as_slice(), [line] if line.starts_with("@cargo xtask ")))
        .map(|target| {
            Fault::file(
                MAKEFILE,
                format!("`{}` is more than one call of `cargo xtask`", target.name),
            )
        })
        .collect()
}

/// The editor's tasks are the Makefile's targets.
fn tasks(text: &str, targets: &[Target]) -> Vec<Fault> {
    #[derive(Deserialize)]
    struct File {
        tasks: Vec<Task>,
    }
    #[derive(Deserialize)]
    struct Task {
        label: String,
        command: String,
        detail: String,
    }
    let file: File = match serde_json::from_str(text) {
        Ok(file) => file,
        Err(error) => return vec![Fault::file(TASKS, error.to_string())],
    };
    let wanted: Vec<(String, String, String)> = targets
        .iter()
        .filter(|target| !NOT_A_TASK.contains(&target.name.as_str()))
        .map(|target| {
            (
                target.name.clone(),
                format!("make {}", target.name),
                target.about.clone(),
            )
        })
        .collect();
    let found: Vec<(String, String, String)> = file
        .tasks
        .into_iter()
        .map(|task| (task.label, task.command, task.detail))
        .collect();
    if found == wanted {
        return Vec::new();
    }
    let first = wanted
        .iter()
        .zip(&found)
        .find(|(wanted, found)| wanted != found)
        .map_or_else(
            || format!("{} tasks for {} targets", found.len(), wanted.len()),
            |(wanted, found)| {
                format!(
                    "task `{}` (`{}`) stands where `make {}` does",
                    found.0, found.1, wanted.0
                )
            },
        );
    vec![Fault::file(
        TASKS,
        format!("the tasks are not the Makefile's targets: {first}"),
    )]
}

#[cfg(test)]
mod tests;
