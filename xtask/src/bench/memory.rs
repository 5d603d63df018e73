//! Memory of all processes of one program, from `/proc`.

use std::path::{Path, PathBuf};

use crate::process::Stop;

/// Folders in `/proc` of the processes that run `program`.
pub(super) fn processes_of(program: &Path) -> Result<Vec<PathBuf>, Stop> {
    let program = fs_err::canonicalize(program)?;
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc")? {
        let folder = entry?.path();
        // Processes come and go while we look, and kernel threads have no program.
        if fs_err::read_link(folder.join("exe")).is_ok_and(|exe| exe == program) {
            found.push(folder);
        }
    }
    Ok(found)
}

/// Their memory in MiB. Proportional, so that pages which processes share count once.
pub(super) fn of_program(program: &Path) -> Result<f64, Stop> {
    let mut kib = 0.0;
    let processes = processes_of(program)?;
    if processes.is_empty() {
        return Err(Stop::world(format!("no process runs {}", program.display())));
    }
    for folder in processes {
        kib += pss_kib(&fs_err::read_to_string(folder.join("smaps_rollup"))?)?;
    }
    Ok(kib / 1024.0)
}

/// The `Pss:` line of `smaps_rollup`.
pub(super) fn pss_kib(text: &str) -> Result<f64, Stop> {
    text.lines()
        .find_map(|line| {
            line.strip_prefix("Pss:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
        .ok_or_else(|| Stop::world("`smaps_rollup` has no line `Pss:`"))
}
