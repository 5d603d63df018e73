//! Feature flags: a JSON file of names and booleans, and `FLAG_NAME=true` in the environment, which wins.
//!
//! They are read at the start. A flag that is nowhere is off, a file that cannot be understood is an error: a
//! service must not come up with half of its flags.

use std::collections::BTreeMap;
use std::io;

const PREFIX: &str = "FLAG_";

/// Which features are on.
#[derive(Debug, Default)]
pub struct Flags(BTreeMap<String, bool>);

impl Flags {
    /// Reads `$FLAGS_FILE` (else `flags.json`, which may be absent) and the environment.
    pub fn read() -> io::Result<Self> {
        let path = std::env::var("FLAGS_FILE").unwrap_or_else(|_| "flags.json".to_owned());
        let file = match std::fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io::Error::other(format!("{path}: {error}"))),
        };
        Self::from_texts(file.as_deref(), std::env::vars())
            .map_err(|problem| io::Error::other(format!("flags ({path}): {problem}")))
    }

    /// The flags of a file's text and of variables.
    pub fn from_texts(
        file: Option<&str>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, String> {
        let mut flags: BTreeMap<String, bool> = match file {
            Some(text) => serde_json::from_str(text).map_err(|error| error.to_string())?,
            None => BTreeMap::new(),
        };
        for (name, value) in variables {
            let Some(flag) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let value = value
                .parse()
                .map_err(|_| format!("{name} is {value:?}; write `true` or `false`"))?;
            flags.insert(flag.to_lowercase(), value);
        }
        Ok(Self(flags))
    }

    /// Whether the feature is on.
    pub fn on(&self, name: &str) -> bool {
        self.0.get(name).copied().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests;
