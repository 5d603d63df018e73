//! A portable proof that an entry is in a log (C2SP tlog-proof): index, path and checkpoint in one text.

use data_encoding::BASE64;

use crate::tree::{leaf_hash, verify_inclusion};
use crate::{Checkpoint, Error, Hash, InclusionProof, Vkey};

/// First line of the file.
const MAGIC: &str = "c2sp.org/tlog-proof@v1";

/// Most hashes in a path: a tree of 2^64 leaves has no longer one.
const HASHES_MAX: usize = 64;

/// A proof that stands alone: with it, the entry and the log's public keys, nothing else is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    proof: InclusionProof,
    checkpoint: Checkpoint,
}

impl Receipt {
    pub(crate) fn new(proof: InclusionProof, checkpoint: Checkpoint) -> Self {
        Self { proof, checkpoint }
    }

    /// Reads a `.tlog-proof` file and checks the signatures of its checkpoint. Extra data, which nothing vouches
    /// for, is passed over.
    ///
    /// # Errors
    /// [`Error::Proof`] for other text, [`Error::Untrusted`] when one of `keys` did not sign.
    pub fn open(text: &str, keys: &[Vkey]) -> Result<Self, Error> {
        let malformed = |what: &str| Error::Proof(format!("malformed receipt: {what}"));
        let (head, note) = text
            .split_once("\n\n")
            .ok_or_else(|| malformed("it has no checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(MAGIC) {
            return Err(malformed("it is not a tlog-proof of version 1"));
        }
        lines.next_if(|line| line.starts_with("extra "));
        let digits = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .ok_or_else(|| malformed("it has no index"))?;
        let index: Option<u64> = digits.parse().ok();
        let index = index.filter(|index| index.to_string() == digits);
        let index = index.ok_or_else(|| malformed("its index is not a number"))?;
        let mut hashes = Vec::new();
        for line in lines {
            let hash = BASE64.decode(line.as_bytes()).ok();
            let hash = hash.and_then(|hash| Hash::try_from(hash).ok());
            hashes.push(hash.ok_or_else(|| malformed("a hash is not 32 bytes in base64"))?);
            if hashes.len() > HASHES_MAX {
                return Err(malformed("its path is too long"));
            }
        }
        let checkpoint = Checkpoint::open(note, keys)?;
        let proof = InclusionProof {
            index,
            size: checkpoint.size,
            hashes,
        };
        Ok(Self { proof, checkpoint })
    }

    /// Checks that `entry`, byte for byte, is in the log.
    ///
    /// # Errors
    /// [`Error::Proof`] when it is not shown to be.
    pub fn verify(&self, entry: &[u8]) -> Result<(), Error> {
        let InclusionProof { index, size, hashes } = &self.proof;
        verify_inclusion(&leaf_hash(entry), *index, *size, hashes, &self.checkpoint.root)
    }

    /// Where the entry is in the log.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.proof.index
    }

    /// The checkpoint that the proof leads to.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The content of a `.tlog-proof` file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("{MAGIC}\nindex {}\n", self.proof.index);
        for hash in &self.proof.hashes {
            BASE64.encode_append(hash, &mut text);
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint.text);
        text
    }
}

#[cfg(test)]
mod tests;
