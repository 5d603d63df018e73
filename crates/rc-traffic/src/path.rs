//! Which route a request path leads to, and which paths are refused because two programs could read
//! them differently.
//!
//! A path is forwarded as it came. It is refused when it holds an empty segment (`//`), a `.` or `..`
//! segment in any spelling (`%2e`, `..;x`, `..%2f`, `..%5c`), a control character in any spelling, a
//! byte that RFC 3986 does not allow, or a broken escape; and when decoding its escapes would lead to
//! another route (`/%64ocs`, `/docs%2f7`). An escaped `/` below the route's own prefix is data, so that a
//! document may be called `a/b`.

use std::collections::HashMap;

use rc_model::catalog::Method;
use rc_model::id::has_dot_segment;

const METHODS: [Method; 7] = [
    Method::Get,
    Method::Head,
    Method::Post,
    Method::Put,
    Method::Patch,
    Method::Delete,
    Method::Options,
];

/// How many methods there are, for tables indexed by [`method_index`].
pub(crate) const METHOD_COUNT: usize = METHODS.len();

const NO_ROUTE: u32 = u32::MAX;

/// Every method that a route can name, as `Allow` lists them.
pub(crate) const CARRIED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Reads a method by its name on the wire. `None` for methods the gateway does not carry.
pub(crate) fn method(name: &[u8]) -> Option<Method> {
    METHODS
        .into_iter()
        .find(|method| method.as_str().as_bytes() == name)
}

/// The method's place in a table of [`METHOD_COUNT`].
pub(crate) fn method_index(method: Method) -> usize {
    method as usize
}

/// The method at a place in such a table.
pub(crate) fn method_name(index: usize) -> &'static str {
    METHODS[index].as_str()
}

/// Routes by path prefix at segment borders; the longest prefix wins.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    nodes: HashMap<Box<str>, Node>,
    root: Option<Node>,
    /// Segments of the deepest prefix: no need to look further down.
    depth_max: usize,
}

#[derive(Debug)]
struct Node {
    by_method: [u32; METHOD_COUNT],
    allow: String,
}

/// Why a route cannot be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TableError {
    Twice(&'static str),
    BadPath,
}

/// Where a path and a method lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found<'t> {
    /// The index of a route.
    Route(usize),
    /// The path is known, the method is not; these are.
    OtherMethods(&'t str),
    Nothing,
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AmbiguousPath(pub(crate) &'static str);

impl RouteTable {
    /// Adds a route; no methods mean all.
    pub(crate) fn insert(&mut self, path: &str, methods: &[Method], route: usize) -> Result<(), TableError> {
        let prefix = trimmed(path);
        if !is_plain(path) {
            return Err(TableError::BadPath);
        }
        let node = if prefix == "/" {
            self.root.get_or_insert_with(Node::new)
        } else {
            self.depth_max = self.depth_max.max(prefix.matches('/').count());
            self.nodes.entry(prefix.into()).or_insert_with(Node::new)
        };
        let all = if methods.is_empty() { &METHODS[..] } else { methods };
        for method in all {
            let slot = &mut node.by_method[method_index(*method)];
            if *slot != NO_ROUTE {
                return Err(TableError::Twice(method.as_str()));
            }
            *slot = u32::try_from(route).unwrap_or(NO_ROUTE);
        }
        node.allow = METHODS
            .into_iter()
            .filter(|method| node.by_method[method_index(*method)] != NO_ROUTE)
            .map(Method::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        Ok(())
    }

    /// Checks `path` (without the query) and finds its route.
    ///
    /// # Errors
    /// What makes the path ambiguous.
    pub(crate) fn find(&self, path: &str, method: Method) -> Result<Found<'_>, AmbiguousPath> {
        let node = match check(path)? {
            None => self.node(path),
            Some(decoded) => {
                let (raw, read) = (self.node(path), self.node(&decoded));
                if raw.map(std::ptr::from_ref) != read.map(std::ptr::from_ref) {
                    return Err(AmbiguousPath("escapes in the path change where it leads"));
                }
                raw
            }
        };
        Ok(match node {
            None => Found::Nothing,
            Some(node) => match node.by_method[method_index(method)] {
                NO_ROUTE => Found::OtherMethods(&node.allow),
                route => Found::Route(route as usize),
            },
        })
    }

    fn node(&self, path: &str) -> Option<&Node> {
        // Cut the path to as many segments as the deepest prefix has, then go up segment by segment.
        let end = path
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'/')
            .nth(self.depth_max)
            .map_or(path.len(), |(at, _)| at);
        let mut rest = &path[..end];
        while self.depth_max > 0 && rest.len() > 1 {
            if let Some(node) = self.nodes.get(rest) {
                return Some(node);
            }
            rest = &rest[..rest.rfind('/').unwrap_or(0)];
        }
        self.root.as_ref()
    }
}

impl Node {
    fn new() -> Self {
        Self {
            by_method: [NO_ROUTE; METHOD_COUNT],
            allow: String::new(),
        }
    }
}

/// A route's path without a closing `/`.
pub(crate) fn trimmed(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some(short) if !short.is_empty() => short,
        _ => path,
    }
}

fn is_plain(path: &str) -> bool {
    path.starts_with('/') && !path.contains('%') && check(path).is_ok()
}

/// Checks a request path. `Some(decoded)` when it holds escapes.
fn check(path: &str) -> Result<Option<String>, AmbiguousPath> {
    if !path.starts_with('/') {
        return Err(AmbiguousPath("the path does not start with `/`"));
    }
    let mut escaped = false;
    let mut previous = 0_u8;
    let mut dots = false;
    for byte in path.bytes() {
        match byte {
            b'/' if previous == b'/' => return Err(AmbiguousPath("the path holds an empty segment")),
            b'.' if previous == b'/' => dots = true,
            b'%' => escaped = true,
            _ if !is_path_byte(byte) => {
                return Err(AmbiguousPath("the path holds a character that must be escaped"));
            }
            _ => {}
        }
        previous = byte;
    }
    if !escaped {
        return if dots && has_dot_segment(path) {
            Err(DOT_SEGMENT)
        } else {
            Ok(None)
        };
    }
    let decoded = decode(path)?;
    if has_dot_segment(&decoded) {
        return Err(DOT_SEGMENT);
    }
    Ok(Some(decoded))
}

const DOT_SEGMENT: AmbiguousPath = AmbiguousPath("the path holds a `.` or `..` segment");

/// RFC 3986, section 3.3: `pchar`, and `/`.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte)
}

fn decode(path: &str) -> Result<String, AmbiguousPath> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(AmbiguousPath("the path holds a broken escape"));
        };
        let value = u8::try_from(high * 16 + low).unwrap_or_default();
        if value.is_ascii_control() {
            return Err(AmbiguousPath("the path holds an escaped control character"));
        }
        out.push(value);
    }
    String::from_utf8(out).map_err(|_not_text| AmbiguousPath("the path's escapes are not UTF-8"))
}

#[cfg(test)]
mod tests;
