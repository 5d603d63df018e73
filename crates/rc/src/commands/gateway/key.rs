//! `rc gateway key`: API keys of a gateway on its own.

use std::io::Write as _;
use std::path::PathBuf;

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rc_model::TenantId;
use rc_services::gateway::alone;
use serde::Serialize;

use crate::commands::serve::start_fault;
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// Make an API key for a tenant of a gateway on its own
///
/// The key is printed this once. A file of keys holds a line with its id, its tenant and a hash of its secret:
/// `--add` appends it to the file that `identity.keys` of `gateway.yaml` names, without, the line goes to standard error.
/// A running gateway sees the file change. To revoke a key, remove its line.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Whose key
    #[arg(value_name = "TENANT")]
    tenant: TenantId,
    /// Append its line to this file, which is made when it is not there
    #[arg(long, value_name = "FILE")]
    add: Option<PathBuf>,
    /// What it is for, so that people know which one to revoke
    #[arg(long, value_name = "TEXT", value_parser = label, default_value = "")]
    label: String,
}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
struct Made<'a> {
    key: &'a str,
    key_id: &'a str,
    tenant: &'a TenantId,
    /// For the file of keys.
    line: &'a str,
}

fn label(text: &str) -> Result<String, String> {
    if text.len() > 100 || text.chars().any(char::is_control) {
        return Err("a label has at most 100 bytes and no control characters".to_owned());
    }
    Ok(text.to_owned())
}

pub(crate) fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let (key, line) = alone::make_key(&args.tenant, &args.label).map_err(start_fault)?;
    if let Some(file) = &args.add {
        append(&cx.cwd.join(file), &line).map_err(|error| {
            Fault::world("RC-CFG-001", "the key cannot be added to the file").because(error)
        })?;
    }
    if cx.json() {
        cx.print_json(&Made {
            key: key.reveal(),
            key_id: key.id().as_str(),
            tenant: &args.tenant,
            line: line.trim_end(),
        });
        return Ok(Outcome::Done);
    }
    match &args.add {
        Some(file) => cx.note(format!(
            "key {} of {} is in {}; it is shown this once:",
            key.id(),
            args.tenant,
            file.display()
        )),
        None => cx.note(format!(
            "for the file of keys:\n{line}\nthe key; it is shown this once:"
        )),
    }
    cx.say(key.reveal());
    Ok(Outcome::Done)
}

/// Appends `line`, on a line of its own whatever the file ends with.
fn append(path: &std::path::Path, line: &str) -> std::io::Result<()> {
    let before = match fs_err::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let begun = before.last().is_some_and(|last| *last != b'\n');
    let mut file = fs_err::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(format!("{}{line}", if begun { "\n" } else { "" }).as_bytes())?;
    file.sync_all()
}
