//! Debezium Server, the peer of the relay in `cargo xtask bench events`: 450 MB that nothing else needs, so it
//! comes only when asked for.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cx::Cx;
use crate::process::{self, Stop};

/// The newest release of the line that runs on Debian's Java 17: 3.0 asks for 21.
const VERSION: &str = "2.7.3.Final";

/// The part of Maven that copies an artifact to a folder.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy";

/// Where it is unpacked.
fn folder(cx: &Cx) -> PathBuf {
    cx.cache.join("debezium").join(VERSION)
}

/// Fetches it from Maven Central unless it is there, and says how to measure beside it.
pub(crate) fn install(cx: &Cx) -> Result<(), Stop> {
    let folder = folder(cx);
    if !folder.is_dir() {
        for program in ["java", "mvn", "tar"] {
            if cx.program(program).is_none() {
                return Err(Stop::world(format!(
                    "Debezium Server needs `{program}`\n  hint: type `sudo apt-get install -y default-jre-headless \
                     maven tar`",
                )));
            }
        }
        fetch(&folder)?;
    }
    eprintln!(
        "setup: to measure beside Debezium Server: make bench-events ARGS=\"--debezium {}\"",
        folder.display()
    );
    Ok(())
}

fn fetch(folder: &Path) -> Result<(), Stop> {
    let parent = folder.parent().expect("it lies in the cache");
    fs_err::create_dir_all(parent)?;
    let fresh = tempfile::tempdir_in(parent)?;
    eprintln!("setup: fetching Debezium Server {VERSION} from Maven Central, 450 MB");
    let mut maven = Command::new("mvn");
    maven
        .args(["--batch-mode", "--quiet", COPY])
        .arg(format!(
            "-Dartifact=io.debezium:debezium-server-dist:{VERSION}:tar.gz"
        ))
        .arg(format!("-DoutputDirectory={}", fresh.path().display()))
        // A repository of its own, which goes with it: the archive would be kept a second time.
        .arg(format!(
            "-Dmaven.repo.local={}",
            fresh.path().join("m2").display()
        ))
        .current_dir(fresh.path())
        .stdin(Stdio::null());
    process::run(&mut maven)?;
    let mut tar = Command::new("tar");
    tar.arg("--extract")
        .arg("--file")
        .arg(
            fresh
                .path()
                .join(format!("debezium-server-dist-{VERSION}.tar.gz")),
        )
        .current_dir(fresh.path());
    process::run(&mut tar)?;
    fs_err::rename(fresh.path().join("debezium-server"), folder)?;
    Ok(())
}
