//! The gateway's peers: the machine's own nginx and HAProxy, else Debian's packages, unpacked into the cache and not
//! installed, so that no server starts by itself.

use std::path::PathBuf;
use std::process::Command;

use crate::cx::Cx;
use crate::process::{self, Stop};
use crate::setup::corpus;

/// Where systems keep servers, outside of `$PATH`.
const SYSTEM: &str = "/usr/sbin";

/// A program that the gateway is compared with.
struct Peer {
    name: &'static str,
    /// Its package, and those of the libraries that a machine may lack.
    packages: &'static [&'static str],
}

const NGINX: Peer = Peer {
    name: "nginx",
    packages: &["nginx"],
};

const HAPROXY: Peer = Peer {
    name: "haproxy",
    packages: &[
        "haproxy",
        "liblua5.3-0",
        "libopentracing-c-wrapper0",
        "libopentracing1",
    ],
};

/// nginx, which starts.
pub(super) fn nginx(cx: &Cx) -> Result<PathBuf, Stop> {
    NGINX.program(cx)
}

/// HAProxy, which starts with the libraries that lie beside it.
pub(super) fn haproxy(cx: &Cx) -> Result<PathBuf, Stop> {
    HAPROXY.program(cx)
}

impl Peer {
    fn program(&self, cx: &Cx) -> Result<PathBuf, Stop> {
        let name = self.name;
        let system = PathBuf::from(SYSTEM).join(name);
        if let Some(found) = cx.program(name).or_else(|| system.is_file().then_some(system)) {
            return Ok(found);
        }
        let folder = cx.cache.join("tools").join(name);
        let program = folder.join("usr/sbin").join(name);
        if !program.is_file() {
            corpus::download(
                cx,
                self.packages,
                &format!("the bench compares the gateway with {name}"),
            )?;
            // The program last: when it is there, everything is.
            for package in self.packages.iter().rev() {
                let mut command = Command::new("dpkg-deb");
                process::output(command.arg("-x").arg(corpus::package(cx, package)).arg(&folder))?;
            }
        }
        let libraries = folder.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH));
        if process::probe(Command::new(&program).arg("-v").env("LD_LIBRARY_PATH", libraries)) {
            return Ok(program);
        }
        Err(Stop::world(format!(
            "{} does not start here\n  hint: install {name} (`sudo apt-get install {name}`)",
            program.display()
        )))
    }
}
