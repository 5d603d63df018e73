//! One answer as it is kept.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::control::{Life, Varies};
use super::key::{Asked, lines};

const SECOND_NS: u64 = 1_000_000_000;

/// An answer that several may get.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Whole header lines, as the service sent them but for `Age`.
    pub(super) fields: Vec<u8>,
    pub(super) body: Bytes,
    /// The request fields that it depends on, beside those of the key.
    varies: Box<[Varied]>,
    life: Life,
    /// When it came.
    came_ns: u64,
    /// The owner's epoch when the question was sent.
    pub(super) epoch: u64,
    /// Nobody asks the service again before this moment: it just failed.
    retry_ns: AtomicU64,
}

/// A request field that an answer depends on, and what it was.
#[derive(Debug)]
struct Varied {
    name: Box<str>,
    value: Option<Box<[u8]>>,
}

/// An answer that has come to its end, and what may be done with it.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) status: u16,
    pub(super) fields: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) life: Life,
    pub(super) varies: Varies,
}

/// What an answer is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    Fresh,
    /// While somebody asks for a new one.
    WhileRevalidating,
    /// When the service fails.
    IfError,
    Dead,
}

impl Answer {
    pub(super) fn new(whole: Whole, asked: &Asked<'_>, came_ns: u64, epoch: u64) -> Self {
        let mut fields = Vec::with_capacity(whole.fields.len());
        for line in whole.fields.split_inclusive(|byte| *byte == b'\n') {
            if !line
                .get(..4)
                .is_some_and(|name| name.eq_ignore_ascii_case(b"age:"))
            {
                fields.extend_from_slice(line);
            }
        }
        let varies = whole.varies.into_iter().map(|name| {
            let value = asked.field(&name).map(|value| Box::from(&*value));
            Varied { name, value }
        });
        Self {
            status: whole.status,
            fields,
            body: Bytes::from(whole.body.into_boxed_slice()),
            varies: varies.collect(),
            life: whole.life,
            came_ns,
            epoch,
            retry_ns: AtomicU64::new(0),
        }
    }

    /// Whether it answers that request too, which has the same key.
    pub(super) fn suits(&self, asked: &Asked<'_>) -> bool {
        let mut varies = self.varies.iter();
        varies.all(|varied| asked.field(&varied.name).as_deref() == varied.value.as_deref())
    }

    /// The service could not do it.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self.status, 500 | 502 | 503 | 504)
    }

    fn age_ns(&self, now_ns: u64) -> u64 {
        let here = now_ns.saturating_sub(self.came_ns);
        self.life.age_ns.saturating_add(here)
    }

    pub(super) fn age_s(&self, now_ns: u64) -> u64 {
        self.age_ns(now_ns) / SECOND_NS
    }

    /// Seconds that it is fresh for, or was.
    pub(super) fn ttl_s(&self, now_ns: u64) -> i64 {
        let signed = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
        signed(self.life.fresh_ns)
            .saturating_sub(signed(self.age_ns(now_ns)))
            .div_euclid(SECOND_NS as i64)
    }

    pub(super) fn freshness(&self, now_ns: u64) -> Freshness {
        let stale_ns = self.age_ns(now_ns).checked_sub(self.life.fresh_ns);
        match stale_ns {
            None => Freshness::Fresh,
            Some(stale_ns) if stale_ns < self.life.while_revalidate_ns => Freshness::WhileRevalidating,
            Some(stale_ns) if stale_ns < self.life.if_error_ns => Freshness::IfError,
            Some(_) => Freshness::Dead,
        }
    }

    /// Whether the service may be asked for a new one.
    pub(super) fn may_retry(&self, now_ns: u64) -> bool {
        now_ns >= self.retry_ns.load(Ordering::Relaxed)
    }

    pub(super) fn retry_at(&self, at_ns: u64) {
        self.retry_ns.store(at_ns, Ordering::Relaxed);
    }

    pub(super) fn field(&self, wanted: &str) -> Option<&[u8]> {
        let mut lines = lines(&self.fields);
        lines.find_map(|(name, value)| name.eq_ignore_ascii_case(wanted.as_bytes()).then_some(value))
    }

    /// The part of the fields that `304 Not Modified` repeats (RFC 9110, section 15.4.5).
    pub(super) fn write_not_modified(&self, out: &mut Vec<u8>) {
        const REPEATED: [&str; 6] = [
            "cache-control",
            "content-location",
            "date",
            "etag",
            "expires",
            "vary",
        ];
        for (name, value) in lines(&self.fields) {
            let name = std::str::from_utf8(name).unwrap_or_default();
            if REPEATED.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                crate::answer::put(out, name, value);
            }
        }
    }

    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let varies = self.varies.iter();
        let varies =
            varies.map(|varied| varied.name.len() + varied.value.as_ref().map_or(0, |value| value.len()));
        self.fields.len() + self.body.len() + varies.sum::<usize>()
    }
}
