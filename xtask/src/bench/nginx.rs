//! The gateway's peer: the machine's own nginx, else Debian's package, unpacked into the cache and not
//! installed, so that no server starts by itself.

use std::path::PathBuf;
use std::process::Command;

use crate::cx::Cx;
use crate::process::{self, Stop};
use crate::setup::corpus;

/// Where systems keep servers, outside of `$PATH`.
const SYSTEM: &str = "/usr/sbin/nginx";

/// The package, and the program in it.
const PACKAGE: &str = "nginx";
const PROGRAM: &str = "usr/sbin/nginx";

/// The program, which starts.
pub(super) fn program(cx: &Cx) -> Result<PathBuf, Stop> {
    let system = PathBuf::from(SYSTEM);
    if let Some(found) = cx.program("nginx").or_else(|| system.is_file().then_some(system)) {
        return Ok(found);
    }
    let folder = cx.cache.join("tools").join(PACKAGE);
    let program = folder.join(PROGRAM);
    if !program.is_file() {
        corpus::download(cx, &[PACKAGE], "the bench compares the gateway with nginx")?;
        let mut command = Command::new("dpkg-deb");
        process::output(command.arg("-x").arg(corpus::package(cx, PACKAGE)).arg(&folder))?;
    }
    if process::probe(Command::new(&program).arg("-v")) {
        return Ok(program);
    }
    Err(Stop::world(format!(
        "{} does not start here\n  hint: install nginx (`sudo apt-get install nginx`)",
        program.display()
    )))
}
