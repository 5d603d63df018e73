//! Seeing what the platform does: spans kept on disk for a while, sent out as OTLP, and drawn as trees.
//!
//! It refuses to know what a span is about, and it never holds up or fails the work that it looks at: what
//! cannot be kept or sent is dropped and counted.
//!
//! Read first: [`Telemetry`] (what a process starts and finishes), [`Recorder`] (where spans go),
//! [`Reader`] (how they are found again).

mod complaint;
mod endpoint;
mod exporter;
mod otlp;
mod reader;
mod recorder;
mod resource;
mod ring;
mod telemetry;
mod wire;

pub use endpoint::{Endpoint, EndpointError, Headers};
pub use exporter::OtlpConfig;
pub use otlp::{AttributeValue, Link, Record};
pub use reader::{Found, IdPrefix, Kept, NoPrefix, Reader, Summary, Trace};
pub use recorder::Recorder;
pub use resource::Resource;
pub use ring::{KEEP_BYTES_MIN, RingConfig};
pub use telemetry::{Telemetry, TelemetryConfig};
