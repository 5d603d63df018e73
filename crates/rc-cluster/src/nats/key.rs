//! Keys of NATS users: a seed in base 32, which signs the server's nonce (Ed25519).

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};

/// First byte of a seed, before the kind of key.
const SEED: u8 = 18 << 3;

/// The kind of key that logs in.
const USER: u8 = 20 << 3;

/// A user's key pair. Shown as nothing.
pub(crate) struct UserKey {
    pair: Ed25519KeyPair,
}

impl std::fmt::Debug for UserKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UserKey")
    }
}

impl UserKey {
    /// Reads a seed, `SU...`; `None` for anything else.
    pub(crate) fn from_seed(text: &str) -> Option<Self> {
        let bytes = BASE32_NOPAD.decode(text.trim().as_bytes()).ok()?;
        let (body, sum) = bytes.split_last_chunk::<2>()?;
        let (head, seed) = body.split_first_chunk::<2>()?;
        let kind = (head[0] & 7) << 5 | head[1] >> 3;
        if head[0] & 0xf8 != SEED || kind != USER || crc16(body) != u16::from_le_bytes(*sum) {
            return None;
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        Some(Self { pair })
    }

    /// The public key, `U...`.
    pub(crate) fn public(&self) -> String {
        let mut bytes = vec![USER];
        bytes.extend_from_slice(self.pair.public_key().as_ref());
        bytes.extend_from_slice(&crc16(&bytes).to_le_bytes());
        BASE32_NOPAD.encode(&bytes)
    }

    /// The signature of the server's nonce.
    pub(crate) fn sign(&self, nonce: &str) -> String {
        BASE64URL_NOPAD.encode(self.pair.sign(nonce.as_bytes()).as_ref())
    }
}

/// The parts of a `.creds` file: the user's token (JWT) and seed.
pub(crate) fn credentials(text: &str) -> Option<(String, UserKey)> {
    let block = |name: &str| {
        let begin = format!("-----BEGIN {name}-----");
        let rest = &text[text.find(&begin)? + begin.len()..];
        let end = rest.find("------END")?.min(rest.find("-----END")?);
        Some(rest[..end].trim().trim_end_matches('-').trim().to_owned())
    };
    let token = block("NATS USER JWT")?;
    let key = UserKey::from_seed(&block("USER NKEY SEED")?)?;
    Some((token, key))
}

/// CRC-16/XMODEM.
pub(crate) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, &byte| {
        (0..8).fold(sum ^ u16::from(byte) << 8, |sum: u16, _| {
            if sum & 0x8000 == 0 {
                sum << 1
            } else {
                sum << 1 ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests;
