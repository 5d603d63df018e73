//! Answers that the gateway gives itself, and the fields it adds to every answer.
//!
//! A [`Refusal`] is one row of the table below plus what is known of this request; it becomes an RFC 9457
//! problem. The wire form is written by hand: a flood of refusals is the case where it must be cheap.

use rc_model::problem::PROBLEM_JSON;
use rc_model::project::RateLimitHeaders;

use crate::limit::{Colour, Gcra};

/// The name of the rate limit in fields and problems; the same as its key in `tenants.yaml`.
pub(crate) const POLICY_NAME: &str = "rps";

/// The name of the limit of requests at once; the same as its key in `tenants.yaml`.
const SEATS_POLICY_NAME: &str = "concurrency";

/// The problem type of draft-ietf-httpapi-ratelimit-headers for a caller's own excess.
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// A kind of refusal.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) title: &'static str,
}

/// The same draft's type for our own shortage.
const REDUCED_CAPACITY: &str = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

impl Kind {
    /// The problem type and the name of the limit, where a limit refuses.
    fn policy(&self) -> Option<(&'static str, &'static str)> {
        match self.code {
            code if code == RATE_LIMITED.code => Some((QUOTA_EXCEEDED, POLICY_NAME)),
            code if code == TENANT_BUSY.code => Some((QUOTA_EXCEEDED, SEATS_POLICY_NAME)),
            code if code == SERVICE_BUSY.code => Some((REDUCED_CAPACITY, SEATS_POLICY_NAME)),
            _ => None,
        }
    }
}

macro_rules! kinds {
    ($($name:ident: $status:literal $code:literal $title:literal),+ $(,)?) => {
        $(pub(crate) const $name: Kind = Kind { status: $status, code: $code, title: $title };)+
        #[cfg(test)]
        pub(crate) const KINDS: &[Kind] = &[$($name),+];
    };
}

kinds! {
    MALFORMED_HEAD: 400 "RC-GW-001" "malformed request head",
    AMBIGUOUS_FRAMING: 400 "RC-GW-002" "ambiguous request framing",
    HEAD_TOO_LARGE: 431 "RC-GW-003" "request head too large",
    TARGET_TOO_LONG: 414 "RC-GW-004" "request target too long",
    HEAD_TIMEOUT: 408 "RC-GW-005" "request took too long to arrive",
    METHOD_UNKNOWN: 405 "RC-GW-006" "method not carried",
    AMBIGUOUS_PATH: 400 "RC-GW-007" "ambiguous path",
    BAD_HOST: 400 "RC-GW-008" "missing or ambiguous host",
    UNAUTHENTICATED: 401 "RC-GW-009" "missing or invalid API key",
    NO_ROUTE: 404 "RC-GW-010" "no such path",
    METHOD_NOT_ALLOWED: 405 "RC-GW-011" "method not allowed here",
    RATE_LIMITED: 429 "RC-GW-012" "too many requests",
    BODY_TOO_LARGE: 413 "RC-GW-013" "request body too large",
    EXPECTATION_FAILED: 417 "RC-GW-014" "expectation not supported",
    DEADLINE: 504 "RC-GW-015" "deadline passed",
    UPSTREAM_FAILED: 502 "RC-GW-016" "service gave no valid answer",
    UPSTREAM_DOWN: 503 "RC-GW-017" "service cannot be reached",
    CONNECTIONS_FULL: 503 "RC-GW-018" "too many connections",
    VERSION_UNSUPPORTED: 505 "RC-GW-019" "HTTP version not supported",
    BAD_TIMEOUT: 400 "RC-GW-020" "malformed request timeout",
    MALFORMED_BODY: 400 "RC-GW-021" "malformed request body",
    CREDENTIALS_CONFLICT: 400 "RC-GW-022" "more than one credential",
    UPGRADE_REFUSED: 400 "RC-GW-023" "protocol upgrade not supported",
    KEYS_UNKNOWN: 503 "RC-GW-024" "keys are not known yet",
    TENANT_BUSY: 429 "RC-GW-025" "too many requests at once",
    SERVICE_BUSY: 503 "RC-GW-026" "service has no room",
    TENANT_CROWDED: 429 "RC-GW-040" "too many connections of one tenant",
    CIRCUIT_OPEN: 503 "RC-GW-050" "service fails and is left alone",
    TOO_SLOW: 504 "RC-GW-051" "service is slower than usual",
}

/// One refused request.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) kind: &'static Kind,
    /// What was wrong this time. Needs no JSON escaping.
    pub(crate) detail: Option<&'static str>,
    /// How long to wait, when waiting helps.
    pub(crate) retry_after_ms: Option<u64>,
    /// Methods for `Allow`.
    pub(crate) allow: Option<Box<str>>,
    /// The connection cannot be used again: where its next request starts is not known.
    pub(crate) close: bool,
}

impl Refusal {
    pub(crate) const fn new(kind: &'static Kind) -> Self {
        Self {
            kind,
            detail: None,
            retry_after_ms: None,
            allow: None,
            close: false,
        }
    }

    pub(crate) const fn because(kind: &'static Kind, detail: &'static str) -> Self {
        let mut refusal = Self::new(kind);
        refusal.detail = Some(detail);
        refusal
    }

    pub(crate) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    pub(crate) fn after_ns(mut self, wait_ns: u64) -> Self {
        self.retry_after_ms = Some(wait_ns.div_ceil(1_000_000).max(1));
        self
    }

    /// Appends the header fields of the answer, `Content-Length` excepted.
    pub(crate) fn write_fields(&self, out: &mut Vec<u8>) {
        put(out, "content-type", PROBLEM_JSON.as_bytes());
        put(out, "cache-control", b"no-store");
        if let Some(wait_ms) = self.retry_after_ms {
            put_number(out, "retry-after", wait_ms.div_ceil(1_000).max(1));
        }
        if let Some(allow) = &self.allow {
            put(out, "allow", allow.as_bytes());
        }
        if self.kind.status == 401 {
            put(out, "www-authenticate", b"Bearer realm=\"royalcrown\"");
        }
    }

    /// Appends the problem document.
    pub(crate) fn write_body(&self, trace_id: Option<u128>, out: &mut Vec<u8>) {
        let limited = self.kind.policy();
        out.extend_from_slice(b"{\"type\":\"");
        match limited {
            Some((problem_type, _)) => out.extend_from_slice(problem_type.as_bytes()),
            None => {
                out.extend_from_slice(b"urn:royalcrown:error:");
                out.extend_from_slice(self.kind.code.as_bytes());
            }
        }
        out.extend_from_slice(b"\",\"title\":\"");
        out.extend_from_slice(self.kind.title.as_bytes());
        out.extend_from_slice(b"\",\"status\":");
        number(out, u64::from(self.kind.status));
        out.extend_from_slice(b",\"code\":\"");
        out.extend_from_slice(self.kind.code.as_bytes());
        out.push(b'"');
        if let Some(detail) = self.detail {
            out.extend_from_slice(b",\"detail\":\"");
            out.extend_from_slice(detail.as_bytes());
            out.push(b'"');
        }
        if let Some(trace_id) = trace_id {
            out.extend_from_slice(b",\"trace_id\":\"");
            hex32(out, trace_id);
            out.push(b'"');
        }
        if let Some(wait_ms) = self.retry_after_ms {
            out.extend_from_slice(b",\"retry_after_ms\":");
            number(out, wait_ms);
        }
        if let Some((_, policy)) = limited {
            out.extend_from_slice(b",\"violated-policies\":[\"");
            out.extend_from_slice(policy.as_bytes());
            out.extend_from_slice(b"\"]");
        }
        out.extend_from_slice(b"}");
    }
}

/// The rate limit fields of one tenant, rendered but for the two numbers that change.
#[derive(Debug)]
pub(crate) struct LimitFields {
    draft: Option<Box<[u8]>>,
    legacy: Option<Box<[u8]>>,
}

impl LimitFields {
    pub(crate) fn new(rule: &Gcra, headers: RateLimitHeaders) -> Self {
        let quota = rule.burst();
        let window = seconds_up(u64::try_from(rule.window().as_nanos()).unwrap_or(u64::MAX));
        let draft = || {
            format!(
                "ratelimit-policy: \"{POLICY_NAME}\";q={quota};w={window}\r\nratelimit: \"{POLICY_NAME}\";r="
            )
            .into_bytes()
            .into()
        };
        let legacy = || {
            format!("x-ratelimit-limit: {quota}\r\nx-ratelimit-remaining: ")
                .into_bytes()
                .into()
        };
        let (draft, legacy) = match headers {
            RateLimitHeaders::Draft11 => (Some(draft()), None),
            RateLimitHeaders::Legacy => (None, Some(legacy())),
            RateLimitHeaders::Both => (Some(draft()), Some(legacy())),
            RateLimitHeaders::Off => (None, None),
        };
        Self { draft, legacy }
    }

    /// Appends the fields as they stand after a request of `colour`. They promise the committed rate only: what was
    /// saved up passes while there is room, and nobody can say for how long that is.
    pub(crate) fn write(&self, colour: Colour, out: &mut Vec<u8>) {
        let (remaining, reset_secs) = match colour {
            Colour::Green { remaining, reset_ns } => (remaining, seconds_up(reset_ns)),
            Colour::Yellow { wait_ns } | Colour::Red { wait_ns } => (0, seconds_up(wait_ns)),
        };
        if let Some(prefix) = &self.draft {
            out.extend_from_slice(prefix);
            number(out, remaining);
            out.extend_from_slice(b";t=");
            number(out, reset_secs);
            out.extend_from_slice(b"\r\n");
        }
        if let Some(prefix) = &self.legacy {
            out.extend_from_slice(prefix);
            number(out, remaining);
            out.extend_from_slice(b"\r\nx-ratelimit-reset: ");
            number(out, reset_secs);
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn seconds_up(ns: u64) -> u64 {
    ns.div_ceil(1_000_000_000).max(1)
}

/// Appends `name: value` and the line's end.
pub(crate) fn put(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends `name: value` with a decimal value.
pub(crate) fn put_number(out: &mut Vec<u8>, name: &str, value: u64) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    number(out, value);
    out.extend_from_slice(b"\r\n");
}

/// Appends a decimal number.
pub(crate) fn number(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends 32 hex digits.
pub(crate) fn hex32(out: &mut Vec<u8>, value: u128) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for at in (0..32).rev() {
        out.push(DIGITS[(value >> (at * 4) & 0xf) as usize]);
    }
}

/// The standard text that goes with a status.
pub(crate) fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("")
}

#[cfg(test)]
mod tests;
