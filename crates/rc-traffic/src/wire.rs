//! The HTTP/1 grammar, read strictly: what two programs could read differently is an error here.
//!
//! Heads are cut out by [`head_end`] (lines end in CRLF and nothing else, no folding) and then parsed by
//! `httparse`; bodies are framed by [`Body`]. Both directions use the same code. Nothing that was read is
//! ever forwarded as it came: heads are rebuilt and bodies framed anew, so extensions, odd spellings and
//! trailers end here.

use crate::io::Inbox;

/// Longest chunk-size line, extensions included.
const CHUNK_LINE_BYTES_MAX: usize = 512;
/// Most bytes of extensions in all of a body: they are read and thrown away (CVE-2023-39326).
const EXTENSION_BYTES_MAX: usize = 16 << 10;
/// Most bytes of a trailer section.
const TRAILER_BYTES_MAX: usize = 8 << 10;
/// Most hex digits of a chunk size: 16 are 64 bits.
const CHUNK_DIGITS_MAX: usize = 16;

/// Why bytes are not HTTP as this gateway reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Finds the end of a message head in `bytes`. `scanned` remembers how far earlier calls came, always
/// at the start of a line.
pub(crate) fn head_end(bytes: &[u8], scanned: &mut usize) -> Result<Option<usize>, Malformed> {
    while let Some(length) = memchr::memchr(b'\n', &bytes[*scanned..]) {
        let line = &bytes[*scanned..*scanned + length];
        let Some(line) = line.strip_suffix(b"\r") else {
            return Err(Malformed("a line ends in a bare line feed"));
        };
        if *scanned > 0 && matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Malformed("a header line is folded"));
        }
        *scanned += length + 1;
        if line.is_empty() {
            return Ok(Some(*scanned));
        }
    }
    Ok(None)
}

/// How much body a message has, and how much of it was read.
#[derive(Debug)]
pub(crate) enum Body {
    Done,
    Length(u64),
    Chunked(Chunked),
    /// Until the other side closes; responses only.
    UntilClose,
}

/// What is at the front of the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// This many bytes of body.
    Data(usize),
    /// Not enough: read more.
    More,
    /// The body is complete.
    End,
}

/// A reader of the chunked coding (RFC 9112, section 7.1).
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    state: ChunkState,
    extension_bytes: usize,
    trailer_bytes: usize,
}

#[derive(Debug, Default)]
enum ChunkState {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailers,
}

impl Body {
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done | Self::Length(0))
    }

    /// The bytes that are still to come, when that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Self::Done => Some(0),
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Says what is at the front of `inbox`, taking framing bytes off it.
    pub(crate) fn next(&mut self, inbox: &mut Inbox) -> Result<Step, Malformed> {
        let available = inbox.filled().len();
        match self {
            Self::Done | Self::Length(0) => Ok(Step::End),
            Self::Length(_) | Self::UntilClose if available == 0 => Ok(Step::More),
            Self::Length(left) => Ok(Step::Data(
                usize::try_from(*left).unwrap_or(usize::MAX).min(available),
            )),
            Self::UntilClose => Ok(Step::Data(available)),
            Self::Chunked(chunked) => {
                let step = chunked.next(inbox)?;
                if step == Step::End {
                    *self = Self::Done;
                }
                Ok(step)
            }
        }
    }

    /// Takes `count` body bytes, no more than the last step said.
    pub(crate) fn take(&mut self, inbox: &mut Inbox, count: usize) {
        inbox.consume(count);
        match self {
            Self::Length(left)
            | Self::Chunked(Chunked {
                state: ChunkState::Data(left),
                ..
            }) => *left -= count as u64,
            Self::Done | Self::Chunked(_) | Self::UntilClose => {}
        }
    }
}

impl Chunked {
    fn next(&mut self, inbox: &mut Inbox) -> Result<Step, Malformed> {
        loop {
            let bytes = inbox.filled();
            match self.state {
                ChunkState::Size => {
                    let Some((size, extension, used)) = chunk_size(bytes)? else {
                        return Ok(Step::More);
                    };
                    inbox.consume(used);
                    self.extension_bytes += extension;
                    if self.extension_bytes > EXTENSION_BYTES_MAX {
                        return Err(Malformed("the chunk extensions are too large"));
                    }
                    self.state = if size == 0 {
                        ChunkState::Trailers
                    } else {
                        ChunkState::Data(size)
                    };
                }
                ChunkState::Data(0) => self.state = ChunkState::DataEnd,
                ChunkState::Data(_) if bytes.is_empty() => return Ok(Step::More),
                ChunkState::Data(left) => {
                    return Ok(Step::Data(
                        usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()),
                    ));
                }
                ChunkState::DataEnd => {
                    if !b"\r\n".starts_with(&bytes[..bytes.len().min(2)]) {
                        return Err(Malformed("a chunk is longer than its size says"));
                    }
                    if bytes.len() < 2 {
                        return Ok(Step::More);
                    }
                    inbox.consume(2);
                    self.state = ChunkState::Size;
                }
                ChunkState::Trailers => {
                    let Some(used) = trailer_line(bytes)? else {
                        return Ok(Step::More);
                    };
                    inbox.consume(used);
                    if used == 2 {
                        return Ok(Step::End);
                    }
                    self.trailer_bytes += used;
                    if self.trailer_bytes > TRAILER_BYTES_MAX {
                        return Err(Malformed("the trailer section is too large"));
                    }
                }
            }
        }
    }
}

/// A line of at most `max` bytes, without its CRLF.
fn line<'a>(bytes: &'a [u8], max: usize, too_long: &'static str) -> Result<Option<&'a [u8]>, Malformed> {
    let window = &bytes[..bytes.len().min(max)];
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if bytes.len() >= max {
            Err(Malformed(too_long))
        } else {
            Ok(None)
        };
    };
    match bytes[..end].strip_suffix(b"\r") {
        Some(line) => Ok(Some(line)),
        None => Err(Malformed("a line ends in a bare line feed")),
    }
}

/// A chunk's size, and the bytes of its extension and of the whole line.
fn chunk_size(bytes: &[u8]) -> Result<Option<(u64, usize, usize)>, Malformed> {
    let Some(line) = line(bytes, CHUNK_LINE_BYTES_MAX, "a chunk size line is too long")? else {
        return Ok(None);
    };
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if digits == 0 || digits > CHUNK_DIGITS_MAX {
        return Err(Malformed("a chunk size is not a number of 1 to 16 hex digits"));
    }
    let extension = &line[digits..];
    let visible = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    if !extension.is_empty() && (extension[0] != b';' || !extension.iter().all(visible)) {
        return Err(Malformed(
            "a chunk size is followed by something that is no extension",
        ));
    }
    let size = line[..digits].iter().fold(0_u64, |size, digit| {
        size << 4 | u64::from(char::from(*digit).to_digit(16).unwrap_or_default())
    });
    Ok(Some((size, extension.len(), line.len() + 2)))
}

fn trailer_line(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some(line) = line(bytes, TRAILER_BYTES_MAX, "the trailer section is too large")? else {
        return Ok(None);
    };
    if line.is_empty() {
        return Ok(Some(2));
    }
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    let value = line.get(name.len()..).unwrap_or_default();
    let fine = !name.is_empty()
        && !value.is_empty()
        && name.iter().all(|byte| is_token_byte(*byte))
        && value
            .iter()
            .all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    if !fine {
        return Err(Malformed("a trailer is no header field"));
    }
    Ok(Some(line.len() + 2))
}

/// RFC 9110, section 5.6.2: `tchar`.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Reads `Content-Length`: digits and nothing else, no sign, no list.
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests;
