//! A session: who we are, simple queries, and the step into streaming.

use std::time::Duration;

use bytes::{Buf as _, Bytes};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use rc_store::PgAddress;

use super::stream::Stream;
use super::wire::{Frame, Wire, ended};
use super::{Failure, Lsn, ident, literal};
use crate::Error;

/// How long the server may take for one step.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// How long it may take for a step that waits for the transactions that run: making a slot.
pub(super) const LONG_ANSWER_TIME_MAX: Duration = Duration::from_secs(600);

/// Rows of one answer that are held.
const ROWS_MAX: usize = 100_000;

/// One form for every value, whatever the server's or the role's settings are; and a filter that hides rows
/// from us is an error, not a shorter answer.
const SETTINGS: &str = "-c datestyle=ISO -c timezone=UTC -c intervalstyle=iso_8601 -c extra_float_digits=1 \
     -c bytea_output=hex -c row_security=off -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 \
     -c standard_conforming_strings=on -c client_min_messages=warning -c search_path=pg_catalog";

/// A connection that can ask and, in replication mode, stream.
pub(crate) struct Session {
    wire: Wire,
}

/// The answer to one query: text or nothing.
pub(crate) struct Answer {
    /// Names and types.
    pub(crate) columns: Vec<(String, u32)>,
    pub(crate) rows: Vec<Vec<Option<Bytes>>>,
}

impl Answer {
    /// The text in the first row's column `at`.
    pub(crate) fn first(&self, at: usize) -> Option<&str> {
        self.rows.first().and_then(|row| text(row, at))
    }
}

/// The text in column `at`.
pub(crate) fn text(row: &[Option<Bytes>], at: usize) -> Option<&str> {
    row.get(at)?
        .as_deref()
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
}

impl Session {
    /// Connects to ask only.
    pub(crate) async fn ask(address: &PgAddress) -> Result<Self, Error> {
        Self::connect(address, false).await
    }

    /// Connects to stream; such a session can also ask.
    pub(crate) async fn replicate(address: &PgAddress) -> Result<Self, Error> {
        Self::connect(address, true).await
    }

    async fn connect(address: &PgAddress, replication: bool) -> Result<Self, Error> {
        let mut wire = Wire::new(address.dial().await?);
        let mut parameters = vec![
            ("user", address.user()),
            ("database", address.database()),
            ("client_encoding", "UTF8"),
            ("application_name", "royalcrown-replication"),
            ("options", SETTINGS),
        ];
        if replication {
            parameters.push(("replication", "database"));
        }
        frontend::startup_message(parameters, &mut wire.outbox).map_err(malformed)?;
        wire.send().await?;
        authenticate(&mut wire, address).await?;
        loop {
            let frame = wire.frame(ANSWER_TIME_MAX).await?;
            match frame.tag {
                b'S' | b'K' | b'N' => {}
                b'Z' => return Ok(Self { wire }),
                b'E' => return Err(refused("failed to connect", &frame.body)),
                other => return Err(unexpected(other)),
            }
        }
    }

    /// Runs one statement, or several without answers.
    pub(crate) async fn query(&mut self, tried: &'static str, sql: &str) -> Result<Answer, Error> {
        self.query_within(ANSWER_TIME_MAX, tried, sql).await
    }

    /// As [`Self::query`], waiting `limit` for each part of the answer.
    pub(super) async fn query_within(
        &mut self,
        limit: Duration,
        tried: &'static str,
        sql: &str,
    ) -> Result<Answer, Error> {
        frontend::query(sql, &mut self.wire.outbox).map_err(malformed)?;
        self.wire.send().await?;
        let mut answer = Answer {
            columns: Vec::new(),
            rows: Vec::new(),
        };
        let mut said = None;
        loop {
            let Frame { tag, mut body } = self.wire.frame(limit).await?;
            match tag {
                b'T' => answer.columns = columns(&mut body).ok_or_else(|| unexpected(tag))?,
                b'D' if answer.rows.len() < ROWS_MAX => {
                    answer.rows.push(row(&mut body).ok_or_else(|| unexpected(tag))?);
                }
                b'D' => return Err(unexpected(tag)),
                b'E' => said = Some(refused(tried, &body)),
                b'C' | b'I' | b'N' | b'S' => {}
                b'Z' => return said.map_or(Ok(answer), Err),
                other => return Err(unexpected(other)),
            }
        }
    }

    /// Starts to stream from `slot`: what committed after `from`.
    pub(crate) async fn stream(
        mut self,
        slot: &str,
        from: Lsn,
        publication: &str,
        binary: bool,
    ) -> Result<Stream, Error> {
        let tried = "failed to start replication";
        let sql = format!(
            "START_REPLICATION SLOT {} LOGICAL {from} (proto_version '1', publication_names {}{})",
            ident(slot),
            literal(&ident(publication)),
            if binary { ", binary 'true'" } else { "" },
        );
        frontend::query(&sql, &mut self.wire.outbox).map_err(malformed)?;
        self.wire.send().await?;
        loop {
            let frame = self.wire.frame(ANSWER_TIME_MAX).await?;
            match frame.tag {
                b'W' => return Ok(Stream::new(self.wire, from)),
                b'E' => return Err(refused(tried, &frame.body)),
                b'N' | b'S' => {}
                other => return Err(unexpected(other)),
            }
        }
    }
}

async fn authenticate(wire: &mut Wire, address: &PgAddress) -> Result<(), Error> {
    let mut scram: Option<ScramSha256> = None;
    let no_password = || Error::invalid("the server asks for a password, and the URL has none");
    loop {
        let Frame { tag, mut body } = wire.frame(ANSWER_TIME_MAX).await?;
        match tag {
            b'R' if body.len() >= 4 => {}
            b'E' => return Err(refused("failed to connect", &body)),
            b'N' => continue,
            other => return Err(unexpected(other)),
        }
        match body.get_u32() {
            0 => return Ok(()),
            3 => {
                let password = address.password().ok_or_else(no_password)?;
                frontend::password_message(password, &mut wire.outbox).map_err(malformed)?;
            }
            5 => {
                let password = address.password().ok_or_else(no_password)?;
                let salt = *body.first_chunk::<4>().ok_or_else(|| unexpected(tag))?;
                let hash = md5_hash(address.user().as_bytes(), password, salt);
                frontend::password_message(hash.as_bytes(), &mut wire.outbox).map_err(malformed)?;
            }
            10 => {
                let offered = body
                    .split(|byte| *byte == 0)
                    .any(|name| name == SCRAM_SHA_256.as_bytes());
                if !offered {
                    return Err(Error::invalid("the server offers no SCRAM-SHA-256"));
                }
                let password = address.password().ok_or_else(no_password)?;
                let begun = ScramSha256::new(password, ChannelBinding::unsupported());
                frontend::sasl_initial_response(SCRAM_SHA_256, begun.message(), &mut wire.outbox)
                    .map_err(malformed)?;
                scram = Some(begun);
            }
            11 => {
                let scram = scram.as_mut().ok_or_else(|| unexpected(tag))?;
                scram.update(&body).map_err(malformed)?;
                frontend::sasl_response(scram.message(), &mut wire.outbox).map_err(malformed)?;
            }
            12 => scram
                .as_mut()
                .ok_or_else(|| unexpected(tag))?
                .finish(&body)
                .map_err(malformed)?,
            _ => {
                return Err(Error::invalid(
                    "the server asks for a way to log in that is not spoken here",
                ));
            }
        }
        wire.send().await?;
    }
}

/// `RowDescription`: names and types.
fn columns(body: &mut Bytes) -> Option<Vec<(String, u32)>> {
    let count = body.try_get_u16().ok()?;
    (0..count)
        .map(|_| {
            let end = body.iter().position(|byte| *byte == 0)?;
            let name = String::from_utf8(body.split_to(end).to_vec()).ok()?;
            body.advance(1);
            // Table, column; type; size, modifier, format.
            body.try_get_u32().ok()?;
            body.try_get_u16().ok()?;
            let type_oid = body.try_get_u32().ok()?;
            body.try_get_u16().ok()?;
            body.try_get_u32().ok()?;
            body.try_get_u16().ok()?;
            Some((name, type_oid))
        })
        .collect()
}

/// `DataRow`: texts.
fn row(body: &mut Bytes) -> Option<Vec<Option<Bytes>>> {
    let count = body.try_get_u16().ok()?;
    (0..count)
        .map(|_| match body.try_get_i32().ok()? {
            -1 => Some(None),
            length => {
                let length = usize::try_from(length)
                    .ok()
                    .filter(|length| *length <= body.len())?;
                Some(Some(body.split_to(length)))
            }
        })
        .collect()
}

/// `ErrorResponse`: fields of a letter and a text each.
pub(super) fn refused(tried: &'static str, body: &[u8]) -> Error {
    let field = |letter: u8| {
        let mut fields = body.split(|byte| *byte == 0);
        let found = fields.find_map(|field| field.split_first().filter(|(first, _)| **first == letter));
        found.map_or_else(String::new, |(_, text)| {
            String::from_utf8_lossy(text).into_owned()
        })
    };
    Error::from(Failure::Refused {
        tried,
        state: field(b'C'),
        message: field(b'M'),
    })
}

fn unexpected(tag: u8) -> Error {
    Error::stream(format!(
        "the server sent a message `{}` out of turn",
        char::from(tag).escape_default()
    ))
}

fn malformed(error: std::io::Error) -> Error {
    ended(&error.to_string())
}
