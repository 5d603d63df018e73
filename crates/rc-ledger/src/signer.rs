//! The key pair of a log, and the file that keeps it.
//!
//! It never shows a key: not in `Debug`, not in errors; seeds are wiped from memory when they go.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, ML_DSA_44_SIGNING, PqdsaKeyPair};
use data_encoding::BASE64;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use zeroize::Zeroizing;

use crate::note::{self, Head, Kind};
use crate::{Checkpoint, Error, Hash, Vkey};

/// First line of a key file.
const MAGIC: &str = "royalcrown ledger key v1";

/// Bytes of the seed that each of the two keys grows from.
const SEED_BYTES: usize = 32;

/// Largest key file that is read.
const FILE_BYTES_MAX: u64 = 4096;

/// Largest time that a signature may name (tlog-cosignature).
const TIME_MAX: u64 = i64::MAX as u64;

/// An Ed25519 and an ML-DSA-44 key of one log.
pub struct Signer {
    origin: String,
    ed25519: Ed25519KeyPair,
    ml_dsa: PqdsaKeyPair,
    vkeys: [Vkey; 2],
    /// Ed25519, then ML-DSA-44.
    seeds: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// New keys for a log. The origin names the log for ever, `example.org/prov-ledger`: 1 to 255 ASCII
    /// characters without spaces and `+`.
    ///
    /// # Errors
    /// [`Error::Untrusted`] for another origin, [`Error::Io`] when the system gives no randomness.
    pub fn generate(origin: &str) -> Result<Self, Error> {
        let mut seeds = Zeroizing::new(vec![0; 2 * SEED_BYTES]);
        random(&mut seeds)?;
        Self::from_seeds(origin, seeds).map_err(Error::Untrusted)
    }

    /// Reads a key file that [`Signer::store`] wrote.
    ///
    /// # Errors
    /// [`Error::Key`] when it cannot be read, may be read by others than its owner, or is not a key file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let refuse = |what: String| Error::Key {
            path: path.to_owned(),
            what,
        };
        let from_io = |error: io::Error| refuse(error.to_string());
        let file = crate::disk::open_file(path).map_err(from_io)?;
        let file = file.ok_or_else(|| refuse("it is not a regular file".to_owned()))?;
        let meta = file.metadata().map_err(from_io)?;
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(refuse(format!("its mode is {mode:04o}, others may read it")));
        }
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
        file.take(FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(from_io)?;
        let (origin, seeds) =
            parse(&text).ok_or_else(|| refuse("it is not a ledger key of version 1".to_owned()))?;
        Self::from_seeds(origin, seeds).map_err(refuse)
    }

    /// Writes the key file, readable by its owner only. It is on disk when this returns.
    ///
    /// # Errors
    /// [`Error::Key`] when there is one already, or when it cannot be written.
    pub fn store(&self, path: &Path) -> Result<(), Error> {
        self.write(path).map_err(|error| Error::Key {
            path: path.to_owned(),
            what: error.to_string(),
        })
    }

    /// The public keys, to be given to who checks the log: Ed25519, then ML-DSA-44.
    #[must_use]
    pub fn vkeys(&self) -> &[Vkey] {
        &self.vkeys
    }

    /// The log's name.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Signs a tree head. Whether it may be signed is the caller's knowledge.
    pub(crate) fn sign(&self, size: u64, root: Hash, at_s: u64) -> Checkpoint {
        let at_s = at_s.min(TIME_MAX);
        let head = Head {
            origin: &self.origin,
            size,
            root: &root,
        };
        let [ed25519, ml_dsa] = &self.vkeys;
        let mut text = head.text();
        let classic = self.ed25519.sign(text.as_bytes());
        let mut timed = at_s.to_be_bytes().to_vec();
        let start = timed.len();
        timed.resize(start + ML_DSA_44_SIGNING.signature_len(), 0);
        self.ml_dsa
            .sign(&head.cosigned_message(ml_dsa.name(), at_s), &mut timed[start..])
            .expect("ML-DSA-44 signs any message into a buffer of its length");
        text.push('\n');
        text.push_str(&note::line(ed25519, classic.as_ref()));
        text.push_str(&note::line(ml_dsa, &timed));
        Checkpoint {
            origin: self.origin.clone(),
            size,
            root,
            at_s: Some(at_s),
            text,
        }
    }

    fn from_seeds(origin: &str, seeds: Zeroizing<Vec<u8>>) -> Result<Self, String> {
        if !note::is_name(origin) {
            return Err(format!(
                "an origin is 1 to {} ASCII characters without spaces and `+`",
                note::NAME_BYTES_MAX
            ));
        }
        let (first, second) = seeds.split_at(SEED_BYTES);
        let rejected = |error: aws_lc_rs::error::KeyRejected| error.to_string();
        let ed25519 = Ed25519KeyPair::from_seed_unchecked(first).map_err(rejected)?;
        let ml_dsa = PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, second).map_err(rejected)?;
        let vkeys = [
            Vkey::new(origin, Kind::Ed25519, ed25519.public_key().as_ref()),
            Vkey::new(origin, Kind::MlDsa44, ml_dsa.public_key().as_ref()),
        ];
        Ok(Self {
            origin: origin.to_owned(),
            ed25519,
            ml_dsa,
            vkeys,
            seeds,
        })
    }

    /// Written beside and linked into place, so that the name never leads to half a key or over another one.
    fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
        text.push_str(MAGIC);
        text.push_str("\norigin ");
        text.push_str(&self.origin);
        let (first, second) = self.seeds.split_at(SEED_BYTES);
        for (name, seed) in [("ed25519", first), ("ml-dsa-44", second)] {
            text.push('\n');
            text.push_str(name);
            text.push(' ');
            BASE64.encode_append(seed, &mut text);
        }
        text.push('\n');
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.tmp", std::process::id()));
        let beside = PathBuf::from(beside);
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(&beside)?;
        let written = file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| fs_err::hard_link(&beside, path));
        fs_err::remove_file(&beside)?;
        written?;
        fs_err::File::open(folder)?.sync_all()
    }
}

/// Origin and seeds of a key file.
fn parse(text: &str) -> Option<(&str, Zeroizing<Vec<u8>>)> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next()? != MAGIC {
        return None;
    }
    let origin = lines.next()?.strip_prefix("origin ")?;
    let mut seeds = Zeroizing::new(Vec::with_capacity(2 * SEED_BYTES));
    for name in ["ed25519 ", "ml-dsa-44 "] {
        let base64 = lines.next()?.strip_prefix(name)?;
        let seed = Zeroizing::new(BASE64.decode(base64.as_bytes()).ok()?);
        if seed.len() != SEED_BYTES {
            return None;
        }
        seeds.extend_from_slice(&seed);
    }
    lines.next().is_none().then_some((origin, seeds))
}

/// Fills `bytes` from the system's randomness.
pub(crate) fn random(bytes: &mut [u8]) -> Result<(), Error> {
    aws_lc_rs::rand::fill(bytes).map_err(|error| {
        let source = io::Error::other(error.to_string());
        Error::io("read randomness from", Path::new("getrandom"), source)
    })
}

#[cfg(test)]
mod tests;
