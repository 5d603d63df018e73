//! Where the bus is and how it is wanted, as one URL.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rc_events::Error;

/// The port of a URL without one.
const PORT: u16 = 4222;

/// The stream of a URL without one.
const STREAM: &str = "royalcrown";

/// Longest name of a stream; it is part of every subject.
const STREAM_BYTES_MAX: usize = 64;

/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// What a stream holds at most when the URL does not say.
const STREAM_BYTES: u64 = 4 << 30;

/// What makes sure that what the server acknowledges is on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// The server's own report (`monitor=`) says that it syncs before it acknowledges; anything else is
    /// refused.
    #[default]
    Checked,
    /// Somebody says so whose word we take: the report cannot be reached.
    Always,
    /// Nothing: what was acknowledged in the last minutes may be gone after a power failure.
    ServerDefault,
}

/// How to log in.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) enum Login {
    #[default]
    Nobody,
    User {
        name: String,
        password: String,
    },
    Token(String),
    /// A `.creds` file: a token and the key that proves it.
    Credentials(PathBuf),
    /// A file with a seed: the server knows the public key.
    Seed(PathBuf),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("Nobody"),
            Self::User { name, .. } => f.debug_struct("User").field("name", name).finish_non_exhaustive(),
            Self::Token(_) => f.write_str("Token"),
            Self::Credentials(path) | Self::Seed(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Where the bus is and how it is wanted. Shown without secrets.
///
/// `nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT][,HOST[:PORT]...][/STREAM][?OPTION=VALUE&...]`; `tls://` is
/// `nats://` over TLS whatever the server asks for. Options: `creds=FILE`, `nkey=FILE`, `ca=FILE`,
/// `replicas=1|3|5`, `max_bytes=N` (what the stream holds before it takes no more), `deadline_ms=N`,
/// `monitor=HOST:PORT` (the server's HTTP port, for the check of its sync policy) and
/// `durability=checked|always|server-default`.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    pub(crate) hosts: Vec<(String, u16)>,
    pub(crate) tls: bool,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) login: Login,
    pub(crate) stream: String,
    pub(crate) replicas: u8,
    pub(crate) max_bytes: u64,
    pub(crate) deadline: Duration,
    pub(crate) monitor: Option<(String, u16)>,
    pub(crate) durability: Durability,
}

impl NatsOptions {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what is wrong with it; the text holds no secret.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let refuse = |what: String| Error::Invalid(format!("the URL of the bus {what}").into());
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| refuse("has no scheme: `nats://HOST`".to_owned()))?;
        let tls = match scheme {
            "nats" => false,
            "tls" => true,
            _ => return Err(refuse("starts with neither `nats://` nor `tls://`".to_owned())),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, stream) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            None => (Login::Nobody, authority),
            Some((login, hosts)) => {
                let secret = |text: &str| {
                    super::wire::unpercent(text)
                        .ok_or_else(|| refuse("has a user or password with a broken `%`".to_owned()))
                };
                let login = match login.split_once(':') {
                    Some((name, password)) => Login::User {
                        name: secret(name)?,
                        password: secret(password)?,
                    },
                    None => Login::Token(secret(login)?),
                };
                (login, hosts)
            }
        };
        let host = |text: &str, port: u16| {
            host_of(text, port).ok_or_else(|| refuse(format!("has `{text}` where a `HOST:PORT` belongs")))
        };
        let mut options = Self {
            hosts: hosts
                .split(',')
                .map(|text| host(text, PORT))
                .collect::<Result<_, _>>()?,
            tls,
            ca: None,
            login,
            stream: if stream.is_empty() { STREAM } else { stream }.to_owned(),
            replicas: 1,
            max_bytes: STREAM_BYTES,
            deadline: ANSWER_TIME_MAX,
            monitor: None,
            durability: Durability::Checked,
        };
        let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if options.stream.len() > STREAM_BYTES_MAX || !options.stream.bytes().all(name) {
            return Err(refuse(format!(
                "names the stream `{}`: use 1 to {STREAM_BYTES_MAX} letters, digits, `-` and `_`",
                options.stream
            )));
        }
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let number = || {
                let number: u64 = value
                    .parse()
                    .map_err(|_odd| refuse(format!("says `{name}={value}`, which is no number")))?;
                Ok::<u64, Error>(number)
            };
            match name {
                "creds" => options.login = Login::Credentials(value.into()),
                "nkey" => options.login = Login::Seed(value.into()),
                "ca" => options.ca = Some(value.into()),
                "max_bytes" => options.max_bytes = number()?,
                "deadline_ms" => options.deadline = Duration::from_millis(number()?.clamp(10, 60_000)),
                "monitor" => options.monitor = Some(host(value, 8222)?),
                "replicas" => {
                    options.replicas = match value {
                        "1" => 1,
                        "3" => 3,
                        "5" => 5,
                        _ => return Err(refuse(format!("asks for {value} replicas: 1, 3 or 5"))),
                    }
                }
                "durability" => {
                    options.durability = match value {
                        "checked" => Durability::Checked,
                        "always" => Durability::Always,
                        "server-default" => Durability::ServerDefault,
                        _ => {
                            return Err(refuse(format!(
                                "says `durability={value}`: use `checked`, `always` or `server-default`"
                            )));
                        }
                    }
                }
                _ => return Err(refuse(format!("has the unknown option `{name}`"))),
            }
        }
        Ok(options)
    }

    /// The stream's name.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }
}

impl fmt::Display for NatsOptions {
    /// The URL without secrets and options, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "tls://" } else { "nats://" })?;
        for (at, (host, port)) in self.hosts.iter().enumerate() {
            let gap = if at == 0 { "" } else { "," };
            write!(f, "{gap}{host}:{port}")?;
        }
        write!(f, "/{}", self.stream)
    }
}

/// `HOST`, `HOST:PORT`, `[::1]:PORT`.
fn host_of(text: &str, port: u16) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (
                host,
                if rest.is_empty() {
                    port
                } else {
                    rest.strip_prefix(':')?.parse().ok()?
                },
            )
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, port),
        },
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@');
    (!host.is_empty() && port != 0 && !host.contains(odd)).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests;
