//! What is recorded, before it has its place in the log.

pub use rc_ledger::Outcome;
use rc_model::{Digest, TenantId, Timestamp};
use serde_json::Value;

/// Longest reason that a person can give, in bytes.
pub const REASON_BYTES_MAX: usize = 1_000;
/// Longest detail of an entry, in bytes of JSON. What is larger is cut by whoever makes it.
pub const DETAIL_BYTES_MAX: usize = 16 << 10;

/// Something that was done or refused.
#[derive(Debug, Clone, PartialEq)]
pub struct Act {
    pub at: Timestamp,
    pub actor: Actor,
    pub action: Action,
    pub resource: Resource,
    pub reason: Reason,
    pub outcome: Outcome,
    /// Digest of the resource as it was.
    pub before: Option<Digest>,
    /// Digest of the resource as it is from then on.
    pub after: Option<Digest>,
    /// The trace of the request that asked for it.
    pub trace_id: Option<u128>,
    /// More of what happened. It is kept outside the log, which holds a commitment to it only, and it never
    /// holds a secret.
    pub detail: Option<Value>,
}

impl Act {
    /// The same act with what it changed.
    #[must_use]
    pub fn with(mut self, before: Option<Digest>, after: Option<Digest>, detail: Option<Value>) -> Self {
        (self.before, self.after, self.detail) = (before, after, detail);
        self
    }
}

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// A user of this machine, by the kernel's word or as the owner of a file.
    OsUser(u32),
    /// One of our own processes, by itself.
    Service(&'static str),
}

impl Actor {
    /// `os-user` or `service`.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::OsUser(_) => "os-user",
            Self::Service(_) => "service",
        }
    }

    /// The user's number, or the process's name.
    #[must_use]
    pub fn id(self) -> String {
        match self {
            Self::OsUser(uid) => uid.to_string(),
            Self::Service(name) => name.to_owned(),
        }
    }
}

/// What was done. The names are part of the log's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    PlatformStart,
    PlatformStop,
    ServiceStart,
    ServiceStop,
    ServiceCrash,
    ConfigApply,
    ConfigRefuse,
    KeyCreate,
    KeyRevoke,
    /// A service found its store to be older than the log.
    StoreRewind,
    LetterEdit,
    LetterReplay,
    LetterDrop,
    EventsReplay,
    EventsRebuild,
    EventsVerify,
    EventsRepair,
    StorageRecount,
    RampSet,
    RampUndo,
}

impl Action {
    /// The name in the log and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PlatformStart => "platform.start",
            Self::PlatformStop => "platform.stop",
            Self::ServiceStart => "service.start",
            Self::ServiceStop => "service.stop",
            Self::ServiceCrash => "service.crash",
            Self::ConfigApply => "config.apply",
            Self::ConfigRefuse => "config.refuse",
            Self::KeyCreate => "key.create",
            Self::KeyRevoke => "key.revoke",
            Self::StoreRewind => "store.rewind",
            Self::LetterEdit => "letter.edit",
            Self::LetterReplay => "letter.replay",
            Self::LetterDrop => "letter.drop",
            Self::EventsReplay => "events.replay",
            Self::EventsRebuild => "events.rebuild",
            Self::EventsVerify => "events.verify",
            Self::EventsRepair => "events.repair",
            Self::StorageRecount => "storage.recount",
            Self::RampSet => "ramp.set",
            Self::RampUndo => "ramp.undo",
        }
    }
}

/// On what it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// `key`, `service`, `config`, `platform`, `store`, `letter`, `events`, `storage`, `ramp`.
    pub kind: &'static str,
    pub id: String,
    /// Whose resource it is, where it is a tenant's.
    pub tenant: Option<TenantId>,
}

/// Why it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// One of a few words, such as `asked` or `files-changed`; kept in the log as it is.
    pub code: &'static str,
    /// What a person gave as the reason. It is kept outside the log, as [`Act::detail`] is.
    pub text: Option<String>,
}

impl Reason {
    /// A reason without a person's words.
    #[must_use]
    pub const fn of(code: &'static str) -> Self {
        Self { code, text: None }
    }

    /// Whether `text` can be kept as a person's reason.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(text: &str) -> Result<(), String> {
        if text.trim().is_empty() {
            return Err("a reason must say something".to_owned());
        }
        if text.len() > REASON_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(format!(
                "a reason has at most {REASON_BYTES_MAX} bytes and no control characters"
            ));
        }
        Ok(())
    }
}
