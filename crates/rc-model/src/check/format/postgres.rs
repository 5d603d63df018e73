//! Whether the client library will take a PostgreSQL URL, found out without a network.
//!
//! It follows the library's own reading: user and password end at the first `@`, hosts at the first `/` or `?`,
//! and no option is unknown. No message repeats a part of the URL: each may hold a password.

use std::net::IpAddr;

/// Most bytes of a URL.
const URL_BYTES_MAX: usize = 2_048;

/// Options that take any text.
const TEXTS: [&str; 5] = ["user", "password", "dbname", "options", "application_name"];

/// Options that take one of a few words.
const WORDS: [(&str, &[&str]); 5] = [
    ("sslmode", &["disable", "prefer", "require", "verify-full"]),
    ("sslnegotiation", &["postgres", "direct"]),
    ("target_session_attrs", &["any", "read-write", "read-only"]),
    ("channel_binding", &["disable", "prefer", "require"]),
    ("load_balance_hosts", &["disable", "random"]),
];

/// Options that take a number.
const NUMBERS: [&str; 6] = [
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
];

/// What is wrong with `postgres://…`.
pub(super) fn problem(url: &str) -> Option<String> {
    check(url).err()
}

fn check(url: &str) -> Result<(), String> {
    if url.len() > URL_BYTES_MAX {
        return Err(format!("a store URL has at most {URL_BYTES_MAX} bytes"));
    }
    let (_, rest) = url.split_once("://").unwrap_or_default();
    // The options for TLS are taken out before anything else is looked at.
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    tls(query)?;
    let rest = match rest.split_once('@') {
        Some((user, rest)) => {
            decoded(user.split(':').next().unwrap_or_default())?;
            rest
        }
        None => rest,
    };
    let (hosts, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut named = false;
    for one in hosts.split(',').filter(|_| !hosts.is_empty()) {
        host(one)?;
        named = true;
    }
    decoded(path)?;
    // One `&` may end them; the driver takes any other that has nothing before it for part of a name.
    let ended = query.strip_suffix('&').filter(|query| !query.is_empty());
    let query = ended.unwrap_or(query);
    for pair in query.split('&').filter(|_| !query.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or("an option after `?` is `name=value`")?;
        let (name, value) = (decoded(name)?, decoded(value)?);
        option(&name, &value)?;
        named |= matches!(name.as_str(), "host" | "hostaddr");
    }
    if named {
        Ok(())
    } else {
        Err("the host is missing: `postgres://user@localhost:5432/database`".to_owned())
    }
}

/// `host`, `host:port` or `[address]:port`.
fn host(text: &str) -> Result<(), String> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let open = "an IPv6 address stands in brackets: `[::1]:5432`";
            let (name, after) = rest.split_once(']').ok_or(open)?;
            match after.strip_prefix(':') {
                Some(port) => (name, port),
                None if after.is_empty() => (name, ""),
                None => return Err(open.to_owned()),
            }
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    if decoded(name)?.is_empty() {
        return Err("the host is missing: `postgres://user@localhost:5432/database`".to_owned());
    }
    ports(&decoded(port)?)
}

fn ports(text: &str) -> Result<(), String> {
    let good = |port: &str| port.is_empty() || port.parse::<u16>().is_ok();
    if text.split(',').all(good) {
        Ok(())
    } else {
        Err(
            "a port is a number up to 65535; in a password, write `@` as %40, `/` as %2F, `:` as %3A"
                .to_owned(),
        )
    }
}

fn option(name: &str, value: &str) -> Result<(), String> {
    let wrong = |expected: String| Err(format!("the option `{name}` is {expected}"));
    if TEXTS.contains(&name) || matches!(name, "host" | "sslrootcert") {
        return Ok(());
    }
    if let Some((_, words)) = WORDS.iter().find(|(word, _)| *word == name) {
        let list = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>();
        return if words.contains(&value) {
            Ok(())
        } else {
            wrong(format!("one of {}", list.join(", ")))
        };
    }
    if NUMBERS.contains(&name) {
        // The narrowest of the types that the library reads them as.
        return match value.parse::<u32>() {
            Ok(_) => Ok(()),
            Err(_) => wrong("a number".to_owned()),
        };
    }
    match name {
        "port" => ports(value),
        "hostaddr" if value.split(',').all(|one| one.parse::<IpAddr>().is_ok()) => Ok(()),
        "hostaddr" => wrong("an IP address".to_owned()),
        _ => Err(
            "an option after `?` is not known; `sslmode`, `sslrootcert`, `connect_timeout` and \
                  `application_name` are"
                .to_owned(),
        ),
    }
}

/// `sslmode` and `sslrootcert` go together.
fn tls(query: &str) -> Result<(), String> {
    let of = |wanted: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.rfind(|(name, _)| *name == wanted).map(|(_, value)| value)
    };
    match (of("sslmode"), of("sslrootcert")) {
        (None | Some("disable" | "prefer"), None) | (None | Some("require" | "verify-full"), Some(_)) => {
            Ok(())
        }
        (Some("require" | "verify-full"), None) => Err(
            "`sslmode` needs `sslrootcert=FILE` (PEM): encryption to an unknown server protects nothing"
                .to_owned(),
        ),
        (Some("disable" | "prefer"), Some(_)) => {
            Err("`sslrootcert` goes with `sslmode=verify-full`".to_owned())
        }
        (Some(_), _) => Err("`sslmode` is `disable`, `prefer`, `require` or `verify-full`".to_owned()),
    }
}

/// The text without its escapes, which must be UTF-8.
fn decoded(text: &str) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(escaped.unwrap_or(byte));
        at += if escaped.is_some() { 3 } else { 1 };
    }
    String::from_utf8(out).map_err(|_bytes| "an escape such as %FF is not UTF-8".to_owned())
}
