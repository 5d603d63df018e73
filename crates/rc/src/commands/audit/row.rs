//! One entry with its texts: as JSON, and as a person reads it.

use data_encoding::HEXLOWER;
use rc_ledger::Entry;
use rc_model::{Digest, Timestamp};
use rc_services::ledger::{Opened, Texts, commitments};
use serde::Serialize;
use serde_json::Value;

use crate::commands::up::screen::printable;

/// One entry of the log. The shape that `--output json` prints.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    /// Its place in the log, from 0.
    pub(super) index: u64,
    pub(super) at: Timestamp,
    id: String,
    source: Source,
    pub(super) actor: Actor,
    pub(super) action: String,
    pub(super) resource: Resource,
    reason: Reason,
    pub(super) outcome: &'static str,
    before: Option<String>,
    after: Option<String>,
    trace_id: Option<String>,
    detail: Option<Value>,
    /// Texts that the entry commits to and that are not there: `erased`, or `wrong` for one that was changed.
    texts: Vec<Lost>,
}

#[derive(Debug, Clone, Serialize)]
struct Source {
    id: String,
    seq: u64,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Actor {
    pub(super) kind: String,
    pub(super) id: String,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Resource {
    kind: String,
    id: String,
    tenant: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Reason {
    code: String,
    text: Option<String>,
}

/// A text that cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Lost {
    /// `reason` or `detail`
    of: &'static str,
    /// `erased` or `wrong`
    state: &'static str,
}

/// The texts of `entries`, which are pairs of index and encoding.
///
/// # Errors
/// When an entry is not one, or the texts cannot be read.
pub(super) async fn rows(
    entries: &[(u64, Entry)],
    texts: Option<&Texts>,
) -> Result<Vec<Row>, rc_store::Error> {
    let wanted: Vec<_> = entries.iter().flat_map(|(_, entry)| commitments(entry)).collect();
    let opened = match texts {
        Some(texts) => texts.read(wanted).await?,
        None => vec![Opened::Erased; wanted.len()],
    };
    let mut opened = opened.into_iter();
    Ok(entries
        .iter()
        .map(|(index, entry)| Row::new(*index, entry, &mut opened))
        .collect())
}

impl Row {
    fn new(index: u64, entry: &Entry, opened: &mut impl Iterator<Item = Opened>) -> Self {
        let mut lost = Vec::new();
        let mut text = |of: &'static str, there: bool| match there.then(|| opened.next()).flatten() {
            Some(Opened::Text(text)) => Some(String::from_utf8_lossy(&text).into_owned()),
            Some(Opened::Erased) => {
                lost.push(Lost { of, state: "erased" });
                None
            }
            Some(Opened::Wrong) => {
                lost.push(Lost { of, state: "wrong" });
                None
            }
            None => None,
        };
        let reason = text("reason", entry.reason.text.is_some());
        let detail = text("detail", entry.detail.is_some());
        let digest = |hash: Option<rc_ledger::Hash>| hash.map(|hash| Digest::from_bytes(hash).to_string());
        Self {
            index,
            at: Timestamp::from_unix_ms(i64::try_from(entry.at_ms).unwrap_or(i64::MAX)),
            id: entry.id.to_string(),
            source: Source {
                id: entry.source.id.clone(),
                seq: entry.source.seq,
            },
            actor: Actor {
                kind: entry.actor.kind.clone(),
                id: entry.actor.id.clone(),
            },
            action: entry.action.clone(),
            resource: Resource {
                kind: entry.resource.kind.clone(),
                id: entry.resource.id.clone(),
                tenant: entry.resource.tenant.clone(),
            },
            reason: Reason {
                code: entry.reason.code.clone(),
                text: reason,
            },
            outcome: entry.outcome.as_str(),
            before: digest(entry.before),
            after: digest(entry.after),
            trace_id: entry.trace_id.map(|id| HEXLOWER.encode(&id.to_be_bytes())),
            detail: detail.map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text))),
            texts: lost,
        }
    }

    /// `os-user:1000`, or the name of a process of ours.
    pub(super) fn who(&self) -> String {
        match self.actor.kind.as_str() {
            "service" => self.actor.id.clone(),
            kind => format!("{kind}:{}", self.actor.id),
        }
    }

    /// Which one; of what kind, the action says: `acme/ab12`, `ingest`.
    pub(super) fn on(&self) -> String {
        let Resource { id, tenant, .. } = &self.resource;
        tenant
            .as_ref()
            .map_or_else(|| id.clone(), |tenant| format!("{tenant}/{id}"))
    }

    /// Why, and what else is to be said.
    pub(super) fn why(&self) -> String {
        let mut parts = Vec::new();
        match &self.reason.text {
            Some(text) => parts.push(format!("\"{}\"", printable(text))),
            None => parts.extend(self.code().map(str::to_owned)),
        }
        parts.extend(self.more());
        for Lost { of, state } in &self.texts {
            parts.push(match *state {
                "erased" => format!("({of} erased)"),
                _ => format!("({of} is not what was committed to)"),
            });
        }
        if self.outcome == "failed" && !matches!(self.action.as_str(), "service.crash") {
            parts.push("failed".to_owned());
        }
        parts.join(", ")
    }

    /// What the reason's code stands for; an unknown one stands for itself.
    fn code(&self) -> Option<&str> {
        Some(match (self.action.as_str(), self.reason.code.as_str()) {
            // What an entry says anyway needs no words.
            (_, "catalog" | "ended" | "files-invalid") | ("service.stop", "asked") => return None,
            (_, "demo") => "for a demo tenant",
            (_, "replaced") => "replaced by a newer one",
            (_, "files-changed") => "files changed",
            (_, "crashed") => "it had crashed",
            (_, "changed") => "started anew",
            (_, "signal") => "a signal",
            (_, code) => code,
        })
    }

    /// What the detail adds, for actions that are known.
    fn more(&self) -> Vec<String> {
        let field = |name: &str| self.detail.as_ref().and_then(|detail| detail.get(name));
        let text = |name: &str| field(name).and_then(Value::as_str).map(printable);
        let pid = || {
            field("pid")
                .and_then(Value::as_u64)
                .map(|pid| format!("pid {pid}"))
        };
        let short = |digest: &Option<String>| {
            let digest = digest
                .as_deref()
                .and_then(|digest| digest.strip_prefix("sha256:"));
            digest.and_then(|digest| digest.get(..8)).map(str::to_owned)
        };
        let mut more = Vec::new();
        match self.action.as_str() {
            "platform.start" => {
                more.extend(text("version").map(|version| format!("version {version}")));
                more.extend(text("run_before").map(|how| format!("the run before {how}")));
            }
            "platform.stop" => {
                more.extend(
                    field("ran_s")
                        .and_then(Value::as_u64)
                        .map(|s| format!("ran {s} s")),
                );
                more.extend(text("problem"));
            }
            "service.start" => {
                more.extend(pid());
                more.extend(text("error"));
            }
            "service.stop" | "service.crash" => {
                let exit = text("exit").map(|exit| match exit.strip_prefix("ended with ") {
                    Some(status) => status.to_owned(),
                    None => exit,
                });
                more.extend(exit);
                more.extend(pid());
            }
            "config.apply" => {
                if let (Some(before), Some(after)) = (short(&self.before), short(&self.after)) {
                    more.push(format!("{before} to {after}"));
                }
            }
            "config.refuse" => {
                let problems = field("problems").and_then(Value::as_array);
                let first = problems
                    .and_then(|problems| problems.first())
                    .and_then(Value::as_str);
                more.extend(first.map(printable));
                let count = field("count").and_then(Value::as_u64).unwrap_or(1);
                if count > 1 {
                    more.push(format!("and {} more", count - 1));
                }
            }
            "key.create" | "key.revoke" => {
                let label = text("label").filter(|label| !label.is_empty());
                more.extend(label.map(|label| format!("label `{label}`")));
                more.extend(text("expires_at").map(|at| format!("until {at}")));
            }
            "letter.edit" | "letter.replay" | "letter.drop" => {
                let count = |name: &str| field(name).and_then(Value::as_u64);
                if let (Some(letters), Some(keys)) = (count("letters"), count("keys")) {
                    more.push(format!("{letters} letters of {keys} keys"));
                }
                more.extend(text("error").map(|error| printable(&error)));
            }
            _ => {}
        }
        more
    }
}

#[cfg(test)]
mod tests;
