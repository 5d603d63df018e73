//! What an error looks like on the wire: RFC 9457 problem details.

use serde::{Deserialize, Serialize};

/// The media type of a [`Problem`].
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An RFC 9457 problem with our extension members.
///
/// `type` is a URN of the error code (`urn:royalcrown:error:RC-GW-003`), or one of the types of
/// draft-ietf-httpapi-ratelimit-headers for limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Problem {
    /// Names the kind of problem; a URI.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short text for people, the same for every problem of this kind.
    pub title: String,
    /// The HTTP status, again.
    pub status: u16,
    /// The stable error code; `rc explain CODE` says more.
    pub code: String,
    /// What happened this time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// The trace to look at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub trace_id: Option<String>,
    /// How long to wait before a retry can succeed, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retry_after_ms: Option<u64>,
    /// Where in the request body the fault is.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub errors: Vec<FieldError>,
    /// Names of the limits that were exceeded (draft-ietf-httpapi-ratelimit-headers).
    #[serde(rename = "violated-policies", skip_serializing_if = "Vec::is_empty", default)]
    pub violated_policies: Vec<String>,
}

/// One fault in a request body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FieldError {
    /// A JSON Pointer (RFC 6901) into the body.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

impl Problem {
    /// A problem of the error code `code`.
    #[must_use]
    pub fn new(status: u16, code: &str, title: &str) -> Self {
        Self {
            kind: format!("urn:royalcrown:error:{code}"),
            title: title.to_owned(),
            status,
            code: code.to_owned(),
            detail: None,
            trace_id: None,
            retry_after_ms: None,
            errors: Vec::new(),
            violated_policies: Vec::new(),
        }
    }

    /// The same problem with what happened this time.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same problem with the wait after which a retry can succeed.
    #[must_use]
    pub fn retry_after(mut self, wait: std::time::Duration) -> Self {
        self.retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// `Retry-After` in whole seconds, rounded up, at least 1; `None` where no wait was set.
    #[must_use]
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after_ms.map(|ms| ms.div_ceil(1000).max(1))
    }
}

#[cfg(test)]
mod tests;
