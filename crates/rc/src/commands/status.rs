//! `rc status`: what runs.

use std::time::Duration;

use rc_model::{Clock as _, SystemClock};
use rc_runtime::State;

use super::up::client::{self, Found};
use super::up::screen::{BOLD, DIM, GREEN, RED, YELLOW, paint, printable};
use super::up::wire::{ConfigState, ConfigStatus, PlatformState, PlatformStatus, ServiceLine};
use crate::commands::Outcome;
use crate::cx::Cx;

/// Show what runs in this project: each service, its state, process, memory and address
///
/// Exit codes: 0 everything is ready, 1 something is not, or nothing runs.
///
/// `--output json` prints `state` (`ready`, `starting`, `degraded`, `stopping` or `stopped`), `url`, `config`,
/// and `services`, each with its own `state`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) async fn run(cx: &Cx, _args: Args) -> Result<Outcome, miette::Report> {
    let layout = cx.layout();
    let status = match client::find(&layout).await? {
        Found::Running(status) => *status,
        Found::Nothing => absent(cx, PlatformState::Stopped),
        Found::Silent { owner, error } => {
            let mut status = absent(cx, PlatformState::Starting);
            status.pid = owner.as_ref().map(|owner| owner.pid);
            status.since = owner.map(|owner| owner.since);
            if !cx.json() {
                cx.note(format!("the supervisor does not answer: {error}"));
            }
            status
        }
    };
    if cx.json() {
        cx.print_json(&status);
    } else if status.state == PlatformState::Stopped {
        cx.say(format!(
            "nothing runs in {}; `rc up` starts it",
            status.project.display()
        ));
    } else {
        cx.say(render(&status, cx.color));
    }
    Ok(if status.state == PlatformState::Ready {
        Outcome::Done
    } else {
        Outcome::No
    })
}

fn absent(cx: &Cx, state: PlatformState) -> PlatformStatus {
    PlatformStatus {
        state,
        project: cx.project_dir(),
        pid: None,
        since: None,
        detached: false,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        url: None,
        memory_bytes: 0,
        config: ConfigStatus {
            state: ConfigState::Applied,
            since: None,
            digest: None,
            problem: None,
            problems: 0,
        },
        audit: None,
        services: Vec::new(),
    }
}

fn render(status: &PlatformStatus, color: bool) -> String {
    let total = match status.state {
        PlatformState::Ready => GREEN,
        PlatformState::Starting | PlatformState::Stopping => YELLOW,
        PlatformState::Degraded | PlatformState::Stopped => RED,
    };
    let up = status
        .since
        .map(|since| SystemClock.now().since(since))
        .map(span)
        .unwrap_or_default();
    let pid = status.pid.map(|pid| format!("pid {pid}")).unwrap_or_default();
    let url = status.url.as_deref().unwrap_or("no gateway");
    let mut text = format!(
        "{}  {}  {}\n",
        paint(color, total, status.state.as_str()),
        paint(color, BOLD, url),
        paint(
            color,
            DIM,
            &format!(
                "{pid}, up {up}, {} in all, {}",
                mebibytes(status.memory_bytes),
                status.project.display()
            )
        ),
    );
    if status.config.state == ConfigState::Refused {
        let problem = status.config.problem.as_deref().unwrap_or_default();
        let more = match status.config.problems {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        text.push_str(&format!(
            "{} the files changed and are refused: {problem}{more}\n",
            paint(color, YELLOW, "config")
        ));
    }
    if let Some(problem) = &status.audit {
        text.push_str(&format!(
            "{} the audit log refuses what the supervisor has to tell: {}\n",
            paint(color, RED, "audit"),
            printable(problem)
        ));
    }
    if !status.services.is_empty() {
        text.push('\n');
        text.push_str(&table(&status.services, color));
    }
    let trouble = status
        .services
        .iter()
        .filter(|service| service.state != State::Ready);
    for service in trouble {
        let reason = service
            .reason
            .as_deref()
            .or_else(|| service.last_exit.as_ref().map(|exit| exit.text.as_str()));
        if let Some(reason) = reason {
            text.push_str(&format!("\n{}: {}", service.service, printable(reason)));
            if service.state == State::CrashLooped {
                text.push_str(&format!("; `rc logs {}` shows what it said", service.service));
            }
        }
    }
    text.trim_end().to_owned()
}

fn table(services: &[ServiceLine], color: bool) -> String {
    const HEAD: [&str; 8] = [
        "SERVICE", "STATE", "TIER", "PID", "RESTARTS", "UPTIME", "MEMORY", "ADDRESS",
    ];
    let dash = || "-".to_owned();
    let row = |service: &ServiceLine| -> [String; 8] {
        [
            service.service.to_string(),
            service.state.to_string(),
            service.tier.as_ref().map_or_else(dash, ToString::to_string),
            service.pid.map_or_else(dash, |pid| pid.to_string()),
            service.restarts.to_string(),
            service
                .uptime_s
                .map_or_else(dash, |seconds| span(Duration::from_secs(seconds))),
            service.memory_bytes.map_or_else(dash, mebibytes),
            service.address.clone(),
        ]
    };
    let rows: Vec<[String; 8]> = services.iter().map(row).collect();
    let width = |at: usize| {
        rows.iter()
            .map(|row| row[at].chars().count())
            .chain([HEAD[at].len()])
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let line = |cells: &[&str]| -> String {
        let padded: Vec<String> = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut text = paint(color, DIM, &line(&HEAD));
    text.push('\n');
    for (service, row) in services.iter().zip(&rows) {
        let cells: Vec<&str> = row.iter().map(String::as_str).collect();
        let plain = line(&cells);
        let state = match service.state {
            State::Ready => GREEN,
            State::CrashLooped => RED,
            State::Waiting | State::Starting | State::Stopping | State::Stopped => DIM,
            State::Unready | State::BackingOff => YELLOW,
        };
        // The colour goes in after the padding, whose width counts characters that can be seen.
        text.push_str(&plain.replacen(
            service.state.as_str(),
            &paint(color, state, service.state.as_str()),
            1,
        ));
        text.push('\n');
    }
    text
}

/// `45s`, `12min`, `3h 5min`, `2d 4h`.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}min", seconds / 60),
        3_600..86_400 => format!("{}h {}min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// `12.3 MiB`
pub(super) fn mebibytes(bytes: u64) -> String {
    let tenths = bytes / (1 << 20) * 10 + bytes % (1 << 20) * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests;
