//! What may be done with an answer: the rules of RFC 9111 (caching) and RFC 5861 (stale answers), with one tenant as
//! the public that shares a cache.

use rc_model::catalog::CachePolicy;
use rc_serve::context::USER_HEADER;

use super::key::lines;

/// Largest answer that is kept or given to several; `max` of a small route allows less.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// An answer takes at most such a part of its route's `max`.
const ANSWER_PART: usize = 8;

const SECOND_NS: u64 = 1_000_000_000;
/// What a number of seconds stands for that is too large (RFC 9111, section 1.2.2).
const SECONDS_MAX: u64 = 1 << 31;

/// How a route's answers are kept: `cache` in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(super) ttl_ns: u64,
    while_revalidate_ns: u64,
    if_error_ns: u64,
    /// Lower case.
    pub(super) vary: Box<[Box<str>]>,
    pub(super) bytes_max: usize,
    pub(super) answer_bytes_max: usize,
}

/// What may be done with an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Keep it, and give it to all who wait.
    Keep(Life, Varies),
    /// Give it to those who asked the same meanwhile, and forget it.
    Share(Varies),
    /// It is for the one who asked.
    Alone,
}

/// For how long an answer may be given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Life {
    /// The age with which it came.
    pub(super) age_ns: u64,
    /// Until this age it is fresh.
    pub(super) fresh_ns: u64,
    /// For so much longer it is given while somebody asks for a new one.
    pub(super) while_revalidate_ns: u64,
    /// For so much longer than fresh it is given when the service fails.
    pub(super) if_error_ns: u64,
}

/// Lower case names of the request fields that the answer depends on.
pub(super) type Varies = Vec<Box<str>>;

impl Policy {
    pub(crate) fn new(cache: &CachePolicy) -> Self {
        let ns = |span: Option<rc_model::units::Span>| {
            let ns = span.map_or(0, |span| span.duration().as_nanos());
            u64::try_from(ns).unwrap_or(u64::MAX)
        };
        let bytes_max = cache.max.as_usize();
        Self {
            ttl_ns: ns(Some(cache.ttl)),
            while_revalidate_ns: ns(cache.stale_while_revalidate),
            if_error_ns: ns(cache.stale_if_error),
            vary: cache
                .vary
                .iter()
                .map(|name| name.to_ascii_lowercase().into())
                .collect(),
            bytes_max,
            answer_bytes_max: ANSWER_BYTES_MAX.min(bytes_max / ANSWER_PART),
        }
    }

    /// What may be done with an answer. `for_all`: those who share it are not one tenant.
    pub(super) fn judge(&self, status: u16, fields: &[u8], for_all: bool) -> Use {
        let Some(mut told) = Told::read(fields) else {
            return Use::Alone;
        };
        if told.private {
            if for_all {
                return Use::Alone;
            }
            told.varies.push(USER_HEADER.into());
        }
        let fresh_s = told.s_maxage.or(told.max_age);
        match status {
            200 | 203 | 301 | 308 | 204 | 300 | 302 | 307 | 404 | 410 if fresh_s.is_some() => {}
            // `Expires` alone is not read as a time: most who set it so mean "at once".
            200 | 203 | 301 | 308 if told.expires => return Use::Alone,
            200 | 203 | 301 | 308 => {}
            // They are about one request's condition, part or credential.
            206 | 304 | 401 | 403 | 407 => return Use::Alone,
            _ => return Use::Share(told.varies),
        }
        let life = self.life(&told, fresh_s);
        // `max-age=0` asks for a look at the service each time, unless the answer itself allows otherwise.
        let always_looks = fresh_s == Some(0) && told.while_revalidate.is_none();
        if always_looks || life.age_ns >= life.fresh_ns.saturating_add(life.while_revalidate_ns) {
            return Use::Alone;
        }
        Use::Keep(life, told.varies)
    }

    /// The route says how long at most; the answer can only shorten it.
    fn life(&self, told: &Told, fresh_s: Option<u64>) -> Life {
        let ns = |seconds: u64| seconds.saturating_mul(SECOND_NS);
        let fresh_ns = fresh_s.map_or(self.ttl_ns, |told| ns(told).min(self.ttl_ns));
        let stale_ns = |allowed_ns: u64, said: Option<u64>| match said {
            _ if told.must_revalidate => 0,
            Some(said) => ns(said).min(allowed_ns),
            // RFC 9111, section 5.2.2.10: where the answer says nothing else, it forbids stale answers too.
            None if told.s_maxage.is_some() => 0,
            None => allowed_ns,
        };
        Life {
            age_ns: ns(told.age.unwrap_or_default()),
            fresh_ns,
            while_revalidate_ns: stale_ns(self.while_revalidate_ns, told.while_revalidate),
            if_error_ns: stale_ns(self.if_error_ns, told.if_error),
        }
    }
}

/// What an answer says about its keeping, in seconds.
#[derive(Debug, Default)]
struct Told {
    max_age: Option<u64>,
    s_maxage: Option<u64>,
    while_revalidate: Option<u64>,
    if_error: Option<u64>,
    age: Option<u64>,
    must_revalidate: bool,
    private: bool,
    expires: bool,
    varies: Varies,
}

impl Told {
    /// `None`: nobody but the one who asked may have it.
    fn read(fields: &[u8]) -> Option<Self> {
        let mut told = Self::default();
        for (name, value) in lines(fields) {
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("set-cookie") {
                return None;
            } else if is("vary") {
                for name in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                    if name == b"*" {
                        return None;
                    }
                    let name = std::str::from_utf8(name).ok()?;
                    told.varies.push(name.to_ascii_lowercase().into());
                }
            } else if is("cache-control") {
                for (name, value) in directives(value) {
                    told.directive(name, value)?;
                }
            } else if is("expires") {
                told.expires = true;
            } else if is("age") {
                told.age = Some(seconds(Some(value)));
            }
        }
        Some(told)
    }

    fn directive(&mut self, name: &[u8], value: Option<&[u8]>) -> Option<()> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        // Told twice, the shorter counts.
        let shorter = |slot: &mut Option<u64>| {
            let told = seconds(value);
            *slot = Some(slot.map_or(told, |before| before.min(told)));
        };
        if is("no-store") || is("no-cache") {
            return None;
        } else if is("private") {
            self.private = true;
        } else if is("must-revalidate") || is("proxy-revalidate") {
            self.must_revalidate = true;
        } else if is("max-age") {
            shorter(&mut self.max_age);
        } else if is("s-maxage") {
            shorter(&mut self.s_maxage);
        } else if is("stale-while-revalidate") {
            shorter(&mut self.while_revalidate);
        } else if is("stale-if-error") {
            shorter(&mut self.if_error);
        }
        Some(())
    }
}

/// The directives of one `Cache-Control` line.
pub(super) fn directives(line: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        while let [b' ' | b'\t' | b',', after @ ..] = rest {
            rest = after;
        }
        if rest.is_empty() {
            return None;
        }
        let (name, after) = cut(rest, b",=");
        rest = after;
        let Some(value) = rest.strip_prefix(b"=") else {
            return Some((name, None));
        };
        let value = value.trim_ascii_start();
        let (value, after) = match value.strip_prefix(b"\"") {
            Some(quoted) => {
                let (value, after) = cut(quoted, b"\"");
                (value, after.get(1..).unwrap_or_default())
            }
            None => cut(value, b","),
        };
        rest = after;
        Some((name, Some(value)))
    })
}

fn cut<'a>(text: &'a [u8], ends: &[u8]) -> (&'a [u8], &'a [u8]) {
    let end = text.iter().position(|byte| ends.contains(byte));
    let (before, after) = text.split_at(end.unwrap_or(text.len()));
    (before.trim_ascii(), after)
}

/// A number of seconds; what is no number is none (RFC 9111, section 4.2.1: then it is stale).
pub(super) fn seconds(value: Option<&[u8]>) -> u64 {
    let value = value.unwrap_or_default();
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let text = std::str::from_utf8(value).unwrap_or_default();
    text.parse().unwrap_or(SECONDS_MAX).min(SECONDS_MAX)
}

#[cfg(test)]
mod tests;
