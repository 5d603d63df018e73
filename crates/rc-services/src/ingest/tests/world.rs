//! A running ingest on its socket, with a docs-api of the test's own beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use http::{Request, Response};
use rc_model::clock::SystemClock;
use rc_model::project::{AccessLog, ConsumersSection};
use rc_model::{Layout, ServiceId};
use rc_serve::uds::CallError;
use rc_serve::{Metrics, Readiness, Tree, uds};
use serde_json::Value;

use crate::service::{Deps, ServiceConfig, StartError};

pub(super) struct World {
    pub(super) layout: Layout,
    pub(super) deps: Deps,
    /// What the other side says to "is it indexed?".
    pub(super) indexed: Arc<AtomicBool>,
    _folder: Option<tempfile::TempDir>,
}

/// An answer, read whole.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(super) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl World {
    pub(super) async fn start(store_url: &str) -> Result<Self, StartError> {
        let folder = tempfile::tempdir().unwrap();
        let mut world = Self::new(folder.path());
        world._folder = Some(folder);
        world.start_docs();
        world.run(store_url).await?;
        Ok(world)
    }

    /// The project in `folder`, with nothing running in this process yet.
    pub(super) fn new(folder: &std::path::Path) -> Self {
        let layout = Layout::new(folder);
        fs_err::create_dir_all(layout.run()).unwrap();
        let deps = Deps {
            tree: Tree::new(),
            clock: SystemClock::shared(),
            metrics: Metrics::new(),
            readiness: Readiness::new(),
            telemetry: None,
            marks: rc_serve::Marks::default(),
        };
        Self {
            layout,
            deps,
            indexed: Arc::new(AtomicBool::new(false)),
            _folder: None,
        }
    }

    pub(super) async fn run(&self, store_url: &str) -> Result<(), StartError> {
        let config = ServiceConfig {
            layout: self.layout.clone(),
            store_url: store_url.to_owned(),
            bus: None,
            consumers: ConsumersSection::default(),
            schemas: Arc::default(),
            access: AccessLog::Off,
        };
        crate::ingest::run(config, self.deps.clone()).await
    }

    /// Stops the service and starts it again over the same state.
    pub(super) async fn restart(&mut self, store_url: &str) {
        self.deps.tree.drain(Duration::from_secs(20)).await.unwrap();
        self.deps = Deps {
            tree: Tree::new(),
            metrics: Metrics::new(),
            readiness: Readiness::new(),
            ..self.deps.clone()
        };
        self.start_docs();
        self.run(store_url).await.unwrap();
    }

    fn start_docs(&self) {
        let indexed = Arc::clone(&self.indexed);
        let answer = move |body: String| async move {
            assert!(body.starts_with("{\"tenant\":\"acme\",\"docs\":[["), "{body}");
            let indexed = indexed.load(Ordering::Relaxed);
            axum::Json(serde_json::json!({ "indexed": indexed }))
        };
        // Every document, in its first version.
        let sizes = |wanted: axum::Json<Value>| async move {
            let ids = wanted["ids"].as_array().unwrap().iter();
            let sizes: Vec<Value> = ids.map(|id| serde_json::json!([id, 1, 100])).collect();
            axum::Json(serde_json::json!({ "sizes": sizes }))
        };
        let router = Router::new()
            .route("/-/indexed", post(answer))
            .route("/-/sizes", post(sizes));
        let listener = uds::bind(&self.layout.socket(&ServiceId::new("docs-api").unwrap())).unwrap();
        let stopping = self.deps.tree.stopping();
        self.deps.tree.spawn("docs", async move {
            let server = axum::serve(listener, router).with_graceful_shutdown(stopping.cancelled_owned());
            server.await.unwrap();
        });
    }

    pub(super) async fn send(&self, request: Request<impl Into<Bytes>>) -> Answer {
        self.try_send(request).await.unwrap()
    }

    pub(super) async fn try_send(&self, request: Request<impl Into<Bytes>>) -> Result<Answer, CallError> {
        let socket = self.layout.socket(&ServiceId::new("ingest").unwrap());
        let request = request.map(Into::into);
        let response: Response<Bytes> = uds::call(&socket, request, Duration::from_secs(30)).await?;
        let (head, body) = response.into_parts();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).header("x-rc-tenant", "acme").body("").unwrap())
            .await
    }

    pub(super) async fn post(&self, path: &str, key: &str, body: impl Into<Bytes>) -> Answer {
        let request = write(path, key).header("content-type", "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(super) async fn stop(self) {
        self.deps.tree.drain(Duration::from_secs(20)).await.unwrap();
    }
}

/// A write of `acme` without content headers.
pub(super) fn write(path: &str, key: &str) -> http::request::Builder {
    Request::post(path)
        .header("x-rc-tenant", "acme")
        .header("idempotency-key", key)
}
