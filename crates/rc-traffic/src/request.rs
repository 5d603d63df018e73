//! What a request head says, whichever protocol carried it: read once, checked, nothing copied.

use httparse::Header;
use rc_serve::context::is_request_id;

use crate::answer::{
    AMBIGUOUS_FRAMING, BAD_HOST, BAD_TIMEOUT, CREDENTIALS_CONFLICT, EXPECTATION_FAILED, Kind, MALFORMED_HEAD,
    Refusal, UPGRADE_REFUSED,
};
use crate::wire::content_length;

/// Room for header fields; [`crate::ConnectionLimits::headers_max`] may be less, never more.
pub(crate) const FIELDS_MAX: usize = 128;
/// `Connection` fields that are read in one request.
const CONNECTION_FIELDS_MAX: usize = 4;
/// Longest time that a client can ask for.
const TIMEOUT_MS_MAX: u64 = 3_600_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http10,
    Http11,
    H2,
}

/// A head as it was parsed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) method: &'a str,
    pub(crate) target: &'a str,
    /// `:authority` of HTTP/2.
    pub(crate) authority: Option<&'a str>,
    pub(crate) protocol: Protocol,
    /// Body frames follow; HTTP/2 only, where no header needs to say so.
    pub(crate) streams: bool,
    pub(crate) fields: &'a [Header<'a>],
}

/// How the request's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Unknown,
}

/// What a head says, checked.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: Option<&'a str>,
    pub(crate) framing: Framing,
    /// The client closes after this answer.
    pub(crate) close: bool,
    pub(crate) expects_continue: bool,
    pub(crate) credential: Option<Credential<'a>>,
    pub(crate) traceparent: Option<&'a [u8]>,
    pub(crate) request_id: Option<&'a str>,
    pub(crate) timeout_ms: Option<u64>,
    /// `x-rc-tenant`, to be believed on trusted listeners only.
    pub(crate) hop_tenant: Option<&'a [u8]>,
    /// Whether each field goes on to the service.
    pub(crate) forward: [bool; FIELDS_MAX],
}

/// What the client shows to prove who it is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Credential<'a> {
    /// `Authorization: Bearer …` or `X-API-Key: …`.
    Key(&'a [u8]),
    /// `Authorization` of another scheme, whose field is at this place: not ours to judge.
    Foreign(usize),
}

/// What a field's name means to the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Forward,
    /// Hop-by-hop, or the gateway writes its own, or a spelling that some servers take for another name.
    Drop,
    Host,
    Te,
    Expect,
    Upgrade,
    ApiKey,
    Connection,
    TraceParent,
    TraceState,
    HopTenant,
    RequestId,
    Authorization,
    ContentLength,
    TransferEncoding,
    Timeout,
}

fn classify(name: &str) -> Name {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    let known = match name.len() {
        2 if is("te") => Name::Te,
        4 if is("host") => Name::Host,
        6 if is("expect") => Name::Expect,
        7 if is("upgrade") => Name::Upgrade,
        7 if is("trailer") => Name::Drop,
        9 if is("x-api-key") => Name::ApiKey,
        9 if is("forwarded") => Name::Drop,
        10 if is("connection") => Name::Connection,
        10 if is("keep-alive") => Name::Drop,
        10 if is("tracestate") => Name::TraceState,
        11 if is("traceparent") => Name::TraceParent,
        11 if is("x-rc-tenant") => Name::HopTenant,
        12 if is("x-request-id") => Name::RequestId,
        13 if is("authorization") => Name::Authorization,
        14 if is("content-length") => Name::ContentLength,
        14 if is("http2-settings") => Name::Drop,
        16 if is("proxy-connection") => Name::Drop,
        17 if is("transfer-encoding") => Name::TransferEncoding,
        18 if is("proxy-authenticate") => Name::Drop,
        19 if is("proxy-authorization") => Name::Drop,
        20 if is("x-request-timeout-ms") => Name::Timeout,
        _ => Name::Forward,
    };
    if known == Name::Forward && is_reserved(name) {
        Name::Drop
    } else {
        known
    }
}

/// Whether a field of this name says who asks.
pub(crate) fn is_credential(name: &str) -> bool {
    matches!(classify(name), Name::ApiKey | Name::Authorization)
}

/// `x-rc-*` and `x-forwarded-*` are the gateway's own. CGI-style servers read `_` as `-`, so a name with
/// `_` could pass for one of these behind us; like nginx, the gateway drops all such names.
fn is_reserved(name: &str) -> bool {
    let starts = |prefix: &str| {
        name.get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    starts("x-rc-") || starts("x-forwarded-") || starts("x-real-ip") || name.contains('_')
}

impl<'a> Facts<'a> {
    /// Reads and checks `head`.
    ///
    /// # Errors
    /// The refusal that the client gets.
    pub(crate) fn read(head: &Head<'a>) -> Result<Self, Refusal> {
        let mut reader = Reader::default();
        for (at, field) in head.fields.iter().enumerate() {
            reader.field(at, field, head.protocol)?;
        }
        reader.finish(head)
    }
}

struct Reader<'a> {
    host: Option<&'a str>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    expects_continue: bool,
    upgrade: Option<&'a [u8]>,
    credential: Option<Credential<'a>>,
    traceparent: Option<&'a [u8]>,
    tracestate: Option<usize>,
    request_id: Option<&'a [u8]>,
    timeout: Option<&'a [u8]>,
    hop_tenant: Option<&'a [u8]>,
    connection: [&'a [u8]; CONNECTION_FIELDS_MAX],
    connection_count: usize,
    forward: [bool; FIELDS_MAX],
}

impl Default for Reader<'_> {
    fn default() -> Self {
        Self {
            host: None,
            length: None,
            chunked: false,
            close: false,
            expects_continue: false,
            upgrade: None,
            credential: None,
            traceparent: None,
            tracestate: None,
            request_id: None,
            timeout: None,
            hop_tenant: None,
            connection: [b""; CONNECTION_FIELDS_MAX],
            connection_count: 0,
            forward: [false; FIELDS_MAX],
        }
    }
}

impl<'a> Reader<'a> {
    fn field(&mut self, at: usize, field: &Header<'a>, protocol: Protocol) -> Result<(), Refusal> {
        let value = field.value;
        match classify(field.name) {
            Name::Forward => self.forward[at] = true,
            Name::Drop => {}
            Name::Host => {
                let host =
                    std::str::from_utf8(value).map_err(|_not_text| bad_host("the host is not text"))?;
                once(&mut self.host, host, &BAD_HOST, "more than one host")?;
            }
            Name::ContentLength => {
                let Some(length) = content_length(value) else {
                    return Err(framing("the content length is not a number"));
                };
                once(
                    &mut self.length,
                    length,
                    &AMBIGUOUS_FRAMING,
                    "more than one content length",
                )
                .map_err(Refusal::closing)?;
            }
            Name::TransferEncoding => {
                if protocol != Protocol::Http11 {
                    return Err(framing(
                        "a transfer encoding does not belong to this HTTP version",
                    ));
                }
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(framing("the transfer encoding is not exactly `chunked`"));
                }
                self.chunked = true;
            }
            Name::Connection => {
                if protocol == Protocol::H2 {
                    return Err(Refusal::because(&MALFORMED_HEAD, "a connection header in HTTP/2"));
                }
                let Some(slot) = self.connection.get_mut(self.connection_count) else {
                    return Err(Refusal::because(&MALFORMED_HEAD, "too many connection headers").closing());
                };
                *slot = value;
                self.connection_count += 1;
            }
            Name::Te => {
                if protocol == Protocol::H2 && !value.eq_ignore_ascii_case(b"trailers") {
                    return Err(Refusal::because(
                        &MALFORMED_HEAD,
                        "a te header other than trailers in HTTP/2",
                    ));
                }
            }
            Name::Expect => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Refusal::new(&EXPECTATION_FAILED).closing());
                }
                self.expects_continue = true;
            }
            Name::Upgrade => self.upgrade = Some(value),
            Name::ApiKey => self.credential(Credential::Key(value))?,
            Name::Authorization => match bearer(value) {
                Some(token) => self.credential(Credential::Key(token))?,
                None => self.credential(Credential::Foreign(at))?,
            },
            // Two different traces are no trace: a new one is started.
            Name::TraceParent => {
                self.traceparent = if self.traceparent.is_none() {
                    Some(value)
                } else {
                    Some(b"")
                };
            }
            Name::TraceState => self.tracestate = Some(at),
            Name::RequestId => self.request_id = Some(value),
            Name::Timeout => once(
                &mut self.timeout,
                value,
                &BAD_TIMEOUT,
                "more than one request timeout",
            )?,
            Name::HopTenant => once(
                &mut self.hop_tenant,
                value,
                &MALFORMED_HEAD,
                "more than one tenant header",
            )?,
        }
        Ok(())
    }

    fn credential(&mut self, credential: Credential<'a>) -> Result<(), Refusal> {
        once(
            &mut self.credential,
            credential,
            &CREDENTIALS_CONFLICT,
            "send one API key in one header",
        )
    }

    fn finish(mut self, head: &Head<'a>) -> Result<Facts<'a>, Refusal> {
        if self.chunked && self.length.is_some() {
            return Err(framing("both a content length and a transfer encoding"));
        }
        self.read_connection(head);
        if let Some(protocol) = self.upgrade {
            // RFC 9110, section 7.8: a server may ignore an upgrade. It does for h2c, which curl offers
            // by itself; a client that wants another protocol is told at once.
            if head.protocol == Protocol::H2 || !protocol.eq_ignore_ascii_case(b"h2c") {
                return Err(Refusal::new(&UPGRADE_REFUSED).closing());
            }
        }
        let (authority, path_and_query) = split_target(head)?;
        let host = self.host(head, authority)?;
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        if query.is_some_and(|query| !query.bytes().all(is_query_byte)) {
            return Err(Refusal::because(
                &MALFORMED_HEAD,
                "the query holds a character that must be escaped",
            ));
        }
        let traceparent = self.traceparent.filter(|value| !value.is_empty());
        if let (Some(at), Some(_)) = (self.tracestate, traceparent) {
            self.forward[at] = true;
        }
        let timeout_ms = self.timeout.map(timeout_ms).transpose()?;
        let framing = match (self.chunked || head.streams, self.length) {
            (_, Some(0)) | (false, None) => Framing::None,
            (_, Some(length)) => Framing::Length(length),
            (true, None) => Framing::Unknown,
        };
        Ok(Facts {
            host,
            path,
            query,
            framing,
            close: self.close || head.protocol == Protocol::Http10,
            expects_continue: self.expects_continue && framing != Framing::None,
            credential: self.credential,
            traceparent,
            request_id: self
                .request_id
                .and_then(|id| std::str::from_utf8(id).ok())
                .filter(|id| is_request_id(id)),
            timeout_ms,
            hop_tenant: self.hop_tenant,
            forward: self.forward,
        })
    }

    /// `Connection: close` ends the connection; any other name there is a field for this hop only. The
    /// gateway's own fields are written afterwards, so naming one of them strips nothing.
    fn read_connection(&mut self, head: &Head<'a>) {
        for value in &self.connection[..self.connection_count] {
            for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if token.eq_ignore_ascii_case(b"close") {
                    self.close = true;
                } else {
                    for (at, field) in head.fields.iter().enumerate() {
                        self.forward[at] &= !field.name.as_bytes().eq_ignore_ascii_case(token);
                    }
                }
            }
        }
    }

    fn host(&self, head: &Head<'a>, authority: Option<&'a str>) -> Result<&'a str, Refusal> {
        let host = match (authority, self.host) {
            (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host) => {
                return Err(bad_host(
                    "the request target names another host than the host header",
                ));
            }
            (Some(_), None) if head.protocol == Protocol::Http11 => return Err(bad_host("no host header")),
            (Some(authority), _) => authority,
            (None, Some(host)) => host,
            // HTTP/1.0 knows no host header.
            (None, None) if head.protocol == Protocol::Http10 => return Ok("localhost"),
            (None, None) => return Err(bad_host("no host header")),
        };
        if is_host(host) {
            Ok(host)
        } else {
            Err(bad_host("the host is not a name or address"))
        }
    }
}

fn split_target<'a>(head: &Head<'a>) -> Result<(Option<&'a str>, &'a str), Refusal> {
    if head.protocol == Protocol::H2 || head.target.starts_with('/') {
        return Ok((head.authority, head.target));
    }
    let after = |scheme: &str| {
        let start = head.target.get(..scheme.len())?;
        start
            .eq_ignore_ascii_case(scheme)
            .then(|| &head.target[scheme.len()..])
    };
    let Some(rest) = after("http://").or_else(|| after("https://")) else {
        return Err(Refusal::because(
            &MALFORMED_HEAD,
            "the request target is neither a path nor an http URL",
        ));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    Ok((Some(authority), if path.is_empty() { "/" } else { path }))
}

/// What RFC 3986, section 3.4, allows, and of the rest what no reader that we know refuses.
fn is_query_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"#\"<>".contains(&byte)
}

/// A registered name, an IPv4 address or a bracketed IPv6 address, and maybe a port. No user part.
fn is_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => {
            if port.len() > 5 || !port.bytes().all(|byte| byte.is_ascii_digit()) {
                return false;
            }
            name
        }
        _ => host,
    };
    match name.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            !name.is_empty()
                && name.len() <= 253
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
        }
    }
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    let token = token.trim_ascii_start();
    // A bearer token of another kind (a JWT) is not one of our keys.
    (scheme.eq_ignore_ascii_case(b"bearer ") && token.starts_with(crate::key::KEY_PREFIX.as_bytes()))
        .then_some(token)
}

fn timeout_ms(value: &[u8]) -> Result<u64, Refusal> {
    content_length(value)
        .filter(|ms| (1..=TIMEOUT_MS_MAX).contains(ms))
        .ok_or_else(|| {
            Refusal::because(
                &BAD_TIMEOUT,
                "X-Request-Timeout-Ms takes a whole number from 1 to 3600000",
            )
        })
}

fn once<T>(slot: &mut Option<T>, value: T, kind: &'static Kind, twice: &'static str) -> Result<(), Refusal> {
    if slot.replace(value).is_some() {
        return Err(Refusal::because(kind, twice));
    }
    Ok(())
}

fn framing(detail: &'static str) -> Refusal {
    Refusal::because(&AMBIGUOUS_FRAMING, detail).closing()
}

fn bad_host(detail: &'static str) -> Refusal {
    Refusal::because(&BAD_HOST, detail).closing()
}

#[cfg(test)]
mod tests;
