//! The checks that need no running product. Each is a plain function; `lint` and `ci` put them in a row.

use std::process::{Command, Stdio};

use crate::cx::Cx;
use crate::process::{self, Stop};
use crate::setup;
use crate::tidy as rules;

/// A named check.
pub(crate) type Check = (&'static str, fn(&Cx) -> Result<(), Stop>);

/// All checks, quickest first.
pub(crate) const ALL: &[Check] = &[
    ("format", format),
    ("tidy", tidy),
    ("licences", licences),
    ("secrets", secrets),
    ("clippy", clippy),
];

/// Runs every check, or lets the tools fix what they can and then runs every check.
pub(crate) fn lint(cx: &Cx, fix: bool) -> Result<(), Stop> {
    if fix {
        process::run(&mut process::cargo(cx, &["fmt", "--all"]))?;
        process::run(&mut process::cargo(
            cx,
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--fix",
                "--allow-dirty",
                "--allow-staged",
            ],
        ))?;
    }
    setup::tool(cx, &setup::GITLEAKS)?;
    setup::tool(cx, &setup::CARGO_DENY)?;
    let mut failed = Vec::new();
    for (name, check) in ALL {
        if let Err(stop) = check(cx) {
            eprintln!("error: {}", stop.message);
            failed.push(*name);
        }
    }
    if failed.is_empty() {
        println!("lint: clean");
        Ok(())
    } else {
        Err(Stop::no(format!("lint: {}", failed.join(", "))))
    }
}

/// The rules of the house.
pub(crate) fn tidy(cx: &Cx) -> Result<(), Stop> {
    let faults = rules::check(cx)?;
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() {
        println!("tidy: clean");
        Ok(())
    } else {
        Err(Stop::no(format!("tidy: {} faults", faults.len())))
    }
}

fn format(cx: &Cx) -> Result<(), Stop> {
    process::run(&mut process::cargo(cx, &["fmt", "--all", "--check"]))
}

fn clippy(cx: &Cx) -> Result<(), Stop> {
    process::run(&mut process::cargo(
        cx,
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    ))
}

fn licences(cx: &Cx) -> Result<(), Stop> {
    let mut command = Command::new(cx.tool(setup::CARGO_DENY.name));
    command
        .current_dir(&cx.root)
        .args(["--locked", "check", "licenses", "bans", "sources"])
        .stdin(Stdio::null());
    process::run(&mut command)
}

/// The files as they are, and every commit when the history is there (an unpacked release has none).
fn secrets(cx: &Cx) -> Result<(), Stop> {
    let scan = |mode: &str| {
        let mut command = Command::new(cx.tool(setup::GITLEAKS.name));
        command
            .current_dir(&cx.root)
            .args([
                mode,
                ".",
                "--no-banner",
                "--no-color",
                "--redact",
                "--log-level=warn",
            ])
            .args(["--config", ".gitleaks.toml"])
            .stdin(Stdio::null());
        process::run(&mut command)
    };
    scan("dir")?;
    if cx.root.join(".git").exists() {
        scan("git")
    } else {
        Ok(())
    }
}
