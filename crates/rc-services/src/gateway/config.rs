//! The resource `/-/config`: what is in force, and when it may be replaced (RFC 9110, section 13).

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use rc_model::{Digest, Problem, Timestamp};

/// A change that was not applied.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Refused {
    /// When it was refused.
    pub(super) at: Timestamp,
    /// Each problem as `file:line:column: message`.
    pub(super) problems: Vec<String>,
}

/// What `GET /-/config` answers.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct ConfigReport {
    /// Counts up with every applied change.
    pub(super) version: u64,
    /// Digest of the texts.
    pub(super) digest: String,
    /// Since when this configuration is in force.
    pub(super) since: Timestamp,
    pub(super) tenants: usize,
    pub(super) services: usize,
    /// The latest change, when it was refused; the one before it stays in force.
    pub(super) refused: Option<Refused>,
}

/// The entity tag of a configuration with that digest.
fn etag(digest: Digest) -> String {
    format!("\"{digest}\"")
}

/// `response` with the entity tag of the configuration that it tells of.
pub(super) fn tagged(mut response: Response<Bytes>, digest: Digest) -> Response<Bytes> {
    let tag = HeaderValue::from_str(&etag(digest)).expect("a digest is plain ASCII");
    response.headers_mut().insert(header::ETAG, tag);
    response
}

/// Whether somebody who saw what `headers` say may replace what has `digest`. `*` stands for whatever is there.
///
/// # Errors
/// 428 for somebody who does not say what they saw, 412 for somebody who saw something else.
pub(super) fn check_seen(headers: &HeaderMap, digest: Digest) -> Result<(), Box<Problem>> {
    let mut named = headers.get_all(header::IF_MATCH).iter().peekable();
    if named.peek().is_none() {
        let problem = Problem::new(428, "RC-GW-071", "a condition is required");
        return Err(Box::new(
            problem.detail("send `If-Match` with the `ETag` of `GET /-/config`"),
        ));
    }
    let present = etag(digest);
    let tags = named
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    // A weak tag is no strong one: it never matches here.
    if tags.map(str::trim).any(|tag| tag == "*" || tag == present) {
        return Ok(());
    }
    let detail = format!("what is in force has the tag {present}; read it again");
    let problem = Problem::new(412, "RC-GW-070", "the configuration has changed");
    Err(Box::new(problem.detail(detail)))
}

/// The refusal of a change that has to be made somewhere else.
pub(super) fn managed(why: impl Into<String>) -> Problem {
    Problem::new(409, "RC-GW-073", "the configuration cannot be replaced here").detail(why)
}

#[cfg(test)]
mod tests;
