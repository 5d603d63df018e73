//! What this binary does when a test starts it as a child: it is its own helper program, so that the tests
//! need nothing else built. In an ordinary test run these do nothing.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rc_model::SystemClock;
use rc_runtime::guard::{GuardOptions, guard};
use rc_runtime::machine::Policy;
use rc_runtime::{Kind, ProcessTarget, Supervisor};
use tokio_util::sync::CancellationToken;

use crate::world::{self, World};

/// Arguments of this binary that make it the role `name`; the role's own arguments follow.
pub(crate) fn command(name: &str) -> Vec<OsString> {
    let exe = std::env::current_exe().unwrap().into_os_string();
    [
        exe,
        format!("roles::{name}").into(),
        "--exact".into(),
        "--nocapture".into(),
        "--quiet".into(),
    ]
    .into()
}

fn own_arguments() -> Option<(Vec<OsString>, Vec<OsString>)> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cut = arguments.iter().position(|argument| argument == "--")?;
    Some((arguments[..cut].to_vec(), arguments[cut + 1..].to_vec()))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "as the guard, this process forwards an exit status"
)]
fn guard_role() {
    let Some((before, command)) = own_arguments() else {
        return;
    };
    let drain_ms = before.last().unwrap().to_str().unwrap().parse().unwrap();
    let options = GuardOptions {
        command,
        drain: Duration::from_millis(drain_ms),
    };
    let code = runtime().block_on(guard(options)).unwrap();
    std::process::exit(code.into());
}

/// A supervisor in a process of its own, over what `kill_minus_nine_of_the_supervisor_leaves_nothing` says.
#[test]
fn supervisor_role() {
    let Some((_, arguments)) = own_arguments() else {
        return;
    };
    let dir = PathBuf::from(&arguments[0]);
    let port = arguments[1].to_str().unwrap().parse().unwrap();
    let ours = world::spec(
        &dir,
        "ours",
        Kind::Ours,
        port,
        "echo $$ > ours.pid; cat; echo drained > ours.drained",
    );
    let stubborn = "trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo $$ > escaped.pid; while :; do sleep 1; done' &); \
                    echo $$ > main.pid; while :; do sleep 1; done";
    let users = world::spec(&dir, "users", Kind::Guarded, port, stubborn);
    runtime().block_on(async {
        let clock = SystemClock::shared();
        let target = Arc::new(ProcessTarget::new(World::options(&dir), clock.clone()));
        let (supervisor, _handle) = Supervisor::new(target, clock, Policy::default());
        supervisor
            .run(vec![ours, users], CancellationToken::new())
            .await
            .unwrap();
    });
}
