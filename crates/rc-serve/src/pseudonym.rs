//! Names for users in logs: the same user has the same name in every line, and nobody can read who it is.
//!
//! A name is an HMAC (RFC 2104, SHA-256) of the key's id under a key that belongs to this installation and
//! never leaves it, so that names of two installations cannot be matched. It refuses to know users.

use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;

use aws_lc_rs::hmac;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rc_model::KeyId;

/// Length of the installation's key.
pub const INSTALLATION_KEY_BYTES: usize = 32;

/// Bytes of the HMAC that a name keeps: 64 bits, so that one in 2^32 users share one by accident.
const NAME_BYTES: usize = 8;

/// A user as logs name it: 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pseudonym([u8; NAME_BYTES * 2]);

impl Pseudonym {
    /// The hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hex digits are ASCII")
    }
}

impl fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Pseudonym {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Gives users their names. Cheap to clone.
#[derive(Clone)]
pub struct Pseudonymizer(hmac::Key);

impl Pseudonymizer {
    /// Under this key.
    #[must_use]
    pub fn new(key: &[u8; INSTALLATION_KEY_BYTES]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Under the key in the file at `path`, which is made when it is not there: once, whole, and for its
    /// owner only, however many processes ask at one time.
    ///
    /// # Errors
    /// When the file can be neither read nor made, or does not hold a key.
    pub fn open(path: &Path) -> io::Result<Self> {
        let key = match read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(path)?;
                read(path)
            }
            read => read,
        };
        Ok(Self::new(&key?))
    }

    /// The name of the user who shows the key `id`.
    #[must_use]
    pub fn user(&self, id: &KeyId) -> Pseudonym {
        let code = hmac::sign(&self.0, id.as_str().as_bytes());
        let mut name = [0_u8; NAME_BYTES * 2];
        for (pair, byte) in name.as_chunks_mut::<2>().0.iter_mut().zip(code.as_ref()) {
            *pair = [hex_digit(byte >> 4), hex_digit(byte & 15)];
        }
        Pseudonym(name)
    }
}

impl fmt::Debug for Pseudonymizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pseudonymizer").finish_non_exhaustive()
    }
}

fn hex_digit(nibble: u8) -> u8 {
    b"0123456789abcdef"[usize::from(nibble)]
}

fn read(path: &Path) -> io::Result<[u8; INSTALLATION_KEY_BYTES]> {
    let bytes = fs_err::read(path)?;
    <[u8; INSTALLATION_KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_wrong| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{} has {} bytes, and a key has {INSTALLATION_KEY_BYTES}: remove it, and users get other \
                 names in logs from then on",
                path.display(),
                bytes.len()
            ),
        )
    })
}

/// Writes a fresh key beside `path` and links it there; whoever came first wins.
fn make(path: &Path) -> io::Result<()> {
    let mut key = [0_u8; INSTALLATION_KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    let fresh = path.with_extension(format!("key.{:016x}", fastrand::u64(..)));
    let written = fs_err::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| {
            file.write_all(&key)?;
            file.sync_all()
        });
    let linked = written.and_then(|()| match fs_err::hard_link(&fresh, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = fs_err::remove_file(&fresh);
    linked.and(removed)
}

#[cfg(test)]
mod tests;
