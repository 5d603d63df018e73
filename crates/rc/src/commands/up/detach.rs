//! `rc up --detach`: the platform in a session of its own, watched until it is ready.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rc_model::{Layout, Span};
use rc_runtime::own_program;
use tokio::sync::mpsc;

use super::screen::{Event, Screen, Show as _};
use super::wire::UpReport;
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// The supervisor's own log is begun anew beyond this; one older file is kept.
const LOG_BYTES_MAX: u64 = 4 << 20;
/// Events between the reading thread and the screen.
const EVENTS_MAX: usize = 64;
/// A supervisor that is through with its events ends within this.
const LAST_WORDS_MAX: Duration = Duration::from_secs(5);

/// Starts the platform in the background and returns when it is ready.
pub(super) async fn detach(cx: &Cx, layout: &Layout, wait: Span) -> Result<Outcome, Fault> {
    let mut child = start(cx, layout, wait)?;
    let stdout = child.stdout.take();
    let (sender, mut events) = mpsc::channel(EVENTS_MAX);
    let reader = std::thread::Builder::new()
        .name("events".to_owned())
        .spawn(move || {
            let Some(stdout) = stdout else { return };
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(event) = serde_json::from_str::<Event>(&line) else {
                    continue;
                };
                if sender.blocking_send(event).is_err() {
                    return;
                }
            }
        });
    reader.map_err(|error| Fault::world("RC-UP-007", "the supervisor cannot be watched").because(error))?;

    let mut screen = Screen::new(cx);
    let mut report: Option<Box<UpReport>> = None;
    while let Some(event) = events.recv().await {
        screen.show(&event);
        match event {
            Event::Up { report: ready } => {
                report = Some(ready);
                break;
            }
            Event::Failed { code, message, hint } => {
                screen.still();
                end(&mut child).await;
                return Err(rebuild(&code, message).hint(hint));
            }
            Event::Note { .. } | Event::Warning { .. } | Event::Board { .. } => {}
        }
    }
    screen.still();
    if report.is_some() {
        // From here on it lives without us.
        return Ok(Outcome::Done);
    }
    let status = end(&mut child).await;
    let log = layout.supervisor_log();
    Err(Fault::world(
        "RC-UP-009",
        format!("the supervisor ended while it started{status}"),
    )
    .hint(format!("its log may say why: {}", log.display())))
}

/// The fault that the background process ended with.
fn rebuild(code: &str, message: String) -> Fault {
    match rc_model::code::lookup(code).map_or("RC-UP-009", |known| known.code) {
        // The files changed, or another supervisor started, since they were looked at here.
        code if code.starts_with("RC-CFG-") => Fault::usage(code, message),
        code @ "RC-UP-001" => Fault::no(code, message),
        code => Fault::world(code, message),
    }
}

fn start(cx: &Cx, layout: &Layout, wait: Span) -> Result<Child, Fault> {
    let cannot = |what: &str, error: std::io::Error| {
        Fault::world("RC-UP-007", format!("the supervisor cannot start: {what}")).because(error)
    };
    let log_file = layout.supervisor_log();
    if fs_err::metadata(&log_file).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
        // When it cannot be moved, it grows a little longer.
        let _ = fs_err::rename(&log_file, rc_runtime::journal::rotated(&log_file));
    }
    let mut options = fs_err::OpenOptions::new();
    options.create(true).append(true);
    fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let log = options
        .open(&log_file)
        .map_err(|error| cannot("its log cannot be written", error))?;
    let program = own_program().map_err(|error| cannot("this program's own path is unknown", error))?;
    let mut command = Command::new(program);
    command
        .args(["up", "--detached-child", "--wait", &wait.to_string(), "--project"])
        .arg(layout.project())
        .current_dir(layout.project())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(log.into_parts().0));
    if let Some(url) = &cx.env.store_url {
        command.env("RC_STORE_URL", url);
    }
    if let Some(url) = &cx.env.bus_url {
        command.env("RC_BUS_URL", url);
    }
    command.envs(cx.env.otel.vars());
    command
        .spawn()
        .map_err(|error| cannot("it could not be run", error))
}

/// Waits a little for the child's end; says how it ended.
async fn end(child: &mut Child) -> String {
    let looking = async {
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return format!(" ({status})"),
                Ok(None) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(_) => return String::new(),
            }
        }
    };
    tokio::time::timeout(LAST_WORDS_MAX, looking)
        .await
        .unwrap_or_default()
}
