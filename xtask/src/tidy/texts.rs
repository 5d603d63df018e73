//! Rules for every text file: clean lines, nothing left for later, nothing of one person's machine.

use super::{Fault, Source, Tree};

/// Words that promise work. Spelled in two halves, so that this file does not break its own rule.
const PROMISES: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("HA", "CK"),
];

/// Hosts of package registries and mirrors: a file that names one works only where that host is reached.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("static.crates", ".io"),
    concat!("index.crates", ".io"),
    concat!("files.pythonhosted", ".org"),
    concat!("pypi.org", "/simple"),
    concat!("registry.npmjs", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("sum.golang", ".org"),
    concat!("repo.maven.apache", ".org"),
    concat!("deb.debian", ".org"),
];

/// Folders of one person's machine. A page that needs an example writes `/home/you`.
const HOMES: &[&str] = &[
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
];

const EXAMPLE_USERS: &[&str] = &["me", "you", "user", "vscode"];

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    tree.files
        .iter()
        .filter(|file| !is_foreign(file))
        .flat_map(file_faults)
        .collect()
}

/// Files that others wrote or that record what a program printed.
fn is_foreign(file: &Source) -> bool {
    file.has_extension(&["snap", "patch", "diff", "txt"])
        || file.below("fixtures")
        || file.path.contains("/fixtures/")
        || file.path.contains("/proptest-regressions/")
        || matches!(file.path.as_str(), "LICENSE" | "Cargo.lock")
}

fn file_faults(file: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut fault = |line: usize, message: String| faults.push(Fault::at(&file.path, line, message));
    // What `gen` writes is laid out by the libraries that write it.
    let generated = file.below("man") || file.below("completions");
    let no_tabs = file.has_extension(&["rs", "yaml", "yml", "toml", "json", "md"]);
    for (number, line) in (1..).zip(file.text.split('\n')) {
        if !generated && line.ends_with([' ', '\t', '\r']) {
            fault(number, "trailing space".to_owned());
        }
        if no_tabs && line.contains('\t') {
            fault(number, "a tab: use spaces".to_owned());
        }
        if let Some(word) = PROMISES.iter().find(|word| has_word(line, word)) {
            fault(number, format!("`{word}`: do it, or open an issue"));
        }
        if let Some(host) = REGISTRY_HOSTS.iter().find(|host| line.contains(**host)) {
            fault(
                number,
                format!("`{host}`: name the package, not the host it came from"),
            );
        }
        if let Some(home) = home_of_somebody(line) {
            fault(
                number,
                format!("`{home}`: a path of one machine; write `~` or `/home/you`"),
            );
        }
    }
    if !generated && !file.text.is_empty() && !file.text.ends_with('\n') {
        fault(
            file.text.lines().count(),
            "no line end at the end of the file".to_owned(),
        );
    }
    if !generated && file.text.ends_with("\n\n") {
        fault(
            file.text.lines().count(),
            "empty lines at the end of the file".to_owned(),
        );
    }
    faults
}

/// Whether the line has the word by itself.
fn has_word(line: &str, word: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        !line[..start].ends_with(is_word) && !line[start + word.len()..].starts_with(is_word)
    })
}

/// The path of a person's folder in the line, unless it is an example's.
fn home_of_somebody(line: &str) -> Option<&str> {
    HOMES.iter().find_map(|home| {
        line.match_indices(home).find_map(|(start, _)| {
            let before = line[..start].chars().next_back();
            // `a/home/b` is some other path that has a part of this name.
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | '}' | '$')) {
                return None;
            }
            let rest = &line[start + home.len()..];
            let name = rest
                .split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'))
                .next()?;
            (!EXAMPLE_USERS.contains(&name)).then(|| &line[start..start + home.len() + name.len()])
        })
    })
}

#[cfg(test)]
mod tests;
