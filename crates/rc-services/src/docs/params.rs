//! The query string of a search, read strictly: an unknown or doubled parameter is a mistake, not noise.

use rc_model::Timestamp;

/// Hits on a page when the caller does not say.
pub const LIMIT_DEFAULT: usize = 10;

/// Most hits on a page.
pub const LIMIT_MAX: usize = 100;

/// Most filters in a search.
pub const FILTERS_MAX: usize = 8;

/// Longest query string. The longest query takes 3 KiB when every byte is escaped.
const QUERY_STRING_BYTES_MAX: usize = 16 << 10;

/// The parameters of a search, not yet looked into.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Params {
    pub(super) query: String,
    pub(super) limit: Option<usize>,
    pub(super) cursor: Option<String>,
    pub(super) filters: Vec<(String, String)>,
    pub(super) since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

impl Params {
    /// Reads `application/x-www-form-urlencoded` text.
    ///
    /// # Errors
    /// A sentence that names the parameter and says what is wrong with it.
    pub(super) fn parse(raw: &str) -> Result<Self, String> {
        if raw.len() > QUERY_STRING_BYTES_MAX {
            return Err(format!(
                "the query string has more than {QUERY_STRING_BYTES_MAX} bytes"
            ));
        }
        let mut params = Self::default();
        let mut seen = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or("a parameter's name is not UTF-8 or holds a broken escape")?;
            let value =
                decode(value).ok_or_else(|| format!("`{name}` is not UTF-8 or holds a broken escape"))?;
            if name != "filter" {
                if seen.contains(&name) {
                    return Err(format!("`{name}` is given twice"));
                }
                seen.push(name.clone());
            }
            params.take(&name, value)?;
        }
        if !seen.iter().any(|name| name == "q") {
            return Err("`q` is missing".to_owned());
        }
        Ok(params)
    }

    fn take(&mut self, name: &str, value: String) -> Result<(), String> {
        match name {
            "q" => self.query = value,
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                self.limit = Some(limit.ok_or_else(|| format!("`limit` is a number from 1 to {LIMIT_MAX}"))?);
            }
            "cursor" => self.cursor = Some(value),
            "filter" => {
                if self.filters.len() >= FILTERS_MAX {
                    return Err(format!("a search has at most {FILTERS_MAX} filters"));
                }
                match value.split_once(':') {
                    Some((name, value)) if !name.is_empty() => {
                        self.filters.push((name.to_owned(), value.to_owned()));
                    }
                    _ => return Err("`filter` is `name:value`".to_owned()),
                }
            }
            "since" => self.since = Some(time(name, &value)?),
            "until" => self.until = Some(time(name, &value)?),
            other => {
                return Err(format!(
                    "`{}` is not a parameter of a search; known are q, limit, cursor, filter, since, until",
                    other.escape_debug()
                ));
            }
        }
        Ok(())
    }
}

fn time(name: &str, value: &str) -> Result<Timestamp, String> {
    Timestamp::parse(value)
        .ok_or_else(|| format!("`{name}` is an RFC 3339 time such as `2026-11-21T10:00:00Z`"))
}

/// Undoes the form encoding: `+` is a space, `%XX` a byte. `None` for a broken escape or wrong UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (digits, tail) = rest.split_at_checked(2)?;
                rest = tail;
                data_encoding::HEXLOWER_PERMISSIVE.decode(digits).ok()?[0]
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
