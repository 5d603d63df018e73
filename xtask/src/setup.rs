//! `cargo xtask setup`: what tests and checks need beyond Rust, on a machine that may have none of it.
//!
//! Debian packages are installed as root; otherwise the line to type is printed. Tools are pinned and live
//! in the cache (`tools/NAME-VERSION`, linked from `tools/bin`), so that a clone can be thrown away.

pub(crate) mod corpus;
pub(crate) mod debezium;
mod debian;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cx::Cx;
use crate::process::{self, Stop, Stopwatch};

/// The oldest Go that builds the pinned Go tools (their `go` directive, rounded up to a release).
const GO_MIN: (u32, u32) = (1, 25);

/// A program that is not in Debian at the version we want.
#[derive(Debug)]
pub(crate) struct Tool {
    /// The program's name, and its link in `tools/bin`.
    pub(crate) name: &'static str,
    version: &'static str,
    source: Source,
}

/// Where a tool comes from.
#[derive(Debug)]
enum Source {
    /// A crate, built in the dev profile: it checks a few hundred packages, and release would cost minutes.
    Crate,
    /// A Go package below a module.
    Go { package: &'static str },
    /// A Go program of this repository, with its dependencies pinned in its own `go.mod` and `go.sum`.
    GoHere { folder: &'static str },
    /// A Python package, with its dependencies pinned in `xtask/requirements.txt`.
    Python,
}

/// Licences, bans, sources, advisories.
pub(crate) const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    source: Source::Crate,
};

/// Secrets in the work tree and in its history.
pub(crate) const GITLEAKS: Tool = Tool {
    name: "gitleaks",
    version: "8.30.1",
    source: Source::Go {
        package: "github.com/zricethezav/gitleaks/v8",
    },
};

/// The OpenAPI files against the running services.
pub(crate) const SCHEMATHESIS: Tool = Tool {
    name: "schemathesis",
    version: "4.32.5",
    source: Source::Python,
};

/// The bus of platforms with more than one machine, for the tests that start one.
pub(crate) const NATS_SERVER: Tool = Tool {
    name: "nats-server",
    version: "2.15.2",
    source: Source::Go {
        package: "github.com/nats-io/nats-server/v2",
    },
};

/// Other people's code that reads and checks a log which `rc-ledger` wrote.
pub(crate) const LEDGER_CHECK: Tool = Tool {
    name: "ledger-check",
    version: "1",
    source: Source::GoHere {
        folder: "fixtures/ledger",
    },
};

/// All pinned tools, cheapest to install first.
const TOOLS: [&Tool; 5] = [&LEDGER_CHECK, &SCHEMATHESIS, &NATS_SERVER, &GITLEAKS, &CARGO_DENY];

/// Installs whatever is missing; well under a second when nothing is.
pub(crate) fn run(cx: &Cx) -> Result<(), Stop> {
    let watch = Stopwatch::start();
    debian::install_missing(cx)?;
    for tool in TOOLS {
        self::tool(cx, tool)?;
    }
    corpus::download_missing(cx)?;
    eprintln!("setup: everything is there ({:.1} s)", watch.seconds());
    Ok(())
}

/// Installs one tool unless that version is there.
pub(crate) fn tool(cx: &Cx, tool: &Tool) -> Result<(), Stop> {
    let folder = tool.folder(cx);
    let stamp = folder.join(".installed");
    let link = cx.tool(tool.name);
    let wanted = tool.stamp(cx)?;
    let present = fs_err::read_to_string(&stamp).is_ok_and(|found| found == wanted);
    if !(present && tool.program(&folder).is_file()) {
        if folder.exists() {
            fs_err::remove_dir_all(&folder)?;
        }
        fs_err::create_dir_all(&folder)?;
        eprintln!("setup: installing {} {}", tool.name, tool.version);
        let watch = Stopwatch::start();
        match tool.source {
            Source::Crate => install_crate(cx, tool, &folder)?,
            Source::Go { package } => install_go(cx, tool, package, &folder)?,
            Source::GoHere { folder: here } => build_go(cx, tool, here, &folder)?,
            Source::Python => install_python(cx, &folder)?,
        }
        fs_err::write(&stamp, wanted)?;
        eprintln!(
            "setup: {} {} installed in {:.0} s",
            tool.name,
            tool.version,
            watch.seconds()
        );
    }
    point(&link, &tool.program(&folder))
}

impl Tool {
    fn folder(&self, cx: &Cx) -> PathBuf {
        cx.cache
            .join("tools")
            .join(format!("{}-{}", self.name, self.version))
    }

    fn program(&self, folder: &Path) -> PathBuf {
        folder.join("bin").join(self.name)
    }

    /// What the finished installation is known by: the version, and the pins where there are any.
    fn stamp(&self, cx: &Cx) -> Result<String, Stop> {
        match self.source {
            Source::Crate | Source::Go { .. } => Ok(self.version.to_owned()),
            Source::GoHere { folder } => GO_SOURCES
                .iter()
                .map(|file| cx.read(&format!("{folder}/{file}")))
                .collect(),
            Source::Python => cx.read(REQUIREMENTS),
        }
    }
}

const REQUIREMENTS: &str = "xtask/requirements.txt";

/// What a Go program of ours is made of: a change of any of them builds it again.
const GO_SOURCES: [&str; 3] = ["go.mod", "go.sum", "main.go"];

fn install_crate(cx: &Cx, tool: &Tool, folder: &Path) -> Result<(), Stop> {
    let build = cx.cache.join("tools/build");
    let version = format!("={}", tool.version);
    let mut command = process::cargo(
        cx,
        &[
            "install",
            tool.name,
            "--version",
            &version,
            "--locked",
            "--debug",
            "--quiet",
        ],
    );
    command
        .arg("--root")
        .arg(folder)
        .env("CARGO_TARGET_DIR", &build)
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_INCREMENTAL", "0");
    process::run(&mut command)?;
    fs_err::remove_dir_all(&build)?;
    Ok(())
}

fn install_go(cx: &Cx, tool: &Tool, package: &str, folder: &Path) -> Result<(), Stop> {
    need_go(cx, tool)?;
    let mut command = Command::new("go");
    command
        .arg("install")
        .arg(format!("{package}@v{}", tool.version))
        .current_dir(folder)
        .stdin(Stdio::null())
        .env("GOBIN", folder.join("bin"))
        .env("CGO_ENABLED", "0");
    process::run(&mut command)
}

fn build_go(cx: &Cx, tool: &Tool, here: &str, folder: &Path) -> Result<(), Stop> {
    need_go(cx, tool)?;
    let mut command = Command::new("go");
    command
        .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o"])
        .arg(tool.program(folder))
        .arg(".")
        .current_dir(cx.root.join(here))
        .stdin(Stdio::null())
        .env("CGO_ENABLED", "0");
    process::run(&mut command)
}

fn need_go(cx: &Cx, tool: &Tool) -> Result<(), Stop> {
    let found = cx
        .program("go")
        .and_then(|go| process::output(Command::new(go).arg("version")).ok());
    if found
        .as_deref()
        .and_then(go_version)
        .is_none_or(|version| version < GO_MIN)
    {
        return Err(Stop::world(format!(
            "{} needs Go {}.{} or later to build, and {}\n  hint: install it from your distribution's \
             backports or from the Go project, and put `go` on PATH",
            tool.name,
            GO_MIN.0,
            GO_MIN.1,
            found.map_or_else(
                || "there is none".to_owned(),
                |line| format!("this is `{}`", line.trim())
            ),
        )));
    }
    Ok(())
}

/// `go version go1.26.8 linux/amd64` to `(1, 26)`.
fn go_version(line: &str) -> Option<(u32, u32)> {
    let version = line.split_whitespace().nth(2)?.strip_prefix("go")?;
    let mut parts = version.split('.');
    let major = parts.next()?.parse().ok()?;
    let digits: String = parts.next()?.chars().take_while(char::is_ascii_digit).collect();
    Some((major, digits.parse().ok()?))
}

fn install_python(cx: &Cx, folder: &Path) -> Result<(), Stop> {
    process::run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    let mut command = Command::new(folder.join("bin/pip"));
    command
        .args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            "--no-deps",
            "--requirement",
        ])
        .arg(cx.root.join(REQUIREMENTS))
        .stdin(Stdio::null());
    process::run(&mut command)
}

/// Makes `link` lead to `program`, replacing an older link.
fn point(link: &Path, program: &Path) -> Result<(), Stop> {
    if fs_err::read_link(link).is_ok_and(|target| target == program) {
        return Ok(());
    }
    let folder = link.parent().expect("a link in tools/bin has a folder");
    fs_err::create_dir_all(folder)?;
    // Made beside and renamed over: another run may be using the link.
    let fresh = folder.join(format!(".{}", std::process::id()));
    fs_err::os::unix::fs::symlink(program, &fresh)?;
    fs_err::rename(&fresh, link)?;
    Ok(())
}

#[cfg(test)]
mod tests;
