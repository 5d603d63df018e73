//! Ingest takes documents in: checked item by item, durable before the answer, once per idempotency key.
//!
//! It refuses to know how documents are searched. What it commits goes out as events; the bus and the
//! consumers do the rest.
//!
//! Read first: [`limits`] (what is refused), `body` (from bytes to items), `decide` (from items to rows and
//! events, pure), `store` (how that becomes durable), `http` (the routes).

mod admission;
pub mod answer;
pub(crate) mod api;
mod arrival;
mod backend;
mod body;
mod content;
mod decide;
mod fault;
mod frame;
mod http;
mod item;
pub mod limits;
mod meters;
mod receive;
pub(crate) mod room;
mod run;
mod storage;
mod store;
mod usage;

use rc_store::Migrations;

pub use run::{SERVICE, bus_file, run};
pub use store::{POSTGRES_MIGRATIONS, POSTGRES_SCHEMA, SQLITE_MIGRATIONS};
pub use usage::{RECOUNT_PATH, RecountLine, RecountWish, USAGE_PATH, UsageLine};

/// What `rc migrate` applies to PostgreSQL before ingest starts: each schema with its tables.
#[must_use]
pub fn postgres_migrations() -> [(&'static str, Migrations); 4] {
    [
        (POSTGRES_SCHEMA, POSTGRES_MIGRATIONS),
        (POSTGRES_SCHEMA, crate::audit::outbox::postgres::MIGRATIONS),
        (POSTGRES_SCHEMA, rc_events::outbox::postgres::MIGRATIONS),
        (
            rc_events::bus::postgres::SCHEMA,
            rc_events::bus::postgres::MIGRATIONS,
        ),
    ]
}

#[cfg(test)]
mod tests;
