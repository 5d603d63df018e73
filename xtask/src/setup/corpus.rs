//! Real documents for the end-to-end test and the benchmark: Debian packages full of text, kept unopened
//! in the cache as `corpus/NAME.deb`. Whoever needs them unpacks with `dpkg-deb -x`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::debian;
use crate::cx::Cx;
use crate::process::{self, Stop};

/// Manual pages, a policy manual, licence texts and long changelogs; about 19 MB in all.
pub(crate) const PACKAGES: &[&str] = &[
    "base-files",
    "bash",
    "coreutils",
    "debian-policy",
    "git-man",
    "manpages",
    "manpages-dev",
    "openssh-client",
    "perl-doc",
];

/// Where the package of that name is kept.
pub(crate) fn package(cx: &Cx, name: &str) -> PathBuf {
    cx.cache.join("corpus").join(format!("{name}.deb"))
}

/// Downloads the packages that are not in the cache.
pub(crate) fn download_missing(cx: &Cx) -> Result<(), Stop> {
    download(
        cx,
        PACKAGES,
        "the end-to-end test reads Debian packages as its documents",
    )
}

/// Downloads those of `names` that are not in the cache; `reason` says who needs them.
pub(crate) fn download(cx: &Cx, names: &[&str], reason: &str) -> Result<(), Stop> {
    let missing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| !package(cx, name).is_file())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if cx.program("apt-get").is_none() {
        return Err(Stop::world(format!(
            "{reason}, and this is not Debian\n  hint: put {} into {} as NAME.deb",
            missing.join(", "),
            cx.cache.join("corpus").display(),
        )));
    }
    if debian::is_root()? {
        debian::apt(&["update"])?;
    }
    fs_err::create_dir_all(cx.cache.join("corpus"))?;
    let fresh = tempfile::tempdir_in(cx.cache.join("corpus"))?;
    let mut command = Command::new("apt-get");
    command
        .args(["--quiet=2", "-o", "APT::Sandbox::User=root", "download"])
        .args(&missing)
        .current_dir(fresh.path())
        .stdin(Stdio::null());
    process::run(&mut command).map_err(|stop| {
        Stop::world(format!(
            "{}\n  hint: type `sudo apt-get update` first",
            stop.message
        ))
    })?;
    for entry in fs_err::read_dir(fresh.path())? {
        let path = entry?.path();
        let file = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let name = file.split('_').next().unwrap_or_default();
        fs_err::rename(&path, package(cx, name))?;
    }
    match missing.iter().find(|name| !package(cx, name).is_file()) {
        None => Ok(()),
        Some(name) => Err(Stop::world(format!(
            "`apt-get download {name}` left no file of that name"
        ))),
    }
}
