//! Docs-api gives documents back: by id and by search. Its read model is built from events.
//!
//! It refuses to know how documents come in. A tenant sees its own documents and nothing else: requests
//! reach the store only through statements that bind the tenant, and the tenant is part of the index.
//!
//! Read first: [`DocsStore`] (the read model's contract), [`model`] (what goes in and out), `projector`
//! (from events to documents), `http` (the routes).

pub(crate) mod api;
mod conditional;
mod cursor;
mod fault;
mod flight;
mod follow;
pub mod generations;
mod http;
mod meters;
pub mod model;
mod params;
pub mod postgres;
mod progress;
mod projector;
mod run;
pub mod sqlite;
mod store;
mod turns;
mod wire;

pub(crate) use http::SIZES_PATH;
pub use http::{WAIT_DOCS_MAX, WAIT_TIME_MAX};
pub use params::{FILTERS_MAX, LIMIT_DEFAULT, LIMIT_MAX};
pub use postgres::PostgresDocs;
pub use progress::WAITERS_MAX;
pub use run::{SERVICE, postgres_migrations, run};
pub use sqlite::SqliteDocs;
pub use store::{DocsStore, Generation, Given, TOTAL_EXACT_MAX};
pub use turns::{TURN_WAIT_MAX, TURN_WAITERS_MAX};
pub(crate) use wire::{Sizes, SizesWanted};

#[cfg(test)]
mod tests;
