//! A URL and the limits of a pool, as PostgreSQL's client takes them.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use super::{IDLE_IN_TRANSACTION_MAX, LOCK_WAIT_MAX, PostgresOptions};
use crate::{Error, ErrorKind};

/// How long unacknowledged bytes may stand before the kernel gives a connection up.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Options whose names may be repeated in a message. A name out of this list could be a piece of a
/// password that holds a `?`.
const OPTIONS: [&str; 14] = [
    "user",
    "password",
    "dbname",
    "options",
    "application_name",
    "sslmode",
    "sslnegotiation",
    "host",
    "hostaddr",
    "port",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "target_session_attrs",
];

/// A URL, read.
pub(crate) struct Target {
    pub(super) config: Config,
    /// The certificates to trust; `None` for a connection without TLS.
    pub(super) trusted: Option<PathBuf>,
}

/// Reads a PostgreSQL URL. `sslmode=verify-full` (or `require`, which means the same here) encrypts and
/// checks the server against the certificates of `sslrootcert`.
pub(crate) fn config_of(url: &str) -> Result<Target, Error> {
    let refuse = |what: String| Error::new(ErrorKind::Url, what);
    let (url, mode, root) = without_tls_options(url);
    let trusted = match (mode, root) {
        (None | Some("disable" | "prefer"), None) => None,
        (None | Some("require" | "verify-full"), Some(root)) => Some(root),
        (Some("require" | "verify-full"), None) => {
            return Err(refuse(
                "`sslmode` needs `sslrootcert=FILE` (PEM): encryption to an unknown server protects nothing"
                    .to_owned(),
            ));
        }
        (Some("disable" | "prefer"), Some(_)) => {
            return Err(refuse("`sslrootcert` goes with `sslmode=verify-full`".to_owned()));
        }
        (Some(_), _) => {
            return Err(refuse(
                "`sslmode` is `disable`, `prefer`, `require` or `verify-full`".to_owned(),
            ));
        }
    };
    let config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
        let said = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
        let option = OPTIONS.iter().find(|name| said.contains(&format!("`{name}`")));
        refuse(match option {
            Some(option) => format!("the store URL has a wrong `{option}`"),
            None => {
                "the store URL is malformed: check host, port, escapes (%40 for @) and the options after `?`"
                    .to_owned()
            }
        })
    })?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(refuse("the store URL names no host".to_owned()));
    }
    Ok(Target { config, trusted })
}

/// Takes `sslmode` and `sslrootcert` out of the query: the client library knows a part of them only.
fn without_tls_options(url: &str) -> (Cow<'_, str>, Option<&str>, Option<PathBuf>) {
    let Some((base, query)) = url.split_once('?') else {
        return (Cow::Borrowed(url), None, None);
    };
    let (mut mode, mut root) = (None, None);
    let mut others = Vec::new();
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value),
            Some(("sslrootcert", value)) => root = Some(PathBuf::from(percent_decoded(value))),
            _ => others.push(pair),
        }
    }
    let rest = if others.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{}", others.join("&"))
    };
    (Cow::Owned(rest), mode, root)
}

/// Undoes `%2F` and its like; what is not an escape stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = match rest {
            [b'%', digits @ ..] => digits
                .get(..2)
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        match escape {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Adds what every connection of a pool has.
pub(super) fn with_limits(target: &Target, options: &PostgresOptions) -> Result<Config, Error> {
    let mut config = target.config.clone();
    let ssl_mode = if target.trusted.is_some() {
        SslMode::Require
    } else {
        SslMode::Disable
    };
    if !is_identifier(options.schema) {
        return Err(Error::bug(format!("`{}` is not a schema name", options.schema)));
    }
    // Statements are prepared once a connection, often while their tables are still empty, and such a plan stays
    // until somebody analyses them: it must be one that is right for the full table. All of ours have an index.
    // Where one has to read a small table whole, that costs 10^10 in the planner's eyes, and it would be compiled
    // first: half a second for a millisecond's work.
    let ours = format!(
        "-c search_path={schema} -c statement_timeout={statement} -c lock_timeout={lock} \
         -c idle_in_transaction_session_timeout={idle} -c timezone=UTC -c client_min_messages=warning \
         -c enable_seqscan=off -c jit=off",
        schema = options.schema,
        statement = options.statement_time_max.as_millis(),
        lock = LOCK_WAIT_MAX.as_millis(),
        idle = IDLE_IN_TRANSACTION_MAX.as_millis(),
    );
    // The user's own options come last and win.
    let all = match config.get_options() {
        Some(theirs) => format!("{ours} {theirs}"),
        None => ours,
    };
    config
        .options(all)
        .ssl_mode(ssl_mode)
        .connect_timeout(options.connect_time_max)
        .tcp_user_timeout(TCP_USER_TIMEOUT)
        .keepalives(true)
        .keepalives_idle(TCP_USER_TIMEOUT);
    if config.get_application_name().is_none() {
        config.application_name(options.application);
    }
    Ok(config)
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}
