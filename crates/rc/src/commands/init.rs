//! `rc init`: a new service, ready to run, in a folder of its own.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use rc_model::catalog::Builtin;
use rc_model::{OwnerId, ServiceId};
use serde::Serialize;

use super::platform::shell_word;
use super::up::screen::{BOLD, DIM, paint};
use crate::commands::Outcome;
use crate::cx::Cx;
use crate::fault::Fault;

mod ask;
mod scaffold;
mod templates;

use templates::{Answers, Template, Tier};

/// The default of `--owner`.
const OWNER: &str = "platform";
/// Longest text of `--oncall`: it stands in tables.
const ONCALL_BYTES_MAX: usize = 100;
/// The name of the supervisor's own log, beside those of services.
const SUPERVISOR_LOG: &str = "rc-up";

/// Make a new service that runs from the first minute
///
/// Writes a folder with a small HTTP service in Rust, Node.js or Python: health, readiness, metrics, traces, logs as
/// JSON, feature flags, an end without dropped requests, unit tests, a container image, roll-out values, CI and a
/// dev container; and its own `service-catalog.yaml`, so that `rc up` there builds it and runs it behind the gateway.
///
/// On a terminal it asks for what was not given; elsewhere, and with `--yes`, the defaults hold. Nothing is
/// overwritten: a folder that has something in it is refused. The folder appears at once and whole, or not at
/// all. The same answers give the same bytes, and the network is not used.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service's name: 1 to 63 of `a` to `z`, `0` to `9` and `-`, such as `orders`
    name: Option<String>,
    /// What it is written in [default: rust]
    #[arg(long, short, value_enum)]
    template: Option<Template>,
    /// The team that answers for it [default: platform]
    #[arg(long, value_name = "TEAM")]
    owner: Option<OwnerId>,
    /// How important it is [default: silver]
    #[arg(long, value_enum)]
    tier: Option<Tier>,
    /// Where to call the team [default: #oncall-TEAM]
    #[arg(long, value_name = "TEXT", value_parser = oncall)]
    oncall: Option<String>,
    /// The folder to make [default: the service's name, here]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Say what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Ask nothing: what is not given has its default
    #[arg(long, short)]
    yes: bool,
}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    name: &'a ServiceId,
    template: Template,
    owner: &'a OwnerId,
    tier: Tier,
    oncall: &'a str,
    dir: &'a Path,
    /// Below `dir`, sorted.
    files: Vec<&'a str>,
    /// `false` after `--dry-run`.
    written: bool,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let asks = !args.yes && !cx.json() && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let (dry_run, dir) = (args.dry_run, args.dir.clone());
    let answers = if asks {
        let lines = std::io::stdin().lock().lines();
        ask::complete(args, lines, |text| cx.note(text))?
    } else {
        defaults(args)?
    };
    let dir = cx.cwd.join(dir.unwrap_or_else(|| answers.name.as_str().into()));
    let files = templates::render(&answers);
    let place = scaffold::Place::new(&dir, &files)?;
    if !dry_run {
        place.write(&files)?;
    }
    let report = Report {
        name: &answers.name,
        template: answers.template,
        owner: &answers.owner,
        tier: answers.tier,
        oncall: &answers.oncall,
        dir: &dir,
        files: files.iter().map(|file| file.path).collect(),
        written: !dry_run,
    };
    if cx.json() {
        cx.print_json(&report);
    } else {
        cx.say(told(&report, cx));
    }
    Ok(Outcome::Done)
}

/// The answers of somebody who is not asked.
fn defaults(args: Args) -> Result<Answers, Fault> {
    let Some(name) = args.name else {
        return Err(Fault::usage(
            "RC-INI-003",
            "the service has no name, and nobody is here to be asked",
        )
        .hint("write `rc init NAME`, such as `rc init orders`"));
    };
    let name = service_name(&name)?;
    let owner = args.owner.unwrap_or_else(default_owner);
    Ok(Answers {
        name,
        template: args.template.unwrap_or_default(),
        tier: args.tier.unwrap_or_default(),
        oncall: args.oncall.unwrap_or_else(|| default_oncall(&owner)),
        owner,
    })
}

fn default_owner() -> OwnerId {
    OwnerId::new(OWNER).expect("the default follows the grammar")
}

fn default_oncall(owner: &OwnerId) -> String {
    format!("#oncall-{owner}")
}

/// A name that a service of one's own can have.
fn service_name(text: &str) -> Result<ServiceId, Fault> {
    let refused = |why: String| {
        let shown = rc_model::source::quote(text);
        Fault::usage("RC-INI-001", format!("a service cannot be called {shown}: {why}")).hint(
            "1 to 63 of `a` to `z`, `0` to `9` and `-`, not at the ends, such as `orders` or `mail-out`",
        )
    };
    let name = ServiceId::new(text).map_err(|error| refused(error.to_string()))?;
    if Builtin::from_name(text).is_some() || text == SUPERVISOR_LOG {
        return Err(refused("that is one of Royalcrown's own".to_owned()));
    }
    Ok(name)
}

fn oncall(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > ONCALL_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(format!(
            "one line of at most {ONCALL_BYTES_MAX} bytes, such as `#oncall-core`"
        ));
    }
    Ok(text.to_owned())
}

fn told(report: &Report<'_>, cx: &Cx) -> String {
    let count = report.files.len();
    let dir = report.dir.strip_prefix(&cx.cwd).unwrap_or(report.dir);
    let dir = dir.display().to_string();
    let mut text = if report.written {
        format!(
            "{} {count} files in {dir}\n",
            paint(cx.color, BOLD, report.name.as_str())
        )
    } else {
        format!("{count} files would be written in {dir}\n")
    };
    for file in &report.files {
        text.push_str(&format!("  {}\n", paint(cx.color, DIM, file)));
    }
    if !report.written {
        text.push_str("\nnothing was written; without `--dry-run` it is");
        return text;
    }
    text.push_str(&format!(
        "\nNext\n  cd {}\n  rc up        build it, run it behind the gateway, and see a URL to try\n  make test    its unit tests",
        shell_word(&dir)
    ));
    text
}

#[cfg(test)]
mod tests;
