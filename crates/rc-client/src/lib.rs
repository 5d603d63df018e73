//! The SDK: a client for the platform that is bounded, paced and retries with a budget.
//!
//! It is usable without anything else of ours: it speaks HTTP over TCP, TLS or a Unix socket, and knows
//! the public API. It refuses to know about files, progress bars, projects and where keys come from.
//!
//! Read first: [`Client`] (the calls), [`Config`] (to whom, as whom, how patiently), [`Error`] (what went
//! wrong and whether trying again helps).

mod call;
mod client;
mod concurrency;
mod config;
mod error;
mod lane;
mod pacing;
mod retry;
mod tls;
mod wire;

pub use call::{Answer, Meta, Raw, RawRequest};
pub use client::{Client, Fetched, IngestOptions, SearchQuery};
pub use concurrency::Aimd;
pub use config::{ApiKey, Config, Endpoint, IdempotencyKey, Identity, Trust};
pub use error::{Error, ErrorKind, Retry};
pub use retry::{Backoff, BudgetPolicy};
pub use wire::{
    BatchAnswer, BatchState, BatchStatus, Document, Hit, ItemAnswer, ItemStatus, SearchAnswer, StoredDocument,
};
