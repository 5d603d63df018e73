//! The programs that services of one's own are built with and run by.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rc_model::Model;

use super::Check;
use crate::cx::Cx;

/// Where to get what the templates of `rc init` need.
const KNOWN: [(&str, &str); 3] = [
    ("cargo", "install Rust: https://rustup.rs"),
    ("node", "install Node.js 18 or later: https://nodejs.org"),
    (
        "python3",
        "install Python 3.11 or later: the package `python3` of your system",
    ),
];

/// One finding a program that the catalog names without a folder; those with one are made by a build, perhaps.
pub(super) fn checks(cx: &Cx, model: Option<&Model>) -> Vec<Check> {
    let Some(model) = model else {
        return Vec::new();
    };
    let path = cx.child_env().remove(OsStr::new("PATH")).unwrap_or_default();
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (id, service) in &model.catalog.services {
        let named = [service.build.first(), service.command.first()];
        for program in named
            .into_iter()
            .flatten()
            .filter(|program| !program.contains('/'))
        {
            let users = users.entry(program.as_str()).or_default();
            if !users.contains(&id.as_str()) {
                users.push(id.as_str());
            }
        }
    }
    users
        .into_iter()
        .map(|(program, users)| check(program, &users.join(", "), &path))
        .collect()
}

fn check(program: &str, users: &str, path: &OsStr) -> Check {
    let found = std::env::split_paths(path)
        .map(|folder| folder.join(program))
        .find(|file| is_runnable(file));
    match found {
        Some(file) => Check::ok(program, format!("{}, for {users}", file.display())),
        None => {
            let known = KNOWN.iter().find(|(name, _)| *name == program);
            let hint = known.map_or(
                "install it, or write its whole path into `service-catalog.yaml`",
                |(_, hint)| *hint,
            );
            Check::fail(
                program,
                format!("not in PATH; {users} cannot run without it"),
                hint,
            )
        }
    }
}

fn is_runnable(file: &Path) -> bool {
    fs_err::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests;
