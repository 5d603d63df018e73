//! Decodes pgoutput, protocol version 1. Any bytes give a message or an error, never a panic.

use bytes::{Buf as _, Bytes};

use super::Lsn;
use crate::Error;

/// Columns that a table of PostgreSQL can have at most.
const COLUMNS_MAX: usize = 1_600;

/// One message of pgoutput.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A transaction that committed starts.
    Begin(Begin),
    /// It ends.
    Commit {
        /// Where the commit stands.
        lsn: Lsn,
        /// The place behind it: streaming from here does not repeat it.
        end: Lsn,
    },
    /// The transaction was replicated from elsewhere.
    Origin,
    /// How a table looks from here on.
    Relation(Relation),
    /// A type that is not built in.
    Type,
    /// A new row.
    Insert {
        /// Which table.
        table: u32,
        /// The row.
        new: Tuple,
    },
    /// A changed row.
    Update {
        /// Which table.
        table: u32,
        /// What the WAL has of the row before, if anything.
        old: Option<Old>,
        /// The row after.
        new: Tuple,
    },
    /// A deleted row.
    Delete {
        /// Which table.
        table: u32,
        /// What the WAL has of it.
        old: Old,
    },
    /// Tables that were emptied.
    Truncate {
        /// Which tables.
        tables: Vec<u32>,
    },
    /// Something that was written into the WAL on purpose.
    Note,
}

/// The start of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// Where its commit stands.
    pub commit: Lsn,
    /// When it committed, in microseconds since 2000-01-01.
    pub at_us: i64,
    /// The lower half of its number.
    pub xid: u32,
}

/// How a table looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// By which number the changes name it.
    pub id: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// `d`, `n`, `f` or `i`: what the WAL has of rows before.
    pub identity: u8,
    /// Its columns, without the dropped and the generated ones.
    pub columns: Vec<Column>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Whether it is part of the replica identity.
    pub key: bool,
    /// Its name.
    pub name: String,
    /// Its type.
    pub type_oid: u32,
    /// Length, precision and the like.
    pub type_mod: i32,
}

/// What the WAL has of a row before a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Old {
    /// The columns of its identity; the others are null here, whatever they were.
    Key(Tuple),
    /// All of it: `REPLICA IDENTITY FULL`.
    Row(Tuple),
}

/// Values in the order of the table's columns.
pub type Tuple = Vec<Value>;

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// NULL.
    Null,
    /// A large value that was not touched, and is not in the WAL.
    Unchanged,
    /// In the type's text form.
    Text(Bytes),
    /// In the type's binary form.
    Binary(Bytes),
}

/// Decodes one message.
///
/// # Errors
/// [`Error::Damaged`] for bytes that are not exactly one message.
pub fn decode(bytes: Bytes) -> Result<Message, Error> {
    let mut input = Input(bytes);
    let message = match input.u8()? {
        b'B' => Message::Begin(Begin {
            commit: input.lsn()?,
            at_us: input.i64()?,
            xid: input.u32()?,
        }),
        b'C' => {
            input.u8()?;
            let (lsn, end) = (input.lsn()?, input.lsn()?);
            input.i64()?;
            Message::Commit { lsn, end }
        }
        b'O' => {
            input.lsn()?;
            input.text()?;
            Message::Origin
        }
        b'R' => Message::Relation(input.relation()?),
        b'Y' => {
            input.u32()?;
            input.text()?;
            input.text()?;
            Message::Type
        }
        b'I' => {
            let table = input.u32()?;
            input.expect(b'N')?;
            Message::Insert {
                table,
                new: input.tuple()?,
            }
        }
        b'U' => {
            let table = input.u32()?;
            let mut tag = input.u8()?;
            let mut old = None;
            if tag != b'N' {
                old = Some(input.old(tag)?);
                tag = input.u8()?;
            }
            if tag != b'N' {
                return Err(broken("an update without a new row"));
            }
            Message::Update {
                table,
                old,
                new: input.tuple()?,
            }
        }
        b'D' => {
            let table = input.u32()?;
            let tag = input.u8()?;
            Message::Delete {
                table,
                old: input.old(tag)?,
            }
        }
        b'T' => {
            let count = input.u32()?;
            input.u8()?;
            // Four bytes a table: a count that is a lie ends with the input, not with the memory.
            let tables = (0..count).map(|_| input.u32()).collect::<Result<_, _>>()?;
            Message::Truncate { tables }
        }
        b'M' => {
            input.u8()?;
            input.lsn()?;
            input.text()?;
            let length = input.u32()?;
            input.take(length)?;
            Message::Note
        }
        other => return Err(broken(&format!("a message of kind {other}"))),
    };
    if input.0.has_remaining() {
        return Err(broken("bytes behind a message"));
    }
    Ok(message)
}

fn broken(what: &str) -> Error {
    Error::stream(format!("the server sent {what}, which is not pgoutput version 1"))
}

/// What is left to decode.
struct Input(Bytes);

impl Input {
    fn take(&mut self, length: u32) -> Result<Bytes, Error> {
        match usize::try_from(length) {
            Ok(length) if length <= self.0.remaining() => Ok(self.0.split_to(length)),
            _ => Err(broken("half a message")),
        }
    }

    fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?.get_u8())
    }

    fn u16(&mut self) -> Result<u16, Error> {
        Ok(self.take(2)?.get_u16())
    }

    fn u32(&mut self) -> Result<u32, Error> {
        Ok(self.take(4)?.get_u32())
    }

    fn i64(&mut self) -> Result<i64, Error> {
        Ok(self.take(8)?.get_i64())
    }

    fn lsn(&mut self) -> Result<Lsn, Error> {
        Ok(Lsn(self.take(8)?.get_u64()))
    }

    fn expect(&mut self, tag: u8) -> Result<(), Error> {
        if self.u8()? == tag {
            Ok(())
        } else {
            Err(broken("a row with a wrong tag"))
        }
    }

    /// Text that ends with a zero byte.
    fn text(&mut self) -> Result<String, Error> {
        let end = self
            .0
            .iter()
            .position(|byte| *byte == 0)
            .ok_or_else(|| broken("half a text"))?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        match std::str::from_utf8(&text) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(broken("a name that is not UTF-8")),
        }
    }

    fn columns(&mut self) -> Result<usize, Error> {
        let count = usize::from(self.u16()?);
        if count > COLUMNS_MAX {
            Err(broken("too many columns"))
        } else {
            Ok(count)
        }
    }

    fn relation(&mut self) -> Result<Relation, Error> {
        let id = self.u32()?;
        let (schema, table, identity) = (self.text()?, self.text()?, self.u8()?);
        let columns = (0..self.columns()?)
            .map(|_| {
                Ok(Column {
                    key: self.u8()? & 1 == 1,
                    name: self.text()?,
                    type_oid: self.u32()?,
                    type_mod: self.u32()?.cast_signed(),
                })
            })
            .collect::<Result<_, Error>>()?;
        Ok(Relation {
            id,
            // An empty name means the schema of the system's own tables.
            schema: if schema.is_empty() {
                "pg_catalog".to_owned()
            } else {
                schema
            },
            table,
            identity,
            columns,
        })
    }

    fn old(&mut self, tag: u8) -> Result<Old, Error> {
        match tag {
            b'K' => Ok(Old::Key(self.tuple()?)),
            b'O' => Ok(Old::Row(self.tuple()?)),
            _ => Err(broken("a row with a wrong tag")),
        }
    }

    fn tuple(&mut self) -> Result<Tuple, Error> {
        (0..self.columns()?).map(|_| self.value()).collect()
    }

    fn value(&mut self) -> Result<Value, Error> {
        Ok(match self.u8()? {
            b'n' => Value::Null,
            b'u' => Value::Unchanged,
            b't' => {
                let length = self.u32()?;
                Value::Text(self.take(length)?)
            }
            b'b' => {
                let length = self.u32()?;
                Value::Binary(self.take(length)?)
            }
            _ => return Err(broken("a value of an unknown kind")),
        })
    }
}

#[cfg(test)]
mod tests;
