//! Typed names. A `TenantId` cannot be passed where a `ServiceId` is meant.
//!
//! All but [`DocId`] follow one grammar, the DNS label of RFC 1123 (1 to 63 of `a-z`, `0-9`, `-`, not at
//! the ends), because names end up in host names, metric labels, file names and SPIFFE paths.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest DNS label (RFC 1123, section 2.1).
pub const NAME_BYTES_MAX: usize = 63;

/// Longest document id in bytes; it is part of keys, URLs and event attributes.
pub const DOC_ID_BYTES_MAX: usize = 200;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a name must not be empty")]
    Empty,
    #[error("a name has at most {max} bytes, this one has {len}")]
    TooLong { len: usize, max: usize },
    #[error("`{found}` is not allowed in a name; use `a` to `z`, `0` to `9` and `-`")]
    BadCharacter { found: char },
    #[error("a name must not start or end with `-`")]
    BadEdge,
    #[error("control characters are not allowed in an id")]
    Control,
}

/// Checks the DNS label grammar.
///
/// # Errors
/// The first rule that `text` breaks.
pub fn check_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong {
            len: text.len(),
            max: NAME_BYTES_MAX,
        });
    }
    if let Some(found) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
        return Err(NameError::BadCharacter { found });
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(NameError::BadEdge);
    }
    Ok(())
}

/// Checks a document id: 1 to [`DOC_ID_BYTES_MAX`] bytes, no control characters.
///
/// # Errors
/// The first rule that `text` breaks.
pub fn check_doc_id(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > DOC_ID_BYTES_MAX {
        return Err(NameError::TooLong {
            len: text.len(),
            max: DOC_ID_BYTES_MAX,
        });
    }
    if text.chars().any(char::is_control) {
        return Err(NameError::Control);
    }
    Ok(())
}

/// Whether a path, with its escapes undone, or a part of one holds a segment `.` or `..`.
///
/// URL libraries fold such segments away before they send, so that a path would lead elsewhere than it
/// says. Segments end at `/` and at `\`, which some servers take for it, and at `;`, where some cut path
/// parameters off (`..;x`), before they resolve dots. The gateway refuses such paths, and ingest such ids: a
/// document that is called so could be stored and never be read.
#[must_use]
pub fn has_dot_segment(path: &str) -> bool {
    path.split(['/', '\\'])
        .any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

macro_rules! typed_name {
    ($(#[$doc:meta])* $name:ident, $check:path, $pattern:literal, $format:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes `text` if it follows the grammar.
            ///
            /// # Errors
            /// The first rule that `text` breaks.
            pub fn new(text: &str) -> Result<Self, NameError> {
                $check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                Self::from(&*name.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "format": $format,
                    "minLength": 1,
                    "maxLength": $max,
                })
            }
        }
    };
}

typed_name!(
    /// A customer whose data and limits are kept apart from every other's.
    TenantId, check_name, "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "name", NAME_BYTES_MAX
);
typed_name!(
    /// A class of service: `gold`, `silver`, `bronze`, or one of the user's own.
    TierId, check_name, "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "name", NAME_BYTES_MAX
);
typed_name!(
    /// A deployable service in `service-catalog.yaml`.
    ServiceId, check_name, "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "name", NAME_BYTES_MAX
);
typed_name!(
    /// The team that answers for a service.
    OwnerId, check_name, "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "name", NAME_BYTES_MAX
);
typed_name!(
    /// A place where data may live, such as `eu` or `us-east`.
    RegionId, check_name, "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "name", NAME_BYTES_MAX
);
typed_name!(
    /// The public half of an API key: it names the key and proves nothing.
    KeyId, check_name, "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "name", NAME_BYTES_MAX
);
typed_name!(
    /// A version of a service, such as `v2`; the one that needs no name is `stable`.
    VersionId, check_name, "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "name", NAME_BYTES_MAX
);
typed_name!(
    /// A rollout of a version in `tenants.yaml`, such as `docs-v2`.
    RolloutId, check_name, "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", "name", NAME_BYTES_MAX
);
typed_name!(
    /// A document's id within its tenant. Any text without control characters.
    DocId, check_doc_id, "^[^\\u0000-\\u001f\\u007f]+$", "document-id", DOC_ID_BYTES_MAX
);

#[cfg(test)]
mod tests;
