//! A checkpoint whose signatures were checked: what a log was at some moment.

use crate::note::Note;
use crate::{Error, Hash, Vkey};

/// A signed tree head. There is no way to have one whose signatures were not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub(crate) origin: String,
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) at_s: Option<u64>,
    pub(crate) text: String,
}

impl Checkpoint {
    /// Reads a checkpoint (C2SP tlog-checkpoint) and checks that every one of `keys` signed it. Signatures of
    /// other keys are left alone.
    ///
    /// # Errors
    /// [`Error::Untrusted`] when it is malformed, has extension lines, when one of the keys did not sign it, or
    /// when there is no key.
    pub fn open(text: &str, keys: &[Vkey]) -> Result<Self, Error> {
        let note = Note::parse(text)?;
        let at_s = note.verify(keys)?;
        Ok(Self {
            origin: note.origin.to_owned(),
            size: note.size,
            root: note.root,
            at_s,
            text: text.to_owned(),
        })
    }

    /// Which log.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Entries in the log.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root over them.
    #[must_use]
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// When it was signed, in seconds since the Unix epoch, by the clock of who signed; `None` when no ML-DSA-44
    /// key was among those that were checked.
    #[must_use]
    pub fn signed_at_s(&self) -> Option<u64> {
        self.at_s
    }

    /// The signed note, to be kept and shown: [`Checkpoint::open`] reads it again.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests;
