//! A URL and the limits of a pool, as PostgreSQL's client takes them.

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

/// Reads a PostgreSQL URL.
pub(crate) fn config_of(url: &str) -> Result<Config, Error> {
    let refuse = |what: String| Error::new(ErrorKind::Url, what);
    let config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
        let said = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
        let option = OPTIONS.iter().find(|name| said.contains(&format!("`{name}`")));
        refuse(match option {
            Some(&"sslmode") => "`sslmode` is `disable` or `prefer`".to_owned(),
            Some(option) => format!("the store URL has a wrong `{option}`"),
            None => {
                "the store URL is malformed: check host, port, escapes (%40 for @) and the options after `?`"
                    .to_owned()
            }
        })
    })?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(refuse(
            "`sslmode=require` is not supported: reach the server by a Unix socket, a private network or a \
             tunnel that encrypts"
                .to_owned(),
        ));
    }
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(refuse("the store URL names no host".to_owned()));
    }
    Ok(config)
}

/// Adds what every connection of a pool has.
pub(super) fn with_limits(mut config: Config, options: &PostgresOptions) -> Result<Config, Error> {
    if !is_identifier(options.schema) {
        return Err(Error::bug(format!("`{}` is not a schema name", options.schema)));
    }
    let ours = format!(
        "-c search_path={schema} -c statement_timeout={statement} -c lock_timeout={lock} \
         -c idle_in_transaction_session_timeout={idle} -c timezone=UTC -c client_min_messages=warning",
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
        .ssl_mode(SslMode::Disable)
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
