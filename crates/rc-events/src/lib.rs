//! Events: an append-only outbox written in the caller's transaction, a relay that moves it to a bus
//! without loss, repetition or reordering per key, and consumers whose effects happen once.
//!
//! It refuses to know what events mean, and never gives out `kseq`: the writer takes it under its key's
//! lock, so that number order is commit order and anybody can check the stream for ever after.
//!
//! Read first: [`NewEvent`] (what a service writes), [`Relay`] (how it travels), [`Consumer`] (how it
//! takes effect).

pub mod bus;
pub mod capture;
pub mod consumer;
#[cfg(any(test, feature = "testing"))]
pub mod contract;
pub mod error;
pub mod event;
pub mod faults;
pub mod lease;
pub mod letters;
pub mod log;
pub mod outbox;
pub mod relay;
pub mod replay;
pub mod replication;
pub mod schema;
pub mod slot;
pub mod verify;

mod spans;

use std::future::Future;
use std::pin::Pin;

pub use bus::{Bus, BusId, Cursor, PostgresBus, Publish, ReadLimit, Record, Retention, SqliteBus};
pub use capture::{CaptureOptions, CaptureSource, TableName};
pub use consumer::{
    Applied, Batch, Books, Consumer, ConsumerHandle, ConsumerOptions, ConsumerState, ConsumerStatus, Mode,
    Policy, Projection, Wake,
};
pub use error::Error;
pub use event::{Event, NewEvent, Numbering, Place, Seq};
pub use lease::{Epoch, Lease};
pub use letters::{
    Edit, Letter, LetterCounts, LetterFilter, LetterState, Letters, ReplayLetters, ReplayedLetters,
};
pub use log::Log;
pub use relay::{Parked, ParkedLetters, Pruned, Relay, RelayOptions, RelayStatus, Source};
pub use slot::SlotSource;
pub use spans::{LINKS_MAX, TRACES_MAX};

/// A boxed future, for traits that cross crates.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
