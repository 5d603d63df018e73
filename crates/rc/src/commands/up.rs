//! `rc up`: the platform on this machine, from one command.

use rc_model::Span;
use rc_model::clock::monotonic_ns;
use rc_model::project::LogLevel;
use rc_serve::logging::{self, DataVersion, LogConfig, LogFormat};

use crate::commands::Outcome;
use crate::cx::Cx;
use crate::fault::Fault;

mod audit;
mod build;
pub(crate) mod client;
mod control;
mod detach;
mod failure;
mod keys;
mod plan;
mod run;
pub(crate) mod screen;
mod signals;
mod watch;
pub(crate) mod wire;

use run::Call;
use screen::{Event, Forward, Screen, Show as _};

/// Start the platform of this project
///
/// Reads `royalcrown.yaml`, `service-catalog.yaml` and `tenants.yaml` (each may be absent: everything has a
/// default), starts every service of the catalog and keeps it running: services start in the order of their
/// needs as these become ready, a service that ends is started again after a growing pause, and one that
/// ends five times within a minute is left alone and its last lines are shown.
///
/// It stays in the foreground until Ctrl-C or `rc down`, upon which services finish their work and end; a
/// second Ctrl-C does not wait for them. With `--detach` it returns when everything is ready. When the
/// supervisor is killed, nothing is left running.
///
/// A valid change of the files is applied while it runs: services are added, removed and started anew as
/// needed. An invalid one is refused and told; what was in force stays.
///
/// What has a `build` in the catalog is built first, one after the other; a build that fails starts nothing. It runs
/// at each start: whether there is something to do is known to its own tool. Meanwhile `rc logs NAME -f` shows it.
///
/// Services get a clean environment: PATH, HOME, USER, LOGNAME, SHELL, LANG, LC_ALL, LC_CTYPE, TZ, TMPDIR,
/// RUST_BACKTRACE, SSL_CERT_FILE and SSL_CERT_DIR as they are here, and what the catalog says. Our own also
/// get RC_STORE_URL, RC_BUS_URL, and where spans go: OTEL_EXPORTER_OTLP_ENDPOINT, _TRACES_ENDPOINT, _HEADERS,
/// _TRACES_HEADERS and _CERTIFICATE. Builds get what services get, and CARGO_HOME, RUSTUP_HOME, RUSTUP_TOOLCHAIN,
/// HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run in the background; return when everything is ready, or say why it is not
    #[arg(long, short)]
    detach: bool,
    /// With `--detach`: how long to wait until everything is ready; then everything is stopped again
    #[arg(long, value_name = "SPAN", default_value = "2min", value_parser = Span::parse)]
    wait: Span,
    /// This is the background process
    #[arg(long, hide = true)]
    detached_child: bool,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let began_ns = monotonic_ns();
    if args.detached_child {
        return Ok(child(cx, &args, began_ns).await?);
    }
    // Found here, where a person sees it, and not in the background.
    let model = run::read_model(cx, &cx.project_dir())?;
    let store = cx.env.store_url.as_ref().unwrap_or(&model.project.store.url);
    rc_store::StoreUrl::parse(store).map_err(|error| {
        Fault::usage(error.code(), "the store's URL cannot be used")
            .because(error)
            .hint("it is `RC_STORE_URL`, else `store.url` in `royalcrown.yaml`")
    })?;
    let layout = run::open_project(cx)?;
    if let Some(owner) = client::held(&layout)? {
        return Err(failure::already_runs(Some(&owner)).into());
    }
    if !cx.json() {
        let name = model
            .project
            .name
            .clone()
            .or_else(|| Some(layout.project().file_name()?.to_string_lossy().into_owned()));
        let name = name.map(|name| format!(" {name}")).unwrap_or_default();
        cx.note(format!("starting{name} in {}", layout.project().display()));
    }
    if args.detach {
        return Ok(detach::detach(cx, &layout, args.wait).await?);
    }
    let mut screen = Screen::new(cx);
    let call = Call {
        detached: false,
        wait: None,
        began_ns,
    };
    let result = run::run(cx, layout, model, call, &mut screen).await;
    screen.still();
    Ok(result?)
}

/// The background process: a session of its own, events to whoever started it, logs to its file.
async fn child(cx: &Cx, args: &Args, began_ns: u64) -> Result<Outcome, Fault> {
    // It fails only for the leader of a group, which nobody made this process; then the terminal's hang-up
    // ends it, as it would any other.
    let _ = rustix::process::setsid();
    logging::init(LogConfig {
        format: LogFormat::Json,
        level: LogLevel::Info,
        service: "rc-up",
        data_version: DataVersion::default(),
    });
    let mut forward = Forward::default();
    let started = async {
        let model = run::read_model(cx, &cx.project_dir())?;
        let layout = run::open_project(cx)?;
        let call = Call {
            detached: true,
            wait: Some(args.wait.duration()),
            began_ns,
        };
        run::run(cx, layout, model, call, &mut forward).await
    };
    let result = started.await;
    if let Err(fault) = &result {
        let (code, message, hint) = words(fault);
        tracing::error!(code, "{message}");
        forward.show(&Event::Failed { code, message, hint });
    }
    result
}

/// The code, the message with its causes, and the hint.
fn words(fault: &Fault) -> (String, String, String) {
    use miette::Diagnostic as _;
    let mut message = fault.to_string();
    let mut cause = std::error::Error::source(fault);
    while let Some(error) = cause {
        message.push_str(&format!(": {error}"));
        cause = error.source();
    }
    let text =
        |part: Option<Box<dyn std::fmt::Display + '_>>| part.map(|part| part.to_string()).unwrap_or_default();
    (text(fault.code()), message, text(fault.help()))
}
