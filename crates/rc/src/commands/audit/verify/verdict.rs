//! What a check found, for programs and for people.

use std::path::PathBuf;

use rc_model::Timestamp;
use serde::Serialize;

use super::super::{Outboxes, Silent, counted};
use crate::commands::up::screen::{BOLD, DIM, GREEN, RED, YELLOW, paint};
use crate::cx::Cx;

/// One fault, in words.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Found {
    pub(super) kind: &'static str,
    /// Where: a path in the project, or as it was given.
    pub(super) file: String,
    /// Which entry.
    pub(super) index: Option<u64>,
    /// What is wrong.
    pub(super) text: String,
    /// What follows from it.
    pub(super) meaning: &'static str,
}

/// What `--output json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    /// No fault was found.
    pub(super) whole: bool,
    pub(super) origin: String,
    /// The public keys that were trusted.
    pub(super) keys: Vec<String>,
    /// Whether they came from somewhere else than the ledger's own key file.
    pub(super) keys_given: bool,
    pub(super) size: u64,
    /// Base64, as in the checkpoint.
    pub(super) root: String,
    pub(super) signed_at: Option<Timestamp>,
    pub(super) entries: u64,
    pub(super) entry_bytes: u64,
    pub(super) files: u64,
    pub(super) sources: u64,
    /// Files of a group that was being appended, or that a crash cut off: the ledger completes or removes them.
    pub(super) unfinished: u64,
    /// Older checkpoints that are contained.
    pub(super) older: u64,
    /// Of those, the ones that were kept elsewhere.
    pub(super) checkpoints_given: usize,
    pub(super) texts: TextCounts,
    /// Entries that wait to be written.
    pub(super) waiting: u64,
    /// Outboxes that could not be asked: whether they wait, and whether the log has what they were told is written.
    pub(super) silent: Vec<Silent>,
    pub(super) faults: Vec<Found>,
    pub(super) faults_total: u64,
    pub(super) warnings: Vec<Found>,
    pub(super) saved: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct TextCounts {
    /// Texts that open their commitment.
    pub(super) opened: u64,
    /// Texts that are not kept any more.
    pub(super) erased: u64,
    /// Texts that are not those that were committed to.
    pub(super) wrong: u64,
    /// Set when they cannot be read at all.
    #[serde(skip)]
    pub(super) unreadable: bool,
}

/// Shows a person what was checked, what was found, and what it proves.
pub(super) fn print(cx: &Cx, verdict: &Verdict, outboxes: &Outboxes, with_texts: bool) {
    let bold = |text: &str| paint(cx.color, BOLD, text);
    let dim = |text: &str| paint(cx.color, DIM, text);
    let mut out = vec![bold(&format!("audit log of {}", cx.project_dir().display()))];
    if verdict.size > 0 || !verdict.origin.is_empty() {
        let signed = verdict
            .signed_at
            .map_or_else(|| "unknown".to_owned(), |at| at.to_string());
        out.push(format!("  {:<9} {}", "origin", verdict.origin));
        out.push(format!(
            "  {:<9} {}",
            "size",
            counted(verdict.size, "entry", "entries")
        ));
        out.push(format!("  {:<9} {}", "root", verdict.root));
        out.push(format!("  {:<9} {signed}", "signed"));
    }
    // The other key of the pair is 1,800 characters long; `--output json` and `--save` have it.
    if let Some(key) = verdict.keys.iter().min_by_key(|key| key.len()) {
        let from = if verdict.keys_given {
            "given"
        } else {
            "from the same disk"
        };
        out.push(format!("  {:<9} {key} {}", "key", dim(&format!("({from})"))));
    }
    out.push(String::new());
    out.extend(
        checks(verdict, outboxes, with_texts)
            .into_iter()
            .map(|(good, text)| {
                let mark = if good {
                    paint(cx.color, GREEN, "ok")
                } else {
                    paint(cx.color, YELLOW, "--")
                };
                format!("  {mark}  {text}")
            }),
    );
    for (color, word, list) in [
        (RED, "FAULT", &verdict.faults),
        (YELLOW, "strange", &verdict.warnings),
    ] {
        for Found {
            file,
            index,
            text,
            meaning,
            ..
        } in list
        {
            let entry = index.map(|index| format!(", entry {index}")).unwrap_or_default();
            out.push(format!("\n{} {file}{entry}", paint(cx.color, color, word)));
            out.push(format!("  {text}"));
            out.push(format!("  {}", dim(&format!("this means: {meaning}"))));
        }
    }
    let listed = verdict.faults.len() as u64;
    if verdict.faults_total > listed {
        out.push(format!(
            "\n{} more faults are not shown",
            verdict.faults_total - listed
        ));
    }
    out.push(String::new());
    out.push(if verdict.whole {
        let not_all = if verdict.silent.is_empty() {
            ""
        } else {
            ", as far as it could be checked"
        };
        bold(&paint(cx.color, GREEN, &format!("the log is whole{not_all}")))
    } else {
        let faults = counted(verdict.faults_total, "fault", "faults");
        bold(&paint(cx.color, RED, &format!("the log is not whole: {faults}")))
    });
    cx.say(out.join("\n"));
    advise(cx, verdict);
}

/// What was checked, and whether it was checked in full.
fn checks(verdict: &Verdict, outboxes: &Outboxes, with_texts: bool) -> Vec<(bool, String)> {
    let mut checks = Vec::new();
    if verdict.whole {
        let entries = counted(verdict.entries, "entry", "entries");
        let files = counted(verdict.files, "file", "files");
        checks.push((
            true,
            format!("{entries} in {files} hashed again up to the signed root"),
        ));
        let sources = counted(verdict.sources, "source", "sources");
        checks.push((true, format!("{sources} with numbers 1, 2, 3, ... without a gap")));
        let older = counted(verdict.older, "older checkpoint", "older checkpoints");
        let given = match verdict.checkpoints_given {
            0 => "the second copy on this disk".to_owned(),
            given => format!("{given} kept elsewhere"),
        };
        checks.push((true, format!("{older} contained ({given})")));
        let names: Vec<&str> = outboxes
            .waiting
            .iter()
            .filter_map(|waiting| waiting.source.split('/').next())
            .collect();
        if !names.is_empty() {
            let text = format!("every entry that {} delivered is there", names.join(" and "));
            checks.push((true, text));
        }
        if with_texts {
            let TextCounts { opened, erased, .. } = verdict.texts;
            let erased = if erased > 0 {
                format!(", {erased} erased")
            } else {
                String::new()
            };
            checks.push((
                true,
                format!("{} as committed to{erased}", counted(opened, "text", "texts")),
            ));
        }
    }
    if verdict.waiting > 0 {
        let verb = if verdict.waiting == 1 { "waits" } else { "wait" };
        let text = format!(
            "{} {verb} to be written",
            counted(verdict.waiting, "entry", "entries")
        );
        checks.push((false, text));
    }
    if verdict.unfinished > 0 {
        let text = "an append was under way, or was cut off by a crash: it is not part of the log yet";
        checks.push((false, text.to_owned()));
    }
    for Silent { service, why, .. } in &verdict.silent {
        let text =
            format!("whether the log has what {service} told, and what waits there, is not known: {why}");
        checks.push((false, text));
    }
    checks
}

/// What this proves, what it does not, and how to do better.
fn advise(cx: &Cx, verdict: &Verdict) {
    if let Some(path) = &verdict.saved {
        cx.note(format!(
            "checkpoint and public keys are in {0} and {0}.keys; keep them where this machine cannot write",
            path.display()
        ));
        return;
    }
    if !verdict.whole {
        cx.note("\n`rc explain RC-LED-006` says what to do; change nothing before you have a copy");
        return;
    }
    match (verdict.keys_given, verdict.checkpoints_given) {
        (true, 1..) => {}
        (false, 1..) => cx.note(
            "\nthe key is from the same disk: give `--key` from where the checkpoint was kept",
        ),
        (_, 0) => cx.note(
            "\nThis shows that the log agrees with itself. Who can write this disk could put another log with\n\
             another key in its place. To see that as well, keep checkpoint and keys somewhere else:\n\
             \x20 rc audit verify --save /elsewhere/checkpoint    now, and again later with the same file",
        ),
    }
}
