//! API keys: `rck_<key id>_<secret>`. Only the SHA-256 of a secret is ever kept.
//!
//! The id (12 of `a-z0-9`) names the key in lists, logs and the `x-rc-user` header and proves nothing.
//! The secret (32 of `A-Za-z0-9`, about 190 bits) is shown once, when the key is made. A fast hash is
//! enough for it: nobody guesses 190 random bits, so there is nothing for a slow hash to slow down.

use std::collections::HashMap;
use std::fmt;

use rc_model::{KeyId, TenantId};
use rc_serve::Pseudonym;
use sha2::Digest as _;
use subtle::{Choice, ConstantTimeEq as _};
use zeroize::{Zeroize as _, Zeroizing};

/// What every key starts with, so that scanners for leaked secrets find it.
pub const KEY_PREFIX: &str = "rck_";
/// Length of the public half.
pub const KEY_ID_BYTES: usize = 12;
/// Length of the secret half.
pub const KEY_SECRET_BYTES: usize = 32;

const KEY_BYTES: usize = KEY_PREFIX.len() + KEY_ID_BYTES + 1 + KEY_SECRET_BYTES;
const ID_ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const SECRET_ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A whole key, as its owner keeps it. Wiped from memory when dropped; never printed by `Debug`.
pub struct ApiKey {
    text: Zeroizing<String>,
    id: KeyId,
}

/// The SHA-256 of a key's secret: what a store keeps. Compared in constant time only.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

/// A key as somebody shows it: well formed, not yet proved.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    id: &'a str,
    secret: &'a str,
}

/// What is known of one key.
#[derive(Debug, Clone)]
pub struct KeyEntry {
    /// The public half.
    pub id: KeyId,
    /// The hash of the secret half.
    pub hash: SecretHash,
    /// Whom the key speaks for.
    pub tenant: TenantId,
    /// What logs call whoever shows it; worked out once, not for each line.
    pub user: Option<Pseudonym>,
}

/// The keys that are valid at this moment. A revoked key is simply not in the table.
pub trait KeyTable: Send + Sync {
    /// The entry of the key `key_id`.
    fn find(&self, key_id: &str) -> Option<&KeyEntry>;

    /// Whether the table holds all keys. While it does not, a key that is not in it is no wrong one: its
    /// owner is told to come back.
    fn is_known(&self) -> bool {
        true
    }

    /// Whether credentials are judged here. Where they are not, they go to the service as they came.
    fn judges(&self) -> bool {
        true
    }
}

/// The table of a gateway that leaves credentials to the services.
#[derive(Debug, Clone, Copy)]
pub struct NoKeys;

impl KeyTable for NoKeys {
    fn find(&self, _: &str) -> Option<&KeyEntry> {
        None
    }

    fn judges(&self) -> bool {
        false
    }
}

/// The table before it was read for the first time.
#[derive(Debug, Clone, Copy)]
pub struct KeysUnknown;

impl KeyTable for KeysUnknown {
    fn find(&self, _: &str) -> Option<&KeyEntry> {
        None
    }

    fn is_known(&self) -> bool {
        false
    }
}

/// A table in memory.
#[derive(Debug, Default)]
pub struct KeySet {
    entries: HashMap<KeyId, KeyEntry>,
}

impl ApiKey {
    /// Makes a key from the system's random source.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut text = Zeroizing::new(String::with_capacity(KEY_BYTES));
        text.push_str(KEY_PREFIX);
        push_random(&mut text, KEY_ID_BYTES, ID_ALPHABET)?;
        text.push('_');
        push_random(&mut text, KEY_SECRET_BYTES, SECRET_ALPHABET)?;
        Ok(Self::from_checked(text))
    }

    /// Reads a key from text; `None` when it is not well formed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Presented::parse(text.as_bytes())?;
        Some(Self::from_checked(Zeroizing::new(text.to_owned())))
    }

    fn from_checked(text: Zeroizing<String>) -> Self {
        let id = &text[KEY_PREFIX.len()..KEY_PREFIX.len() + KEY_ID_BYTES];
        let id = KeyId::new(id).expect("the id's alphabet is a part of the name grammar");
        Self { text, id }
    }

    /// The public half.
    #[must_use]
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// What a store keeps of the secret half.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(self.text[KEY_BYTES - KEY_SECRET_BYTES..].as_bytes())
    }

    /// The whole key, to hand to its owner once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({KEY_PREFIX}{}_[redacted])", self.id)
    }
}

impl SecretHash {
    /// The hash of a secret.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        Self(sha2::Sha256::digest(secret).into())
    }

    /// From 32 bytes that came out of a store.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, for a store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash([redacted])")
    }
}

impl<'a> Presented<'a> {
    /// Takes what a client sent apart; `None` when it is not well formed. Allocates nothing.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        if text.len() != KEY_BYTES {
            return None;
        }
        let rest = std::str::from_utf8(text).ok()?.strip_prefix(KEY_PREFIX)?;
        let (id, secret) = rest.split_at_checked(KEY_ID_BYTES)?;
        let secret = secret.strip_prefix('_')?;
        let good =
            id.bytes().all(|b| ID_ALPHABET.contains(&b)) && secret.bytes().all(|b| b.is_ascii_alphanumeric());
        good.then_some(Self { id, secret })
    }

    /// The id that the key claims.
    #[must_use]
    pub fn id(&self) -> &'a str {
        self.id
    }

    /// The entry that this key proves to own. An unknown id does the same work as a wrong secret, so
    /// that the time of an answer does not tell which ids exist.
    #[must_use]
    pub fn verify<'t>(&self, table: &'t dyn KeyTable) -> Option<&'t KeyEntry> {
        let mut shown = SecretHash::of(self.secret.as_bytes());
        let entry = table.find(self.id);
        let kept = entry.map_or(&[0_u8; 32], |entry| entry.hash.as_bytes());
        let proved = shown.0.ct_eq(kept) & Choice::from(u8::from(entry.is_some()));
        shown.0.zeroize();
        if bool::from(proved) { entry } else { None }
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Presented({KEY_PREFIX}{}_[redacted])", self.id)
    }
}

impl KeySet {
    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl FromIterator<KeyEntry> for KeySet {
    fn from_iter<I: IntoIterator<Item = KeyEntry>>(entries: I) -> Self {
        Self {
            entries: entries
                .into_iter()
                .map(|entry| (entry.id.clone(), entry))
                .collect(),
        }
    }
}

impl KeyTable for KeySet {
    fn find(&self, key_id: &str) -> Option<&KeyEntry> {
        self.entries.get(key_id)
    }
}

/// Appends `count` letters of `alphabet`, each equally likely: a byte past the last whole multiple of
/// the alphabet's length is thrown away.
fn push_random(out: &mut String, count: usize, alphabet: &[u8]) -> Result<(), getrandom::Error> {
    let usable = 256 - 256 % alphabet.len();
    let mut left = count;
    let mut random = Zeroizing::new([0_u8; 64]);
    while left > 0 {
        getrandom::fill(&mut random[..])?;
        for byte in random
            .iter()
            .map(|byte| usize::from(*byte))
            .filter(|byte| *byte < usable)
            .take(left)
        {
            out.push(char::from(alphabet[byte % alphabet.len()]));
            left -= 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
