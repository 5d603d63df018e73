//! The request as the service gets it: its head, rebuilt from checked parts.

use rc_model::{KeyId, TraceContext};
use rc_serve::context::{DEADLINE_HEADER, TRACEPARENT_HEADER, USER_HEADER};
use tokio::time::Instant;

use crate::access::Ticket;
use crate::answer::{put, put_number};
use crate::request::{self, Credential, Facts, Framing, Head};
use crate::retry::ATTEMPT_HEADER;
use crate::versions::LaneIndex;
use crate::worker::Peer;

/// A request that was admitted.
#[derive(Debug, Clone)]
pub(crate) struct Forward {
    /// The head for the service but for its last field, which [`Self::write`] adds.
    pub(crate) head: Vec<u8>,
    pub(crate) framing: Framing,
    pub(crate) upstream: usize,
    /// The way from its route to the version of the service that was chosen for it; it keeps to it.
    pub(crate) lane: LaneIndex,
    pub(crate) route: usize,
    /// The operator's own: it waits before all tenants.
    pub(crate) strict: bool,
    pub(crate) deadline: Instant,
    /// Most bytes of body that are carried.
    pub(crate) body_max: u64,
    pub(crate) is_head: bool,
    /// It may be sent a second time when the first try met a dead connection.
    pub(crate) replayable: bool,
    /// It may be done a second time, as far as its head tells.
    pub(crate) repeatable: bool,
    /// It reads only and has no body.
    pub(crate) safe: bool,
    /// The client itself gave it little time: being late says nothing about the service.
    pub(crate) hurried: bool,
}

impl Forward {
    /// Appends the whole head as it is sent at `now`: the service is told the time that is left, which
    /// connecting and trying again have shortened. Where it may be tried again it is told which try this is.
    pub(crate) fn write(&self, now: Instant, attempt: Option<u32>, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        let left = self.deadline.saturating_duration_since(now);
        // In 64 bits: the library's own conversions divide 128 of them.
        let part_ms = left.subsec_nanos().div_ceil(1_000_000);
        let left_ms = left
            .as_secs()
            .saturating_mul(1_000)
            .saturating_add(u64::from(part_ms));
        put_number(out, DEADLINE_HEADER, left_ms);
        if let Some(attempt) = attempt {
            put_number(out, ATTEMPT_HEADER, attempt.into());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// What the gateway says about a request to the service.
pub(crate) struct Hop<'a> {
    pub(crate) peer: &'a Peer,
    pub(crate) trace: TraceContext,
    /// Ready fields that name the tenant and its tier.
    pub(crate) tenant: &'a [u8],
    pub(crate) key: Option<&'a KeyId>,
    /// Keys are the service's matter, not ours.
    pub(crate) pass_credentials: bool,
    /// A ready field that names the version, where the service has several.
    pub(crate) version: &'a [u8],
}

/// Writes the head into `out`, but for its last field. Every byte of it was checked by [`crate::request`] or is the gateway's own.
pub(crate) fn write_head(
    mut out: Vec<u8>,
    head: &Head<'_>,
    facts: &Facts<'_>,
    hop: &Hop<'_>,
    ticket: &Ticket,
) -> Vec<u8> {
    out.clear();
    out.extend_from_slice(head.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(facts.path.as_bytes());
    if let Some(query) = facts.query {
        out.push(b'?');
        out.extend_from_slice(query.as_bytes());
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
    put(&mut out, "host", facts.host.as_bytes());
    let foreign = match facts.credential {
        Some(Credential::Foreign(at)) => Some(at),
        _ => None,
    };
    for (at, field) in head.fields.iter().enumerate() {
        let credential = hop.pass_credentials && request::is_credential(field.name);
        if facts.forward[at] || foreign == Some(at) || credential {
            put(&mut out, field.name, field.value);
        }
    }
    match facts.framing {
        Framing::None if matches!(head.method, "POST" | "PUT" | "PATCH") => {
            put(&mut out, "content-length", b"0")
        }
        Framing::None => {}
        Framing::Length(length) => put_number(&mut out, "content-length", length),
        Framing::Unknown => put(&mut out, "transfer-encoding", b"chunked"),
    }
    out.extend_from_slice(hop.tenant);
    out.extend_from_slice(hop.version);
    if let Some(key) = hop.key {
        put(&mut out, USER_HEADER, key.as_str().as_bytes());
    }
    put(&mut out, TRACEPARENT_HEADER, &hop.trace.encode());
    ticket.write_request_id(&mut out);
    if let Some(address) = hop.peer.address {
        let mut text = Text {
            bytes: [0; 48],
            used: 0,
        };
        let _fits = std::fmt::Write::write_fmt(&mut text, format_args!("{}", address.to_canonical()));
        put(&mut out, "x-forwarded-for", text.bytes());
        put(
            &mut out,
            "x-forwarded-proto",
            if hop.peer.secure { b"https" } else { b"http" },
        );
    }
    out
}

/// Room for an address as text: an IPv6 address has at most 45 characters.
struct Text {
    bytes: [u8; 48],
    used: usize,
}

impl Text {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

impl std::fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.used + text.len();
        self.bytes
            .get_mut(self.used..end)
            .ok_or(std::fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}
