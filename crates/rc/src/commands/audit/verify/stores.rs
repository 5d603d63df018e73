//! The log held against what the services that tell it things know of themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Outboxes, counted};
use super::Check;
use super::verdict::Found;
use crate::fault::Fault;

/// The number of the newest entry that the log has of each source.
pub(super) type Heads = BTreeMap<String, u64>;

/// `gateway` of `gateway/5c1f…`
fn service(source: &str) -> &str {
    source.split('/').next().unwrap_or(source)
}

impl Check<'_> {
    /// There is no log: somebody may know that there was one.
    pub(super) fn gone(&mut self, outboxes: &Outboxes) {
        let log = self.files.log.clone();
        for (source, newest) in outboxes.acknowledged() {
            let text = format!("entries 1 to {newest} of {source} were acknowledged, and there is no log");
            let meaning = "the log, its key and its second copy are gone, and with them every entry";
            self.fault("log", &log, None, text, meaning);
        }
    }

    /// Outboxes were looked into before the log was read.
    pub(super) async fn outboxes(&mut self, heads: &Heads, before: &Outboxes) -> Result<(), Fault> {
        let log = self.files.log.clone();
        for (source, written) in before.acknowledged() {
            let found = heads.get(source).copied().unwrap_or(0);
            if found < written {
                let text = format!(
                    "entries {} to {written} of {source} were acknowledged, and the log does not have them",
                    found + 1
                );
                let meaning = "the log and its second copy were replaced by older ones, or by a new log";
                self.fault("lost", &log, None, text, meaning);
            }
        }
        let known: BTreeSet<&str> = heads.keys().map(|source| service(source)).collect();
        for silent in &before.silent {
            let Some(file) = &silent.file else { continue };
            if known.contains(silent.service) {
                let meaning = "what this service has to tell, and whether the log has all of it, is lost with the \
                               file; what it kept, such as revoked keys, may be too";
                self.fault("outbox", file, None, silent.why.clone(), meaning);
            }
        }
        self.rewound(heads, before).await?;
        self.left_behind(heads, before);
        Ok(())
    }

    /// No store may know less of itself than the log. A service at work may have told more since the first look.
    async fn rewound(&mut self, heads: &Heads, before: &Outboxes) -> Result<(), Fault> {
        let head = |source: &str| heads.get(source).copied().unwrap_or(0);
        let lags = |outboxes: &Outboxes| {
            let lagging = outboxes
                .waiting
                .iter()
                .filter(|waiting| waiting.newest < head(&waiting.source));
            lagging.cloned().collect::<Vec<_>>()
        };
        if lags(before).is_empty() {
            return Ok(());
        }
        let now = Outboxes::look(self.cx).await?;
        for waiting in lags(&now) {
            let text = format!(
                "the log has entries up to {} of {}, and its store knows {}",
                head(&waiting.source),
                waiting.source,
                waiting.newest
            );
            let meaning = "the store of this service was replaced by an older one: what was done since, such as the \
                           revocation of a key, is undone in it until the service starts";
            let state = self.cx.layout().state();
            self.fault("rewound", &state, None, text, meaning);
        }
        Ok(())
    }

    /// Sources whose outbox is another one today, or is not there.
    fn left_behind(&mut self, heads: &Heads, outboxes: &Outboxes) {
        let current: BTreeSet<&str> = outboxes
            .waiting
            .iter()
            .map(|waiting| waiting.source.as_str())
            .collect();
        let looked: BTreeSet<&str> = current
            .iter()
            .map(|source| service(source))
            .chain(outboxes.absent.iter().copied())
            .collect();
        for (source, head) in heads {
            if looked.contains(service(source)) && !current.contains(source.as_str()) {
                self.warnings.push(Found {
                    kind: "left-behind",
                    file: self.shown(&self.files.log),
                    index: None,
                    text: format!(
                        "{} of {source}, whose store is not there",
                        counted(*head, "entry", "entries")
                    ),
                    meaning: "the store of this service was deleted, or is another one since; what it kept, it does \
                              not know any more",
                });
            }
        }
    }
}
