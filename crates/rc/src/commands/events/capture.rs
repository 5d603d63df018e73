//! `rc events capture`: the changes of somebody's tables as events on a bus.

use std::sync::Arc;

use rc_events::RelayOptions;
use rc_events::capture::{CaptureOptions, CaptureSource, TableName};
use rc_model::TenantId;

use super::place::{End, Typed};
use super::relay::{Moving, Running};
use crate::cx::Cx;
use crate::fault::Outcome;

/// Who we are in logs and metrics.
const SERVICE: &str = "rc-capture";

/// Publish every insert, update and delete of PostgreSQL tables to a bus, until SIGTERM or Ctrl-C
///
/// Each change is a CloudEvent with the row before and after it, in order per primary key; rows that are there at
/// the start come first. It resumes from the bus, wherever it was killed. The server needs `wal_level = logical`;
/// the role needs the REPLICATION attribute and must own the tables. `docs/reference/capture.md` has the form of the
/// events.
///
/// The capture keeps a replication slot, and a slot that nobody reads holds back the server's disk: after the last
/// run of a capture, drop it with `SELECT pg_drop_replication_slot(...)`; `/metrics` and the log name it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The database: `postgres://user@host:port/database`; RC_EVENTS_FROM says it too
    #[arg(long, value_name = "URL", value_parser = Typed::keep)]
    from: Option<Typed>,
    /// The bus: `nats://host:port`, `postgres://…` or `sqlite:PATH`; RC_EVENTS_TO says it too
    #[arg(long, value_name = "URL", value_parser = Typed::keep)]
    to: Option<Typed>,
    /// A table, as `table` or `schema.table`. Can be given more than once
    #[arg(long = "table", value_name = "TABLE", required = true)]
    tables: Vec<TableName>,
    /// The capture's name: its place on the bus, and part of its slot's. Another name is another capture
    #[arg(long, value_name = "NAME", default_value = "capture")]
    name: String,
    /// Whose the rows are
    #[arg(long, value_name = "TENANT")]
    tenant: TenantId,
    /// The column that says whose a row is; without a tenant's name in it, the row is `--tenant`'s
    #[arg(long, value_name = "COLUMN")]
    tenant_column: Option<String>,
    /// Leave out the rows that are there at the start
    #[arg(long)]
    no_snapshot: bool,
    /// Set `REPLICA IDENTITY FULL` on the tables: events then have the whole row before a change, and large values
    /// that it did not touch. Updates and deletes write more to the server's log
    #[arg(long)]
    replica_identity_full: bool,
    /// When changes were lost with their slot, publish all rows anew instead of stopping
    #[arg(long)]
    resnapshot: bool,
    #[command(flatten)]
    moving: Moving,
}

pub(super) async fn run(cx: &Cx, args: Args) -> Result<Outcome, miette::Report> {
    let schemas = args.moving.schemas(cx)?;
    let from = End::From.place(cx, args.from.as_ref())?;
    let to = End::To.place(cx, args.to.as_ref())?;
    let address = from.address()?;
    let running = Running::begin(cx, SERVICE);
    let mut options = CaptureOptions::new(&args.name, args.tables, args.tenant);
    options.tenant_column = args.tenant_column;
    options.snapshot = !args.no_snapshot;
    options.replica_identity_full = args.replica_identity_full;
    options.resnapshot = args.resnapshot;
    let source = Arc::new(CaptureSource::new(address, options));
    let asked = Arc::clone(&source);
    running.slots(move || {
        let source = Arc::clone(&asked);
        async move { source.health().await }
    });
    tracing::info!(%from, %to, name = args.name, version = env!("CARGO_PKG_VERSION"), "capturing");
    Ok(running
        .relay(source, &to, schemas, RelayOptions::default(), &args.moving)
        .await?)
}
