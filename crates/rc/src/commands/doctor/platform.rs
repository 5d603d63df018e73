//! The running platform, or whether one could run.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rc_model::catalog::Builtin;
use rc_model::workspace::Model;
use rc_model::{Layout, ServiceId};
use rc_runtime::{Probe, State, probe, procfs};

use super::Check;
use crate::commands::status::mebibytes;
use crate::commands::up::client::{self, Found};
use crate::commands::up::wire::{ConfigState, PlatformStatus};
use crate::fault::Fault;

pub(super) async fn find(layout: &Layout) -> Result<Found, Fault> {
    client::find(layout).await
}

pub(super) async fn checks(
    layout: &Layout,
    model: Option<&Model>,
    found: Result<Found, Fault>,
) -> Vec<Check> {
    match found {
        Err(fault) => vec![Check::fail(
            "supervisor",
            fault.to_string(),
            "`rc down`, then `rc up`",
        )],
        Ok(Found::Nothing) => {
            let mut checks = vec![Check::ok("supervisor", "nothing runs; `rc up` starts it")];
            checks.extend(model.map(address));
            checks
        }
        Ok(Found::Silent { owner, error }) => {
            let pid = owner
                .map(|owner| format!("pid {} ", owner.pid))
                .unwrap_or_default();
            let hint = "it may be starting or ending: try again in a moment; `rc down` ends it";
            vec![Check::fail(
                "supervisor",
                format!("{pid}runs and does not answer: {error}"),
                hint,
            )]
        }
        Ok(Found::Running(status)) => running(layout, &status).await,
    }
}

async fn running(layout: &Layout, status: &PlatformStatus) -> Vec<Check> {
    let pid = status.pid.map(|pid| format!("pid {pid}, ")).unwrap_or_default();
    let mut checks = vec![Check::ok(
        "supervisor",
        format!(
            "{pid}{}, {} in all",
            status.state.as_str(),
            mebibytes(status.memory_bytes)
        ),
    )];
    if status.version != env!("CARGO_PKG_VERSION") {
        let hint = "`rc down` and `rc up` bring both to the same";
        checks.push(Check::warn(
            "version",
            format!("the supervisor is {}", status.version),
            hint,
        ));
    }
    if status.config.state == ConfigState::Refused {
        let problem = status.config.problem.clone().unwrap_or_default();
        checks.push(Check::warn(
            "config",
            format!("changed files are refused: {problem}"),
            "`rc catalog check` shows all problems",
        ));
    }
    for service in &status.services {
        checks.push(
            one(
                layout,
                &service.service,
                service.state,
                service.reason.as_deref(),
                &service.address,
            )
            .await,
        );
    }
    checks.extend(sockets(&layout.run()));
    checks
}

/// Asks the service itself, whatever the supervisor last saw.
async fn one(layout: &Layout, id: &ServiceId, state: State, reason: Option<&str>, address: &str) -> Check {
    let name = id.as_str();
    if state != State::Ready {
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        return Check::fail(
            name,
            format!("{state}{reason}"),
            format!("`rc logs {name}` shows what it says"),
        );
    }
    if Builtin::from_name(name).is_none() || !layout.socket(id).exists() {
        return Check::ok(name, format!("ready at {address}"));
    }
    let ready = Probe::UnixHttp {
        socket: layout.socket(id),
        path: "/ready".to_owned(),
    };
    match probe(&ready).await {
        Ok(()) => Check::ok(name, format!("ready at {address}")),
        Err(why) => Check::fail(name, why.0, format!("`rc logs {name}` shows what it says")),
    }
}

/// Sockets must be for their owner only: whoever opens one acts as any tenant.
fn sockets(run: &Path) -> Option<Check> {
    let mode = |path: &Path| {
        fs_err::metadata(path)
            .ok()
            .map(|meta| meta.permissions().mode() & 0o777)
    };
    let open: Vec<String> = fs_err::read_dir(run)
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
        .filter(|path| mode(path).is_some_and(|mode| mode & 0o077 != 0))
        .map(|path| path.display().to_string())
        .collect();
    let folder = mode(run)?;
    Some(if open.is_empty() && folder & 0o077 == 0 {
        Check::ok("sockets", "for their owner only")
    } else if folder & 0o077 != 0 {
        Check::fail(
            "sockets",
            format!("{} is open to others (mode {folder:o})", run.display()),
            "`rc down` and `rc up` close it",
        )
    } else {
        Check::fail(
            "sockets",
            format!("open to others: {}", open.join(", ")),
            "`rc down` and `rc up` close them",
        )
    })
}

/// Whether the gateway could listen.
fn address(model: &Model) -> Check {
    const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
    let wanted = model.project.gateway.listen;
    let address = wanted.unwrap_or(DEFAULT);
    let Err(error) = TcpListener::bind(address) else {
        return Check::ok("address", format!("{address} is free"));
    };
    let holder = procfs::listener(address)
        .map(|holder| format!(" (pid {}: {})", holder.pid, holder.command))
        .unwrap_or_default();
    let detail = format!("{address}: {error}{holder}");
    match wanted {
        Some(_) => Check::fail(
            "address",
            detail,
            "stop whoever has it, or choose another `gateway.listen` in `royalcrown.yaml`",
        ),
        None => Check::warn("address", detail, "`rc up` takes a free port instead"),
    }
}
