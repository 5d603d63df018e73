//! The work tree: from a clean clone to a running platform, and `cargo check` after a change in an engine.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{Figure, Measured, ROUNDS_MIN, Unit, scratch};
use crate::cx::Cx;
use crate::process::{self, Stop, Stopwatch};

/// The engine that is changed; the gateway and the binary stand on it.
const ENGINE: &str = "crates/rc-traffic/src/lib.rs";

pub(super) fn measure(cx: &Cx, rounds: usize) -> Result<Measured, Stop> {
    let scratch = scratch::folder(cx)?;
    let mut to_running = Vec::new();
    let mut check = Vec::new();
    for round in 1..=rounds {
        eprintln!("bench: build, round {round} of {rounds}");
        let clone = scratch.path().join(format!("clone-{round}"));
        let target = scratch.path().join(format!("target-{round}"));
        let watch = Stopwatch::start();
        let mut git = Command::new("git");
        process::output(
            git.args(["clone", "--quiet", "--no-hardlinks"])
                .arg(&cx.root)
                .arg(&clone),
        )?;
        let cargo = |args: &[&str]| in_clone(cx, &clone, &target, args);
        cargo(&["xtask", "up", "--detach"])?;
        to_running.push(watch.seconds());
        cargo(&["run", "--quiet", "--package", "rc", "--", "down"])?;
        if round == 1 {
            cargo(&["check", "--package", "rc"])?;
            let original = fs_err::read_to_string(clone.join(ENGINE))?;
            for change in 0..rounds {
                fs_err::write(
                    clone.join(ENGINE),
                    format!("{original}\nconst _: usize = {change};\n"),
                )?;
                let watch = Stopwatch::start();
                cargo(&["check", "--package", "rc"])?;
                check.push(watch.seconds());
            }
        }
        fs_err::remove_dir_all(target)?;
    }
    let s = Unit::Seconds;
    Ok(Measured {
        method: format!(
            "Dev profile; medians of {rounds} rounds. A clone is built in an empty target folder, with the sources \
             of the dependencies already downloaded. The changed engine is rc-traffic, and `rc` is checked."
        ),
        rounds_min: ROUNDS_MIN,
        figures: vec![
            Figure::new("clean clone to a running `rc up`", s, Some(300.0), to_running),
            Figure::new("`cargo check` after a change in an engine", s, Some(5.0), check),
        ],
    })
}

/// Runs cargo in the clone with a target folder of its own.
fn in_clone(cx: &Cx, clone: &Path, target: &Path, args: &[&str]) -> Result<(), Stop> {
    let mut command = Command::new(&cx.cargo);
    command
        .current_dir(clone)
        .args(args)
        .env("CARGO_TARGET_DIR", target)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    process::run(&mut command)
}
