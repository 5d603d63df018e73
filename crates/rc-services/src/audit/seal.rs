//! From an act to an entry with its place, and the texts that the entry only commits to.

use data_encoding::BASE64;
use rc_ledger::{Commitment, Entry};
use rc_model::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::act::{Act, Action, DETAIL_BYTES_MAX, REASON_BYTES_MAX};

/// Bytes of a commitment's salt.
pub const SALT_BYTES: usize = 32;

/// Where entries come from: `<service>/<32 hex digits>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source(String);

impl Source {
    /// The source of `service` whose outbox has the id `outbox`.
    #[must_use]
    pub fn new(service: &str, outbox: &str) -> Self {
        Self(format!("{service}/{outbox}"))
    }

    /// The source's name in entries.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0
    }
}

/// An act with all its randomness, so that a transaction that runs again makes the same entry.
#[derive(Debug, Clone)]
pub struct Draft {
    act: Act,
    id: Uuid,
    reason_salt: [u8; SALT_BYTES],
    detail_salt: [u8; SALT_BYTES],
}

/// What a commitment stands for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    #[serde(with = "base64")]
    pub salt: Vec<u8>,
    #[serde(with = "base64")]
    pub text: Vec<u8>,
}

/// An entry with its place.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// Counts from 1 in its source, without a gap.
    pub seq: u64,
    pub at: Timestamp,
    /// Canonical CBOR, as it goes into the log.
    pub entry: Vec<u8>,
    /// What the entry's commitments stand for.
    pub texts: Vec<Text>,
}

impl Act {
    /// The act with its randomness.
    ///
    /// # Errors
    /// When the system gives none.
    pub fn draft(self) -> Result<Draft, rc_store::Error> {
        let salt = || {
            Commitment::salt().map_err(|error| {
                let wait = rc_store::error::UNAVAILABLE_RETRY;
                rc_store::Error::caused(
                    rc_store::ErrorKind::Unavailable { retry_after: wait },
                    "the system gave no randomness",
                    error,
                )
            })
        };
        let moment = u64::try_from(self.at.unix_ms()).unwrap_or(0);
        let mut random = [0; 10];
        random.copy_from_slice(&salt()?[..10]);
        Ok(Draft {
            id: uuid::Builder::from_unix_timestamp_millis(moment, &random).into_uuid(),
            reason_salt: salt()?,
            detail_salt: salt()?,
            act: self,
        })
    }
}

impl Draft {
    /// What was done.
    #[must_use]
    pub fn action(&self) -> Action {
        self.act.action
    }

    /// The entry at place `seq` of `source`.
    ///
    /// # Errors
    /// When a part of the act does not follow the grammar of entries, or is too long.
    pub fn seal(&self, source: &Source, seq: u64) -> Result<Row, rc_store::Error> {
        let act = &self.act;
        let mut texts = Vec::new();
        let mut commit = |salt: &[u8; SALT_BYTES], text: Vec<u8>| {
            let commitment = Commitment::new(salt, &text);
            texts.push(Text {
                salt: salt.to_vec(),
                text,
            });
            commitment
        };
        let reason = act.reason.text.as_ref().map(|text| text.as_bytes().to_vec());
        let detail = act.detail.as_ref().map(|detail| detail.to_string().into_bytes());
        let too_long = |what: &str| refused(format!("the {what} of an entry is too long"));
        if reason.as_ref().is_some_and(|text| text.len() > REASON_BYTES_MAX) {
            return Err(too_long("reason"));
        }
        if detail.as_ref().is_some_and(|text| text.len() > DETAIL_BYTES_MAX) {
            return Err(too_long("detail"));
        }
        let reason = reason.map(|text| commit(&self.reason_salt, text));
        let detail = detail.map(|text| commit(&self.detail_salt, text));
        let entry = Entry {
            id: self.id,
            at_ms: u64::try_from(act.at.unix_ms()).unwrap_or(0),
            source: rc_ledger::Source {
                id: source.id().to_owned(),
                seq,
            },
            actor: rc_ledger::Actor {
                kind: act.actor.kind().to_owned(),
                id: act.actor.id(),
            },
            action: act.action.as_str().to_owned(),
            resource: rc_ledger::Resource {
                kind: act.resource.kind.to_owned(),
                id: act.resource.id.clone(),
                tenant: act.resource.tenant.as_ref().map(ToString::to_string),
            },
            reason: rc_ledger::Reason {
                code: act.reason.code.to_owned(),
                text: reason,
            },
            outcome: act.outcome,
            before: act.before.map(|digest| *digest.as_bytes()),
            after: act.after.map(|digest| *digest.as_bytes()),
            trace_id: act.trace_id,
            detail,
        };
        let encoded = entry.encode().map_err(|error| refused(error.to_string()))?;
        Ok(Row {
            seq,
            at: act.at,
            entry: encoded,
            texts,
        })
    }
}

fn refused(what: String) -> rc_store::Error {
    rc_store::Error::new(
        rc_store::ErrorKind::Bug,
        format!("an act cannot be recorded: {what}"),
    )
}

impl Row {
    /// The same entry in another place of its source.
    pub(super) fn moved(self, seq: u64) -> Result<Self, rc_store::Error> {
        let mut entry = Entry::decode(&self.entry).map_err(|error| refused(error.to_string()))?;
        entry.source.seq = seq;
        let entry = entry.encode().map_err(|error| refused(error.to_string()))?;
        Ok(Self { seq, entry, ..self })
    }

    /// The texts as the outbox keeps them.
    #[must_use]
    pub fn texts_json(&self) -> String {
        serde_json::to_string(&self.texts).expect("texts are structs with text fields")
    }

    /// The texts of a row of the outbox.
    ///
    /// # Errors
    /// What is wrong with the stored text.
    pub fn texts_of(json: &str) -> Result<Vec<Text>, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    /// About how many bytes the row has on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let texts: usize = self
            .texts
            .iter()
            .map(|text| text.salt.len() + text.text.len())
            .sum();
        (self.entry.len() + texts) * 4 / 3
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Text")
            .field("bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Row")
            .field("seq", &self.seq)
            .field("at", &self.at)
            .field("texts", &self.texts)
            .finish_non_exhaustive()
    }
}

/// Bytes as base64 (RFC 4648, padded) in JSON.
pub(crate) mod base64 {
    use super::BASE64;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        BASE64.decode(text.as_bytes()).map_err(D::Error::custom)
    }
}
