//! What a subject hands to `cargo xtask bench`: named quantities, one value a round.
//!
//! Medians, verdicts and the page are made there, from these.

use serde::Serialize;

/// Everything that one subject measured.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    /// How, in a few sentences.
    pub(crate) method: String,
    /// Fewest values of a figure with a target that are published.
    pub(crate) rounds_min: usize,
    pub(crate) figures: Vec<Figure>,
}

/// One quantity.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// The table it belongs to.
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) unit: Unit,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_most: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_least: Option<f64>,
    /// The target is held against the worst value; else against the median.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) worst: bool,
    /// In the order of measurement.
    pub(crate) values: Vec<f64>,
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "us")]
    Microseconds,
    #[serde(rename = "MiB")]
    Mebibytes,
    #[serde(rename = "x")]
    Times,
    #[serde(rename = "%")]
    Percent,
    #[serde(rename = "/s")]
    PerSecond,
    #[serde(rename = "")]
    Count,
}

/// Figures in the making: values are pushed round by round, under the names of the first round.
#[derive(Debug, Default)]
pub(crate) struct Figures(Vec<Figure>);

impl Figures {
    /// Adds one round's value; the first one also makes the row.
    pub(crate) fn push(&mut self, group: &str, name: &str, unit: Unit, value: f64) -> &mut Figure {
        let place = self
            .0
            .iter()
            .position(|figure| figure.group == group && figure.name == name);
        let place = place.unwrap_or_else(|| {
            self.0.push(Figure {
                group: group.to_owned(),
                name: name.to_owned(),
                unit,
                at_most: None,
                at_least: None,
                worst: false,
                values: Vec::new(),
            });
            self.0.len() - 1
        });
        let figure = &mut self.0[place];
        figure.values.push(value);
        figure
    }

    /// All rows, in the order in which they appeared.
    pub(crate) fn into_rows(self) -> Vec<Figure> {
        self.0
    }
}

impl Figure {
    /// The value that must not be passed.
    pub(crate) fn at_most(&mut self, value: f64) {
        self.at_most = Some(value);
    }

    /// The value that must be reached.
    pub(crate) fn at_least(&mut self, value: f64) {
        self.at_least = Some(value);
    }

    /// Every single value must meet the target.
    pub(crate) fn judged_by_worst(&mut self) {
        self.worst = true;
    }
}
