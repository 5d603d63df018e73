//! Which store a URL chooses. Passwords in it never reach a message or a `Debug`.

use std::fmt;

use crate::{Error, ErrorKind};

/// Longest URL that is read.
pub const URL_BYTES_MAX: usize = 2_048;

/// Where a service keeps its data.
#[derive(Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// `sqlite:` one file a service, in the project's state folder.
    Sqlite,
    /// `postgres://user:password@host:port/database?sslmode=disable`
    Postgres(String),
}

impl StoreUrl {
    /// Reads `sqlite:`, `postgres://...` or `postgresql://...`.
    ///
    /// # Errors
    /// [`ErrorKind::Url`] for another scheme or a URL that PostgreSQL's rules refuse.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > URL_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::Url,
                format!("a store URL has at most {URL_BYTES_MAX} bytes"),
            ));
        }
        let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
        match scheme {
            "sqlite" if matches!(rest, "" | "//") => Ok(Self::Sqlite),
            "sqlite" => Err(Error::new(
                ErrorKind::Url,
                "`sqlite:` takes no path: each service keeps its own file in the project's state folder",
            )),
            "postgres" | "postgresql" => {
                crate::postgres::config_of(text)?;
                Ok(Self::Postgres(text.to_owned()))
            }
            _ => Err(Error::new(
                ErrorKind::Url,
                "a store URL starts with `sqlite:` or `postgres://`",
            )),
        }
    }

    /// The URL with its password, if any, replaced by `***`; safe to print.
    #[must_use]
    pub fn redacted(&self) -> String {
        match self {
            Self::Sqlite => "sqlite:".to_owned(),
            Self::Postgres(url) => redact(url),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

/// Hides the password of the authority part and a `password=` option.
fn redact(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "***".to_owned();
    };
    let (before_query, query) = rest.split_once('?').map_or((rest, None), |(a, b)| (a, Some(b)));
    // The last `@` ends the user part: a password may hold an unescaped one.
    let mut out = match before_query.rsplit_once('@') {
        Some((user, host)) => {
            let user = user
                .split_once(':')
                .map_or_else(|| user.to_owned(), |(name, _)| format!("{name}:***"));
            format!("{scheme}://{user}@{host}")
        }
        None => format!("{scheme}://{before_query}"),
    };
    if let Some(query) = query {
        let shown: Vec<&str> = query
            .split('&')
            .map(|pair| {
                if pair.starts_with("password=") {
                    "password=***"
                } else {
                    pair
                }
            })
            .collect();
        out.push('?');
        out.push_str(&shown.join("&"));
    }
    out
}

#[cfg(test)]
mod tests;
