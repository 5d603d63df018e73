//! What a person sees while the platform starts, runs and ends.
//!
//! The same events come from this process, or as JSON lines from a detached one.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use rc_model::ServiceId;
use rc_model::catalog::Builtin;
use rc_runtime::journal::level_of;
use rc_runtime::{Board, ServiceStatus, State};
use serde::{Deserialize, Serialize};

use super::wire::UpReport;
use crate::commands::logs::pretty;
use crate::commands::platform::shell_word;
use crate::cx::Cx;

/// So many URLs of services of one's own are shown to be tried.
const TRY_URLS_MAX: usize = 5;

/// Something that a person should see.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Event {
    /// Something to know.
    Note { text: String },
    /// Something is not as it should be.
    Warning { text: String },
    /// The services as they stand.
    Board { board: Board },
    /// All services are ready.
    Up { report: Box<UpReport> },
    /// The platform did not start; it ended again.
    Failed {
        code: String,
        message: String,
        hint: String,
    },
}

/// Whoever shows or forwards events.
pub(super) trait Show {
    fn show(&mut self, event: &Event);
}

/// Forwards events to the process that detached this one.
#[derive(Debug, Default)]
pub(super) struct Forward {
    /// The other side is gone, as it is from the moment the platform is ready.
    closed: bool,
}

impl Show for Forward {
    fn show(&mut self, event: &Event) {
        if self.closed {
            return;
        }
        let mut line = serde_json::to_string(event).unwrap_or_default();
        line.push('\n');
        let mut out = std::io::stdout().lock();
        self.closed = out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err();
    }
}

/// Shows events on the screen: progress on stderr, the result on stdout.
pub(super) struct Screen<'a> {
    cx: &'a Cx,
    spinner: Option<ProgressBar>,
    shown: BTreeMap<ServiceId, State>,
    up: bool,
}

impl<'a> Screen<'a> {
    pub(super) fn new(cx: &'a Cx) -> Self {
        let spinner = (cx.progress && !cx.json()).then(|| {
            let style = ProgressStyle::with_template("  {spinner} {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::new_spinner().with_style(style);
            bar.enable_steady_tick(Duration::from_millis(80));
            bar
        });
        Self {
            cx,
            spinner,
            shown: BTreeMap::new(),
            up: false,
        }
    }

    /// Takes the spinner away.
    pub(super) fn still(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }

    fn line(&self, text: &str) {
        if self.cx.json() {
            return;
        }
        match &self.spinner {
            Some(spinner) => spinner.println(text),
            None => self.cx.note(text),
        }
    }

    fn paint(&self, color: &str, text: &str) -> String {
        paint(self.cx.progress && self.cx.color, color, text)
    }

    fn board(&mut self, board: &Board) {
        for (id, status) in &board.services {
            let before = self.shown.insert(id.clone(), status.state);
            if before != Some(status.state)
                && let Some(text) = self.news(id, status, before)
            {
                self.line(&text);
            }
        }
        let gone: Vec<ServiceId> = self
            .shown
            .keys()
            .filter(|id| !board.services.contains_key(*id))
            .cloned()
            .collect();
        for id in gone {
            self.shown.remove(&id);
            self.line(&format!("  {:<12} removed", id.as_str()));
        }
        if let Some(spinner) = &self.spinner {
            let waiting: Vec<&str> = board
                .services
                .iter()
                .filter(|(_, status)| status.state != State::Ready)
                .map(|(id, _)| id.as_str())
                .collect();
            spinner.set_message(match waiting.as_slice() {
                [] => "finishing".to_owned(),
                ids => format!("waiting for {}", ids.join(", ")),
            });
        }
    }

    /// One line for a change of state, more for a verdict; nothing for what is only in passing.
    fn news(&self, id: &ServiceId, status: &ServiceStatus, before: Option<State>) -> Option<String> {
        let name = format!("{:<12}", id.as_str());
        let reason = status.reason.as_deref().unwrap_or_default();
        match status.state {
            State::Ready => {
                let again = if before == Some(State::Unready) {
                    "again"
                } else {
                    ""
                };
                let after = match status.ready_after_ms {
                    Some(ms) if again.is_empty() => {
                        format!("{:.2} s", Duration::from_millis(ms).as_secs_f64())
                    }
                    Some(_) | None => again.to_owned(),
                };
                let pid = status.pid.map(|pid| format!("  pid {pid}")).unwrap_or_default();
                Some(format!("  {name} {} {after:>8}{pid}", self.paint(GREEN, "ready")))
            }
            State::Unready => Some(format!("  {name} {} {reason}", self.paint(YELLOW, "not ready:"))),
            State::BackingOff => Some(format!("  {name} {} {reason}", self.paint(YELLOW, "crashed:"))),
            State::CrashLooped => Some(self.verdict(id, status)),
            State::Stopping | State::Stopped if self.up => {
                let exit = match (status.state, &status.last_exit) {
                    (State::Stopped, Some(exit)) => format!(" ({})", exit.text),
                    _ => String::new(),
                };
                Some(format!("  {name} {}{exit}", status.state))
            }
            State::Waiting | State::Starting | State::Stopping | State::Stopped => None,
        }
    }

    fn verdict(&self, id: &ServiceId, status: &ServiceStatus) -> String {
        let reason = status.reason.as_deref().unwrap_or("it ended");
        let times = status.restarts + 1;
        let mut text = format!(
            "  {:<12} {} {reason}, {times} times in a row; it is left alone",
            id.as_str(),
            self.paint(RED, "crash loop:")
        );
        if status.last_lines.is_empty() {
            text.push_str("\n    it printed nothing");
        } else {
            text.push_str("\n    its last lines:");
        }
        for line in &status.last_lines {
            let color = self.cx.progress && self.cx.color;
            let shown = if level_of(line).is_some() {
                pretty(line, color)
            } else {
                printable(line)
            };
            text.push_str(&format!("\n    {} {shown}", self.paint(DIM, "│")));
        }
        text
    }

    fn report(&mut self, report: &UpReport) {
        self.up = true;
        self.still();
        if self.cx.json() {
            self.cx.print_json(report);
            return;
        }
        let bold = |text: &str| paint(self.cx.color, BOLD, text);
        let status = &report.status;
        let mut text = format!(
            "\n{} {}\n",
            bold("Royalcrown is ready"),
            paint(
                self.cx.color,
                DIM,
                &format!(
                    "after {:.2} s",
                    Duration::from_millis(report.took_ms).as_secs_f64()
                )
            )
        );
        if let Some(url) = &status.url {
            text.push_str(&format!("\n  {:<10} {}\n", "gateway", bold(url)));
        }
        for (at, service) in status.services.iter().enumerate() {
            let label = if at == 0 { "services" } else { "" };
            let pid = service.pid.map(|pid| format!("pid {pid}")).unwrap_or_default();
            text.push_str(&format!(
                "  {label:<10} {:<12} {:<7} {pid:<11} {}\n",
                service.service.as_str(),
                service.state,
                paint(self.cx.color, DIM, &service.address)
            ));
        }
        for (at, key) in report.keys.iter().enumerate() {
            let label = if at == 0 { "keys" } else { "" };
            let tier = key
                .tier
                .as_ref()
                .map(|tier| format!("{tier}"))
                .unwrap_or_default();
            text.push_str(&format!(
                "  {label:<10} {:<12} {tier:<7} {}\n",
                key.tenant.as_str(),
                bold(&key.key)
            ));
        }
        let state = status.project.join(rc_model::layout::STATE_DIR);
        text.push_str(&format!(
            "  {:<10} {}\n",
            "state",
            paint(self.cx.color, DIM, &state.display().to_string())
        ));
        text.push_str("\nTry\n");
        let documents = status
            .services
            .iter()
            .any(|service| service.service == Builtin::DocsApi.id());
        if let (Some(url), Some(key)) = (&status.url, report.keys.first()) {
            let search = documents.then(|| format!("{url}/search?q=hello"));
            for url in search.iter().chain(report.try_urls.iter().take(TRY_URLS_MAX)) {
                let url = shell_word(url);
                text.push_str(&format!("  curl -H 'Authorization: Bearer {}' {url}\n", key.key));
            }
        }
        if documents {
            text.push_str("  rc ingest PATH    take in files, folders or NDJSON\n");
            text.push_str("  rc search WORDS   find them\n");
        }
        text.push_str("  rc status         what runs, since when, where\n");
        text.push_str("  rc logs -f        what the services print\n");
        text.push_str(if status.detached {
            "  rc down           stop everything"
        } else {
            "  rc down           stop everything; so does Ctrl-C here"
        });
        self.cx.say(text);
    }
}

impl Show for Screen<'_> {
    fn show(&mut self, event: &Event) {
        match event {
            Event::Note { text } => self.line(&format!("  {text}")),
            Event::Warning { text } => self.line(&format!("  {} {text}", self.paint(YELLOW, "warning:"))),
            Event::Board { board } => self.board(board),
            Event::Up { report } => self.report(report),
            // The command's own error says it.
            Event::Failed { .. } => self.still(),
        }
    }
}

pub(crate) const BOLD: &str = "1";
pub(crate) const DIM: &str = "2";
pub(crate) const RED: &str = "31";
pub(crate) const GREEN: &str = "32";
pub(crate) const YELLOW: &str = "33";

/// `text` in a colour (an SGR parameter), where there are colours.
pub(crate) fn paint(color: bool, code: &str, text: &str) -> String {
    if color {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// `text` without what could move the cursor: a service's output is not ours to trust.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}
