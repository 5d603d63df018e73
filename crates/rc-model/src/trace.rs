//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>, level 1): the `traceparent` header.

use std::fmt;

/// Length of a version 00 `traceparent`.
pub const TRACEPARENT_BYTES: usize = 55;

/// A place in a trace: which trace, which span is the parent, and whether somebody records it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
}

impl TraceContext {
    /// Starts a trace. Ids are random and never zero; `random` gives 64 random bits a call.
    pub fn start(mut random: impl FnMut() -> u64) -> Self {
        let trace_id = ((u128::from(random()) << 64) | u128::from(random())).max(1);
        Self {
            trace_id,
            span_id: random().max(1),
            sampled: true,
        }
    }

    /// The same place, recorded or not: for whoever begins a trace and decides.
    #[must_use]
    pub const fn with_sampled(self, sampled: bool) -> Self {
        Self { sampled, ..self }
    }

    /// A span below this one in the same trace.
    #[must_use]
    pub fn child(self, mut random: impl FnMut() -> u64) -> Self {
        Self {
            span_id: random().max(1),
            ..self
        }
    }

    /// Reads a `traceparent` header. `None` for anything the specification calls invalid: the caller
    /// then starts a new trace.
    #[must_use]
    pub fn parse(header: &[u8]) -> Option<Self> {
        if header.len() < TRACEPARENT_BYTES {
            return None;
        }
        let version = hex_u64(&header[0..2])?;
        if version == 0xff || (version == 0 && header.len() != TRACEPARENT_BYTES) {
            return None;
        }
        // A later version may append fields behind another dash; the first four keep their places.
        if header.len() > TRACEPARENT_BYTES && header[TRACEPARENT_BYTES] != b'-' {
            return None;
        }
        if header[2] != b'-' || header[35] != b'-' || header[52] != b'-' {
            return None;
        }
        let high = hex_u64(&header[3..19])?;
        let low = hex_u64(&header[19..35])?;
        let trace_id = (u128::from(high) << 64) | u128::from(low);
        let span_id = hex_u64(&header[36..52])?;
        let flags = hex_u64(&header[53..55])?;
        if trace_id == 0 || span_id == 0 {
            return None;
        }
        Some(Self {
            trace_id,
            span_id,
            sampled: flags & 1 == 1,
        })
    }

    /// The header's text without an allocation.
    #[must_use]
    pub fn encode(self) -> [u8; TRACEPARENT_BYTES] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        put_hex(&mut out[3..35], self.trace_id);
        put_hex(&mut out[36..52], u128::from(self.span_id));
        put_hex(&mut out[53..55], u128::from(self.sampled));
        out
    }

    /// The trace's id.
    #[must_use]
    pub fn trace_id(self) -> u128 {
        self.trace_id
    }

    /// The trace's id as 32 hex digits.
    #[must_use]
    pub fn trace_id_hex(self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The span's id.
    #[must_use]
    pub fn span_id(self) -> u64 {
        self.span_id
    }

    /// Whether the caller records this trace.
    #[must_use]
    pub fn sampled(self) -> bool {
        self.sampled
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace_id,
            self.span_id,
            u8::from(self.sampled)
        )
    }
}

/// Lower-case hex only, as the specification demands.
fn hex_u64(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some((value << 4) | u64::from(nibble))
    })
}

fn put_hex(out: &mut [u8], mut value: u128) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for slot in out.iter_mut().rev() {
        *slot = DIGITS[(value & 0xf) as usize];
        value >>= 4;
    }
}

#[cfg(test)]
mod tests;
