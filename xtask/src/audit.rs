//! `cargo xtask audit`: the advisory database against Cargo.lock. It never claims more than it looked at.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::cx::Cx;
use crate::process::{self, Stop};
use crate::setup;

/// Longest wait for the database; it is a git repository of a few MB.
const FETCH_DEADLINE: Duration = Duration::from_secs(120);

/// Fetches the database and checks. Without a fetched database it checks against the copy that is there,
/// and without any copy it checks nothing; both are said loudly and exit 3 unless `allow_missing`.
pub(crate) fn run(cx: &Cx, allow_missing: bool) -> Result<(), Stop> {
    setup::tool(cx, &setup::CARGO_DENY)?;
    let mut fetch = deny(cx);
    let fetched = process::succeeds_within(fetch.args(["fetch", "db"]), FETCH_DEADLINE)?;
    if fetched {
        process::run(deny(cx).args(["check", "--disable-fetch", "advisories"]))?;
        println!("audit: no known advisory applies; the database was fetched in this run");
        return Ok(());
    }
    let copies = cx.cargo_home.join("advisory-dbs");
    // The fetch leaves its lock file behind even when it got nothing.
    let have_copy =
        fs_err::read_dir(&copies).is_ok_and(|entries| entries.flatten().any(|entry| entry.path().is_dir()));
    if have_copy {
        process::run(deny(cx).args(["check", "--disable-fetch", "advisories"]))?;
        loud(&[
            "THE ADVISORY DATABASE COULD NOT BE FETCHED.",
            "Dependencies were checked against an older copy only:",
            &copies.display().to_string(),
        ]);
    } else {
        loud(&[
            "THE ADVISORY DATABASE COULD NOT BE HAD.",
            "NO dependency was checked for known vulnerabilities in this run.",
            "Run `make audit` again where the network reaches the RustSec database.",
        ]);
    }
    if allow_missing {
        Ok(())
    } else {
        Err(Stop::world(
            "advisories were not checked against the current database",
        ))
    }
}

fn deny(cx: &Cx) -> Command {
    let mut command = Command::new(cx.tool(setup::CARGO_DENY.name));
    command.current_dir(&cx.root).stdin(Stdio::null());
    command
}

fn loud(lines: &[&str]) {
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let bar = "!".repeat(width + 6);
    eprintln!("\n{bar}");
    for line in lines {
        eprintln!("!! {line:<width$} !!");
    }
    eprintln!("{bar}\n");
}
