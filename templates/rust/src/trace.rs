//! W3C Trace Context: a request belongs to its caller's trace, or begins one.

use axum::http::HeaderMap;

/// This service's place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

impl Trace {
    /// A span of our own in the trace of `traceparent`, or in a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let parent = headers
            .get("traceparent")
            .and_then(|value| parse(value.to_str().ok()?));
        let (trace_id, flags) = parent.unwrap_or_else(|| (fastrand::u128(1..), 1));
        Self {
            trace_id,
            span_id: fastrand::u64(1..),
            flags,
        }
    }

    /// The trace's id, as logs and trace viewers write it.
    pub fn id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The id of our span in it.
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span_id)
    }

    /// The header `traceparent` for calls that are made on the request's behalf.
    pub fn header(&self) -> String {
        format!("00-{}-{}-{:02x}", self.id(), self.span_id(), self.flags)
    }
}

/// Trace id and flags of a valid `traceparent`.
fn parse(header: &str) -> Option<(u128, u8)> {
    let mut fields = header.split('-');
    let (version, trace, span, flags) = (
        fields.next()?,
        fields.next()?,
        fields.next()?,
        fields.next()?,
    );
    // Version 0 ends here; later ones may have more.
    if hex(version, 2)? == 0xff || (version == "00" && fields.next().is_some()) {
        return None;
    }
    let (trace, span) = (hex(trace, 32)?, hex(span, 16)?);
    (trace != 0 && span != 0).then_some((trace, u8::try_from(hex(flags, 2)?).ok()?))
}

/// Exactly `digits` lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let valid = text.len() == digits
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    valid.then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests;
