//! The platform's processes as a fault finds them: who they are, what they hold, and how they end.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use rc_runtime::procfs;
use rustix::process::Signal;
use serde_json::Value;

use crate::world::{World, eventually, told};

/// What `rc status` says; also of a platform that is not whole.
pub(super) fn status(world: &World) -> Value {
    let output = world.rc(&["status", "--output", "json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(&output)))
}

/// The names of the services that run.
pub(super) fn services(world: &World) -> Vec<String> {
    let status = status(world);
    let services = status["services"].as_array().unwrap().iter();
    services
        .map(|service| service["service"].as_str().unwrap().to_owned())
        .collect()
}

/// The process of `service` (`rc-up` is the supervisor), when it has one.
pub(super) fn pid(world: &World, service: &str) -> Option<u32> {
    let status = status(world);
    let found = if service == "rc-up" {
        &status
    } else {
        let mut services = status["services"].as_array()?.iter();
        services.find(|found| found["service"] == service)?
    };
    found["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
}

/// The process of `service`, as soon as there is one.
pub(super) fn running(world: &World, service: &str) -> u32 {
    eventually(&format!("{service} runs"), || pid(world, service))
}

/// `kill -9`.
pub(super) fn kill(pid: u32) {
    if let Some(process) = procfs::process(pid) {
        procfs::signal(&process, Signal::KILL);
    }
}

/// Processes that some supervisor of this project started and that still run.
pub(super) fn left(world: &World) -> Vec<procfs::Process> {
    let state = world.path().canonicalize().unwrap().join(".royalcrown");
    procfs::marked(rc_runtime::MARK, &format!("{}#", state.display()))
}

/// Waits until the whole platform is ready.
pub(super) fn ready(world: &World) {
    eventually("the platform is ready", || {
        (status(world)["state"] == "ready").then_some(())
    });
}

/// Open files, sockets included, of a process.
pub(super) fn descriptors(pid: u32) -> usize {
    fs_err::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// The ports of the clients whose connections to `server` some process still holds there: what the kernel
/// finishes by itself after a close has no owner.
pub(super) fn clients_held(server: SocketAddr) -> BTreeSet<u16> {
    let table = fs_err::read_to_string("/proc/net/tcp").unwrap();
    let server = format!(":{:04X}", server.port());
    let held = table.lines().filter_map(|line| {
        // sl, local address, remote address, state, queues, timer, retransmits, user, timeout, inode.
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, remote, inode) = (fields.get(1)?, fields.get(2)?, fields.get(9)?);
        (local.ends_with(&server) && *inode != "0").then_some(())?;
        u16::from_str_radix(remote.split(':').nth(1)?, 16).ok()
    });
    held.collect()
}

/// Resident memory of a process in MiB.
pub(super) fn memory_mib(pid: u32) -> u64 {
    procfs::memory(pid) >> 20
}
