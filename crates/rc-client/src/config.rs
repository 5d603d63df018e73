//! To whom the client speaks, as whom, and how patiently.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rc_model::{Digest, TenantId};

use crate::error::Error;
use crate::retry::{Backoff, BudgetPolicy};

/// Calls under way at once; each has a connection of its own.
const LANES: usize = 8;

/// How long one attempt may take before another connection is tried.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a call may take with all its retries.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long connecting and the TLS handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer that is read: a full page of search hits or one document is far below.
const RESPONSE_BYTES_MAX: usize = 16 << 20;

/// Everything a [`crate::Client`] needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the platform listens.
    pub endpoint: Endpoint,
    /// As whom requests are sent.
    pub identity: Identity,
    /// Whose certificates are believed (`https` only).
    pub trust: Trust,
    /// Calls under way at once; further ones wait for their turn. At least 1.
    pub lanes_max: usize,
    /// How long connecting and the TLS handshake may take.
    pub connect_timeout: Duration,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// How long a call may take with all its retries, unless the call says otherwise.
    pub deadline: Duration,
    /// Largest answer that is read, in bytes.
    pub response_bytes_max: usize,
    /// How waits between attempts grow.
    pub backoff: Backoff,
    /// How many retries there may be for the requests made.
    pub budget: BudgetPolicy,
    /// The `User-Agent` of every request.
    pub user_agent: String,
}

impl Config {
    /// The defaults for `endpoint` and `identity`: 8 lanes, 30 s an attempt, 60 s a call.
    #[must_use]
    pub fn new(endpoint: Endpoint, identity: Identity) -> Self {
        Self {
            endpoint,
            identity,
            trust: Trust::System,
            lanes_max: LANES,
            connect_timeout: CONNECT_TIMEOUT,
            attempt_timeout: ATTEMPT_TIMEOUT,
            deadline: DEADLINE,
            response_bytes_max: RESPONSE_BYTES_MAX,
            backoff: Backoff::default(),
            budget: BudgetPolicy::default(),
            user_agent: concat!("royalcrown-client/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Where the platform listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A host and port, with or without TLS.
    Tcp {
        /// `https`?
        tls: bool,
        /// Host name or address, without brackets.
        host: String,
        /// Port.
        port: u16,
        /// What stands before every path: empty, or `/prefix` without a slash at the end.
        base: String,
    },
    /// A Unix socket of this machine.
    Unix(PathBuf),
}

impl Endpoint {
    /// Reads `http://host[:port][/prefix]`, `https://…` or `unix:/path/to/socket`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] with what is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') {
                return Err(Error::config(format!(
                    "`{text}`: a Unix socket needs an absolute path, such as `unix:/run/rc.sock`"
                )));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let expected = "expected an address such as `http://127.0.0.1:8080`";
        let uri: http::Uri = text
            .parse()
            .map_err(|error| Error::config(format!("`{text}`: {expected}")).because(error))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(other) => {
                return Err(Error::config(format!(
                    "`{text}`: `{other}` is not `http`, `https` or `unix`"
                )));
            }
            None => return Err(Error::config(format!("`{text}`: {expected}"))),
        };
        let authority = uri
            .authority()
            .ok_or_else(|| Error::config(format!("`{text}`: {expected}")))?;
        if authority.as_str().contains('@') {
            return Err(Error::config(format!(
                "an address takes no user name or password; {expected}, and give the key apart"
            )));
        }
        if uri.query().is_some() {
            return Err(Error::config(format!("`{text}`: an address takes no query")));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(Error::config(format!("`{text}`: {expected}")));
        }
        let default_port = if tls { 443 } else { 80 };
        Ok(Self::Tcp {
            tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(default_port),
            base: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// The prefix of every path.
    pub(crate) fn base(&self) -> &str {
        match self {
            Self::Tcp { base, .. } => base,
            Self::Unix(_) => "",
        }
    }

    /// The `Host` header's value.
    pub(crate) fn host_header(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Tcp { tls, host, port, .. } => {
                let host = if host.contains(':') {
                    format!("[{host}]")
                } else {
                    host.clone()
                };
                match (tls, port) {
                    (false, 80) | (true, 443) => host,
                    _ => format!("{host}:{port}"),
                }
            }
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { tls, base, .. } => {
                write!(
                    f,
                    "{}://{}{base}",
                    if *tls { "https" } else { "http" },
                    self.host_header()
                )
            }
        }
    }
}

/// An API key. It never shows in logs or errors.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Longest key that is accepted, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// Takes a key of 1 to 255 visible ASCII characters.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`]; the message never holds the key.
    pub fn new(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.is_empty()
            || text.len() > Self::BYTES_MAX
            || !text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Error::config("an API key has 1 to 255 visible ASCII characters"));
        }
        Ok(Self(text.to_owned()))
    }

    /// Tells keys apart without giving any away: 12 hex digits of a digest.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        Digest::of(self.0.as_bytes()).short()
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(..)")
    }
}

/// As whom requests are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// The owner of this API key.
    Key(ApiKey),
    /// This tenant, on a Unix socket that only its owner can open; refused on TCP, where nobody would
    /// believe it.
    Tenant(TenantId),
    /// Nobody: for the platform's own administration on a Unix socket.
    Nobody,
}

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those of the system's bundle.
    System,
    /// Only those signed by the authorities in this PEM file.
    File(PathBuf),
}

/// Names one write, so that a repetition of the same bytes has no second effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Longest key, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// Takes 1 to 255 visible ASCII characters.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`].
    pub fn new(text: &str) -> Result<Self, Error> {
        if text.is_empty()
            || text.len() > Self::BYTES_MAX
            || !text.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(Error::config(
                "an idempotency key has 1 to 255 visible ASCII characters",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The key of `body` within `run`: the same bytes in the same run have the same key, and the same
    /// bytes in another run (a document that was deleted in between, say) have another.
    #[must_use]
    pub fn of(run: &str, body: &[u8]) -> Self {
        let mut scoped = Vec::with_capacity(run.len() + 1 + 71);
        scoped.extend_from_slice(run.as_bytes());
        scoped.push(0);
        scoped.extend_from_slice(Digest::of(body).to_string().as_bytes());
        let digest = Digest::of(&scoped).to_string();
        Self(format!("rc-{}", digest.trim_start_matches("sha256:")))
    }

    /// A key that nobody used before.
    #[must_use]
    pub fn random() -> Self {
        Self(format!("rc-{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests;
