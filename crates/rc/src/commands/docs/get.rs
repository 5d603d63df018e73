//! `rc docs get`: one document.

use std::io::IsTerminal as _;

use rc_client::{Fetched, StoredDocument};

use crate::commands::platform::PlatformArgs;
use crate::commands::search::printable;
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// Print one document.
///
/// The text goes to stdout as it is stored; id, title and attributes go to stderr, so that
/// `rc docs get ID > FILE` writes the text alone. With `--output json`, all of it goes to stdout.
///
/// Exit code 1 when there is no such document.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The document's id, as `rc search` shows it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    platform: PlatformArgs,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let platform = args.platform.connect(cx, 1).await?;
    let answer = platform
        .client
        .get_doc(&args.id, None)
        .await
        .map_err(|error| platform.fault(error))?;
    let document = match answer.value {
        Fetched::Found { document, .. } => document,
        Fetched::Absent | Fetched::NotModified => {
            let message = format!("{} has no document `{}`", platform.acting_as, printable(&args.id));
            return Err(Fault::no("RC-CLI-019", message)
                .hint("`rc search WORDS` shows ids")
                .into());
        }
    };
    if cx.json() {
        cx.print_json(&document);
        return Ok(Outcome::Done);
    }
    cx.note(head(&document));
    // A file gets the very text; a terminal gets it without what would steer the terminal.
    cx.say(if std::io::stdout().is_terminal() {
        readable(&document.text)
    } else {
        document.text.clone()
    });
    Ok(Outcome::Done)
}

/// Everything but the text.
fn head(document: &StoredDocument) -> String {
    let mut rows = vec![("id", document.id.clone())];
    rows.extend(document.title.clone().map(|title| ("title", title)));
    rows.extend(document.version.map(|version| ("version", version.to_string())));
    rows.extend(document.time.map(|time| ("time", time.to_string())));
    let mut lines: Vec<String> = rows
        .into_iter()
        .map(|(name, value)| format!("{name:<8} {}", printable(&value)))
        .collect();
    lines.extend(
        document
            .attrs
            .iter()
            .map(|(name, value)| format!("{:<8} {}", "attr", printable(&format!("{name}={value}")))),
    );
    lines.push(String::new());
    lines.join("\n")
}

fn readable(text: &str) -> String {
    text.split('\n')
        .map(|line| line.split('\t').map(printable).collect::<Vec<_>>().join("\t"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests;
