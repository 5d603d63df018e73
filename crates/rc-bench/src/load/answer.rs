//! The least of HTTP/1.1 that a generator needs of an answer: its status, and where it ends.

use memchr::memmem;

/// A whole answer at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Where the body begins.
    pub(crate) body: usize,
    /// Where the next answer would begin.
    pub(crate) end: usize,
    /// The other side closes the connection after it.
    pub(crate) closes: bool,
}

/// Why bytes are no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// The answer at the start of `bytes`; `None` while it is not complete.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Answer>, Malformed> {
    let Some(head) = memmem::find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let body = head + 4;
    let status = match bytes.get(..12) {
        Some([b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', digits @ ..]) => {
            std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse().ok())
        }
        _ => None,
    }
    .ok_or(Malformed("the status line is not one of HTTP/1.1"))?;
    let mut length = None;
    let mut chunked = false;
    let mut closes = false;
    for line in bytes[..head].split(|byte| *byte == b'\n').skip(1) {
        // Most fields are none of the three; their length and first letter tell.
        match (line.get(..), line.iter().position(|byte| *byte == b':')) {
            (Some(line), Some(14)) if line[..14].eq_ignore_ascii_case(b"content-length") => {
                let value = std::str::from_utf8(&line[15..]).ok();
                let value = value.and_then(|value| value.trim().parse::<usize>().ok());
                length = Some(value.ok_or(Malformed("`content-length` is no number"))?);
            }
            (Some(line), Some(17)) if line[..17].eq_ignore_ascii_case(b"transfer-encoding") => chunked = true,
            (Some(line), Some(10)) if line[..10].eq_ignore_ascii_case(b"connection") => {
                closes = line[11..].trim_ascii().eq_ignore_ascii_case(b"close");
            }
            _ => {}
        }
    }
    let end = match (chunked, length) {
        _ if status == 204 || status == 304 => Some(body),
        (true, _) => chunks_end(bytes, body)?,
        (false, Some(length)) => Some(body + length).filter(|end| *end <= bytes.len()),
        (false, None) => return Err(Malformed("neither a length nor chunks")),
    };
    Ok(end.map(|end| Answer {
        status,
        body,
        end,
        closes,
    }))
}

/// Where a chunked body that begins at `at` ends; trailers are not understood.
fn chunks_end(bytes: &[u8], mut at: usize) -> Result<Option<usize>, Malformed> {
    loop {
        let Some(line) = memmem::find(&bytes[at..], b"\r\n") else {
            return Ok(None);
        };
        let digits = bytes[at..at + line].split(|byte| *byte == b';').next();
        let size = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok())
            .ok_or(Malformed("a chunk's size is no number"))?;
        at += line + 2 + size + 2;
        if at > bytes.len() {
            return Ok(None);
        }
        if size == 0 {
            return Ok(Some(at));
        }
    }
}

#[cfg(test)]
mod tests;
