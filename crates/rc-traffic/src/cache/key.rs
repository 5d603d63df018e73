//! What a request asks for, read from the head that its service would get.
//!
//! Two requests have one key only when they come from one tenant and the service would see the same host, target and
//! named fields, byte for byte: `/a%2Fb` is not `/a/b`, `?a&b` is not `?b&a`. So nothing that one program reads in one
//! way and another in another can make two questions one.

use std::borrow::Cow;
use std::sync::Arc;

use rc_model::TenantId;

use super::control::{directives, seconds};
use crate::access::Ticket;

/// Names the chosen version of a service to it. Clients cannot send it: such names are the gateway's own.
const VERSION_HEADER: &str = "x-rc-version";

/// Whose answers these are. Only a ticket makes one outside of tests, and no key is made without one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Owner(Option<TenantId>);

/// One question of one owner.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(super) owner: Owner,
    pub(super) question: Arc<Question>,
}

/// What the service would see of a question, as far as answers differ by it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    /// Lower case: hosts have none (RFC 9110, section 4.2.3).
    host: Box<[u8]>,
    /// Path and query.
    target: Box<[u8]>,
    /// The version of the service that was chosen, where it has several.
    version: Option<Box<[u8]>>,
    /// The values of the route's `vary`, in its order.
    vary: Box<[Option<Box<[u8]>>]>,
}

/// A request that may be answered from what is kept.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    target: &'a [u8],
    /// All but the request line.
    fields: &'a [u8],
    /// The oldest answer that the client takes.
    age_s_max: Option<u64>,
}

impl Owner {
    pub(super) fn of(ticket: &Ticket) -> Self {
        let tenants = &ticket.view().active.snapshot.tenants;
        Self(ticket.tenant.map(|tenant| tenants[tenant].id.clone()))
    }

    /// The tenant, if it is one: requests without a key, on public routes, have one owner together.
    pub(super) fn tenant(&self) -> Option<&TenantId> {
        self.0.as_ref()
    }

    #[cfg(test)]
    pub(super) fn test(tenant: Option<&str>) -> Self {
        Self(tenant.map(|tenant| TenantId::new(tenant).expect("tests name tenants by the grammar")))
    }
}

impl Key {
    pub(super) fn new(owner: Owner, asked: &Asked<'_>, vary: &[Box<str>]) -> Self {
        let value = |name: &str| asked.field(name).map(|value| Box::from(&*value));
        let question = Question {
            host: asked
                .field("host")
                .unwrap_or_default()
                .to_ascii_lowercase()
                .into(),
            target: asked.target.into(),
            version: value(VERSION_HEADER),
            vary: vary.iter().map(|name| value(name)).collect(),
        };
        Self {
            owner,
            question: Arc::new(question),
        }
    }
}

impl Question {
    pub(super) fn bytes(&self) -> usize {
        let vary = self.vary.iter().flatten().map(|value| value.len());
        self.host.len() + self.target.len() + vary.sum::<usize>()
    }
}

impl<'a> Asked<'a> {
    /// Reads the head of a GET or HEAD. `None`: only the service itself can answer, because the request wants a part,
    /// sets a condition that is not about tags, shows somebody's own credential, or refuses what is kept.
    pub(super) fn read(head: &'a [u8]) -> Option<Self> {
        let line_end = memchr::memchr(b'\n', head)?;
        let (line, fields) = head.split_at(line_end + 1);
        let target = line.split(|byte| *byte == b' ').nth(1)?;
        let mut asked = Self {
            target,
            fields,
            age_s_max: None,
        };
        for (name, value) in lines(fields) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            let own = match name.len() {
                5 => is("range"),
                6 => is("cookie") || is("pragma") && value.eq_ignore_ascii_case(b"no-cache"),
                8 => is("if-match") || is("if-range"),
                // What goes to the service is no key of ours.
                9 => is("x-api-key"),
                13 if is("authorization") => true,
                13 if is("cache-control") => !asked.takes_kept(value),
                19 => is("if-unmodified-since"),
                _ => false,
            };
            if own {
                return None;
            }
        }
        Some(asked)
    }

    fn takes_kept(&mut self, control: &[u8]) -> bool {
        for (name, value) in directives(control) {
            if name.eq_ignore_ascii_case(b"no-store") || name.eq_ignore_ascii_case(b"no-cache") {
                return false;
            }
            if name.eq_ignore_ascii_case(b"max-age") {
                let told = seconds(value);
                self.age_s_max = Some(self.age_s_max.map_or(told, |age| age.min(told)));
            }
        }
        self.age_s_max != Some(0)
    }

    /// Whether an answer of that age will do.
    pub(super) fn takes_age(&self, age_s: u64) -> bool {
        self.age_s_max.is_none_or(|max| age_s <= max)
    }

    /// The value of a field as the service would see it; several lines are one list (RFC 9110, section 5.3).
    pub(super) fn field(&self, wanted: &str) -> Option<Cow<'a, [u8]>> {
        let mut values = lines(self.fields).filter_map(|(name, value)| {
            let same = name.eq_ignore_ascii_case(wanted.as_bytes());
            same.then_some(value)
        });
        let first = values.next()?;
        let mut all = Cow::Borrowed(first);
        for value in values {
            let all = all.to_mut();
            all.extend_from_slice(b", ");
            all.extend_from_slice(value);
        }
        Some(all)
    }

    /// Whether the client has the answer with that tag already (RFC 9110, section 13.1.2: the weak comparison).
    pub(super) fn has(&self, tag: &[u8]) -> bool {
        let Some(list) = self.field("if-none-match") else {
            return false;
        };
        if list.trim_ascii() == b"*" {
            return true;
        }
        let tag = tag.strip_prefix(b"W/").unwrap_or(tag);
        let mut rest = &*list;
        while let Some(open) = memchr::memchr(b'"', rest) {
            let Some(length) = memchr::memchr(b'"', &rest[open + 1..]) else {
                return false;
            };
            let end = open + length + 2;
            if &rest[open..end] == tag {
                return true;
            }
            rest = &rest[end..];
        }
        false
    }
}

/// The head with which the gateway asks for everybody: a GET without the conditions of the one who came first.
pub(super) fn unconditional(head: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len());
    let head = match head.strip_prefix(b"HEAD ") {
        Some(rest) => {
            out.extend_from_slice(b"GET ");
            rest
        }
        None => head,
    };
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if !is("if-none-match") && !is("if-modified-since") {
            out.extend_from_slice(line);
        }
    }
    out
}

/// Name and value of each whole header line.
pub(super) fn lines(fields: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r")?;
        let colon = memchr::memchr(b':', line)?;
        Some((&line[..colon], line[colon + 1..].trim_ascii()))
    })
}

#[cfg(test)]
mod tests;
