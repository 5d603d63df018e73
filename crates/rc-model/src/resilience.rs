//! How the gateway goes on when a service does not: time-outs that learn, second tries, endpoints that are left alone,
//! circuits.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use crate::units::{Percent, Rate, Span};

/// Longest time that a request may take: a span, or `{max, factor, min}`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "WrittenTimeout", into = "WrittenTimeout")]
pub struct Timeout {
    /// The whole request, whatever the service usually takes.
    pub max: Span,
    /// How much less there is until the answer begins. Absent: not less.
    pub adaptive: Option<AdaptiveTimeout>,
}

/// Until the answer begins a request has `p99.9 * factor` of what such requests took lately, and at least `min`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdaptiveTimeout {
    pub factor: f64,
    pub min: Span,
}

impl Timeout {
    /// `max`, and nothing that learns.
    #[must_use]
    pub const fn fixed(max: Span) -> Self {
        Self { max, adaptive: None }
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenTimeout {
    Fixed(Span),
    Adaptive(WrittenAdaptive),
}

#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WrittenAdaptive {
    /// The whole request, whatever the service usually takes.
    max: Span,
    /// Until the answer begins a request has so many times what the slowest of a thousand such requests took lately.
    #[serde(default = "WrittenAdaptive::default_factor")]
    #[schemars(range(min = 1.0, max = 100.0))]
    factor: f64,
    /// And at least so long.
    #[serde(default = "WrittenAdaptive::default_min")]
    min: Span,
}

impl WrittenAdaptive {
    fn default_factor() -> f64 {
        3.0
    }

    fn default_min() -> Span {
        Span::from_millis(100)
    }
}

impl From<WrittenTimeout> for Timeout {
    fn from(written: WrittenTimeout) -> Self {
        match written {
            WrittenTimeout::Fixed(max) => Self::fixed(max),
            WrittenTimeout::Adaptive(WrittenAdaptive { max, factor, min }) => Self {
                max,
                adaptive: Some(AdaptiveTimeout { factor, min }),
            },
        }
    }
}

impl From<Timeout> for WrittenTimeout {
    fn from(timeout: Timeout) -> Self {
        match timeout.adaptive {
            None => Self::Fixed(timeout.max),
            Some(AdaptiveTimeout { factor, min }) => Self::Adaptive(WrittenAdaptive {
                max: timeout.max,
                factor,
                min,
            }),
        }
    }
}

impl JsonSchema for Timeout {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Timeout")
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let span = Span::json_schema(generator);
        let mut schema = WrittenAdaptive::json_schema(generator);
        for key in ["format", "examples"] {
            if let Some(value) = span.get(key) {
                schema.insert(key.to_owned(), value.clone());
            }
        }
        schema.insert("type".to_owned(), serde_json::json!(["string", "object"]));
        schema.insert(
            "description".to_owned(),
            "a duration such as `5s`, or `{max: 5s, factor: 3, min: 100ms}`".into(),
        );
        schema
    }
}

/// Second tries of requests that may be done twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Second tries as a part of the requests of the last ten seconds, for each tenant and route. `0%`: none.
    pub budget: Percent,
    /// What a tenant may try again where its budget would come to less.
    pub min: Rate,
    /// Most further tries of one request.
    #[schemars(range(min = 0, max = 5))]
    pub max: u32,
}

impl Retry {
    /// No request is tried again.
    pub const OFF: Self = Self {
        budget: Percent::new(0),
        min: Rate::per_second(1),
        max: 0,
    };
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            budget: Percent::new(20),
            min: Rate::per_second(1),
            max: 2,
        }
    }
}

/// When the gateway leaves an endpoint of a service alone, and when the whole service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Endpoints that fail where others do not.
    pub ejection: Ejection,
    /// A service that fails for most tenants, or for one of them.
    pub breaker: Breaker,
}

impl Health {
    /// Every endpoint is asked, whatever it answers.
    pub const OFF: Self = Self {
        ejection: Ejection {
            enabled: false,
            ..Ejection::DEFAULT
        },
        breaker: Breaker {
            enabled: false,
            ..Breaker::DEFAULT
        },
    };
}

/// When one endpoint is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ejection {
    /// Whether endpoints are left alone at all.
    pub enabled: bool,
    /// Connections in a row that it does not take.
    #[schemars(range(min = 1, max = 1_000))]
    pub connects: u32,
    /// Failures as a part of its requests of the last seconds, when the other endpoints have less than half of that.
    pub errors: Percent,
    /// How long it is left alone the first time; twice as long each time that follows, up to twelve times.
    pub time: Span,
    /// Most endpoints that are left alone at once, as a part of all. Never the last one.
    pub max: Percent,
}

impl Ejection {
    const DEFAULT: Self = Self {
        enabled: true,
        connects: 3,
        errors: Percent::new(50),
        time: Span::from_millis(5_000),
        max: Percent::new(50),
    };
}

impl Default for Ejection {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// When requests are refused instead of sent to a service that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Whether there are circuits at all.
    pub enabled: bool,
    /// Failures as a part of the requests of the last seconds: of one tenant, and of all.
    pub errors: Percent,
    /// Fewest requests of the last seconds that say something.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub volume: u32,
    /// How long requests are refused before one is let through to see; twice as long each time that follows, up to
    /// twelve times.
    pub time: Span,
}

impl Breaker {
    const DEFAULT: Self = Self {
        enabled: true,
        errors: Percent::new(50),
        volume: 20,
        time: Span::from_millis(2_000),
    };
}

impl Default for Breaker {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A second copy of a read that takes longer than most, at another endpoint; the first answer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Hedge {
    /// Second copies as a part of the route's requests.
    pub budget: Percent,
}

impl Default for Hedge {
    fn default() -> Self {
        Self {
            budget: Percent::new(5),
        }
    }
}

#[cfg(test)]
mod tests;
