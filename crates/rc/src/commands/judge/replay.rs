//! `rc judge replay`: a recorded rollout under its own rules, or under others.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rc_judge::record::RecordError;
use rc_judge::{Decision, Judge, Replay, Rules};
use rc_model::source::SourceFile;
use rc_model::yaml;

use crate::cx::Cx;
use crate::fault::{Fault, Outcome};

/// Judge a recorded rollout again, second by second
///
/// With its own rules every recorded verdict has to come out again, bit for bit. With `--with` it says what other rules
/// would have decided, and when: would the new guard have caught it?
///
/// RULES is a YAML or JSON file; keys that it leaves out have their defaults (docs/delivery.md lists them).
///
/// Exit codes: 0 the canary was not to be taken back, 1 it was, or a recorded verdict does not come out again.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The record: one JSON object a line
    #[arg(value_name = "FILE")]
    record: PathBuf,
    /// Judge with these rules instead of the record's
    #[arg(long, value_name = "RULES")]
    with: Option<PathBuf>,
}

pub(super) fn run(cx: &Cx, args: &Args) -> Result<Outcome, miette::Report> {
    let rules = args
        .with
        .as_deref()
        .map(|path| rules(&cx.cwd.join(path)))
        .transpose()?;
    let path = cx.cwd.join(&args.record);
    let text = fs_err::read_to_string(&path).map_err(|error| {
        Fault::world("RC-JDG-001", "the record cannot be read")
            .because(error)
            .hint("is it the file that the rollout wrote?")
    })?;
    let replay = Judge::replay(&text, rules.as_ref()).map_err(|error| refused(&path, error))?;
    if cx.json() {
        cx.print_json(&replay);
    } else {
        cx.say(render(&replay));
    }
    let as_recorded = replay.identical != Some(false);
    Ok(match as_recorded && replay.verdict.decision != Decision::Fail {
        true => Outcome::Done,
        false => Outcome::No,
    })
}

/// The rules in the file `path`.
fn rules(path: &Path) -> Result<Rules, Fault> {
    const CODE: &str = "RC-JDG-002";
    const HINT: &str = "docs/delivery.md has every key with its meaning and default";
    let broken = || format!("the rules in {} cannot be used", path.display());
    let text = fs_err::read_to_string(path).map_err(|error| Fault::usage(CODE, broken()).because(error))?;
    let source = Arc::new(SourceFile::new(path.display().to_string(), text));
    let node = yaml::parse(&source).map_err(|problems| {
        let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Fault::usage(CODE, format!("{}\n\n{}", broken(), list.join("\n")))
    })?;
    let rules: Rules = match node.to_json() {
        // An empty file has all defaults.
        serde_json::Value::Null => Rules::default(),
        json => serde_json::from_value(json)
            .map_err(|error| Fault::usage(CODE, broken()).because(error).hint(HINT))?,
    };
    rules
        .check()
        .map_err(|error| Fault::usage(CODE, broken()).because(error).hint(HINT))?;
    Ok(rules)
}

fn refused(path: &Path, error: RecordError) -> Fault {
    let hint = match error {
        RecordError::Empty | RecordError::Line { .. } => {
            "the first line is the header, every other one a JSON object"
        }
        RecordError::Format { .. } => "a newer `rc` wrote it: use that one",
        RecordError::Sample { .. } => "was the file changed, or put together from two?",
        RecordError::Rules(_) => "judge it with rules of your own: `--with RULES`",
    };
    let message = format!("{} cannot be judged again", path.display());
    Fault::usage("RC-JDG-001", message).because(error).hint(hint)
}

fn render(replay: &Replay) -> String {
    let mut out = format!(
        "seconds: {}, recorded verdicts: {}",
        replay.seconds, replay.recorded
    );
    let mut add = |text: String| write!(out, "\n{text}").expect("writing to a string cannot fail");
    for change in &replay.changes {
        let at = change.at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        add(format!(
            "  second {at}: {}: {}",
            change.decision.name(),
            change.reason.text()
        ));
    }
    for signal in &replay.verdict.signals {
        let counts = signal.counts;
        if counts.stable.requests == 0 && counts.canary.requests == 0 {
            continue;
        }
        add(format!(
            "{}: canary {} of {}, stable {} of {}; canary below {:.3} %; ln E {:.2} of {:.2}",
            signal.name,
            counts.canary.bad,
            counts.canary.requests,
            counts.stable.bad,
            counts.stable.requests,
            100.0 * signal.upper_bound,
            signal.log_e,
            replay.verdict.log_e_fails,
        ));
    }
    match (replay.identical, &replay.recorded_decision) {
        (Some(true), _) => add("every recorded verdict came out again, bit for bit".to_owned()),
        (Some(false), _) => {
            add("a recorded verdict does not come out again: the record was changed".to_owned())
        }
        (None, Some(decision)) => add(format!("recorded: {decision}")),
        (None, None) => {}
    }
    add(replay.verdict.sentence());
    out
}

#[cfg(test)]
mod tests;
