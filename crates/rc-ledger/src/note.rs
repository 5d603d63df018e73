//! Signed notes (C2SP signed-note) with the two kinds of signature that a log of ours makes: Ed25519 over the
//! text, and ML-DSA-44 over the tree head (C2SP tlog-cosignature).
//!
//! It refuses extension lines: the ML-DSA-44 signature does not cover them.

use aws_lc_rs::signature::{ED25519, ML_DSA_44, UnparsedPublicKey};
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest as _, Sha256};

use crate::{Error, Hash};

/// Largest note that is read: 16 witnesses with ML-DSA-44 (a line of 3.3 kB) and as much again.
pub(crate) const NOTE_BYTES_MAX: usize = 128 * 1024;

/// Longest key name or origin: what the ML-DSA-44 message has a length byte for.
pub(crate) const NAME_BYTES_MAX: usize = 255;

/// Bytes of a signature's timestamp.
const TIMESTAMP_BYTES: usize = 8;

/// What makes a signature line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Ed25519,
    MlDsa44,
}

impl Kind {
    /// The identifier byte of C2SP signed-note and tlog-cosignature.
    fn byte(self) -> u8 {
        match self {
            Self::Ed25519 => 0x01,
            Self::MlDsa44 => 0x06,
        }
    }

    fn key_bytes(self) -> usize {
        match self {
            Self::Ed25519 => 32,
            Self::MlDsa44 => 1312,
        }
    }
}

/// A public key that signs notes, with its name: `<name>+<key id>+<base64 of type and key>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Vkey {
    name: String,
    kind: Kind,
    key: Vec<u8>,
}

impl Vkey {
    pub(crate) fn new(name: &str, kind: Kind, key: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            key: key.to_vec(),
        }
    }

    /// Reads the text that [`Vkey`] displays as, which Go's `note` and Tessera read too (Ed25519 keys).
    ///
    /// # Errors
    /// [`Error::Untrusted`] for other text, and for a key id that is not the key's.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |what: &str| Error::Untrusted(format!("malformed verifier key: {what}"));
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(refuse("it is not `name+id+key`"));
        };
        let bytes = BASE64
            .decode(key.as_bytes())
            .map_err(|error| refuse(&error.to_string()))?;
        let (kind, key) = match bytes.split_first() {
            Some((0x01, key)) => (Kind::Ed25519, key),
            Some((0x06, key)) => (Kind::MlDsa44, key),
            _ => return Err(refuse("neither Ed25519 nor ML-DSA-44")),
        };
        if key.len() != kind.key_bytes() {
            return Err(refuse("its length is not that of its kind"));
        }
        if !is_name(name) {
            return Err(refuse("its name is empty, too long or has spaces"));
        }
        let vkey = Self::new(name, kind, key);
        if HEXLOWER.encode(&vkey.id()) != id {
            return Err(refuse("its id is not the id of this name and key"));
        }
        Ok(vkey)
    }

    /// The name, which for a log's own key is its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `Ed25519` or `ML-DSA-44`.
    #[must_use]
    pub fn algorithm(&self) -> &'static str {
        match self.kind {
            Kind::Ed25519 => "Ed25519",
            Kind::MlDsa44 => "ML-DSA-44",
        }
    }

    /// `SHA-256(name || 0x0A || type || key)[..4]`
    pub(crate) fn id(&self) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', self.kind.byte()])
            .chain_update(&self.key)
            .finalize();
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// Checks what stands in a signature line after the key id; gives the timestamp where it has one.
    fn verify(&self, head: &Head<'_>, signature: &[u8]) -> Option<Option<u64>> {
        match self.kind {
            Kind::Ed25519 => {
                let key = UnparsedPublicKey::new(&ED25519, &self.key);
                key.verify(head.text().as_bytes(), signature).ok().map(|()| None)
            }
            Kind::MlDsa44 => {
                let (time, signature) = signature.split_first_chunk::<TIMESTAMP_BYTES>()?;
                let time = u64::from_be_bytes(*time);
                let key = UnparsedPublicKey::new(&ML_DSA_44, &self.key);
                let message = head.cosigned_message(&self.name, time);
                key.verify(&message, signature).ok().map(|()| Some(time))
            }
        }
    }
}

impl std::fmt::Display for Vkey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = vec![self.kind.byte()];
        bytes.extend_from_slice(&self.key);
        let id = HEXLOWER.encode(&self.id());
        write!(f, "{}+{id}+{}", self.name, BASE64.encode(&bytes))
    }
}

impl std::str::FromStr for Vkey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

/// Whether a key or a log may be called this: ASCII that can be seen, without `+`.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b'+')
}

/// What a checkpoint says and signatures are over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) origin: &'a str,
    pub(crate) size: u64,
    pub(crate) root: &'a Hash,
}

impl Head<'_> {
    /// The note's text: origin, size, root, a line each.
    pub(crate) fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root))
    }

    /// `cosigned_message` of tlog-cosignature, for the whole tree.
    pub(crate) fn cosigned_message(&self, cosigner: &str, time: u64) -> Vec<u8> {
        let mut message = b"subtree/v1\n\0".to_vec();
        push_name(&mut message, cosigner);
        message.extend_from_slice(&time.to_be_bytes());
        push_name(&mut message, self.origin);
        message.extend_from_slice(&0_u64.to_be_bytes());
        message.extend_from_slice(&self.size.to_be_bytes());
        message.extend_from_slice(self.root);
        message
    }
}

fn push_name(message: &mut Vec<u8>, name: &str) {
    message.push(u8::try_from(name.len()).expect("names and origins have at most 255 bytes"));
    message.extend_from_slice(name.as_bytes());
}

/// One signature line.
pub(crate) fn line(key: &Vkey, signature: &[u8]) -> String {
    let mut bytes = key.id().to_vec();
    bytes.extend_from_slice(signature);
    format!("\u{2014} {} {}\n", key.name, BASE64.encode(&bytes))
}

/// A note that was read: nothing of it is to be believed yet.
#[derive(Debug)]
pub(crate) struct Note<'a> {
    pub(crate) origin: &'a str,
    pub(crate) size: u64,
    pub(crate) root: Hash,
    signatures: Vec<Signature<'a>>,
}

#[derive(Debug)]
struct Signature<'a> {
    name: &'a str,
    id: [u8; 4],
    bytes: Vec<u8>,
}

impl<'a> Note<'a> {
    /// Reads a checkpoint: exactly three lines, an empty one, and at least one signature line.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Error> {
        let refuse = |what: &str| Error::Untrusted(format!("malformed checkpoint: {what}"));
        if text.len() > NOTE_BYTES_MAX {
            return Err(refuse("it is too long"));
        }
        let mut lines = text.split_terminator('\n');
        let mut next = || lines.next().ok_or_else(|| refuse("it ends early"));
        let origin = next()?;
        if !text.ends_with('\n') || !is_name(origin) {
            return Err(refuse("its origin is empty, too long or has spaces"));
        }
        let digits = next()?;
        let size = digits
            .parse()
            .map_err(|_ignored| refuse("its size is not a number"));
        let size: u64 = size?;
        let root = BASE64.decode(next()?.as_bytes()).ok();
        let root = root.and_then(|root| Hash::try_from(root).ok());
        let root = root.ok_or_else(|| refuse("its root is not 32 bytes in base64"))?;
        if size.to_string() != digits {
            return Err(refuse("its size is not in its shortest form"));
        }
        if !next()?.is_empty() {
            return Err(refuse("it has extension lines"));
        }
        let signatures = lines
            .map(|line| Signature::parse(line).ok_or_else(|| refuse("a signature line is malformed")))
            .collect::<Result<Vec<_>, _>>()?;
        if signatures.is_empty() {
            return Err(refuse("it has no signature"));
        }
        Ok(Self {
            origin,
            size,
            root,
            signatures,
        })
    }

    /// Checks that every one of `keys` signed. Gives the time that the ML-DSA-44 signature names.
    pub(crate) fn verify(&self, keys: &[Vkey]) -> Result<Option<u64>, Error> {
        if keys.is_empty() {
            return Err(Error::Untrusted("no key is trusted".to_owned()));
        }
        let head = Head {
            origin: self.origin,
            size: self.size,
            root: &self.root,
        };
        let mut time = None;
        for key in keys {
            let id = key.id();
            let mut signed = false;
            for signature in &self.signatures {
                if signature.name != key.name || signature.id != id {
                    continue;
                }
                let Some(at) = key.verify(&head, &signature.bytes) else {
                    return Err(Error::Untrusted(format!(
                        "the {} signature of `{}` does not hold",
                        key.algorithm(),
                        key.name
                    )));
                };
                signed = true;
                time = time.or(at);
            }
            if !signed {
                return Err(Error::Untrusted(format!(
                    "the checkpoint of `{}` is not signed by the {} key of `{}`",
                    self.origin,
                    key.algorithm(),
                    key.name
                )));
            }
        }
        Ok(time)
    }
}

impl<'a> Signature<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (name, base64) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        if name.is_empty() || name.contains('+') || name.chars().any(char::is_whitespace) {
            return None;
        }
        let bytes = BASE64.decode(base64.as_bytes()).ok()?;
        let (id, bytes) = bytes.split_first_chunk()?;
        Some(Self {
            name,
            id: *id,
            bytes: bytes.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests;
