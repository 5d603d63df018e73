//! Finds the items of a body without understanding them: one value, a JSON array, or lines.
//!
//! It walks over strings with `memchr` and counts brackets, so it finishes before any item is parsed and
//! can refuse a body for its item count, or an item for its size and depth, at the price of one look at
//! each byte. It does not check that an item is valid JSON: a wrong cut always leaves an item that is not.

use super::fault::{self, Fault};
use super::limits;

/// One item's place in the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) bytes: &'a [u8],
    /// Where `bytes` starts in the body.
    pub(crate) offset: usize,
    /// The line (from 1) of an item in a body of lines.
    pub(crate) line: Option<usize>,
    /// How deep the item nests.
    pub(crate) depth: usize,
}

/// The body as one value.
///
/// # Errors
/// When there is none.
pub(crate) fn one(body: &[u8]) -> Result<Frame<'_>, Fault> {
    let start = skip_space(body, 0);
    if start == body.len() {
        return Err(Fault::body(fault::EMPTY, "the body is empty"));
    }
    let end = body.trim_ascii_end().len();
    // What follows the first value is part of the frame, so that the parser says what is wrong with it.
    let (_, depth) = value_end(body, start);
    Ok(Frame {
        bytes: &body[start..end],
        offset: start,
        line: None,
        depth,
    })
}

/// The elements of the body as a JSON array.
///
/// # Errors
/// When the body is not an array, when its commas and brackets are broken, when it has too many elements
/// or none.
pub(crate) fn array(body: &[u8]) -> Result<Vec<Frame<'_>>, Fault> {
    let open = skip_space(body, 0);
    match body.get(open) {
        None => return Err(Fault::body(fault::EMPTY, "the body is empty")),
        Some(b'[') => {}
        Some(b'{') => {
            let hint = "the body is one object; send an array, or lines as `application/x-ndjson`, or use `POST /ingest`";
            return Err(Fault::body(fault::WRONG_TYPE, hint));
        }
        Some(_) => return Err(syntax(body, open, "expected an array of documents")),
    }
    let mut frames = Vec::new();
    let mut at = skip_space(body, open + 1);
    if body.get(at) == Some(&b']') {
        at = skip_space(body, at + 1);
        if at < body.len() {
            return Err(syntax(body, at, "expected nothing after the array"));
        }
        return Err(Fault::body(fault::EMPTY, "the array is empty"));
    }
    loop {
        if frames.len() == limits::ITEMS_MAX {
            return Err(too_many());
        }
        let (end, depth) = value_end(body, at);
        if end == at {
            return Err(syntax(body, at, "expected a document"));
        }
        frames.push(Frame {
            bytes: &body[at..end],
            offset: at,
            line: None,
            depth,
        });
        at = skip_space(body, end);
        match body.get(at) {
            Some(b',') => at = skip_space(body, at + 1),
            Some(b']') => break,
            Some(_) => return Err(syntax(body, at, "expected `,` or `]` after an item")),
            None => return Err(syntax(body, at, "the body ends inside the array")),
        }
    }
    let rest = skip_space(body, at + 1);
    if rest < body.len() {
        return Err(syntax(body, rest, "expected nothing after the array"));
    }
    Ok(frames)
}

/// The lines of the body that are not blank (NDJSON).
///
/// # Errors
/// When there are too many lines or none.
pub(crate) fn lines(body: &[u8]) -> Result<Vec<Frame<'_>>, Fault> {
    let mut frames = Vec::new();
    let mut start = 0;
    let mut number = 0;
    while start < body.len() {
        number += 1;
        let end = memchr::memchr(b'\n', &body[start..]).map_or(body.len(), |at| start + at);
        let line = body[start..end].trim_ascii();
        if !line.is_empty() {
            if frames.len() == limits::ITEMS_MAX {
                return Err(too_many());
            }
            let lead = body[start..end].len() - body[start..end].trim_ascii_start().len();
            frames.push(Frame {
                bytes: line,
                offset: start + lead,
                line: Some(number),
                depth: value_end(line, 0).1,
            });
        }
        start = end + 1;
    }
    if frames.is_empty() {
        return Err(Fault::body(fault::EMPTY, "the body has no lines"));
    }
    Ok(frames)
}

/// A syntax fault at `offset` of `body`, with line and column (both from 1, columns in bytes).
pub(crate) fn syntax(body: &[u8], offset: usize, what: &str) -> Fault {
    let before = &body[..offset.min(body.len())];
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let column = before.len() - memchr::memrchr(b'\n', before).map_or(0, |at| at + 1) + 1;
    Fault::body(
        fault::MALFORMED,
        format!("{what} at line {line} column {column} (byte {offset})"),
    )
}

fn too_many() -> Fault {
    let max = limits::ITEMS_MAX;
    Fault::body(
        fault::ITEM_COUNT,
        format!("the batch has more than {max} items; send several batches"),
    )
}

/// Where the value that starts at `start` ends, and how deep it nests. Equal to `start` when no value
/// starts there; the end of the body when the value does not end.
fn value_end(body: &[u8], start: usize) -> (usize, usize) {
    let (mut at, mut depth, mut deepest) = (start, 0_usize, 0_usize);
    while let Some(&byte) = body.get(at) {
        match byte {
            b'"' => {
                at = string_end(body, at + 1);
                if depth == 0 {
                    return (at, deepest);
                }
            }
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
                at += 1;
            }
            b'}' | b']' => {
                if depth == 0 {
                    return (at, deepest);
                }
                depth -= 1;
                at += 1;
                if depth == 0 {
                    return (at, deepest);
                }
            }
            b',' | b' ' | b'\t' | b'\r' | b'\n' if depth == 0 => return (at, deepest),
            _ => at += 1,
        }
    }
    (body.len(), deepest)
}

/// Where the string ends whose first byte after the quote is `start`.
fn string_end(body: &[u8], start: usize) -> usize {
    let mut at = start;
    while at < body.len() {
        match memchr::memchr2(b'"', b'\\', &body[at..]) {
            None => break,
            Some(found) if body[at + found] == b'"' => return at + found + 1,
            Some(found) => at += found + 2,
        }
    }
    body.len()
}

fn skip_space(body: &[u8], mut at: usize) -> usize {
    while matches!(body.get(at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        at += 1;
    }
    at
}
