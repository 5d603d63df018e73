//! How a release takes over traffic: the `rollout` part of a Helm values file, in the shape of Argo Rollouts.
//!
//! The same part is read on one machine and from an overlay of a chart. What else is in the file is the chart's.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Deserialize, Serialize};

use crate::source::{Diagnostic, SourceFile};
use crate::units::Span;
use crate::{check, yaml};

/// The code of a step that makes no sense.
const CODE: &str = "RC-CFG-008";

/// Most stages of a rollout.
pub const STAGES_MAX: usize = 32;

/// `rollout:` as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct RolloutSpec {
    /// `false`: the release takes all traffic at once when it is ready.
    pub enabled: bool,
    /// What happens one after the other: `setWeight` in per cent, or `pause`. Absent: 10, 30 and 60 per cent for 2, 5
    /// and 10 minutes.
    #[schemars(length(max = 64))]
    pub steps: Vec<RolloutStep>,
    /// Conditions of the team's own, beside the comparison with the version that runs.
    #[schemars(length(max = 32))]
    pub metrics: Vec<RolloutMetric>,
}

impl Default for RolloutSpec {
    fn default() -> Self {
        let weight = |percent| RolloutStep {
            set_weight: Some(percent),
            pause: None,
        };
        let pause = |minutes: u64| RolloutStep {
            set_weight: None,
            pause: Some(Pause {
                duration: Some(Span::from_millis(minutes * 60_000)),
            }),
        };
        Self {
            enabled: true,
            steps: vec![weight(10), pause(2), weight(30), pause(5), weight(60), pause(10)],
            metrics: Vec::new(),
        }
    }
}

/// One step: a weight, or a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RolloutStep {
    /// Per cent of the traffic that the release gets from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub set_weight: Option<u8>,
    /// How long the release is watched at this weight, at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause: Option<Pause>,
}

/// A pause; without a duration it lasts until somebody promotes the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pause {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Span>,
}

/// A condition on a metric, as Argo Rollouts and Flagger have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RolloutMetric {
    pub name: String,
    /// How often it is looked at.
    #[serde(default = "RolloutMetric::default_interval")]
    pub interval: Span,
    /// How often it may fail. One more, and the release goes back.
    #[serde(default)]
    #[schemars(range(max = 1_000))]
    pub failure_limit: u32,
    /// Where the query is asked: `prometheus`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The query.
    pub query: String,
}

impl RolloutMetric {
    fn default_interval() -> Span {
        Span::from_millis(60_000)
    }
}

/// A weight, and what has to pass before the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Per cent of the traffic.
    pub percent: u8,
    /// How long the release is watched at least; `None`: until somebody promotes it.
    pub watch: Option<Duration>,
}

impl RolloutSpec {
    /// The stages, ending with all of the traffic.
    ///
    /// # Errors
    /// The step that makes no sense, by its place, and why.
    pub fn stages(&self) -> Result<Vec<Stage>, (usize, String)> {
        let whole = Stage {
            percent: 100,
            watch: Some(Duration::ZERO),
        };
        if !self.enabled {
            return Ok(vec![whole]);
        }
        let mut stages: Vec<Stage> = Vec::new();
        for (at, step) in self.steps.iter().enumerate() {
            let refuse = |why: String| Err((at, why));
            match (step.set_weight, step.pause) {
                (Some(percent), None) => {
                    if let Some(last) = stages.last()
                        && last.percent >= percent
                    {
                        return refuse(format!(
                            "a release gets more traffic with each step, and {percent} comes after {}",
                            last.percent
                        ));
                    }
                    stages.push(Stage {
                        percent,
                        watch: Some(Duration::ZERO),
                    });
                }
                (None, Some(pause)) => {
                    let Some(stage) = stages.last_mut() else {
                        return refuse("there is no weight yet at which to pause".to_owned());
                    };
                    stage.watch = match (stage.watch, pause.duration) {
                        (Some(before), Some(more)) => Some(before.saturating_add(more.duration())),
                        (_, None) | (None, _) => None,
                    };
                }
                (Some(_), Some(_)) => {
                    return refuse("one step has `setWeight` or `pause`: make two steps of it".to_owned());
                }
                (None, None) => return refuse("a step has `setWeight` or `pause`".to_owned()),
            }
        }
        if stages.last().is_none_or(|last| last.percent < 100) {
            stages.push(whole);
        }
        if stages.len() > STAGES_MAX {
            return Err((
                self.steps.len() - 1,
                format!("a rollout has at most {STAGES_MAX} weights"),
            ));
        }
        Ok(stages)
    }
}

/// Reads the `rollout` part of the values in `source`; the defaults where there is none.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub fn read(source: &Arc<SourceFile>) -> Result<RolloutSpec, Vec<Diagnostic>> {
    let root = yaml::parse(source)?;
    let Some(part) = root.get("rollout") else {
        return Ok(RolloutSpec::default());
    };
    let schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<RolloutSpec>()
        .to_value();
    let (problems, _no_secrets) = check::check(source, &schema, part);
    if !problems.is_empty() {
        return Err(problems);
    }
    let spec: RolloutSpec = match part.value {
        yaml::Value::Null => RolloutSpec::default(),
        _ => serde_json::from_value(part.to_json())
            .map_err(|error| vec![Diagnostic::error(CODE, source, part.span, error.to_string())])?,
    };
    match spec.stages() {
        Ok(_) => Ok(spec),
        Err((at, why)) => {
            let step = part.get("steps").and_then(|steps| steps.items().get(at));
            let span = step.map_or(part.span, |step| step.span);
            Err(vec![Diagnostic::error(CODE, source, span, why)])
        }
    }
}

#[cfg(test)]
mod tests;
