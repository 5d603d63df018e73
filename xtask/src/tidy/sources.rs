//! Rules for Rust files that clippy has no lint for, or that must hold without a build.

use super::lexer::code_only;
use super::{Fault, Source, Tree};

/// Longest file that is not a test; a longer one holds more than one idea.
const LINES_MAX: usize = 600;

/// Code that may not appear, and what to write instead. Where `tests_too` is false, tests may.
struct Banned {
    pattern: &'static str,
    tests_too: bool,
    instead: &'static str,
}

const BANNED: &[Banned] = &[
    Banned {
        pattern: ".unwrap()",
        tests_too: false,
        instead: "return the error, or `expect(\"why it cannot fail\")`",
    },
    Banned {
        pattern: "todo!",
        tests_too: true,
        instead: "finish it or leave it out",
    },
    Banned {
        pattern: "unimplemented!",
        tests_too: true,
        instead: "finish it or leave it out",
    },
    Banned {
        pattern: "dbg!",
        tests_too: true,
        instead: "use tracing, or an assertion in a test",
    },
    Banned {
        pattern: "#[allow(",
        tests_too: true,
        instead: "`#[expect(lint, reason = \"...\")]`",
    },
    Banned {
        pattern: "#![allow(",
        tests_too: true,
        instead: "`#![expect(lint, reason = \"...\")]`",
    },
    Banned {
        pattern: "#[ignore",
        tests_too: true,
        instead: "name it `slow_*` or `live_*`; a test that does not run proves nothing",
    },
];

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    tree.files
        .iter()
        .filter(|file| file.has_extension(&["rs"]) && !file.below("fixtures"))
        .flat_map(file_faults)
        .collect()
}

/// The faults of one Rust file.
fn file_faults(file: &Source) -> Vec<Fault> {
    let test = is_test(&file.path);
    let code = code_only(&file.text);
    let mut faults = Vec::new();
    let mut inline_tests = false;
    for (number, line) in (1..).zip(code.lines()) {
        for banned in BANNED {
            if line.contains(banned.pattern) && (banned.tests_too || !(test || inline_tests)) {
                let message = format!("`{}`: {}", banned.pattern, banned.instead);
                faults.push(Fault::at(&file.path, number, message));
            }
        }
        if !test && line.trim_start().starts_with("mod tests {") {
            inline_tests = true;
            faults.push(Fault::at(
                &file.path,
                number,
                "tests stand in `tests.rs` beside the file (`#[cfg(test)] mod tests;`), so that editing them \
                 does not rebuild the library",
            ));
        }
    }
    if file.path.ends_with("/mod.rs") {
        faults.push(Fault::file(
            &file.path,
            "modules are `x.rs` with a folder `x/`, not `x/mod.rs`",
        ));
    }
    if test {
        return faults;
    }
    if !file.text.starts_with("//!") {
        faults.push(Fault::at(
            &file.path,
            1,
            "a module begins with `//!`: what it is for and what it refuses to know",
        ));
    }
    let lines = file.text.lines().count();
    if lines > LINES_MAX {
        let message = format!("{lines} lines: more than {LINES_MAX}, so it holds more than one idea");
        faults.push(Fault::file(&file.path, message));
    }
    faults
}

/// Whether the file holds tests or benchmarks only.
fn is_test(path: &str) -> bool {
    // A contract suite is tests that other crates run, too.
    let suite = path.ends_with("/contract.rs") || path.contains("/contract/");
    suite || path.ends_with("/tests.rs") || path.contains("/tests/") || path.contains("/benches/")
}

#[cfg(test)]
mod tests;
