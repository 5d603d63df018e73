//! prov-ledger: takes audit entries from every service and appends them to a tamper-evident log.
//!
//! It refuses to know what entries mean: it checks their form, their place in their source's order, and that
//! the texts which come with them are those they commit to. It never changes or removes an entry.

mod book;
mod db;
mod http;
mod refusal;
mod sequencer;

use std::sync::Arc;
use std::time::Duration;

use rc_model::catalog::Builtin;
use rc_serve::{Edge, Tree, edge};

use crate::service::{Deps, ServiceConfig, StartError};
use http::App;
use sequencer::Sequencer;

pub use book::Book;
pub use db::{Opened, Texts, commitments};
pub use refusal::Refusal;

/// How long open deliveries, and then the last group, may take at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// Starts the ledger: opens the log or makes it, listens on the service's socket. Returns when it serves.
///
/// # Errors
/// When the log, its key and the second copy of its last checkpoint do not fit together; when the socket is
/// taken; what the disk says.
pub async fn run(config: ServiceConfig, deps: Deps) -> Result<(), StartError> {
    let book = Book::open(&config.layout, Arc::clone(&deps.clock)).await?;
    let migrations = db::MIGRATIONS.list().len();
    deps.marks.data_version.set_migration(migrations);
    tracing::info!(origin = book.origin(), entries = book.size(), "the log is open");
    let appends = sequencer::append_histogram(&deps.metrics);
    let (sequencer, handle) = Sequencer::new(book, &deps.metrics, deps.readiness.component("log"));
    let app = App {
        sequencer: handle,
        log: config.layout.ledger_log(),
    };
    // Stopped first: requests that are under way still need the sequencer.
    let edge_tree = Tree::new();
    let workers = Tree::new();
    let edge = Edge {
        service: Builtin::ProvLedger.name(),
        router: http::router(Arc::new(app)),
        readiness: deps.readiness.clone(),
        metrics: deps.metrics.clone(),
        access: config.access,
        sink: deps.telemetry.clone(),
        marks: deps.marks.clone(),
    };
    let socket = config.layout.socket(&Builtin::ProvLedger.id());
    edge::serve_uds(&socket, edge, &edge_tree).map_err(|error| {
        StartError::new("RC-SRV-007", format!("cannot listen at {}", socket.display())).because(error)
    })?;
    // It ends when the last request has dropped its handle.
    workers.spawn("ledger/sequencer", sequencer.run(appends));
    let stopping = deps.tree.stopping();
    deps.tree.spawn("ledger/stop", async move {
        stopping.cancelled().await;
        for (what, tree) in [("requests", edge_tree), ("the sequencer", workers)] {
            if let Err(names) = tree.drain(DRAIN).await {
                tracing::warn!(?names, "{what} did not end in time");
            }
        }
    });
    Ok(())
}
