//! Holding a service's log and its bus against each other: the route, and the report as JSON.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use rc_events::verify::{Finding, Repaired, Report};
use rc_events::{Bus, Source, verify};
use rc_serve::ApiError;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::acts::Acts;
use super::admin::{self, absent, problem};
use crate::audit::{Action, Resource};

/// The path on a service's socket.
pub const VERIFY_PATH: &str = "/-/events/verify";

/// A log and the bus that it goes to.
pub type Ends = Arc<dyn Fn() -> Option<(Arc<dyn Source>, Arc<dyn Bus>)> + Send + Sync>;

/// What the route works on.
#[derive(Clone)]
pub struct Verify {
    /// The ends; none while the store is not there. The source is one of the caller's own, not the relay's.
    pub ends: Ends,
    /// Where acts are recorded; none when that could not be opened, and then nothing is checked.
    pub acts: Option<Acts>,
}

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Publish again what is missing.
    pub repair: bool,
    /// For the audit log, in the caller's words.
    pub reason: String,
}

/// What was found, and done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the bus has what was written and nothing else.
    pub whole: bool,
    pub log_events: u64,
    pub bus_events: u64,
    /// Events on the bus that the log no longer keeps, or never had.
    pub beyond_log: u64,
    /// Events in the log that the bus may have deleted in its time.
    pub beyond_bus: u64,
    /// Events that the relay has not come to.
    pub waiting: u64,
    pub missing: FindingLine,
    pub lost: FindingLine,
    pub doubled: FindingLine,
    pub reordered: FindingLine,
    pub changed: FindingLine,
    pub phantom: FindingLine,
    /// Missing events that a repair published; absent when none was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<u64>,
    /// Missing events that the bus will never take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<FindingLine>,
}

/// How often something was found, and the first of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FindingLine {
    pub count: u64,
    pub examples: Vec<ExampleLine>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExampleLine {
    /// `tenant/topic/key`
    pub place: String,
    /// Its number there.
    pub sequence: u64,
    /// Where it stands on the bus, if it does.
    pub position: Option<i64>,
}

impl From<&Finding> for FindingLine {
    fn from(finding: &Finding) -> Self {
        let line = |example: &verify::Example| ExampleLine {
            place: example.place.to_string(),
            sequence: example.kseq,
            position: example.pos,
        };
        Self {
            count: finding.count,
            examples: finding.examples.iter().map(line).collect(),
        }
    }
}

impl From<&Report> for Verdict {
    fn from(report: &Report) -> Self {
        Self {
            whole: report.is_whole(),
            log_events: report.log_events,
            bus_events: report.bus_events,
            beyond_log: report.beyond_log,
            beyond_bus: report.beyond_bus,
            waiting: report.waiting,
            missing: (&report.missing).into(),
            lost: (&report.lost).into(),
            doubled: (&report.doubled).into(),
            reordered: (&report.reordered).into(),
            changed: (&report.changed).into(),
            phantom: (&report.phantom).into(),
            published: None,
            refused: None,
        }
    }
}

impl From<&Repaired> for Verdict {
    fn from(done: &Repaired) -> Self {
        Self {
            published: Some(done.published),
            refused: Some((&done.refused).into()),
            ..Self::from(&done.report)
        }
    }
}

/// Checks, and repairs when `repair` says so.
///
/// # Errors
/// What log or bus say.
pub async fn check(source: &dyn Source, bus: &dyn Bus, repair: bool) -> Result<Verdict, rc_events::Error> {
    if repair {
        verify::repair(source, bus).await.map(|done| Verdict::from(&done))
    } else {
        verify::verify(source, bus)
            .await
            .map(|report| Verdict::from(&report))
    }
}

/// The route.
pub fn router(verify: Verify) -> Router {
    Router::new()
        .route(VERIFY_PATH, post(run))
        .with_state(Arc::new(verify))
}

async fn run(State(verify): State<Arc<Verify>>, request: Request) -> Result<Response, ApiError> {
    let (parts, wish) = admin::read_request::<Wish>(request).await?;
    let asked = admin::asked(&parts, wish.reason)?;
    let acts = admin::acts(verify.acts.as_ref())?;
    let (source, bus) = (verify.ends)().ok_or_else(absent)?;
    let resource = Resource {
        kind: "events",
        id: source.origin().to_owned(),
        tenant: None,
    };
    let checked = check(source.as_ref(), bus.as_ref(), wish.repair);
    let verdict = if wish.repair {
        let detail = json!({ "repair": true });
        acts.act(&asked, Action::EventsRepair, &resource, detail, checked)
            .await?
    } else {
        checked.await.map_err(problem)?
    };
    // What was found is an entry as well: that somebody looked, and what there was to see.
    let count = |finding: &FindingLine| finding.count;
    let detail = json!({
        "whole": verdict.whole,
        "log_events": verdict.log_events,
        "bus_events": verdict.bus_events,
        "missing": count(&verdict.missing),
        "lost": count(&verdict.lost),
        "doubled": count(&verdict.doubled),
        "reordered": count(&verdict.reordered),
        "changed": count(&verdict.changed),
        "phantom": count(&verdict.phantom),
        "published": verdict.published,
    });
    acts.result(&asked, Action::EventsVerify, &resource, detail)
        .await?;
    Ok(axum::Json(verdict).into_response())
}
