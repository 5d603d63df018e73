//! A project of the bench's own, run by the built `rc` as a user would: `rc up`, keys, limits, services.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rc_model::Layout;
use rc_model::catalog::Builtin;
use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::procs::{self, Cores, Process};
use crate::rig::tenants::Tenants;
use crate::rig::tls;

/// Longest start.
const START_MAX: Duration = Duration::from_secs(60);

/// The tenant that all load belongs to.
pub(crate) const TENANT: &str = "bench";

/// Requests a second that the tenant may send: more than any machine carries, and checked all the same.
pub(crate) const LIMIT_RPS: u32 = 1_000_000;

/// How a project differs from the defaults.
#[derive(Debug, Clone, Default)]
pub(crate) struct Project {
    /// Threads of the gateway; absent, its default.
    pub(crate) workers: Option<usize>,
    /// `telemetry.traces`; absent, its default.
    pub(crate) traces: Option<bool>,
    /// Where to store, when not in SQLite files.
    pub(crate) store_url: Option<String>,
    /// The services of `service-catalog.yaml` below `services:`, indented by two; absent, the built-in ones.
    pub(crate) services: Option<String>,
    /// More tenants than [`TENANT`].
    pub(crate) tenants: Tenants,
    /// Certificate and key of the public door.
    pub(crate) tls: Option<tls::Files>,
    /// The cores of all its processes.
    pub(crate) cores: Option<Cores>,
}

/// A running platform.
#[derive(Debug)]
pub(crate) struct Platform {
    rc: PathBuf,
    folder: PathBuf,
    /// `rc up` in the foreground.
    supervisor: Process,
    pub(crate) address: SocketAddr,
    /// A key of [`TENANT`].
    pub(crate) key: String,
}

impl Platform {
    /// Writes the project into `folder`, starts it and waits until everything is ready.
    pub(crate) fn start(rc: &Path, folder: &Path, project: &Project) -> Result<Self> {
        fs_err::create_dir_all(folder)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        write_project(folder, address, project)?;
        let cores = match &project.cores {
            Some(cores) => cores.clone(),
            None => Cores::all()?,
        };
        let log = folder.join("up.log");
        let at = folder.display().to_string();
        let supervisor = Process::start(rc, &["up", "--project", &at], &cores, &log)?;
        let mut platform = Self {
            rc: rc.to_owned(),
            folder: folder.to_owned(),
            supervisor,
            address,
            key: String::new(),
        };
        procs::wait_until(START_MAX, "the platform is ready", || Ok(platform.is_ready()))
            .map_err(|failure| Failure::new(format!("{failure}\n{}", procs::tail(&log))))?;
        let made = platform.rc(&["tenant", "key", "create", TENANT])?;
        let key = made["key"].as_str();
        platform.key = key
            .ok_or_else(|| Failure::new("`rc tenant key create` printed no key"))?
            .to_owned();
        Ok(platform)
    }

    fn is_ready(&self) -> bool {
        self.rc(&["status"])
            .is_ok_and(|status| status["state"] == "ready")
    }

    /// Runs `rc ... --output json` in the project.
    pub(crate) fn rc(&self, args: &[&str]) -> Result<Value> {
        run(&self.rc, &self.folder, args)
    }

    /// What `rc ...` prints in the project for people. An answer of "no" is an answer.
    pub(crate) fn text(&self, args: &[&str]) -> Result<String> {
        let output = Command::new(&self.rc)
            .args(args)
            .arg("--project")
            .arg(&self.folder)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()?;
        match output.status.code() {
            Some(0 | 1) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            _ => Err(Failure::new(format!(
                "`rc {}` failed: {}",
                args.join(" "),
                String::from_utf8_lossy(&output.stderr)
            ))),
        }
    }

    /// The project's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// All its processes that run `rc`, the supervisor first.
    pub(crate) fn processes(&self) -> Result<BTreeSet<u32>> {
        let ours = procs::that_run(&self.rc)?;
        let family = procs::family(self.supervisor.pid)?;
        Ok(family.intersection(&ours).copied().collect())
    }

    /// The process of the gateway alone.
    pub(crate) fn gateway(&self) -> Result<u32> {
        for pid in self.processes()? {
            let words = fs_err::read(format!("/proc/{pid}/cmdline"))?;
            if words.split(|byte| *byte == 0).any(|word| word == b"gateway") {
                return Ok(pid);
            }
        }
        Err(Failure::new("no process of the platform is its gateway"))
    }

    /// The gateway's door for its owner.
    pub(crate) fn gateway_socket(&self) -> PathBuf {
        Layout::new(&self.folder).socket(&Builtin::Gateway.id())
    }

    /// Ends it and waits until it has.
    pub(crate) fn stop(self) -> Result<()> {
        self.supervisor.stop()
    }
}

/// Writes the project into `folder` and prepares its tables, without starting anything.
pub(crate) fn migrate(rc: &Path, folder: &Path, project: &Project) -> Result<()> {
    fs_err::create_dir_all(folder)?;
    write_project(
        folder,
        SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)),
        project,
    )?;
    run(rc, folder, &["migrate"])?;
    Ok(())
}

/// Runs `rc ... --output json` in the project of that folder.
fn run(rc: &Path, folder: &Path, args: &[&str]) -> Result<Value> {
    let output = Command::new(rc)
        .args(args)
        .args(["--output", "json", "--project"])
        .arg(folder)
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        return Err(Failure::new(format!(
            "`rc {}` failed: {}{}",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr),
            String::from_utf8_lossy(&output.stdout).trim_end()
        )));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn write_project(folder: &Path, address: SocketAddr, project: &Project) -> Result<()> {
    let mut file = format!("gateway:\n  listen: {address}\n");
    if let Some(workers) = project.workers {
        writeln!(file, "  workers: {workers}").expect("writing to a string cannot fail");
    }
    if let Some(files) = &project.tls {
        let (certificate, key) = (files.certificate.display(), files.key.display());
        writeln!(file, "  tls: {{certificate: \"{certificate}\", key: \"{key}\"}}")
            .expect("writing to a string cannot fail");
    }
    file.push_str("logs:\n  level: warn\n  access: off\n");
    if let Some(traces) = project.traces {
        let traces = if traces { "on" } else { "off" };
        writeln!(file, "telemetry:\n  traces: {traces}").expect("writing to a string cannot fail");
    }
    if let Some(url) = &project.store_url {
        writeln!(file, "store:\n  url: \"{url}\"").expect("writing to a string cannot fail");
    }
    fs_err::write(folder.join("royalcrown.yaml"), file)?;
    write_tenants(folder, &project.tenants)?;
    if let Some(services) = &project.services {
        fs_err::write(
            folder.join("service-catalog.yaml"),
            format!("owners:\n  bench: {{}}\nservices:\n{services}"),
        )?;
    }
    Ok(())
}

/// Writes `tenants.yaml` with [`TENANT`] and these.
pub(crate) fn write_tenants(folder: &Path, tenants: &Tenants) -> Result<()> {
    let text = format!(
        "tenants:\n  {TENANT}: {{tier: gold, rps: {{rate: {LIMIT_RPS}/s, burst: {LIMIT_RPS}}}}}\n{}",
        tenants.yaml()
    );
    Ok(fs_err::write(folder.join("tenants.yaml"), text)?)
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
