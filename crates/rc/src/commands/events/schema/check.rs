//! `rc events schema check`: may these schemas replace those?

use std::collections::BTreeMap;

use rc_events::schema::compat::{self, Finding};
use rc_events::schema::{Malformed, Registry, Schema, Subject, UPCAST_NOTE};
use rc_services::document;
use serde::Serialize;

use super::corpus::{self, Sample};
use super::{super::place::Typed, before};
use crate::cx::Cx;
use crate::fault::Outcome;
use crate::schemas::{self, FOLDER, File};

/// Check the project's schemas, and whether readers of them can read all events there are
///
/// Each file has to be a schema; a keyword that nobody knows and that looks like one that everybody does is a fault.
/// With `--against`, each that changed has to allow everything that it allowed before:
/// a new required member, a narrower type, range, length or list of values, a member that was removed from a closed
/// object all break readers. What cannot be shown to be harmless counts as a break and is called `unproven`; then
/// leave the schema as it was and make a new major version. A new major version says in `x-upcast` how events of
/// the one before are read. With `--corpus`, the newest events on the bus are held against the schemas, too.
///
/// Exit codes: 0 all may be used, 1 something breaks readers or cannot be proved.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What to compare with: a folder of schemas, or a branch, tag or commit of git
    #[arg(long, value_name = "DIR|REF")]
    against: Option<String>,
    /// How many of the newest events of each type and version to check
    #[arg(long, value_name = "N")]
    corpus: Option<u64>,
    /// The bus with these events, instead of the project's: `nats://host:port`, `postgres://…` or `sqlite:PATH`
    #[arg(long, value_name = "URL", value_parser = Typed::keep, requires = "corpus")]
    bus: Option<Typed>,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether all of them may be used.
    compatible: bool,
    schemas: Vec<Line>,
}

/// What became of one schema.
#[derive(Debug, Serialize)]
struct Line {
    /// The type with its major version, or the file's name where it says none.
    schema: String,
    file: String,
    verdict: Verdict,
    findings: Vec<Told>,
    #[serde(skip_serializing_if = "Option::is_none")]
    corpus: Option<Sample>,
}

/// What can be said of a schema beside the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// Nothing to compare it with was asked for.
    Valid,
    /// It was not there before.
    New,
    Unchanged,
    Compatible,
    Incompatible,
    /// The file is no schema.
    Malformed,
    /// It was there before.
    Removed,
}

/// One reason against a schema.
#[derive(Debug, Serialize)]
struct Told {
    /// The line in the file.
    line: usize,
    /// Where in the schema, as a JSON Pointer.
    pointer: String,
    /// `breaks` or `unproven`.
    certainty: &'static str,
    what: String,
}

impl Told {
    fn breaks(file: &File, pointer: &str, what: String) -> Self {
        Self {
            line: file.line(pointer),
            pointer: pointer.to_owned(),
            certainty: compat::Certainty::Breaks.as_str(),
            what,
        }
    }

    fn of(file: &File, finding: Finding) -> Self {
        Self {
            line: file.line(&finding.pointer),
            certainty: finding.certainty.as_str(),
            pointer: finding.pointer,
            what: finding.what,
        }
    }
}

pub(super) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let project = cx.project_dir();
    let now = schemas::read(&project.join(FOLDER), FOLDER)?;
    let before = match &args.against {
        Some(against) => Some(before::read(&cx.cwd, &project, against)?),
        None => None,
    };
    let (mut lines, registry) = compare(&now, before.as_deref());
    if let Some(each) = args.corpus {
        let mut whole = document::schemas();
        registry.schemas().for_each(|schema| whole.add(schema.clone()));
        let samples = corpus::check(cx, args.bus.as_ref(), &whole, each).await?;
        add_samples(&mut lines, samples);
    }
    let fine = |line: &Line| {
        line.findings.is_empty() && line.corpus.as_ref().is_none_or(|sample| sample.broken == 0)
    };
    let report = Report {
        compatible: lines.iter().all(fine),
        schemas: lines,
    };
    if cx.json() {
        cx.print_json(&report);
    } else {
        cx.say(text(&report));
        if !report.compatible {
            cx.note(
                "\nwhat breaks readers goes into a new major version: `TYPE.v2.json` beside `TYPE.v1.json`",
            );
        } else if args.against.is_none() {
            cx.note("\n`rc events schema check --against REF` compares them with those of another commit");
        }
    }
    Ok(if report.compatible {
        Outcome::Done
    } else {
        Outcome::No
    })
}

/// What is to be said about each schema, and those that are some.
fn compare(now: &[File], before: Option<&[File]>) -> (Vec<Line>, Registry) {
    let mut registry = Registry::default();
    let parsed: Vec<(&File, Result<Schema, Malformed>)> =
        now.iter().map(|file| (file, file.schema())).collect();
    for (_, schema) in &parsed {
        if let Ok(schema) = schema {
            registry.add(schema.clone());
        }
    }
    let mut lines: Vec<Line> = parsed
        .into_iter()
        .map(|(file, schema)| match schema {
            Ok(schema) => line(file, &schema, before, &registry),
            Err(malformed) => Line {
                schema: subject_of(file),
                file: file.source.name().to_owned(),
                verdict: Verdict::Malformed,
                findings: vec![Told::breaks(file, &malformed.pointer, malformed.what)],
                corpus: None,
            },
        })
        .collect();
    let gone = before
        .unwrap_or_default()
        .iter()
        .filter(|old| now.iter().all(|file| file.name != old.name));
    lines.extend(gone.map(|file| Line {
        schema: subject_of(file),
        file: file.source.name().to_owned(),
        verdict: Verdict::Removed,
        findings: vec![Told::breaks(
            file,
            "",
            "the schema was removed: nobody can tell any more what its events are".to_owned(),
        )],
        corpus: None,
    }));
    (lines, registry)
}

fn subject_of(file: &File) -> String {
    Subject::of_file(&file.name).map_or_else(|| file.name.clone(), |subject| subject.to_string())
}

fn line(file: &File, schema: &Schema, before: Option<&[File]>, registry: &Registry) -> Line {
    let old = before.map(|before| before.iter().find(|old| old.name == file.name));
    let (mut verdict, mut findings) = match old {
        None => (Verdict::Valid, Vec::new()),
        Some(None) => (Verdict::New, Vec::new()),
        Some(Some(old)) if old.source.text() == file.source.text() => (Verdict::Unchanged, Vec::new()),
        Some(Some(old)) => match old.schema() {
            Ok(old) => {
                let findings = compat::compare(old.json(), schema.json()).into_iter();
                let told = findings.map(|finding| Told::of(file, finding)).collect();
                (Verdict::Compatible, told)
            }
            // There is nothing that it could have promised.
            Err(_malformed) => (Verdict::New, Vec::new()),
        },
    };
    findings.extend(no_way_from_before(file, schema, registry));
    if verdict != Verdict::Unchanged {
        findings.extend(schema.misspelt().into_iter().map(|one| Told {
            certainty: compat::Certainty::Unproven.as_str(),
            ..Told::breaks(file, &one.pointer, one.what)
        }));
    }
    if !findings.is_empty() {
        verdict = Verdict::Incompatible;
    }
    Line {
        schema: schema.subject().to_string(),
        file: file.source.name().to_owned(),
        verdict,
        findings,
        corpus: None,
    }
}

/// A later major version that does not say how events of the one before are read.
fn no_way_from_before(file: &File, schema: &Schema, registry: &Registry) -> Option<Told> {
    let Subject { name, major } = schema.subject();
    let last = Subject {
        name: name.clone(),
        major: major.checked_sub(1)?,
    };
    registry.get(&last)?;
    if schema.upcast_note().is_some() {
        return None;
    }
    let what = format!(
        "nothing says how events of `{last}` are read: write `\"{UPCAST_NOTE}\": \"...\"` with the upcaster that \
         brings them here, or why none has to"
    );
    Some(Told::breaks(file, "", what))
}

fn add_samples(lines: &mut Vec<Line>, mut samples: BTreeMap<String, Sample>) {
    for line in &mut *lines {
        line.corpus = samples.remove(&line.schema);
    }
    // Built-in schemas, and versions on the bus that have none.
    lines.extend(samples.into_iter().map(|(schema, sample)| Line {
        schema,
        file: super::BUILT_IN.to_owned(),
        verdict: Verdict::Valid,
        findings: Vec::new(),
        corpus: Some(sample),
    }));
}

/// The report for people: first each fault with its place, then how many there are of each kind.
fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    for line in &report.schemas {
        for told in &line.findings {
            let at = match &*told.pointer {
                "" => String::new(),
                pointer => format!("{pointer}: "),
            };
            lines.push(format!(
                "{}:{}: {}: {at}{}",
                line.file, told.line, told.certainty, told.what
            ));
        }
        for example in line.corpus.iter().flat_map(|sample| &sample.examples) {
            lines.push(format!(
                "{}: breaks: the event at place {} of the bus: {}",
                line.file, example.position, example.what
            ));
        }
    }
    let counted = |verdict: Verdict| {
        report
            .schemas
            .iter()
            .filter(|line| line.verdict == verdict)
            .count()
    };
    let verdicts = [
        (Verdict::Valid, "valid"),
        (Verdict::New, "new"),
        (Verdict::Unchanged, "unchanged"),
        (Verdict::Compatible, "changed and compatible"),
        (Verdict::Incompatible, "incompatible"),
        (Verdict::Malformed, "no schemas"),
        (Verdict::Removed, "removed"),
    ];
    let counts: Vec<String> = verdicts
        .into_iter()
        .map(|(verdict, word)| (counted(verdict), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    lines.push(match &counts[..] {
        [] => format!("there are no schemas in `{FOLDER}/`"),
        counts => format!("{} schemas: {}", report.schemas.len(), counts.join(", ")),
    });
    let sampled = report
        .schemas
        .iter()
        .filter_map(|line| Some((line, line.corpus.as_ref()?)));
    for (line, sample) in sampled {
        lines.push(format!(
            "{}: {} of the newest {} events break it",
            line.schema, sample.broken, sample.events
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests;
