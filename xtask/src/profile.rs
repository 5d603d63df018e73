//! `cargo xtask profile`: the statements of ingest and docs-api with their plans, in docs/query-profile.md.

use std::process::{Command, Stdio};

use crate::cx::Cx;
use crate::process::{self, Stop};
use crate::{bench, suite};

/// The page; what is above the mark is written by people.
const PAGE: &str = "docs/query-profile.md";
const MARK: &str = "<!-- generated: cargo xtask profile -->\n";

pub(crate) fn run(cx: &Cx) -> Result<(), Stop> {
    let path = cx.root.join(PAGE);
    let page = fs_err::read_to_string(&path)?;
    let (written, _) = page
        .split_once(MARK)
        .ok_or_else(|| Stop::usage(format!("{PAGE} lacks the line `{}`", MARK.trim_end())))?;
    // Optimised, and without the minutes that a release takes to link: these figures are compared with each other.
    let (rc, measures) = (suite::build_perf(cx, "rc")?, suite::build_perf(cx, "rc-bench")?);
    let folder = bench::scratch_folder(cx)?;
    let mut command = Command::new(measures);
    command
        .arg("profile")
        .arg("--rc")
        .arg(&rc)
        .arg("--scratch")
        .arg(folder.path());
    let mut generated = String::new();
    let succeeded = process::lines(command.stdin(Stdio::null()), |line| {
        generated.push_str(line);
        generated.push('\n');
    })?;
    if !succeeded {
        return Err(Stop::world(
            "`rc-bench profile` failed; what it said stands above",
        ));
    }
    fs_err::write(&path, format!("{written}{MARK}{generated}"))?;
    eprintln!("profile: {PAGE} is written");
    Ok(())
}
