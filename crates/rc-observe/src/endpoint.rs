//! Where spans are sent: an OTLP receiver's address, and the fields that it wants to see.

use std::fmt;

use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue, Uri};

/// The path of traces behind an OTLP/HTTP base address.
const TRACES_PATH: &str = "/v1/traces";
/// Most fields that are sent along.
const HEADERS_MAX: usize = 32;

/// Why an address or a list of fields cannot be used. It repeats no value: they may hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EndpointError(&'static str);

/// The address that spans are posted to.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub(crate) https: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `host` or `host:port`, as it was written.
    pub(crate) authority: Authority,
    /// Path and query.
    pub(crate) path: String,
}

impl Endpoint {
    /// From a base address, such as `http://127.0.0.1:4318`: traces go to `/v1/traces` behind it.
    ///
    /// # Errors
    /// When it is no `http` or `https` URL.
    pub fn base(url: &str) -> Result<Self, EndpointError> {
        let mut endpoint = Self::exact(url)?;
        if endpoint.path.contains('?') {
            return Err(EndpointError("a base address has no query"));
        }
        let prefix = endpoint.path.trim_end_matches('/');
        endpoint.path = format!("{prefix}{TRACES_PATH}");
        Ok(endpoint)
    }

    /// From the address of traces itself, which is used as it is.
    ///
    /// # Errors
    /// When it is no `http` or `https` URL.
    pub fn exact(url: &str) -> Result<Self, EndpointError> {
        const EXPECTED: EndpointError =
            EndpointError("an OTLP endpoint is a URL such as `http://127.0.0.1:4318`");
        let uri: Uri = url.trim().parse().map_err(|_malformed| EXPECTED)?;
        let https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(EXPECTED),
        };
        let authority = uri.authority().ok_or(EXPECTED)?.clone();
        if authority.as_str().contains('@') {
            return Err(EndpointError(
                "an OTLP endpoint names no user; put credentials into OTEL_EXPORTER_OTLP_HEADERS",
            ));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(EXPECTED);
        }
        Ok(Self {
            https,
            host,
            port: authority.port_u16().unwrap_or(if https { 443 } else { 80 }),
            authority,
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), |path| path.as_str().to_owned()),
        })
    }
}

impl fmt::Display for Endpoint {
    /// Without the query, where some receivers want a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Fields for every request, such as a receiver's key. Their values are shown nowhere.
#[derive(Clone, Default)]
pub struct Headers(pub(crate) Vec<(HeaderName, HeaderValue)>);

impl Headers {
    /// Reads `name=value,name=value`, the values percent-encoded: the form of `OTEL_EXPORTER_OTLP_HEADERS`,
    /// which follows W3C Baggage.
    ///
    /// # Errors
    /// When a pair has no `=`, or its parts cannot stand in an HTTP head.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        const EXPECTED: EndpointError = EndpointError("expected `name=value` pairs with commas between them");
        let mut headers = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(EXPECTED)?;
            let name: HeaderName = name.trim().parse().map_err(|_malformed| EXPECTED)?;
            let value = percent_decode(value.trim()).ok_or(EXPECTED)?;
            let mut value = HeaderValue::from_bytes(&value).map_err(|_malformed| EXPECTED)?;
            value.set_sensitive(true);
            if headers.len() == HEADERS_MAX {
                return Err(EndpointError("at most 32 fields can be sent along"));
            }
            headers.push((name, value));
        }
        Ok(Self(headers))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// `None` for a `%` without two hex digits behind it.
fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            out.push(u8::try_from(value).expect("two hex digits are a byte"));
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests;
