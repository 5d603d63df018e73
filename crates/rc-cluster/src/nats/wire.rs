//! The text protocol of NATS: what a server says, read out of bytes, and messages written as bytes.

use std::str;

use bytes::{Buf as _, Bytes, BytesMut};
use serde::Deserialize;

/// Longest line of the protocol; a greeting of a large cluster is the longest.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Largest message that a server may send us: its own limit is 64 MiB at most.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Before every block of headers.
const VERSION: &[u8] = b"NATS/1.0";

/// Something that is not the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server does not speak NATS: {0}")]
pub(crate) struct NotNats(pub(crate) &'static str);

/// What a server greets with; only what we go by.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Info {
    pub(crate) server_id: String,
    pub(crate) version: String,
    pub(crate) max_payload: usize,
    pub(crate) headers: bool,
    pub(crate) tls_required: bool,
    pub(crate) auth_required: bool,
    pub(crate) nonce: Option<String>,
    pub(crate) jetstream: bool,
}

/// One thing that a server says.
#[derive(Debug)]
pub(crate) enum Op {
    Info(Box<Info>),
    Message(Message),
    Ping,
    Pong,
    Ok,
    Err(String),
}

/// A message to us.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) headers: Headers,
    pub(crate) payload: Bytes,
}

/// A block of headers as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers(Bytes);

impl Headers {
    /// The status of an answer without a payload: 404, 503.
    pub(crate) fn status(&self) -> Option<u16> {
        let line = self.0.split(|&byte| byte == b'\r').next()?;
        let status = line.strip_prefix(VERSION)?.trim_ascii_start();
        str::from_utf8(status.get(..3)?).ok()?.parse().ok()
    }

    /// The text behind the status.
    pub(crate) fn description(&self) -> &str {
        let line = self.0.split(|&byte| byte == b'\r').next().unwrap_or_default();
        let text = line
            .strip_prefix(VERSION)
            .and_then(|rest| rest.trim_ascii_start().get(3..))
            .unwrap_or_default();
        str::from_utf8(text).unwrap_or_default().trim()
    }

    /// All headers, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            loop {
                let end = memchr::memchr(b'\n', rest)?;
                let line = rest[..end].trim_ascii_end();
                rest = &rest[end + 1..];
                let Some(colon) = memchr::memchr(b':', line) else {
                    continue;
                };
                let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
                if let (Ok(name), Ok(value)) = (str::from_utf8(name), str::from_utf8(value)) {
                    return Some((name, value));
                }
            }
        })
    }

    /// The first header of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(found, _)| *found == name)
            .map(|(_, value)| value)
    }
}

/// Takes the next thing out of `input`, if it is there whole.
pub(crate) fn parse(input: &mut BytesMut) -> Result<Option<Op>, NotNats> {
    let Some(end) = memchr::memchr(b'\n', input) else {
        return match input.len() > LINE_BYTES_MAX {
            true => Err(NotNats("a line without an end")),
            false => Ok(None),
        };
    };
    if end > LINE_BYTES_MAX {
        return Err(NotNats("a line that is too long"));
    }
    let line = str::from_utf8(&input[..end]).map_err(|_odd| NotNats("a line that is not text"))?;
    let line = line.trim_end_matches('\r');
    let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let op = match verb.to_ascii_uppercase().as_str() {
        "MSG" => return message(input, end, false),
        "HMSG" => return message(input, end, true),
        "PING" => Op::Ping,
        "PONG" => Op::Pong,
        "+OK" => Op::Ok,
        "-ERR" => Op::Err(rest.trim().trim_matches('\'').to_owned()),
        "INFO" => Op::Info(Box::new(
            serde_json::from_str(rest).map_err(|_odd| NotNats("a greeting that is not JSON"))?,
        )),
        _ => return Err(NotNats("an unknown word")),
    };
    input.advance(end + 1);
    Ok(Some(op))
}

/// `MSG subject sid [reply] size` or `HMSG subject sid [reply] header-size size`, and that many bytes.
fn message(input: &mut BytesMut, end: usize, with_headers: bool) -> Result<Option<Op>, NotNats> {
    const ODD: NotNats = NotNats("a message without its sizes");
    let line = str::from_utf8(&input[..end]).map_err(|_odd| ODD)?;
    let mut fields = line.split_ascii_whitespace();
    let subject = fields.nth(1).ok_or(ODD)?.to_owned();
    let size = |text: Option<&str>| -> Result<usize, NotNats> {
        let size = text.and_then(|text| text.parse().ok()).ok_or(ODD)?;
        (size <= MESSAGE_BYTES_MAX)
            .then_some(size)
            .ok_or(NotNats("a message that is too large"))
    };
    let mut sizes = fields.rev();
    let total = size(sizes.next())?;
    let headers = if with_headers { size(sizes.next())? } else { 0 };
    if headers > total {
        return Err(ODD);
    }
    let start = end + 1;
    if input.len() < start + total + 2 {
        input.reserve(start + total + 2 - input.len());
        return Ok(None);
    }
    input.advance(start);
    let mut body = input.split_to(total).freeze();
    if !input.starts_with(b"\r\n") {
        return Err(NotNats("a message that does not end where it should"));
    }
    input.advance(2);
    let headers = Headers(body.split_to(headers));
    Ok(Some(Op::Message(Message {
        subject,
        headers,
        payload: body,
    })))
}

/// Appends a message to `out`. Names and values hold no line ends: they are ours, or [`percent`] wrote
/// them.
pub(crate) fn put_message(
    out: &mut Vec<u8>,
    subject: &str,
    reply: Option<&str>,
    headers: &[u8],
    payload: &[u8],
) {
    let reply = reply.unwrap_or_default();
    let gap = if reply.is_empty() { "" } else { " " };
    let size = headers.len() + payload.len();
    let line = match headers.len() {
        0 => format!("PUB {subject} {reply}{gap}{size}\r\n"),
        length => format!("HPUB {subject} {reply}{gap}{length} {size}\r\n"),
    };
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(headers);
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// A block of headers in the making.
#[derive(Debug)]
pub(crate) struct HeaderBlock(Vec<u8>);

impl HeaderBlock {
    pub(crate) fn new() -> Self {
        let mut block = Vec::with_capacity(640);
        block.extend_from_slice(VERSION);
        block.extend_from_slice(b"\r\n");
        Self(block)
    }

    /// Adds a header; what cannot stand in one is percent-encoded, as CloudEvents prescribes for HTTP.
    pub(crate) fn put(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        self.0.extend_from_slice(b": ");
        percent(&mut self.0, value);
        self.0.extend_from_slice(b"\r\n");
    }

    /// The finished block.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"\r\n");
        self.0
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

fn percent(out: &mut Vec<u8>, text: &str) {
    for &byte in text.as_bytes() {
        if matches!(byte, 0x21..=0x7e) && !matches!(byte, b'%' | b'"') {
            out.push(byte);
        } else {
            let digits = [byte >> 4, byte & 15].map(|digit| HEX[usize::from(digit)]);
            out.extend_from_slice(&[b'%', digits[0], digits[1]]);
        }
    }
}

/// Undoes what [`HeaderBlock::put`] did to a value; `None` for what it never writes.
pub(crate) fn unpercent(value: &str) -> Option<String> {
    unescape(value, b'%')
}

/// A token of a subject for any text: letters, digits, `-` and `_` stand for themselves, every other byte
/// for `=` and two digits. Two texts never have the same token.
pub(crate) fn token(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            out.push(char::from(byte));
        } else {
            out.push('=');
            for digit in [byte >> 4, byte & 15] {
                out.push(char::from(HEX[usize::from(digit)]));
            }
        }
    }
    if out.is_empty() {
        // A token is never empty; a single `=` is nothing else.
        out.push('=');
    }
    out
}

/// The text of a [`token`].
pub(crate) fn untoken(token: &str) -> Option<String> {
    if token == "=" {
        return Some(String::new());
    }
    unescape(token, b'=')
}

fn unescape(text: &str, mark: u8) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != mark {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit()? << 4 | digit()?;
        out.push(u8::try_from(value).ok()?);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests;
