//! Every refusal of docs-api as a problem: one function a code.

use std::time::Duration;

use rc_model::Problem;
use rc_store::{Error, ErrorKind};

use super::sqlite::{IndexFull, TENANTS_MAX};
use super::turns::Crowded;
use crate::text::QueryError;

/// What to wait after a refusal that names no wait of its own.
const RETRY: Duration = Duration::from_secs(1);

/// How long the index of a tenant stays without a place; only an operator changes that.
const INDEX_FULL_RETRY: Duration = Duration::from_secs(3_600);

/// The same for a document that is missing and one that is another tenant's.
pub(super) fn not_found() -> Problem {
    Problem::new(404, "RC-DOC-001", "document not found")
}

pub(super) fn bad_id(why: &str) -> Problem {
    Problem::new(400, "RC-DOC-002", "malformed document id").detail(why)
}

pub(super) fn bad_parameter(why: String) -> Problem {
    Problem::new(400, "RC-DOC-003", "wrong search parameter").detail(why)
}

pub(super) fn bad_query(error: &QueryError) -> Problem {
    let detail = match error.position() {
        Some(position) => format!("{error}, at character {position} of `q`"),
        None => error.to_string(),
    };
    Problem::new(400, "RC-DOC-004", "malformed search query").detail(detail)
}

pub(super) fn bad_cursor() -> Problem {
    Problem::new(400, "RC-DOC-005", "cursor of another search")
        .detail("`cursor` must come from the answer to the same search by the same tenant, unchanged")
}

pub(super) fn no_tenant() -> Problem {
    Problem::new(401, "RC-DOC-006", "request without a tenant")
        .detail("documents are reached through the gateway, which knows the caller's tenant")
}

pub(super) fn unavailable(wait: Duration) -> Problem {
    Problem::new(503, "RC-DOC-007", "the documents cannot be reached").retry_after(wait)
}

pub(super) fn too_slow() -> Problem {
    Problem::new(504, "RC-DOC-008", "the read took too long")
}

pub(super) fn too_many_waiters() -> Problem {
    Problem::new(503, "RC-DOC-009", "too many callers wait for documents").retry_after(RETRY)
}

pub(super) fn bad_wait(why: String) -> Problem {
    Problem::new(400, "RC-DOC-010", "malformed wait for documents").detail(why)
}

pub(super) fn index_full() -> Problem {
    Problem::new(503, "RC-DOC-012", "no place for the tenant's search index")
        .detail(format!(
            "the embedded store indexes at most {TENANTS_MAX} tenants; PostgreSQL has no such limit"
        ))
        .retry_after(INDEX_FULL_RETRY)
}

pub(super) fn crowded(why: Crowded) -> Problem {
    Problem::new(429, "RC-DOC-014", "too many reads of one tenant at a time").retry_after(why.retry_after)
}

/// What a store's error means to the caller of a read. What the caller must not see is logged here.
pub(super) fn of_store(error: &Error) -> Problem {
    if error.downcast_ref::<IndexFull>().is_some() {
        return index_full();
    }
    if let Some(why) = error.downcast_ref::<Crowded>() {
        return crowded(*why);
    }
    match error.kind() {
        ErrorKind::Timeout => too_slow(),
        ErrorKind::Busy { retry_after } | ErrorKind::Unavailable { retry_after } => unavailable(retry_after),
        ErrorKind::Conflict | ErrorKind::ReadOnly | ErrorKind::DiskFull | ErrorKind::WriterTaken => {
            unavailable(RETRY)
        }
        ErrorKind::Constraint
        | ErrorKind::Corrupt
        | ErrorKind::Foreign
        | ErrorKind::Migration
        | ErrorKind::Url
        | ErrorKind::Aborted
        | ErrorKind::Bug => {
            tracing::error!(?error, "a read failed");
            Problem::new(500, "RC-DOC-013", "a read failed")
        }
    }
}
