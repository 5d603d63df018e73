//! The part of CBOR (RFC 8949) that entries use, in its deterministic form (section 4.2.1): shortest heads,
//! definite lengths, keys in order.
//!
//! The reader refuses everything else, so that a value has exactly one encoding.

use crate::Error;

const UINT: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;

/// Appends items to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn head(&mut self, major: u8, value: u64) {
        let major = major << 5;
        let bytes = value.to_be_bytes();
        if value < 24 {
            self.0.push(major | bytes[7]);
        } else if value <= 0xff {
            self.0.extend([major | 24, bytes[7]]);
        } else if value <= 0xffff {
            self.0.push(major | 25);
            self.0.extend_from_slice(&bytes[6..]);
        } else if value <= 0xffff_ffff {
            self.0.push(major | 26);
            self.0.extend_from_slice(&bytes[4..]);
        } else {
            self.0.push(major | 27);
            self.0.extend_from_slice(&bytes);
        }
    }

    pub(crate) fn uint(&mut self, value: u64) {
        self.head(UINT, value);
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.head(BYTES, value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.head(TEXT, value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
    }

    pub(crate) fn array(&mut self, len: u64) {
        self.head(ARRAY, len);
    }

    pub(crate) fn map(&mut self, len: u64) {
        self.head(MAP, len);
    }
}

/// Takes items off the front of some bytes.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self
            .0
            .split_at_checked(len)
            .ok_or_else(|| malformed("it ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// The major type and the value of the next head.
    fn head(&mut self) -> Result<(u8, u64), Error> {
        let first = self.take(1)?[0];
        let len = match first & 0x1f {
            info @ 0..24 => return Ok((first >> 5, u64::from(info))),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return Err(malformed("an indefinite length or a reserved head")),
        };
        let mut bytes = [0; 8];
        bytes[8 - len..].copy_from_slice(self.take(len)?);
        let value = u64::from_be_bytes(bytes);
        let shortest = match len {
            1 => value >= 24,
            2 => value > 0xff,
            4 => value > 0xffff,
            _ => value > 0xffff_ffff,
        };
        if !shortest {
            return Err(malformed("a number that is not in its shortest form"));
        }
        Ok((first >> 5, value))
    }

    fn expect(&mut self, major: u8, what: &'static str) -> Result<u64, Error> {
        let (found, value) = self.head()?;
        if found != major {
            return Err(malformed(&format!("expected {what}")));
        }
        Ok(value)
    }

    pub(crate) fn uint(&mut self) -> Result<u64, Error> {
        self.expect(UINT, "an unsigned number")
    }

    fn string(&mut self, major: u8, what: &'static str) -> Result<&'a [u8], Error> {
        let len = self.expect(major, what)?;
        let len = usize::try_from(len).ok().filter(|len| *len <= self.0.len());
        self.take(len.ok_or_else(|| malformed("it ends early"))?)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Error> {
        self.string(BYTES, "a byte string")
    }

    /// A byte string of exactly `N` bytes.
    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        <[u8; N]>::try_from(self.bytes()?)
            .ok()
            .ok_or_else(|| malformed(&format!("expected {N} bytes")))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Error> {
        let bytes = self.string(TEXT, "a text")?;
        std::str::from_utf8(bytes)
            .ok()
            .ok_or_else(|| malformed("text that is not UTF-8"))
    }

    pub(crate) fn array(&mut self, len: u64) -> Result<(), Error> {
        if self.expect(ARRAY, "an array")? != len {
            return Err(malformed(&format!("expected an array of {len}")));
        }
        Ok(())
    }

    /// The number of pairs that follow.
    pub(crate) fn map(&mut self) -> Result<Fields, Error> {
        Ok(Fields {
            left: self.expect(MAP, "a map")?,
        })
    }

    /// Whether nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A map's pairs, whose keys are small numbers and are asked for in rising order. A key that is out of order,
/// doubled or unknown is therefore never the one that is asked for.
#[derive(Debug)]
pub(crate) struct Fields {
    left: u64,
}

impl Fields {
    /// Moves to the value of `key`, when it is the next one.
    pub(crate) fn maybe(&mut self, reader: &mut Reader<'_>, key: u8) -> bool {
        if self.left == 0 || reader.0.first() != Some(&key) {
            return false;
        }
        self.left -= 1;
        reader.0 = &reader.0[1..];
        true
    }

    /// Moves to the value of `key`, which must be the next one.
    pub(crate) fn need(&mut self, reader: &mut Reader<'_>, key: u8) -> Result<(), Error> {
        if !self.maybe(reader, key) {
            return Err(malformed(&format!("field {key} is missing or out of order")));
        }
        Ok(())
    }

    /// Every pair was asked for.
    pub(crate) fn end(self) -> Result<(), Error> {
        if self.left > 0 {
            return Err(malformed("a field that is unknown, doubled or out of order"));
        }
        Ok(())
    }
}

pub(crate) fn malformed(what: &str) -> Error {
    Error::Entry(what.to_owned())
}

#[cfg(test)]
mod tests;
