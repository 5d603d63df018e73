//! Protocol buffers' wire format (<https://protobuf.dev/programming-guides/encoding/>), as far as OTLP needs it.
//!
//! It refuses to know messages. Sizes are computed before anything is written, so that a message is written
//! once, front to back, into a buffer that is already there.

/// A field that holds a varint.
const VARINT: u32 = 0;
/// A field of eight bytes.
const FIXED64: u32 = 1;
/// A field with a length in front: text, bytes, a message.
const DELIMITED: u32 = 2;
/// A field of four bytes.
const FIXED32: u32 = 5;

/// Bytes that `value` takes as a varint.
pub(crate) const fn varint_len(value: u64) -> usize {
    // One byte for every seven bits that are needed, and one for zero.
    ((63 - (value | 1).leading_zeros()) / 7 + 1) as usize
}

/// Bytes that a field with `len` bytes of content takes; its number is below 16.
pub(crate) const fn delimited_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

const fn key(number: u32, kind: u32) -> u64 {
    ((number << 3) | kind) as u64
}

pub(crate) fn put_uint(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, key(number, VARINT));
    put_varint(out, value);
}

pub(crate) fn put_fixed64(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, key(number, FIXED64));
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_fixed32(out: &mut Vec<u8>, number: u32, value: u32) {
    put_varint(out, key(number, FIXED32));
    out.extend_from_slice(&value.to_le_bytes());
}

/// Begins a field whose content of `len` bytes the caller writes next.
pub(crate) fn begin(out: &mut Vec<u8>, number: u32, len: usize) {
    put_varint(out, key(number, DELIMITED));
    put_varint(out, len as u64);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    begin(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

/// The value of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The message breaks off, or is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a protocol buffer message")]
pub(crate) struct Malformed;

/// The fields of a message, in the order in which they stand. It ends after the first fault.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * index as u32);
            if byte & 0x80 == 0 {
                // The tenth byte has room for one bit.
                if index == 9 && *byte > 1 {
                    return None;
                }
                self.rest = &self.rest[index + 1..];
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u32, Field<'a>)> {
        let key = u32::try_from(self.varint()?).ok()?;
        let value = match key & 7 {
            VARINT => Field::Varint(self.varint()?),
            FIXED64 => Field::Fixed64(u64::from_le_bytes(*self.take(8)?.first_chunk()?)),
            FIXED32 => Field::Fixed32(u32::from_le_bytes(*self.take(4)?.first_chunk()?)),
            DELIMITED => {
                let len = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(len)?)
            }
            // Groups ended with version 2 of the format, and OTLP has none.
            _ => return None,
        };
        (key >> 3 != 0).then_some((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Field<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or(Malformed))
    }
}

#[cfg(test)]
mod tests;
