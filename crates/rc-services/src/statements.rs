//! `GET /-/statements` and `GET /-/advice`, on a service's owner-only socket: what its statements cost, and what its
//! stores say about their indexes.
//!
//! Both read. Metrics have sums only, one for each store: a label a statement would grow with the code. Advice is made when it is asked for and takes as long as explaining every statement.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use rc_model::Problem;
use rc_serve::{ApiError, Metrics};
use rc_store::{Advice, Advised, Database, Error, StatementProfile};
use serde::{Deserialize, Serialize};

/// The path of the statements on a service's socket; `?plans=true` explains them.
pub const STATEMENTS_PATH: &str = "/-/statements";

/// The path of the advice on a service's socket.
pub const ADVICE_PATH: &str = "/-/advice";

/// A store of a service.
#[derive(Debug, Clone)]
pub struct Store {
    /// `store` or `bus`
    name: &'static str,
    database: Database,
}

impl Store {
    /// The store that the service calls `name`.
    #[must_use]
    pub const fn new(name: &'static str, database: Database) -> Self {
        Self { name, database }
    }

    fn kind(&self) -> &'static str {
        match self.database {
            Database::Sqlite(_) => "sqlite",
            Database::Postgres(_) => "postgresql",
        }
    }
}

/// The stores of a service; none while they are not there.
pub type Stores = Arc<dyn Fn() -> Vec<Store> + Send + Sync>;

/// The routes of `service`, and the sums in its metrics.
pub fn router(service: &'static str, stores: Stores, metrics: &Metrics) -> Router {
    let counted = Counted(Arc::clone(&stores));
    metrics.with_registry(|registry| registry.register_collector(Box::new(counted)));
    let asked = Arc::clone(&stores);
    let statements = async move |Query(want): Query<Want>| -> Result<Response, ApiError> {
        let mut statements = Vec::new();
        for store in asked() {
            let profile = match want.plans {
                true => store.database.profile_with_plans().await.map_err(problem)?,
                false => store.database.profile(),
            };
            let lines = profile
                .into_iter()
                .map(|statement| StatementLine::of(service, &store, statement));
            statements.extend(lines);
        }
        Ok(axum::Json(Statements { statements }).into_response())
    };
    let advice = async move || -> Result<Response, ApiError> {
        let mut all = AllAdvice::default();
        for store in stores() {
            let advised = store.database.advise().await.map_err(problem)?;
            all.add(service, &store, advised);
        }
        Ok(axum::Json(all).into_response())
    };
    Router::new()
        .route(STATEMENTS_PATH, get(statements))
        .route(ADVICE_PATH, get(advice))
}

/// Counts of all statements of each store, looked up when somebody asks for metrics.
struct Counted(Stores);

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counted").finish_non_exhaustive()
    }
}

impl Collector for Counted {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stores: Vec<(&str, Vec<StatementProfile>)> = (self.0)()
            .into_iter()
            .map(|store| (store.name, store.database.profile()))
            .collect();
        type Part = fn(&StatementProfile) -> f64;
        let sums: [(&str, &str, Part); 3] = [
            ("rc_store_statements", "Statements that ran", |statement| {
                statement.calls as f64
            }),
            (
                "rc_store_statements_failed",
                "Statements that failed",
                |statement| statement.errors as f64,
            ),
            ("rc_store_statements_seconds", "Time in statements", |statement| {
                statement.total.as_secs_f64()
            }),
        ];
        for (name, help, of) in sums {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (store, statements) in &stores {
                let sum: f64 = statements.iter().map(of).sum();
                let labels = [("store", *store)];
                ConstCounter::new(sum).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

fn problem(error: Error) -> ApiError {
    let title = rc_model::code::lookup(error.code()).map_or("the store failed", |known| known.title);
    let problem = Problem::new(503, error.code(), title).detail(error.to_string());
    match error.retry_after() {
        Some(after) => problem.retry_after(after).into(),
        None => problem.into(),
    }
}

#[derive(Debug, Deserialize)]
struct Want {
    #[serde(default)]
    plans: bool,
}

/// What the statements of services cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Statements {
    pub statements: Vec<StatementLine>,
}

/// All runs of one statement since its service started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatementLine {
    pub service: String,
    /// `store` or `bus`
    pub store: String,
    /// `sqlite` or `postgresql`
    pub kind: String,
    /// Verb and table.
    pub name: String,
    /// The text without data.
    pub text: String,
    pub calls: u64,
    pub rows: u64,
    pub errors: u64,
    pub total_ms: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub max_ms: f64,
    /// How the database would run it; empty unless that was asked for.
    pub plan: Vec<String>,
}

impl StatementLine {
    fn of(service: &str, store: &Store, statement: StatementProfile) -> Self {
        Self {
            service: service.to_owned(),
            store: store.name.to_owned(),
            kind: store.kind().to_owned(),
            name: statement.name.into(),
            text: statement.text.into(),
            calls: statement.calls,
            rows: statement.rows,
            errors: statement.errors,
            total_ms: ms(statement.total),
            p50_ms: ms(statement.p50),
            p95_ms: ms(statement.p95),
            max_ms: ms(statement.max),
            plan: statement.plan,
        }
    }
}

/// Milliseconds with three decimals.
fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// What stores say about their indexes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AllAdvice {
    pub advice: Vec<AdviceLine>,
    /// What it rests on.
    pub looked_at: Vec<LookedAt>,
}

/// One piece of advice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdviceLine {
    pub service: String,
    pub store: String,
    /// `missing_index`, `full_scan` or `unused_index`
    pub kind: String,
    pub table: String,
    pub index: Option<String>,
    pub because: String,
    pub statement: Option<String>,
    pub plan: Vec<String>,
    /// What to run, when a person agrees.
    pub ddl: Option<String>,
    pub bytes: Option<u64>,
    /// Writes to the table that were counted.
    pub writes: u64,
}

/// What the advice about one store rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LookedAt {
    pub service: String,
    pub store: String,
    /// `sqlite` or `postgresql`
    pub kind: String,
    pub statements: usize,
    pub indexes: usize,
    /// The server's own statistics that were there.
    pub sources: Vec<String>,
}

impl AllAdvice {
    fn add(&mut self, service: &str, store: &Store, advised: Advised) {
        let line = |advice: Advice| AdviceLine {
            service: service.to_owned(),
            store: store.name.to_owned(),
            kind: advice.kind.name().to_owned(),
            table: advice.table,
            index: advice.index,
            because: advice.because,
            statement: advice.statement,
            plan: advice.plan,
            ddl: advice.ddl,
            bytes: advice.bytes,
            writes: advice.writes,
        };
        self.advice.extend(advised.advice.into_iter().map(line));
        self.looked_at.push(LookedAt {
            service: service.to_owned(),
            store: store.name.to_owned(),
            kind: store.kind().to_owned(),
            statements: advised.statements,
            indexes: advised.indexes,
            sources: advised.sources,
        });
    }

    /// Both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.advice.extend(other.advice);
        self.looked_at.extend(other.looked_at);
        self
    }
}
