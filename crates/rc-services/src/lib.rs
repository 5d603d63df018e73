//! The reference services over the engines: gateway, ingest, docs-api and prov-ledger.
//!
//! They refuse to know the command line, the environment and how processes are supervised. Each has one
//! `run` that starts it on the given task tree and comes back when it serves.
//!
//! Read first: [`service`] (what a service is given), [`document`] (what a document is).

pub mod audit;
pub mod docs;
pub mod document;
pub mod events;
pub mod gateway;
pub mod ingest;
pub mod ledger;
pub mod openapi;
pub mod service;
pub mod statements;
pub mod text;

pub use service::{Deps, ServiceConfig, StartError};
