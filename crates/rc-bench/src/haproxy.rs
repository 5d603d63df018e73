//! The gateway's other peer: HAProxy with a stick table that counts requests by API key.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Result};
use crate::platform::{LIMIT_RPS, free_port};
use crate::procs::{self, Cores, PEER_START_MAX, Process};
use crate::rig::Rules;

/// A running HAProxy: one process, one thread.
#[derive(Debug)]
pub(crate) struct Haproxy {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Haproxy {
    /// Starts `program` in `folder` as a proxy to `backend`.
    pub(crate) fn start(
        program: &Path,
        folder: &Path,
        backend: u16,
        rules: &Rules,
        cores: &Cores,
    ) -> Result<Self> {
        fs_err::create_dir_all(folder)?;
        let port = free_port()?;
        let file = folder.join("haproxy.cfg");
        fs_err::write(&file, configuration(port, backend, rules))?;
        let log = folder.join("haproxy.log");
        let libraries = format!("LD_LIBRARY_PATH={}", libraries(program)?);
        let (program, file) = (program.display().to_string(), file.display().to_string());
        // `env` becomes the program: the process id is the same.
        let args = [&libraries, &program, "-db", "-f", &file];
        let process = Process::start(Path::new("/usr/bin/env"), &args, cores, &log)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        procs::wait_until(PEER_START_MAX, "HAProxy listens", || {
            Ok(std::net::TcpStream::connect(address).is_ok())
        })
        .map_err(|failure| Failure::new(format!("{failure}\n{}", procs::tail(&log))))?;
        Ok(Self { process, address })
    }

    pub(crate) fn processes(&self) -> Result<BTreeSet<u32>> {
        procs::family(self.process.pid)
    }
}

/// What `haproxy -v` says: `HAProxy 2.6.12`.
pub(crate) fn version(program: &Path) -> Result<String> {
    let output = Command::new(program)
        .env("LD_LIBRARY_PATH", libraries(program)?)
        .arg("-v")
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = said.split_ascii_whitespace().nth(2).unwrap_or_default();
    let version = version.split('-').next().unwrap_or_default();
    Ok(format!("HAProxy {version}"))
}

/// The folders of libraries beside a program at `usr/sbin/haproxy` of an unpacked package, for the loader.
fn libraries(program: &Path) -> Result<String> {
    let Some(usr) = program.parent().and_then(Path::parent) else {
        return Ok(String::new());
    };
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in fs_err::read_dir(usr.join("lib")).into_iter().flatten() {
        let path = entry?.path();
        if path.to_string_lossy().ends_with("-linux-gnu") {
            folders.push(path);
        }
    }
    let folders: Vec<String> = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    Ok(folders.join(":"))
}

/// One thread; connections on both sides live as long as the run; nothing is logged. Every request is counted
/// against its key, and tenants with a rate of their own are refused above it.
fn configuration(port: u16, backend: u16, rules: &Rules) -> String {
    let mut denials = String::new();
    for (number, limit) in rules.rates.iter().enumerate() {
        writeln!(
            denials,
            "    acl limited{number} req.hdr(authorization) -m str \"Bearer {}\"\n    \
             http-request deny deny_status 429 if limited{number} {{ sc_http_req_rate(0) gt {} }}",
            limit.key, limit.rps,
        )
        .expect("writing to a string cannot fail");
    }
    let tls = match &rules.tls {
        Some(files) => format!(" ssl crt {}", files.both.display()),
        None => String::new(),
    };
    let slots = match rules.slots {
        Some(slots) => format!(" maxconn {slots}"),
        None => String::new(),
    };
    format!(
        "global
    nbthread 1
    maxconn 4000
    tune.ssl.default-dh-param 2048
defaults
    mode http
    timeout connect 5s
    timeout client 75s
    timeout server 75s
    timeout queue 75s
    timeout http-keep-alive 75s
    http-reuse always
frontend public
    bind 127.0.0.1:{port}{tls}
    stick-table type string len 80 size 100k expire 10s store http_req_rate(1s)
    http-request track-sc0 req.hdr(authorization)
    http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {LIMIT_RPS} }}
{denials}    default_backend service
backend service
    server service 127.0.0.1:{backend}{slots} pool-max-conn -1
"
    )
}
