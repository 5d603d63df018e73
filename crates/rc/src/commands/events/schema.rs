//! `rc events schema`: what the payloads of events may be.

use clap::Subcommand;
use rc_events::schema::Registry;
use rc_services::document;
use serde::Serialize;

use crate::commands::tenant::table;
use crate::cx::Cx;
use crate::fault::{Fault, Outcome};
use crate::schemas::{self, FOLDER, File};

mod before;
mod check;
mod corpus;

/// Schemas of events: which there are, and whether a change of them breaks readers
///
/// A project keeps the schema of each event type and major version in `schemas/TYPE.vMAJOR.json`, as JSON Schema
/// 2020-12. Types without a file are not checked. Those of the platform's own events are built in.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Check(check::Args),
    List(ListArgs),
    Show(ShowArgs),
}

/// List the schemas that hold here
#[derive(Debug, clap::Args)]
struct ListArgs {}

/// Print one schema
#[derive(Debug, clap::Args)]
struct ShowArgs {
    /// Which: a type with its major version, such as `doc.put.v1`
    #[arg(value_name = "TYPE.vMAJOR")]
    name: String,
}

pub(super) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    match args.verb {
        Verb::Check(args) => check::run(cx, args).await,
        Verb::List(ListArgs {}) => list(cx),
        Verb::Show(args) => show(cx, &args.name),
    }
}

/// One schema in the answer of `list`.
#[derive(Debug, Serialize)]
struct Line {
    /// The type with its major version.
    schema: String,
    /// The file, or `built in`.
    from: String,
    title: Option<String>,
}

const BUILT_IN: &str = "built in";

/// The project's files, and built-in ones that no file replaces.
fn all(cx: &Cx) -> Result<(Vec<File>, Registry), Fault> {
    let own = schemas::read(&cx.project_dir().join(FOLDER), FOLDER)?;
    let built_in = document::SCHEMAS
        .into_iter()
        .filter(|(name, _)| own.iter().all(|file| file.name != *name))
        .map(|(name, text)| File::new(name, BUILT_IN.to_owned(), text.to_owned()));
    let mut files: Vec<File> = built_in.collect();
    files.extend(own);
    let registry = schemas::compiled(&files)?;
    Ok((files, registry))
}

fn list(cx: &Cx) -> Result<Outcome, miette::Report> {
    let (files, registry) = all(cx)?;
    let lines: Vec<Line> = registry
        .schemas()
        .map(|schema| {
            let file = files.iter().find(|file| file.name == schema.subject().file());
            let title = schema.json().get("title").and_then(serde_json::Value::as_str);
            Line {
                schema: schema.subject().to_string(),
                from: file.map_or(BUILT_IN, |file| file.source.name()).to_owned(),
                title: title.map(str::to_owned),
            }
        })
        .collect();
    if cx.json() {
        cx.print_json(&lines);
    } else {
        let rows: Vec<Vec<String>> = lines
            .into_iter()
            .map(|line| vec![line.schema, line.from, line.title.unwrap_or_default()])
            .collect();
        cx.say(table(&["SCHEMA", "FROM", "TITLE"], &rows));
        cx.note("\n`rc events schema show SCHEMA` prints one, `rc events schema check --against REF` compares them");
    }
    Ok(Outcome::Done)
}

fn show(cx: &Cx, name: &str) -> Result<Outcome, miette::Report> {
    let (files, _) = all(cx)?;
    let found = files.iter().find(|file| {
        file.name
            .strip_suffix(rc_events::schema::FILE_SUFFIX)
            .is_some_and(|known| known == name)
    });
    match found {
        Some(file) => {
            cx.say(file.source.text().trim_end());
            Ok(Outcome::Done)
        }
        None => Err(Fault::usage("RC-EVT-061", format!("there is no schema `{name}`"))
            .hint("`rc events schema list` names them")
            .into()),
    }
}
