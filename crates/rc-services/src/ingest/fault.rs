//! What can be wrong with a body or one of its items.

use rc_model::Problem;
use rc_model::problem::FieldError;

use super::limits;

/// A kind of fault.
pub(crate) type Kind = &'static Entry;

/// A kind's stable code, its title, and the status that a whole request gets for it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) code: &'static str,
    pub(crate) status: u16,
    pub(crate) title: &'static str,
}

const fn kind(code: &'static str, status: u16, title: &'static str) -> Entry {
    Entry { code, status, title }
}

pub(crate) const MALFORMED: Kind = &kind("RC-ING-001", 400, "body is not valid JSON");
pub(crate) const UNICODE: Kind = &kind("RC-ING-002", 400, "text is not valid Unicode");
pub(crate) const NUL: Kind = &kind("RC-ING-003", 400, "U+0000 is not allowed");
pub(crate) const TOO_DEEP: Kind = &kind("RC-ING-004", 400, "nesting is too deep");
pub(crate) const BODY_TOO_LARGE: Kind = &kind("RC-ING-005", 413, "body is too large");
pub(crate) const INFLATES_TOO_MUCH: Kind = &kind("RC-ING-006", 413, "body inflates too much");
pub(crate) const BAD_ENCODING: Kind = &kind("RC-ING-007", 400, "content encoding is broken");
pub(crate) const MEDIA_TYPE: Kind = &kind("RC-ING-008", 415, "media type is not supported");
pub(crate) const CONTENT_ENCODING: Kind = &kind("RC-ING-009", 415, "content encoding is not supported");
pub(crate) const BAD_KEY: Kind = &kind("RC-ING-010", 400, "idempotency key is missing or malformed");
pub(crate) const KEY_REUSED: Kind = &kind("RC-ING-011", 422, "idempotency key was used for another request");
pub(crate) const ITEM_COUNT: Kind = &kind("RC-ING-012", 413, "too many items");
pub(crate) const EMPTY: Kind = &kind("RC-ING-013", 400, "body holds no documents");
pub(crate) const UNKNOWN_MEMBER: Kind = &kind("RC-ING-014", 400, "unknown member");
pub(crate) const MISSING_MEMBER: Kind = &kind("RC-ING-015", 400, "member is missing");
pub(crate) const WRONG_TYPE: Kind = &kind("RC-ING-016", 400, "wrong type");
pub(crate) const DUPLICATE_MEMBER: Kind = &kind("RC-ING-017", 400, "member is given twice");
pub(crate) const BAD_VALUE: Kind = &kind("RC-ING-018", 400, "value is not acceptable");
pub(crate) const ITEM_TOO_LARGE: Kind = &kind("RC-ING-019", 413, "item is too large");
pub(crate) const QUEUE_FULL: Kind = &kind("RC-ING-020", 503, "ingest queue is full");
pub(crate) const TENANT_SHARE: Kind = &kind("RC-ING-021", 429, "too much work in the queue");
pub(crate) const STORE_DOWN: Kind = &kind("RC-ING-022", 503, "store is not available");
pub(crate) const NO_DOCUMENT: Kind = &kind("RC-ING-023", 404, "document not found");
pub(crate) const NO_BATCH: Kind = &kind("RC-ING-024", 404, "batch not found");
pub(crate) const BAD_QUERY: Kind = &kind("RC-ING-025", 400, "query parameter is not acceptable");
pub(crate) const NO_TENANT: Kind = &kind("RC-ING-026", 401, "request has no tenant");
pub(crate) const BODY_SLOW: Kind = &kind("RC-ING-027", 408, "body did not arrive in time");
pub(crate) const BODY_CUT: Kind = &kind("RC-ING-028", 400, "body ended early");
pub(crate) const NOT_MIGRATED: Kind = &kind("RC-ING-029", 500, "database is not migrated");
pub(crate) const BUG: Kind = &kind("RC-ING-030", 500, "request failed");
pub(crate) const DISK_LOW: Kind = &kind("RC-ING-031", 503, "disk is nearly full");
pub(crate) const READERS_BEHIND: Kind = &kind("RC-ING-032", 503, "too much waits to be indexed");

pub(crate) const RULES: Kind = &kind("RC-ING-033", 400, "document breaks the project's schema");
/// Own excess, and no shortage of ours; without `Retry-After`, because time alone frees nothing.
pub(crate) const OVER_QUOTA: Kind = &kind("RC-ING-034", 429, "storage quota is used up");

/// Every kind.
#[cfg(test)]
pub(crate) const ALL: [Kind; 34] = [
    MALFORMED,
    UNICODE,
    NUL,
    TOO_DEEP,
    BODY_TOO_LARGE,
    INFLATES_TOO_MUCH,
    BAD_ENCODING,
    MEDIA_TYPE,
    CONTENT_ENCODING,
    BAD_KEY,
    KEY_REUSED,
    ITEM_COUNT,
    EMPTY,
    UNKNOWN_MEMBER,
    MISSING_MEMBER,
    WRONG_TYPE,
    DUPLICATE_MEMBER,
    BAD_VALUE,
    ITEM_TOO_LARGE,
    QUEUE_FULL,
    TENANT_SHARE,
    STORE_DOWN,
    NO_DOCUMENT,
    NO_BATCH,
    BAD_QUERY,
    NO_TENANT,
    BODY_SLOW,
    BODY_CUT,
    NOT_MIGRATED,
    BUG,
    DISK_LOW,
    READERS_BEHIND,
    RULES,
    OVER_QUOTA,
];

/// One fault: its kind, where in the body it is, and what was found there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// A JSON Pointer (RFC 6901); empty for the whole body or document.
    pub(crate) pointer: String,
    pub(crate) detail: String,
}

impl Fault {
    pub(crate) fn new(kind: Kind, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }

    /// A fault of the body as a whole.
    pub(crate) fn body(kind: Kind, detail: impl Into<String>) -> Self {
        Self::new(kind, "", detail)
    }

    /// The same fault, seen from the batch that holds the item.
    pub(crate) fn in_item(mut self, index: usize, line: Option<usize>) -> Self {
        self.pointer = format!("/{index}{}", self.pointer);
        if let Some(line) = line {
            self.detail = format!("line {line}: {}", self.detail);
        }
        self
    }

    /// The fault as the answer to the whole request.
    pub(crate) fn problem(&self) -> Problem {
        let mut problem =
            Problem::new(self.kind.status, self.kind.code, self.kind.title).detail(self.detail.clone());
        if !self.pointer.is_empty() {
            problem.errors.push(FieldError {
                pointer: self.pointer.clone(),
                detail: self.detail.clone(),
            });
        }
        problem
    }

    pub(crate) fn item_too_large(bytes: usize) -> Self {
        let max = limits::ITEM_BYTES_MAX;
        Self::body(
            ITEM_TOO_LARGE,
            format!("the item has {bytes} bytes of JSON, at most {max} are allowed"),
        )
    }

    pub(crate) fn too_deep() -> Self {
        let max = limits::DEPTH_MAX;
        Self::body(TOO_DEEP, format!("the item nests deeper than {max} levels"))
    }
}

/// `text` as one reference token of a JSON Pointer.
pub(crate) fn pointer_token(text: &str) -> String {
    text.replace('~', "~0").replace('/', "~1")
}
