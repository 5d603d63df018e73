//! `rc schema`: JSON Schemas of the files that users write.

use rc_model::{closest, schema};
use serde::Serialize;

use crate::commands::Outcome;
use crate::cx::Cx;
use crate::fault::Fault;

/// Print the JSON Schema of a file, for editors and other tools
///
/// Without a name it lists the schemas there are.
///
/// An editor with a YAML language server checks and completes a file that starts with
/// `# yaml-language-server: $schema=tenants.schema.json` after
/// `rc schema tenants > tenants.schema.json`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which one, such as `tenants` or `tenants.yaml`
    name: Option<String>,
}

#[derive(Debug, Serialize)]
struct Listed {
    name: &'static str,
    file: String,
}

pub(crate) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let Some(name) = args.name else {
        let listed = schema::NAMES.map(|name| Listed {
            name,
            file: format!("{name}.yaml"),
        });
        if cx.json() {
            cx.print_json(&listed);
        } else {
            cx.say(schema::NAMES.join("\n"));
        }
        return Ok(Outcome::Done);
    };
    let bare = name.strip_suffix(".yaml").unwrap_or(&name);
    match schema::schema(bare) {
        // A schema is JSON for people as well.
        Some(schema) => cx.print_json(&schema),
        None => return Err(unknown(bare).into()),
    }
    Ok(Outcome::Done)
}

fn unknown(name: &str) -> Fault {
    let hint = match closest(name, schema::NAMES) {
        Some(guess) => format!("did you mean `{guess}`?"),
        None => format!("there are `{}`", schema::NAMES.join("`, `")),
    };
    Fault::usage(
        "RC-CLI-002",
        format!("there is no schema {}", rc_model::source::quote(name)),
    )
    .hint(hint)
}
