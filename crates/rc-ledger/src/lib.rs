//! A tamper-evident log: append, prove, checkpoint, verify. Its files are C2SP tlog-tiles, so that anybody's
//! tools can read and check them.
//!
//! It refuses to know who may append and how requests arrive. It has no async, and it keeps no personal data:
//! what entries say in clear is identifiers and digests, everything else is a [`Commitment`].
//!
//! Read first: [`Entry`] (what is recorded), [`Log`] (the one writer of a folder), [`verify()`] (what anybody can
//! check with the folder and the public keys).

mod cbor;
mod checkpoint;
mod disk;
mod entry;
mod error;
mod log;
mod note;
mod reader;
mod receipt;
mod signer;
#[cfg(test)]
mod tests;
mod tile;
mod tree;
mod verify;
mod wal;

pub use checkpoint::Checkpoint;
pub use entry::{Actor, Commitment, Entry, Outcome, Reason, Resource, Source};
pub use error::Error;
pub use log::{Appended, ENTRY_BYTES_MAX, GROUP_BYTES_MAX, GROUP_ENTRIES_MAX, Log};
pub use note::Vkey;
pub use reader::{Entries, InclusionProof, Reader};
pub use receipt::Receipt;
pub use signer::Signer;
pub use tree::{Hash, leaf_hash, root_of, verify_consistency, verify_inclusion};
pub use verify::{Fault, FaultKind, Report, Trust, verify};
