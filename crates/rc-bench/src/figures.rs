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
    /// Where its median stands for programs that read the results: names from the outermost object inwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// In the results, and not on the page.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) aside: bool,
    /// In the order of measurement; none where this build cannot do what would be measured.
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
        let figure = self.row(group, name, unit);
        figure.values.push(value);
        figure
    }

    /// A row that says that this build does not support what would be measured.
    pub(crate) fn unsupported(&mut self, group: &str, name: &str, unit: Unit) {
        self.row(group, name, unit);
    }

    fn row(&mut self, group: &str, name: &str, unit: Unit) -> &mut Figure {
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
                key: None,
                aside: false,
                values: Vec::new(),
            });
            self.0.len() - 1
        });
        &mut self.0[place]
    }

    /// All rows: groups, and rows within a group, in the order in which they appeared.
    pub(crate) fn into_rows(self) -> Vec<Figure> {
        let mut groups: Vec<String> = Vec::new();
        for figure in &self.0 {
            if !groups.contains(&figure.group) {
                groups.push(figure.group.clone());
            }
        }
        let mut rows = self.0;
        rows.sort_by_key(|row| groups.iter().position(|group| *group == row.group));
        rows
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

    /// Its median is found under that key, such as `scenarios.A.victims_p99_ratio`.
    pub(crate) fn keyed(&mut self, key: impl Into<String>) -> &mut Self {
        self.key = Some(key.into());
        self
    }

    /// It is kept and not shown.
    pub(crate) fn aside(&mut self) {
        self.aside = true;
    }

    /// Every single value must meet the target.
    pub(crate) fn judged_by_worst(&mut self) {
        self.worst = true;
    }
}
