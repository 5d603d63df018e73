//! The routes of a consumer's replays of history, on its service's owner-only socket.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rc_events::consumer::ConsumerHandle;
use rc_events::replay::{HistoryFilter, Job, Replay};
use rc_model::{TenantId, Timestamp};
use rc_serve::ApiError;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::acts::{Acts, Asked};
use super::admin::{self, absent, problem};
use crate::audit::{Action, Resource};

/// The path on a service's socket.
pub const REPLAYS_PATH: &str = "/-/replays";

/// What the routes work on.
#[derive(Clone)]
pub struct History {
    /// The consumer; none while its store is not there.
    pub consumer: Arc<dyn Fn() -> Option<ConsumerHandle> + Send + Sync>,
    /// Where acts are recorded; none when that could not be opened, and then no act happens.
    pub acts: Option<Acts>,
}

/// Which events; everything that is set must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Which {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
}

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Wish {
    /// Only say what a replay would do.
    Plan { which: Which },
    /// Give the events to the consumer once more.
    Start {
        which: Which,
        rate: Option<NonZeroU32>,
        /// The plan that was shown: exactly that is replayed, or nothing.
        plan: Option<String>,
        reason: String,
    },
    /// End a replay where it is.
    Cancel { number: i64, reason: String },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Planned(PlanLine),
    Started(JobLine),
    Cancelled(i64),
}

/// What a replay would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanLine {
    /// Events that match.
    pub events: u64,
    /// Events after this place up to `upto` are looked at.
    pub first: i64,
    pub upto: i64,
    pub plan: String,
}

/// A replay of history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobLine {
    pub number: i64,
    /// `running`, `done`, `cancelled` or `failed`
    pub state: String,
    pub reason: String,
    /// Events that match, and what became of those that it came to.
    pub events: u64,
    pub applied: u64,
    pub failed: u64,
    /// The last place that was looked at, and where it ends.
    pub at: i64,
    pub upto: i64,
    pub began_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// Why it ended, where somebody or something ended it.
    pub why: String,
}

/// The newest replays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Jobs {
    pub replays: Vec<JobLine>,
}

impl From<&Job> for JobLine {
    fn from(job: &Job) -> Self {
        Self {
            number: job.number,
            state: job.state.as_str().to_owned(),
            reason: job.reason.clone(),
            events: job.plan.matched,
            applied: job.applied,
            failed: job.failed,
            at: job.at,
            upto: job.plan.upto,
            began_at: job.began,
            ended_at: job.ended,
            why: job.why.clone(),
        }
    }
}

impl Which {
    fn filter(&self) -> HistoryFilter {
        HistoryFilter {
            since: self.since,
            until: self.until,
            tenant: self.tenant.clone(),
            topic: self.topic.clone(),
            key: self.key.clone(),
            event_type: self.event_type.clone(),
        }
    }
}

/// The routes.
pub fn router(history: History) -> Router {
    Router::new()
        .route(REPLAYS_PATH, get(list).post(wish))
        .with_state(Arc::new(history))
}

async fn list(State(history): State<Arc<History>>) -> Result<Response, ApiError> {
    let jobs = history.consumer()?.jobs().await.map_err(problem)?;
    let replays = jobs.iter().map(JobLine::from).collect();
    Ok(axum::Json(Jobs { replays }).into_response())
}

async fn wish(State(history): State<Arc<History>>, request: Request) -> Result<Response, ApiError> {
    let (parts, wish) = admin::read_request::<Wish>(request).await?;
    let answer = match wish {
        Wish::Plan { which } => history.plan(&which).await?,
        Wish::Start {
            which,
            rate,
            plan,
            reason,
        } => {
            let asked = admin::asked(&parts, reason)?;
            history.start(&asked, which, rate, plan).await?
        }
        Wish::Cancel { number, reason } => {
            let asked = admin::asked(&parts, reason)?;
            history.cancel(&asked, number).await?
        }
    };
    Ok(axum::Json(answer).into_response())
}

impl History {
    fn consumer(&self) -> Result<ConsumerHandle, ApiError> {
        (self.consumer)().ok_or_else(|| absent().into())
    }

    async fn plan(&self, which: &Which) -> Result<Answer, ApiError> {
        let replay = Replay {
            filter: which.filter(),
            ..Replay::default()
        };
        let plan = self.consumer()?.plan(&replay).await.map_err(problem)?;
        Ok(Answer::Planned(PlanLine {
            events: plan.matched,
            first: plan.first,
            upto: plan.upto,
            plan: plan.hash,
        }))
    }

    async fn start(
        &self,
        asked: &Asked,
        which: Which,
        rate: Option<NonZeroU32>,
        plan: Option<String>,
    ) -> Result<Answer, ApiError> {
        let consumer = self.consumer()?;
        let detail = json!({ "which": which, "rate": rate, "plan": plan });
        let resource = resource(&consumer, which.tenant.clone());
        let replay = Replay {
            filter: which.filter(),
            rate,
            reason: asked.reason.clone(),
            plan,
        };
        let act = consumer.start(replay);
        let acts = admin::acts(self.acts.as_ref())?;
        let job = acts
            .act(asked, Action::EventsReplay, &resource, detail, act)
            .await?;
        Ok(Answer::Started(JobLine::from(&job)))
    }

    async fn cancel(&self, asked: &Asked, number: i64) -> Result<Answer, ApiError> {
        let consumer = self.consumer()?;
        let detail = json!({ "cancel": number });
        let resource = resource(&consumer, None);
        let act = consumer.cancel(number, &asked.reason);
        let acts = admin::acts(self.acts.as_ref())?;
        acts.act(asked, Action::EventsReplay, &resource, detail, act)
            .await?;
        Ok(Answer::Cancelled(number))
    }
}

fn resource(consumer: &ConsumerHandle, tenant: Option<TenantId>) -> Resource {
    Resource {
        kind: "events",
        id: consumer.name().to_owned(),
        tenant,
    }
}
