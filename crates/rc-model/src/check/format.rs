//! The formats that our schemas name, each read by the type that will hold the value.

mod postgres;

use std::net::{IpAddr, SocketAddr};

use crate::gateway::Origin;
use crate::id::check_name;
use crate::source::quote;
use crate::units::{ByteSize, Percent, Rate, Span};

/// Longest path of a route in bytes.
pub(crate) const PATH_BYTES_MAX: usize = 1024;

/// The port that messages suggest.
const EXAMPLE_PORT: u16 = 8080;

/// Why a text does not have a format.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Malformed {
    fn new(message: impl Into<String>, hint: Option<String>) -> Self {
        Self {
            message: message.into(),
            hint,
        }
    }
}

type Check = fn(&str) -> Result<(), Malformed>;

/// Every format with its check. A test holds that the schemas use no pattern without one.
const FORMATS: [(&str, Check); 12] = [
    ("bus-url", bus_url),
    ("byte-size", byte_size),
    ("file", file),
    ("http-url", http_url),
    ("name", name),
    ("origin", origin),
    ("percent", percent),
    ("rate", rate),
    ("socket-address", socket_address),
    ("span", span),
    ("store-url", store_url),
    ("url-path", url_path),
];

/// Whether `format` is checked here; the others (`uint16` and the like) are ranges.
pub(crate) fn is_ours(format: &str) -> bool {
    FORMATS.iter().any(|(name, _)| *name == format)
}

/// Whether `text` has the format `format`.
pub(crate) fn check(format: &str, text: &str) -> Result<(), Malformed> {
    FORMATS
        .iter()
        .find(|(name, _)| *name == format)
        .map_or(Ok(()), |(_, check)| check(text))
}

fn name(text: &str) -> Result<(), Malformed> {
    check_name(text).map_err(|error| {
        let slug = slug(text);
        let hint = check_name(&slug).is_ok().then(|| format!("write `{slug}`"));
        Malformed::new(error.to_string(), hint)
    })
}

/// `Docs_API v2` as `docs-api-v2`.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    let mut after_lower = false;
    for c in text.chars().take(2 * crate::id::NAME_BYTES_MAX) {
        match c {
            'A'..='Z' => {
                if after_lower {
                    slug.push('-');
                }
                slug.push(c.to_ascii_lowercase());
            }
            'a'..='z' | '0'..='9' => slug.push(c),
            _ if !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
        after_lower = c.is_ascii_lowercase();
    }
    slug.trim_matches('-').to_owned()
}

/// Leading digits and the word after them.
fn number_and_unit(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (digits > 0).then(|| (&text[..digits], text[digits..].trim()))
}

/// `hint` if `parse` takes what it proposes.
fn proposal<T, E>(text: &str, parse: impl Fn(&str) -> Result<T, E>) -> Option<String> {
    parse(text).is_ok().then(|| format!("write `{text}`"))
}

fn rate(text: &str) -> Result<(), Malformed> {
    Rate::parse(text).map(drop).map_err(|error| {
        let hint = number_and_unit(text).and_then(|(number, unit)| {
            let unit = unit.to_ascii_lowercase();
            let per = match unit
                .trim_start_matches("per")
                .trim_start_matches(['/', ' '])
                .trim()
            {
                "rps" | "qps" | "sec" | "secs" | "second" | "seconds" | "s" => "s",
                "rpm" | "minute" | "minutes" | "min" | "mins" => "min",
                "rph" | "hour" | "hours" | "hr" | "h" => "h",
                _ => return None,
            };
            proposal(&format!("{number}/{per}"), Rate::parse)
        });
        Malformed::new(error.to_string(), hint)
    })
}

fn percent(text: &str) -> Result<(), Malformed> {
    Percent::parse(text).map(drop).map_err(|error| {
        let hint = number_and_unit(text).and_then(|(number, unit)| match unit {
            "" | "percent" | "pct" => proposal(&format!("{number}%"), Percent::parse),
            _ => None,
        });
        Malformed::new(error.to_string(), hint)
    })
}

fn byte_size(text: &str) -> Result<(), Malformed> {
    ByteSize::parse(text).map(drop).map_err(|error| {
        let hint = number_and_unit(text).and_then(|(number, unit)| {
            let unit = match unit.to_ascii_lowercase().as_str() {
                "" if number.parse::<u64>().is_ok_and(|number| number < 1024) => {
                    return Some(format!("add a unit: `{number}MiB`, `{number}KiB` or `{number}B`"));
                }
                "" | "byte" | "bytes" => "B",
                "k" | "ki" => "KiB",
                "m" | "mi" | "meg" => "MiB",
                "g" | "gi" | "gig" => "GiB",
                "t" | "ti" => "TiB",
                _ => return None,
            };
            proposal(&format!("{number}{unit}"), ByteSize::parse)
        });
        Malformed::new(error.to_string(), hint)
    })
}

fn span(text: &str) -> Result<(), Malformed> {
    Span::parse(text).map(drop).map_err(|error| {
        let hint = number_and_unit(text).and_then(|(number, unit)| {
            let unit = match unit.to_ascii_lowercase().as_str() {
                "" => return Some(format!("add a unit: `{number}s` or `{number}ms`")),
                "milli" | "millis" | "millisecond" | "milliseconds" | "msec" | "ms" => "ms",
                "sec" | "secs" | "second" | "seconds" | "s" => "s",
                "mins" | "minute" | "minutes" => "min",
                "hr" | "hrs" | "hour" | "hours" | "h" => "h",
                "day" | "days" | "d" => "d",
                "w" | "week" | "weeks" => {
                    let days = number.parse::<u64>().ok()?.checked_mul(7)?;
                    return proposal(&format!("{days}d"), Span::parse);
                }
                _ => return None,
            };
            proposal(&format!("{number}{unit}"), Span::parse)
        });
        Malformed::new(error.to_string(), hint)
    })
}

fn socket_address(text: &str) -> Result<(), Malformed> {
    if text.parse::<SocketAddr>().is_ok() {
        return Ok(());
    }
    let port = |text: &str| text.parse::<u16>().ok();
    let hint = if let Some(port) = port(text.strip_prefix(':').unwrap_or(text)) {
        format!("write `127.0.0.1:{port}`, or `0.0.0.0:{port}` to be reached from other machines")
    } else if let Ok(ip) = text.parse::<IpAddr>() {
        format!("add a port: `{}`", SocketAddr::new(ip, EXAMPLE_PORT))
    } else if let Some(port) = text.strip_prefix("localhost:").and_then(port) {
        format!("names are not looked up here; write `127.0.0.1:{port}`")
    } else if text.contains("://") {
        format!("an address has no scheme and no path: `127.0.0.1:{EXAMPLE_PORT}`")
    } else {
        "write an IP address, a `:` and a port; IPv6 goes into brackets: `[::1]:8080`".to_owned()
    };
    let message = format!(
        "expected an address such as `127.0.0.1:{EXAMPLE_PORT}`, found {}",
        quote(text)
    );
    Err(Malformed::new(message, Some(hint)))
}

/// The value may hold a password: no message repeats it.
fn store_url(text: &str) -> Result<(), Malformed> {
    const EXPECTED: &str = "expected `sqlite:` or `postgres://user@host:port/database`";
    if text == "sqlite:" {
        return Ok(());
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        let hint = (text == "sqlite").then(|| "write `sqlite:`".to_owned());
        return Err(Malformed::new(EXPECTED, hint));
    };
    match scheme {
        "postgres" | "postgresql" if !rest.starts_with("//") => Err(Malformed::new(EXPECTED, None)),
        "postgres" | "postgresql" => match postgres::problem(text) {
            None => Ok(()),
            Some(hint) => Err(Malformed::new(EXPECTED, Some(hint))),
        },
        "sqlite" => Err(Malformed::new(
            "expected `sqlite:` alone",
            Some("its files are always under `.royalcrown/data`; write `sqlite:`".to_owned()),
        )),
        _ => Err(Malformed::new(
            EXPECTED,
            Some("documents can be kept in SQLite or PostgreSQL".to_owned()),
        )),
    }
}

/// Whether what follows the host of `host:port` or `[address]:port` is a port, or nothing.
fn port_is_good(host: &str) -> bool {
    let after = match host.strip_prefix('[') {
        Some(address) => address.split_once(']').map(|(_, after)| after),
        None => Some(host.find(':').map_or("", |colon| &host[colon..])),
    };
    match after {
        Some("") => true,
        Some(after) => after
            .strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok()),
        None => false,
    }
}

/// The value may hold a password: no message repeats it.
fn bus_url(text: &str) -> Result<(), Malformed> {
    const EXPECTED: &str = "expected `nats://host:port`";
    let refuse = |hint: &str| Err(Malformed::new(EXPECTED, Some(hint.to_owned())));
    let Some((scheme, rest)) = text.split_once("://") else {
        return match text {
            "sqlite:" | "" => refuse("leave `url` out: events then travel by a log in the store"),
            _ => refuse("begin with `nats://`, or with `tls://` for an encrypted connection"),
        };
    };
    let authority = rest.split(['/', '?']).next().unwrap_or("");
    let host = authority.rsplit('@').next().unwrap_or("");
    match scheme {
        "nats" | "tls" if host.is_empty() || host.starts_with(':') => {
            refuse("the host is missing: `nats://127.0.0.1:4222`")
        }
        "nats" | "tls" if !port_is_good(host) => refuse("a port is a number up to 65535"),
        "nats" | "tls" => Ok(()),
        "postgres" | "postgresql" | "sqlite" => {
            refuse("leave `url` out: events then travel by a log in the store, on PostgreSQL too")
        }
        _ => refuse("events can travel by the store's own log or by NATS JetStream"),
    }
}

/// Paths may hold anything; that one is there is checked with its length.
fn file(_: &str) -> Result<(), Malformed> {
    Ok(())
}

fn origin(text: &str) -> Result<(), Malformed> {
    Origin::parse(text).map(drop).map_err(|hint| {
        Malformed::new(
            "expected an address such as `http://127.0.0.1:9000` or `unix:/run/app.sock`",
            Some(hint.to_owned()),
        )
    })
}

/// No credentials: they would stand in a file that is committed. If they do, no message repeats them.
fn http_url(text: &str) -> Result<(), Malformed> {
    const EXPECTED: &str = "expected a URL such as `http://127.0.0.1:4318`";
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    let Some(rest) = rest else {
        let hint = match text.split_once("://") {
            Some((scheme, _)) => format!("the scheme is `http` or `https`, not {}", quote(scheme)),
            None if text.contains('@') => "begin with `http://` or `https://`".to_owned(),
            None => format!(
                "begin with `http://` or `https://`: {}",
                quote(&format!("http://{text}"))
            ),
        };
        return Err(Malformed::new(EXPECTED, Some(hint)));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(Malformed::new(
            "a URL here names no user and no password",
            Some("put credentials into the environment".to_owned()),
        ));
    }
    if authority.is_empty() || authority.starts_with(':') {
        return Err(Malformed::new(EXPECTED, Some("the host is missing".to_owned())));
    }
    let port_at = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let port = port_at.map(|at| &authority[at + 1..]);
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(Malformed::new(
            EXPECTED,
            Some("a port is a number up to 65535".to_owned()),
        ));
    }
    if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(Malformed::new(
            format!("{} is not allowed in a URL", quote(&c.to_string())),
            Some("percent-encode it".to_owned()),
        ));
    }
    if rest.contains(['?', '#']) {
        return Err(Malformed::new(
            "a base address has no query",
            Some("what comes behind `?` does not belong here".to_owned()),
        ));
    }
    Ok(())
}

fn url_path(text: &str) -> Result<(), Malformed> {
    let wrong = |message: String, hint: String| Err(Malformed::new(message, Some(hint)));
    if !text.starts_with('/') {
        let hint = match text.split_once("://").and_then(|(_, rest)| rest.split_once('/')) {
            Some((_, path)) => format!("write only the path: `/{path}`"),
            None => format!("write {}", quote(&format!("/{}", text.trim_end_matches('/')))),
        };
        return wrong(format!("a path starts with `/`, found {}", quote(text)), hint);
    }
    if text.len() > PATH_BYTES_MAX {
        return wrong(
            format!(
                "a path has at most {PATH_BYTES_MAX} bytes, this one has {}",
                text.len()
            ),
            "shorten it".to_owned(),
        );
    }
    if let Some(at) = text.find(['*', '{', '<']).or_else(|| text.find("/:")) {
        let prefix = text[..at].trim_end_matches('/');
        let prefix = if prefix.is_empty() { "/" } else { prefix };
        return wrong(
            format!("wildcards and parameters have no meaning in {}", quote(text)),
            format!("a path leads everything below it: write {}", quote(prefix)),
        );
    }
    if let Some(at) = text.find(['?', '#']) {
        return wrong(
            format!("{} is more than a path", quote(text)),
            format!("write {}", quote(&text[..at])),
        );
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/-._~!$&'()+,;=:@".contains(c);
    if let Some(c) = text.chars().find(|c| !allowed(*c)) {
        return wrong(
            format!("{} is not allowed in a path", quote(&c.to_string())),
            "use letters, digits and `-._~`".to_owned(),
        );
    }
    let tidy: Vec<&str> = text.split('/').filter(|segment| !segment.is_empty()).collect();
    if tidy.iter().any(|segment| matches!(*segment, "." | "..")) {
        return wrong(
            format!("{} steps through folders", quote(text)),
            "write the path without `.` and `..`".to_owned(),
        );
    }
    let tidy = format!("/{}", tidy.join("/"));
    if tidy != text {
        return wrong(
            format!("{} has a `/` too many", quote(text)),
            format!("write {}", quote(&tidy)),
        );
    }
    Ok(())
}
