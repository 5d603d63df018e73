//! What comes from Debian packages. Each need is probed by what it gives, not by a package's name, so that
//! a machine which has it from elsewhere is left alone.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use crate::cx::Cx;
use crate::process::{self, Stop};

/// Something that tests run or build with.
struct Need {
    what: &'static str,
    there: fn(&Cx) -> bool,
    packages: &'static [&'static str],
}

const NEEDS: &[Need] = &[
    Need {
        what: "a C compiler, for SQLite, zstd and aws-lc",
        there: |cx| cx.program("cc").is_some(),
        packages: &["gcc", "libc6-dev"],
    },
    Need {
        what: "git, for the list of tracked files",
        there: |cx| cx.program("git").is_some(),
        packages: &["git"],
    },
    Need {
        what: "a PostgreSQL server, which the store's tests start for themselves",
        there: postgres_is_there,
        packages: &["postgresql"],
    },
    Need {
        what: "Python with venv and pip, for the OpenAPI tests",
        there: |_| process::probe(Command::new("python3").args(["-c", "import venv, ensurepip"])),
        packages: &["python3", "python3-venv"],
    },
    Need {
        what: "Node.js, for the service that `rc init --template node` makes",
        there: |cx| cx.program("node").is_some(),
        packages: &["nodejs"],
    },
    Need {
        what: "curl, by which a new service asks itself",
        there: |cx| cx.program("curl").is_some(),
        packages: &["curl"],
    },
];

/// Installs the packages of every need that is not met; as another user than root it says what to type.
pub(super) fn install_missing(cx: &Cx) -> Result<(), Stop> {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !(need.there)(cx)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages).copied().collect();
    let names = packages.join(" ");
    let whats: Vec<&str> = missing.iter().map(|need| need.what).collect();
    let apt_get = cx.program("apt-get");
    if apt_get.is_none() {
        return Err(Stop::world(format!(
            "missing: {}\n  hint: this is not Debian; install what your system calls `{names}`",
            whats.join("; "),
        )));
    }
    if !is_root()? {
        return Err(Stop::world(format!(
            "missing: {}\n  hint: type `sudo apt-get update && sudo apt-get install -y {names}`",
            whats.join("; "),
        )));
    }
    apt(&["update"])?;
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(&packages);
    apt(&install)?;
    match missing.iter().find(|need| !(need.there)(cx)) {
        None => Ok(()),
        Some(need) => Err(Stop::world(format!(
            "installed `{}`, and yet there is not: {}",
            need.packages.join(" "),
            need.what
        ))),
    }
}

/// One quiet run of apt-get that asks nothing.
pub(super) fn apt(args: &[&str]) -> Result<(), Stop> {
    let mut command = Command::new("apt-get");
    command
        .arg("--quiet=2")
        .args(args)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(std::process::Stdio::null());
    process::run(&mut command).map_err(|stop| Stop::world(stop.message))
}

/// Whether this process may install packages.
pub(super) fn is_root() -> Result<bool, Stop> {
    Ok(fs_err::metadata("/proc/self")?.uid() == 0)
}

/// Debian keeps the server's programs out of `$PATH`, in a folder for each major version.
fn postgres_is_there(cx: &Cx) -> bool {
    let both = |folder: &Path| folder.join("postgres").is_file() && folder.join("initdb").is_file();
    cx.path.iter().any(|folder| both(folder))
        || fs_err::read_dir("/usr/lib/postgresql")
            .is_ok_and(|majors| majors.flatten().any(|major| both(&major.path().join("bin"))))
}
