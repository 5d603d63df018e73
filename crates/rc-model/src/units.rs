//! Quantities with their units: `500/s`, `4MiB`, `250ms`, `20%`.
//!
//! A bare number is refused where the unit could be mistaken (sizes, durations); a bare number as a rate
//! means per second, as everybody writes it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("expected {expected}, found `{found}`")]
    Syntax { found: String, expected: &'static str },
    #[error("`{found}` is out of range: {range}")]
    Range { found: String, range: &'static str },
}

/// How many per how long, such as `500/s`, `30/min` or `1000/h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    count: u64,
    per: Duration,
}

const RATE_EXPECTED: &str = "a rate such as `500/s`, `30/min` or `1000/h`";
const RATE_RANGE: &str = "1/h to 10000000/s";

impl Rate {
    /// `count` a second.
    #[must_use]
    pub const fn per_second(count: u64) -> Self {
        Self {
            count,
            per: Duration::from_secs(1),
        }
    }

    /// Events in one period.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.count
    }

    /// The period.
    #[must_use]
    pub const fn period(self) -> Duration {
        self.per
    }

    /// Nanoseconds from one event to the next when they are spread evenly (GCRA's emission interval).
    #[must_use]
    pub fn interval_ns(self) -> u64 {
        u64::try_from(self.per.as_nanos() / u128::from(self.count.max(1)))
            .unwrap_or(u64::MAX)
            .max(1)
    }

    /// Reads `500/s`, `30/min`, `1000/h`, or `500` (a second).
    ///
    /// # Errors
    /// When the text is not a rate or is out of range.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let syntax = || UnitError::Syntax {
            found: text.to_owned(),
            expected: RATE_EXPECTED,
        };
        let (count, unit) = text.split_once('/').unwrap_or((text, "s"));
        let count: u64 = count.trim().replace('_', "").parse().map_err(|_e| syntax())?;
        let per = match unit.trim() {
            "s" | "sec" | "second" => Duration::from_secs(1),
            "m" | "min" | "minute" => Duration::from_secs(60),
            "h" | "hour" => Duration::from_secs(3600),
            _ => return Err(syntax()),
        };
        if count == 0 || count / per.as_secs() > 10_000_000 {
            return Err(UnitError::Range {
                found: text.to_owned(),
                range: RATE_RANGE,
            });
        }
        Ok(Self { count, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            60 => "min",
            3600 => "h",
            _ => "s",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// A number of bytes, such as `600B`, `256KiB`, `4MiB`, `10MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

const SIZE_EXPECTED: &str = "a size such as `600B`, `256KiB` or `4MiB`";
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// `bytes` bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as an index, saturating.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Reads a whole number and a unit: `B`, `KB`, `KiB`, `MB`, `MiB`, `GB`, `GiB`, `TB`, `TiB`.
    ///
    /// # Errors
    /// When the text is not a size or does not fit 63 bits.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let syntax = || UnitError::Syntax {
            found: text.to_owned(),
            expected: SIZE_EXPECTED,
        };
        let digits = text
            .trim_end_matches(|c: char| c.is_ascii_alphabetic())
            .trim_end();
        let unit = text[digits.len()..].trim();
        let factor = SIZE_UNITS
            .iter()
            .find_map(|(name, factor)| name.eq_ignore_ascii_case(unit).then_some(*factor))
            .ok_or_else(syntax)?;
        let count: u64 = digits.replace('_', "").parse().map_err(|_e| syntax())?;
        count
            .checked_mul(factor)
            .filter(|bytes| *bytes <= i64::MAX as u64)
            .map(Self)
            .ok_or_else(|| UnitError::Range {
                found: text.to_owned(),
                range: "at most 8388607TiB",
            })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = SIZE_UNITS.iter().filter(|(name, _)| name.ends_with("iB"));
        match binary
            .into_iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
        {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// A length of time, such as `250ms`, `5s`, `10min`, `24h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(Duration);

const SPAN_EXPECTED: &str = "a duration such as `250ms`, `5s`, `10min`, `24h` or `7d`";

impl Span {
    /// A span of `millis` milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// As the standard library's type.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Reads a whole number and a unit: `ms`, `s`, `m` or `min`, `h`, `d`.
    ///
    /// # Errors
    /// When the text is not a duration or is longer than ten years.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let syntax = || UnitError::Syntax {
            found: text.to_owned(),
            expected: SPAN_EXPECTED,
        };
        let digits = text
            .trim_end_matches(|c: char| c.is_ascii_alphabetic())
            .trim_end();
        let factor_ms: u64 = match text[digits.len()..].trim() {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(syntax()),
        };
        let count: u64 = digits.replace('_', "").parse().map_err(|_e| syntax())?;
        count
            .checked_mul(factor_ms)
            .filter(|ms| *ms <= 3_650 * 86_400_000)
            .map(Self::from_millis)
            .ok_or_else(|| UnitError::Range {
                found: text.to_owned(),
                range: "at most 3650d",
            })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        for (unit, factor) in [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)] {
            if ms >= factor && ms.is_multiple_of(factor) {
                return write!(f, "{}{unit}", ms / factor);
            }
        }
        write!(f, "{ms}ms")
    }
}

/// A part of a hundred, such as `20%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u8);

const PERCENT_EXPECTED: &str = "a share such as `20%`";

impl Percent {
    /// `percent` of a hundred; more than all is all.
    #[must_use]
    pub const fn new(percent: u8) -> Self {
        Self(if percent > 100 { 100 } else { percent })
    }

    /// As a number from 0 to 100.
    #[must_use]
    pub const fn percent(self) -> u8 {
        self.0
    }

    /// As a number from 0 to 1.
    #[must_use]
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Reads a whole number from 0 to 100 and `%`.
    ///
    /// # Errors
    /// When the text is not a share or is more than all.
    pub fn parse(text: &str) -> Result<Self, UnitError> {
        let syntax = || UnitError::Syntax {
            found: text.to_owned(),
            expected: PERCENT_EXPECTED,
        };
        let number = text.trim().strip_suffix('%').ok_or_else(syntax)?;
        let percent: u32 = number.trim_end().parse().map_err(|_e| syntax())?;
        match u8::try_from(percent) {
            Ok(percent @ 0..=100) => Ok(Self(percent)),
            _ => Err(UnitError::Range {
                found: text.to_owned(),
                range: "0% to 100%",
            }),
        }
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

macro_rules! text_serde {
    ($name:ident, $format:literal, $expected:expr, $examples:expr, $types:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).map_err(E::custom)
                    }
                    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<$name, E> {
                        $name::parse(&number.to_string()).map_err(E::custom)
                    }
                    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<$name, E> {
                        $name::parse(&number.to_string()).map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Visitor)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": $types,
                    "format": $format,
                    "description": $expected,
                    "examples": $examples,
                })
            }
        }
    };
}

text_serde!(
    Rate,
    "rate",
    RATE_EXPECTED,
    ["500/s", "30/min"],
    ["string", "integer"]
);
text_serde!(ByteSize, "byte-size", SIZE_EXPECTED, ["256KiB", "4MiB"], "string");
text_serde!(Percent, "percent", PERCENT_EXPECTED, ["20%"], "string");
text_serde!(Span, "span", SPAN_EXPECTED, ["250ms", "5s"], "string");

#[cfg(test)]
mod tests;
