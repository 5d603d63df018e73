//! What every command knows: where it runs, how it prints, and the environment (read here and nowhere else).

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use rc_model::workspace::{Model, Sources};
use rc_model::{Diagnostic, Layout};

use crate::commands::Global;
use crate::fault::Fault;

/// Values of the environment that commands use. Nothing else reads it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Env {
    /// `RC_STORE_URL`: wins over `store.url` of `royalcrown.yaml`, so that a password needs no file.
    pub(crate) store_url: Option<String>,
    /// `RC_BUS_URL`: wins over `bus.url` of `royalcrown.yaml`, for the same reason.
    pub(crate) bus_url: Option<String>,
    /// `RC_EVENTS_FROM`, `RC_EVENTS_TO`: as `--from` and `--to` of `rc events`, out of the list of processes.
    pub(crate) events_from: Option<String>,
    pub(crate) events_to: Option<String>,
    /// `RC_API_KEY`: the key for client commands.
    pub(crate) api_key: Option<String>,
    /// `RC_URL`: the platform's address for client commands.
    pub(crate) url: Option<String>,
    /// `XDG_STATE_HOME`, for what must outlive a run outside a project.
    pub(crate) xdg_state_home: Option<PathBuf>,
    /// `HOME`.
    pub(crate) home: Option<PathBuf>,
    /// `OTEL_EXPORTER_OTLP_…`
    pub(crate) otel: OtelEnv,
}

/// OpenTelemetry's own names for a receiver of spans. Values may hold secrets and are shown nowhere.
#[derive(Clone, Default)]
pub(crate) struct OtelEnv {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`: the base address.
    pub(crate) endpoint: Option<String>,
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`: the address for traces, used as it is.
    pub(crate) traces_endpoint: Option<String>,
    /// `OTEL_EXPORTER_OTLP_HEADERS`
    pub(crate) headers: Option<String>,
    /// `OTEL_EXPORTER_OTLP_TRACES_HEADERS`, instead of them.
    pub(crate) traces_headers: Option<String>,
    /// `OTEL_EXPORTER_OTLP_CERTIFICATE`: a PEM file with authorities.
    pub(crate) certificate: Option<String>,
}

impl OtelEnv {
    fn read(text: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            endpoint: text("OTEL_EXPORTER_OTLP_ENDPOINT"),
            traces_endpoint: text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
            headers: text("OTEL_EXPORTER_OTLP_HEADERS"),
            traces_headers: text("OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
            certificate: text("OTEL_EXPORTER_OTLP_CERTIFICATE"),
        }
    }

    /// What is set, with its name: for our own services, which read it again.
    pub(crate) fn vars(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &self.endpoint),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &self.traces_endpoint),
            ("OTEL_EXPORTER_OTLP_HEADERS", &self.headers),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", &self.traces_headers),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", &self.certificate),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

impl std::fmt::Debug for OtelEnv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.vars().map(|(name, _)| name)).finish()
    }
}

/// The context of one run.
#[derive(Debug, Clone)]
pub(crate) struct Cx {
    /// `--output json`?
    pub(crate) output: Output,
    /// Whether stdout may carry colour (a terminal, and no `NO_COLOR`).
    pub(crate) color: bool,
    /// Whether stderr is a terminal, so that progress may be drawn.
    pub(crate) progress: bool,
    /// The folder in which the command was typed.
    pub(crate) cwd: PathBuf,
    /// `--project`, made absolute.
    project: Option<PathBuf>,
    /// The environment.
    pub(crate) env: Env,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs: stable, documented shapes.
    Json,
}

/// The files that make a folder a project.
const PROJECT_FILES: [&str; 3] = ["royalcrown.yaml", "service-catalog.yaml", "tenants.yaml"];

impl Cx {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the environment"
    )]
    pub(crate) fn from_process(global: &Global) -> Result<Self, miette::Report> {
        let cwd = std::env::current_dir().map_err(|error| {
            Fault::world("RC-SRV-005", "the current folder cannot be read")
                .because(error)
                .hint("change to a folder that exists")
        })?;
        let text = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let no_color = text("NO_COLOR").is_some() || text("TERM").as_deref() == Some("dumb");
        Ok(Self {
            output: global.output,
            color: std::io::stdout().is_terminal() && !no_color,
            progress: std::io::stderr().is_terminal() && text("TERM").as_deref() != Some("dumb"),
            project: global.project.as_ref().map(|path| cwd.join(path)),
            env: Env {
                store_url: text("RC_STORE_URL"),
                bus_url: text("RC_BUS_URL"),
                events_from: text("RC_EVENTS_FROM"),
                events_to: text("RC_EVENTS_TO"),
                api_key: text("RC_API_KEY"),
                url: text("RC_URL"),
                xdg_state_home: text("XDG_STATE_HOME").map(PathBuf::from),
                home: text("HOME").map(PathBuf::from),
                otel: OtelEnv::read(text),
            },
            cwd,
        })
    }

    /// The part of the environment that services get; everything else stays here. Documented in `rc up`.
    pub(crate) fn child_env(&self) -> std::collections::BTreeMap<std::ffi::OsString, std::ffi::OsString> {
        const PASSED: [&str; 13] = [
            "PATH",
            "HOME",
            "USER",
            "LOGNAME",
            "SHELL",
            "LANG",
            "LC_ALL",
            "LC_CTYPE",
            "TZ",
            "TMPDIR",
            "RUST_BACKTRACE",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
        ];
        std::env::vars_os()
            .filter(|(name, _)| PASSED.iter().any(|passed| name.as_os_str() == *passed))
            .collect()
    }

    /// What builds get beyond [`Self::child_env`]: where compilers and packages are. Documented in `rc up`.
    pub(crate) fn build_env(&self) -> std::collections::BTreeMap<String, String> {
        const PASSED: [&str; 9] = [
            "CARGO_HOME",
            "RUSTUP_HOME",
            "RUSTUP_TOOLCHAIN",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
            "http_proxy",
            "https_proxy",
            "no_proxy",
        ];
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| PASSED.contains(&name.as_str()))
            .collect()
    }

    /// `--output json`?
    pub(crate) fn json(&self) -> bool {
        self.output == Output::Json
    }

    /// The project's folder: `--project`, else the nearest folder upwards that has one of our files or a
    /// `.royalcrown` folder, else the current folder.
    pub(crate) fn project_dir(&self) -> PathBuf {
        if let Some(project) = &self.project {
            return project.clone();
        }
        let is_project = |dir: &&Path| {
            dir.join(rc_model::layout::STATE_DIR).is_dir()
                || PROJECT_FILES.iter().any(|file| dir.join(file).is_file())
        };
        self.cwd
            .ancestors()
            .find(is_project)
            .unwrap_or(&self.cwd)
            .to_owned()
    }

    /// Where the project keeps its state.
    pub(crate) fn layout(&self) -> Layout {
        Layout::new(&self.project_dir())
    }

    /// The store's URL: `RC_STORE_URL`, else `store.url` of `royalcrown.yaml`. It may hold a password.
    pub(crate) fn store_url(&self) -> Result<String, Fault> {
        match &self.env.store_url {
            Some(url) => Ok(url.clone()),
            None => Ok(self.model()?.project.store.url),
        }
    }

    /// The project's files, checked.
    pub(crate) fn model(&self) -> Result<Model, Fault> {
        Model::read(&Sources::from_dir(&self.project_dir())).map_err(|problems| broken_files(&problems))
    }

    /// The project's files, checked; when they have problems and the platform runs, what is in force in it,
    /// with the problems. For services: one that starts anew must not wait for a person.
    pub(crate) fn model_in_force(&self) -> Result<(Model, Vec<Diagnostic>), Fault> {
        Model::read_or_in_force(&self.layout()).map_err(|problems| broken_files(&problems))
    }

    /// Prints text for people to stdout. A closed pipe ends nothing.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        let mut out = std::io::stdout().lock();
        // A reader such as `head` may be gone; there is nobody to tell.
        let _ = out
            .write_all(text.as_ref().as_bytes())
            .and_then(|()| out.write_all(b"\n"));
        let _ = out.flush();
    }

    /// Prints a note for people to stderr, where it does not disturb data.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        let mut out = std::io::stderr().lock();
        // As above: nobody is left to tell.
        let _ = out
            .write_all(text.as_ref().as_bytes())
            .and_then(|()| out.write_all(b"\n"));
    }

    /// Prints `value` as pretty JSON to stdout, one field a line.
    pub(crate) fn print_json(&self, value: &impl serde::Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.say(text),
            Err(error) => self.note(format!("the answer cannot be written as JSON: {error}")),
        }
    }
}

fn broken_files(problems: &[Diagnostic]) -> Fault {
    told(problems, "the project's files have problems").hint("`rc catalog check` shows them all")
}

/// The errors among `problems`, below a first line.
pub(crate) fn told(problems: &[Diagnostic], what: &str) -> Fault {
    let errors = problems.iter().filter(|problem| problem.is_error());
    let list: Vec<String> = errors.map(ToString::to_string).collect();
    Fault::usage("RC-CFG-001", format!("{what}\n\n{}", list.join("\n")))
}
