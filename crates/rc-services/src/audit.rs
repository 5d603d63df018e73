//! Who did what, to what, why and when: from the act to the ledger.
//!
//! A service that acts writes the entry into its own store, in the transaction of the act ([`Outbox`]), and a
//! task takes it from there to the ledger ([`Sender`]). The ledger may be away for a while; an act that could
//! not be recorded does not happen.
//!
//! It refuses to know how the log is built and who reads it. No secret is ever part of an entry.

mod act;
mod files;
pub mod outbox;
mod rejoin;
mod seal;
mod sender;
pub mod wire;

pub use act::{Act, Action, Actor, DETAIL_BYTES_MAX, Outcome, REASON_BYTES_MAX, Reason, Resource};
pub use files::{author, problem, refused};
pub use outbox::{Batch, Full, Outbox, Room, Waiting};
pub use rejoin::{BEHIND_CODE, Behind, Incomparable};
pub use seal::{Draft, Row, SALT_BYTES, Source, Text};
pub use sender::Sender;
