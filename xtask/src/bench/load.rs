//! What `rc-bench` measures: load, peers, CPU time. It is built in release, like what it measures.

use std::process::{Command, Stdio};

use super::{Measured, Programs, Subject, peers, scratch};
use crate::cx::Cx;
use crate::process::{self, Stop};

pub(super) fn measure(cx: &Cx, subject: Subject, programs: &Programs, quick: bool) -> Result<Measured, Stop> {
    let bench = programs
        .bench
        .as_ref()
        .expect("a run with such a subject builds `rc-bench`");
    let folder = scratch::folder(cx)?;
    // A copy of its own: processes are found by their program, and other projects may run on this machine.
    let rc = folder.path().join("rc");
    fs_err::copy(&programs.rc, &rc)?;
    let work = folder.path().join("work");
    fs_err::create_dir(&work)?;
    let mut command = Command::new(bench);
    command.args(["run", subject.name(), "--rc"]).arg(&rc);
    command.arg("--scratch").arg(&work).stdin(Stdio::null());
    if subject == Subject::Gateway {
        command.arg("--nginx").arg(peers::nginx(cx)?);
        command.arg("--haproxy").arg(peers::haproxy(cx)?);
    }
    if let (Subject::Events, Some(debezium)) = (subject, &programs.debezium) {
        command.arg("--debezium").arg(debezium);
    }
    if let (Subject::Kept, Some(kept)) = (subject, programs.kept) {
        command.arg("--kept").arg(kept.to_string());
    }
    if let (Subject::Gateway | Subject::Statements, Some(former)) = (subject, &programs.former) {
        // Under the name of the new one: what a person sees of both is the same.
        let folder = folder.path().join("former");
        fs_err::create_dir(&folder)?;
        let rc = folder.join("rc");
        fs_err::copy(former, &rc)?;
        command.arg("--former").arg(rc);
    }
    if quick {
        command.arg("--quick");
    }
    let mut printed = String::new();
    let succeeded = process::lines(&mut command, |line| {
        printed.push_str(line);
        printed.push('\n');
    })?;
    if !succeeded {
        return Err(Stop::world("`rc-bench` failed; what it said stands above"));
    }
    serde_json::from_str(&printed)
        .map_err(|error| Stop::usage(format!("`rc-bench` printed something else than figures: {error}")))
}
