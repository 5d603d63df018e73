//! Ingest takes documents in: checked item by item, durable before the answer, once per idempotency key.
//!
//! It refuses to know how documents are searched. What it commits goes out as events; the bus and the
//! consumers do the rest.
//!
//! Read first: [`limits`] (what is refused), `body` (from bytes to items), `decide` (from items to rows and
//! events, pure).

mod body;
mod content;
mod fault;
mod frame;
mod item;
pub mod limits;
