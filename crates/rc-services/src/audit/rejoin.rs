//! A store that is older than the audit log, such as one that was restored from a backup: found before its service
//! does anything with it, and brought behind the log again.
//!
//! It reads the log's files, so that it works while the ledger is away. It refuses to guess what else such a store
//! has forgotten: it names the revocations that the log knows, because a key must not come back to life.

use std::collections::BTreeMap;

use rc_ledger::{Entry, Hash, Log, Reader, Signer, leaf_hash};
use rc_model::{Layout, Timestamp};
use rc_serve::off_thread;
use serde_json::json;

use super::act::{Act, Action, Actor, Outcome, Reason, Resource};
use super::outbox::{FACTS_WAIT_MAX, Limit, Outbox};
use super::seal::{Draft, Row, Source};

/// The code under which a store that is older than the log is told.
pub const BEHIND_CODE: &str = "RC-LED-031";
/// Entries that are read at once, from the end of the log backwards: a bundle.
const CHUNK: u64 = 256;

/// How an outbox lies behind the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behind {
    /// `<service>/<32 hex digits>`
    pub source: String,
    /// The newest number that the store knows.
    pub had: u64,
    /// The newest number that the log has.
    pub head: u64,
    /// Keys that were revoked by acts of which the store does not know.
    pub revoked: Vec<String>,
    /// What the log has in the places of rows that wait.
    kept: BTreeMap<u64, Hash>,
}

/// Why a store could not be compared with the log.
#[derive(Debug, thiserror::Error)]
pub enum Incomparable {
    #[error("the audit log cannot be read: {0}")]
    Log(#[from] rc_ledger::Error),
    #[error("the outbox cannot be read: {0}")]
    Store(#[from] rc_store::Error),
}

/// What the log has of a source, from some number on.
#[derive(Default)]
struct Seen {
    head: u64,
    hashes: BTreeMap<u64, Hash>,
    /// Numbers of revocations, with the key.
    revoked: BTreeMap<u64, String>,
}

impl Outbox {
    /// Whether the log has entries of this outbox that the outbox does not know, or others in places that rows wait
    /// for. `None` also where there is no log yet.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub async fn behind(&self, layout: &Layout) -> Result<Option<Behind>, Incomparable> {
        const ALL: Limit = Limit {
            rows: FACTS_WAIT_MAX as usize + 1,
            bytes: usize::MAX,
        };
        let waiting = self.waiting().await?;
        let first = waiting.newest.saturating_sub(waiting.rows) + 1;
        let seen = off_thread({
            let (layout, source) = (layout.clone(), waiting.source.clone());
            move || look(&layout, &source, first)
        });
        let mut seen = seen.await?;
        if seen.head < first {
            return Ok(None);
        }
        // After the log was read: what another process of this service has delivered meanwhile is here as well.
        let had = self.waiting().await?.newest;
        let rows = self.next(ALL).await?.rows;
        let of_the_log = |row: &&Row| row.seq <= seen.head;
        let same = |row: &&Row| seen.hashes.get(&row.seq) == Some(&leaf_hash(&row.entry));
        if had >= seen.head && rows.iter().filter(of_the_log).all(|row| same(&row)) {
            return Ok(None);
        }
        for row in rows.iter().filter(same) {
            seen.revoked.remove(&row.seq);
        }
        seen.hashes.retain(|seq, _| *seq <= had);
        Ok(Some(Behind {
            source: waiting.source,
            had,
            head: seen.head,
            revoked: seen.revoked.into_values().collect(),
            kept: seen.hashes,
        }))
    }

    /// Both for a store that keeps nothing but its outbox: compares it with the log and brings it behind the log.
    /// Gives what was found, after it was mended.
    ///
    /// # Errors
    /// What the store says, and with [`Incomparable::Log`] that nothing is known.
    pub async fn catch_up(&self, layout: &Layout, at: Timestamp) -> Result<Option<Behind>, Incomparable> {
        let behind = self.behind(layout).await?;
        if let Some(behind) = &behind {
            self.rejoin(behind, at).await?;
        }
        Ok(behind)
    }

    /// Brings the outbox behind the log, in one transaction: an entry that says so takes the number after the
    /// log's newest, and rows that wait and that the log does not have follow it.
    ///
    /// # Errors
    /// What the store says; nothing was changed then.
    pub async fn rejoin(&self, behind: &Behind, at: Timestamp) -> Result<(), rc_store::Error> {
        let service = self.service();
        let act = Act {
            at,
            actor: Actor::Service(service),
            action: Action::StoreRewind,
            resource: Resource {
                kind: "store",
                id: service.to_owned(),
                tenant: None,
            },
            reason: Reason::of("older-than-log"),
            outcome: Outcome::Done,
            before: None,
            after: None,
            trace_id: None,
            detail: Some(json!({
                "store_had": behind.had,
                "log_has": behind.head,
                "keys_revoked_again": behind.revoked.len(),
            })),
        };
        self.follow(behind.clone(), act.draft()?).await
    }
}

impl Behind {
    /// The rows that are to wait from now on, instead of `rows`.
    pub(super) fn rows_after(
        &self,
        source: &Source,
        rows: Vec<Row>,
        told: &Draft,
    ) -> Result<Vec<Row>, rc_store::Error> {
        let mut seq = self.head + 1;
        let mut after = vec![told.seal(source, seq)?];
        for row in rows {
            if self.kept.get(&row.seq) != Some(&leaf_hash(&row.entry)) {
                seq += 1;
                after.push(row.moved(seq)?);
            }
        }
        Ok(after)
    }
}

impl std::fmt::Display for Behind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            source, had, head, ..
        } = self;
        write!(
            f,
            "the store of {source} is older than the audit log: it knows {had} entries, the log has {head}"
        )
    }
}

/// Reads the log backwards as far as `source` has numbers from `first` on in it: mostly one bundle.
fn look(layout: &Layout, source: &str, first: u64) -> Result<Seen, rc_ledger::Error> {
    let mut seen = Seen::default();
    // Without its key a log is being made, or cannot be opened by the ledger either.
    if !layout.ledger_key().exists() || !Log::exists(&layout.ledger_log())? {
        return Ok(seen);
    }
    let signer = Signer::load(&layout.ledger_key())?;
    let reader = Reader::open(&layout.ledger_log(), signer.vkeys())?;
    let mut upto = reader.checkpoint().size();
    while upto > 0 {
        let from = (upto - 1) / CHUNK * CHUNK;
        let chunk: Vec<(u64, Vec<u8>)> = reader.entries(from..upto).collect::<Result<_, _>>()?;
        for (_, bytes) in chunk.iter().rev() {
            let entry = Entry::decode(bytes)?;
            if entry.source.id != source {
                continue;
            }
            let seq = entry.source.seq;
            seen.head = seen.head.max(seq);
            if seq < first {
                return Ok(seen);
            }
            seen.hashes.insert(seq, leaf_hash(bytes));
            if entry.action == Action::KeyRevoke.as_str() && entry.outcome == Outcome::Done {
                seen.revoked.insert(seq, entry.resource.id);
            }
        }
        upto = from;
    }
    Ok(seen)
}

#[cfg(test)]
mod tests;
