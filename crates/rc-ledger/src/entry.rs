//! What one entry of the audit log says, and its one encoding.
//!
//! It refuses free text and personal data: words come from a closed alphabet, and everything else is a
//! [`Commitment`] whose plain text lives outside the log and can be deleted there without breaking a proof.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::cbor::{Reader, Writer, malformed};
use crate::{Error, Hash};

/// The version of the encoding; a reader refuses any other.
const VERSION: u64 = 1;

/// Longest word (`action`, kinds, `reason.code`), in bytes.
const WORD_BYTES_MAX: usize = 64;

/// Longest identifier, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// 10000-01-01T00:00:00Z: times from here on cannot be written in RFC 3339.
const AT_MS_END: u64 = 253_402_300_800_000;

/// Bytes of a commitment's salt.
const SALT_BYTES: usize = 32;

/// One act, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// UUIDv7 of the act, made where it was done.
    pub id: Uuid,
    /// When it was done, by the clock of who did it: milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Which outbox it came through, and its place there.
    pub source: Source,
    /// Who did it.
    pub actor: Actor,
    /// What was done, `key.create`: words of lower-case letters, digits, `-` and `_`, joined by dots.
    pub action: String,
    /// With what.
    pub resource: Resource,
    /// Why.
    pub reason: Reason,
    /// What came of it.
    pub outcome: Outcome,
    /// SHA-256 of the resource before, where it has one.
    pub before: Option<Hash>,
    /// SHA-256 of the resource after, where it has one.
    pub after: Option<Hash>,
    /// The W3C trace that it was part of.
    pub trace_id: Option<u128>,
    /// More about it, outside the log.
    pub detail: Option<Commitment>,
}

/// An outbox that entries come through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// `docs-api/0190a5c0-...`: a service and the id of its outbox.
    pub id: String,
    /// 1, 2, 3, ... without a gap.
    pub seq: u64,
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// `os-user`, `service`, `key`: a word.
    pub kind: String,
    /// Which one, by an identifier that is not personal data by itself.
    pub id: String,
}

/// What an act was done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// `api-key`, `service`, `config`: a word.
    pub kind: String,
    /// Which one.
    pub id: String,
    /// Whose it is; `None` for the platform's own.
    pub tenant: Option<String>,
}

/// Why it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// `operator-request`, `rotation`: a word.
    pub code: String,
    /// What the person said, outside the log.
    pub text: Option<Commitment>,
}

/// What came of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was not allowed or not valid, and nothing changed.
    Refused,
    /// It was tried and did not succeed.
    Failed,
}

impl Outcome {
    /// `done`, `refused` or `failed`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Stands for bytes that are kept elsewhere: `SHA-256(salt || bytes)` and how many there are. Without the salt,
/// which is kept with the bytes, it cannot be guessed back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commitment {
    /// SHA-256 over the 32 bytes of salt and the bytes.
    pub sha256: Hash,
    /// Bytes committed to, without the salt.
    pub size: u64,
}

impl Commitment {
    /// A salt for one commitment, from the system's randomness. A salt is never used twice.
    ///
    /// # Errors
    /// [`Error::Io`] when the system gives no randomness.
    pub fn salt() -> Result<[u8; SALT_BYTES], Error> {
        let mut salt = [0; SALT_BYTES];
        crate::signer::random(&mut salt)?;
        Ok(salt)
    }

    /// Commits to `bytes`.
    #[must_use]
    pub fn new(salt: &[u8; SALT_BYTES], bytes: &[u8]) -> Self {
        let sha256 = Sha256::new().chain_update(salt).chain_update(bytes).finalize();
        Self {
            sha256: sha256.into(),
            size: bytes.len() as u64,
        }
    }

    /// Whether this commits to `bytes`.
    #[must_use]
    pub fn opens(&self, salt: &[u8; SALT_BYTES], bytes: &[u8]) -> bool {
        Self::new(salt, bytes) == *self
    }
}

impl Entry {
    /// The one encoding of this entry.
    ///
    /// # Errors
    /// [`Error::Entry`] for words and identifiers that are not in their alphabet, too long or empty, for an id
    /// that is not a UUIDv7, and for a sequence number of 0.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        let optional = [
            self.before.is_some(),
            self.after.is_some(),
            self.trace_id.is_some(),
            self.detail.is_some(),
        ];
        let mut to = Writer::default();
        to.map(9 + optional.iter().filter(|there| **there).count() as u64);
        to.uint(0);
        to.uint(VERSION);
        to.uint(1);
        to.bytes(self.id.as_bytes());
        to.uint(2);
        to.uint(self.at_ms);
        to.uint(3);
        to.array(2);
        to.text(&self.source.id);
        to.uint(self.source.seq);
        to.uint(4);
        to.array(2);
        to.text(&self.actor.kind);
        to.text(&self.actor.id);
        to.uint(5);
        to.text(&self.action);
        to.uint(6);
        to.map(2 + u64::from(self.resource.tenant.is_some()));
        to.uint(0);
        to.text(&self.resource.kind);
        to.uint(1);
        to.text(&self.resource.id);
        if let Some(tenant) = &self.resource.tenant {
            to.uint(2);
            to.text(tenant);
        }
        to.uint(7);
        to.map(1 + u64::from(self.reason.text.is_some()));
        to.uint(0);
        to.text(&self.reason.code);
        if let Some(text) = &self.reason.text {
            to.uint(1);
            commitment(&mut to, text);
        }
        to.uint(8);
        to.uint(match self.outcome {
            Outcome::Done => 0,
            Outcome::Refused => 1,
            Outcome::Failed => 2,
        });
        for (key, hash) in [(9, &self.before), (10, &self.after)] {
            if let Some(hash) = hash {
                to.uint(key);
                to.bytes(hash);
            }
        }
        if let Some(trace) = self.trace_id {
            to.uint(11);
            to.bytes(&trace.to_be_bytes());
        }
        if let Some(detail) = &self.detail {
            to.uint(12);
            commitment(&mut to, detail);
        }
        Ok(to.into_bytes())
    }

    /// Reads an entry. Bytes that it takes are exactly those that [`Entry::encode`] gives.
    ///
    /// # Errors
    /// [`Error::Entry`] for anything but the canonical form of a version that is known.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let from = &mut Reader::new(bytes);
        let mut fields = from.map()?;
        fields.need(from, 0)?;
        let version = from.uint()?;
        if version != VERSION {
            return Err(malformed(&format!("version {version} is not known")));
        }
        fields.need(from, 1)?;
        let id = Uuid::from_bytes(from.fixed()?);
        fields.need(from, 2)?;
        let at_ms = from.uint()?;
        fields.need(from, 3)?;
        from.array(2)?;
        let source = Source {
            id: from.text()?.to_owned(),
            seq: from.uint()?,
        };
        fields.need(from, 4)?;
        from.array(2)?;
        let actor = Actor {
            kind: from.text()?.to_owned(),
            id: from.text()?.to_owned(),
        };
        fields.need(from, 5)?;
        let action = from.text()?.to_owned();
        fields.need(from, 6)?;
        let resource = resource(from)?;
        fields.need(from, 7)?;
        let reason = reason(from)?;
        fields.need(from, 8)?;
        let outcome = match from.uint()? {
            0 => Outcome::Done,
            1 => Outcome::Refused,
            2 => Outcome::Failed,
            other => return Err(malformed(&format!("outcome {other} is not known"))),
        };
        let before = fields.maybe(from, 9).then(|| from.fixed()).transpose()?;
        let after = fields.maybe(from, 10).then(|| from.fixed()).transpose()?;
        let trace = fields.maybe(from, 11).then(|| from.fixed()).transpose()?;
        let detail = fields
            .maybe(from, 12)
            .then(|| read_commitment(from))
            .transpose()?;
        fields.end()?;
        if !from.is_empty() {
            return Err(malformed("bytes after its end"));
        }
        let entry = Self {
            id,
            at_ms,
            source,
            actor,
            action,
            resource,
            reason,
            outcome,
            before,
            after,
            trace_id: trace.map(u128::from_be_bytes),
            detail,
        };
        entry.check()?;
        Ok(entry)
    }

    /// What holds for every entry, written or read.
    fn check(&self) -> Result<(), Error> {
        if self.id.get_version_num() != 7 {
            return Err(malformed("its id is not a UUIDv7"));
        }
        if self.source.seq == 0 {
            return Err(malformed("sequence numbers begin with 1"));
        }
        if self.at_ms >= AT_MS_END {
            return Err(malformed("its time is after the year 9999"));
        }
        word("action", &self.action)?;
        word("actor.kind", &self.actor.kind)?;
        word("resource.kind", &self.resource.kind)?;
        word("reason.code", &self.reason.code)?;
        name("source.id", &self.source.id)?;
        name("actor.id", &self.actor.id)?;
        name("resource.id", &self.resource.id)?;
        self.resource
            .tenant
            .as_deref()
            .map_or(Ok(()), |tenant| name("resource.tenant", tenant))
    }
}

fn resource(from: &mut Reader<'_>) -> Result<Resource, Error> {
    let mut fields = from.map()?;
    fields.need(from, 0)?;
    let kind = from.text()?.to_owned();
    fields.need(from, 1)?;
    let id = from.text()?.to_owned();
    let tenant = fields.maybe(from, 2).then(|| from.text()).transpose()?;
    fields.end()?;
    Ok(Resource {
        kind,
        id,
        tenant: tenant.map(str::to_owned),
    })
}

fn reason(from: &mut Reader<'_>) -> Result<Reason, Error> {
    let mut fields = from.map()?;
    fields.need(from, 0)?;
    let code = from.text()?.to_owned();
    let text = fields.maybe(from, 1).then(|| read_commitment(from)).transpose()?;
    fields.end()?;
    Ok(Reason { code, text })
}

fn commitment(to: &mut Writer, commitment: &Commitment) {
    to.array(2);
    to.bytes(&commitment.sha256);
    to.uint(commitment.size);
}

fn read_commitment(from: &mut Reader<'_>) -> Result<Commitment, Error> {
    from.array(2)?;
    Ok(Commitment {
        sha256: from.fixed()?,
        size: from.uint()?,
    })
}

/// `key.create`: parts of lower-case letters, digits, `-` and `_`, joined by dots, each beginning with a letter.
fn word(field: &str, text: &str) -> Result<(), Error> {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase())
            && part
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    };
    if text.len() > WORD_BYTES_MAX || !text.split('.').all(part) {
        return Err(malformed(&format!(
            "`{field}` is not a word of at most {WORD_BYTES_MAX} lower-case letters, digits, `-`, `_` and `.`"
        )));
    }
    Ok(())
}

/// An identifier: ASCII that can be seen, without spaces, so that a sentence does not fit in.
fn name(field: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(malformed(&format!(
            "`{field}` is not an identifier of 1 to {NAME_BYTES_MAX} ASCII characters without spaces"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
