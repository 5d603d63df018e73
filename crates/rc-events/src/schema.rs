//! Schemas: what the payload of an event may be, by type and major version, as JSON Schema 2020-12.
//!
//! A schema is a file `TYPE.vMAJOR.json`. Whoever writes events, moves them or applies them asks a [`Registry`];
//! each refuses in its own way. It refuses to know where files come from, reads nothing that a schema points to
//! elsewhere, and takes `format` as the note that it is by the standard: a `pattern` checks.
//!
//! Read first: [`Registry`], [`Violation`], [`compat::compare`] (may this schema replace that one?).

mod checked;
pub mod compat;
mod misspelt;
mod upcast;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use crate::consumer::VOID;
use crate::event::NewEvent;

pub use checked::CheckedBus;
pub use upcast::{Reader, Upcasters};

/// The class of an event whose payload breaks its schema.
pub const CLASS_SCHEMA: &str = "schema";

/// The class of an event whose type or major version nobody knows.
pub const CLASS_UNKNOWN_SCHEMA: &str = "unknown-schema";

/// The end of a schema's file name.
pub const FILE_SUFFIX: &str = ".json";

/// Largest schema in bytes.
pub const SCHEMA_BYTES_MAX: usize = 1 << 20;

/// The keyword under which the schema of a later major version says, in words, how events of the version before
/// are read: which upcaster brings them here, or why none has to.
pub const UPCAST_NOTE: &str = "x-upcast";

/// A type of events in one major version: `doc.put` in version 1.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// The type, without its version.
    pub name: String,
    /// The major version.
    pub major: u16,
}

impl Subject {
    /// The subject of `event`. A version at the end of the type wins over [`NewEvent::schema`], which outboxes of
    /// others do not have.
    #[must_use]
    pub fn of(event: &NewEvent) -> Self {
        let (name, major) = name_and_major(event);
        Self {
            name: name.to_owned(),
            major,
        }
    }

    /// The subject that the file `name` is about: `order.placed.v2.json`.
    #[must_use]
    pub fn of_file(name: &str) -> Option<Self> {
        let (name, major) = split_version(name.strip_suffix(FILE_SUFFIX)?)?;
        Some(Self {
            name: name.to_owned(),
            major,
        })
    }

    /// The name of its file.
    #[must_use]
    pub fn file(&self) -> String {
        format!("{self}{FILE_SUFFIX}")
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.v{}", self.name, self.major)
    }
}

fn name_and_major(event: &NewEvent) -> (&str, u16) {
    split_version(&event.event_type).unwrap_or((&event.event_type, event.schema))
}

/// `order.placed.v2` as `order.placed` and 2. Versions start at 1 and have no leading zero: each has one name.
fn split_version(name: &str) -> Option<(&str, u16)> {
    let (name, digits) = name.rsplit_once(".v")?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    let major = digits.parse().ok()?;
    (plain && !name.is_empty()).then_some((name, major))
}

/// One schema, compiled. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Schema(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    subject: Subject,
    json: Value,
    validator: Validator,
}

/// Why a file is no schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Malformed {
    /// Where in the schema, as a JSON Pointer; empty for the whole file.
    pub pointer: String,
    /// What is wrong.
    pub what: String,
}

impl Malformed {
    fn whole(what: impl Into<String>) -> Self {
        Self {
            pointer: String::new(),
            what: what.into(),
        }
    }
}

impl Schema {
    /// Reads the schema in `text`, the content of the file `file`.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(file: &str, text: &str) -> Result<Self, Malformed> {
        let subject = Subject::of_file(file).ok_or_else(|| {
            Malformed::whole(format!(
                "`{file}` does not name a type and a major version: `order.placed.v1{FILE_SUFFIX}` does"
            ))
        })?;
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(Malformed::whole(format!(
                "the schema has {} bytes; {SCHEMA_BYTES_MAX} are allowed",
                text.len()
            )));
        }
        let json: Value = serde_json::from_str(text)
            .map_err(|error| Malformed::whole(format!("it is not JSON: {error}")))?;
        if let Some(draft) = json.get("$schema")
            && draft.as_str().map(|draft| draft.trim_end_matches('#')) != Some(DRAFT)
        {
            return Err(Malformed {
                pointer: "/$schema".to_owned(),
                what: format!("schemas are written in JSON Schema 2020-12: `\"$schema\": \"{DRAFT}\"`"),
            });
        }
        let validator = compile(&json)?;
        Ok(Self(Arc::new(Compiled {
            subject,
            json,
            validator,
        })))
    }

    /// What it is about.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.0.subject
    }

    /// The schema itself.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.0.json
    }

    /// What it says about reading events of the major version before, see [`UPCAST_NOTE`].
    #[must_use]
    pub fn upcast_note(&self) -> Option<&str> {
        let note = self.json().get(UPCAST_NOTE)?.as_str()?;
        (!note.trim().is_empty()).then_some(note)
    }

    /// Its keywords that nobody knows and that look like some that everybody does, each with its place. They check
    /// nothing.
    #[must_use]
    pub fn misspelt(&self) -> Vec<Malformed> {
        misspelt::misspelt(self.json())
    }

    /// Checks a payload.
    ///
    /// # Errors
    /// [`Violation::Payload`] with the first place that breaks it, and [`Violation::NotJson`].
    pub fn check(&self, payload: &[u8]) -> Result<(), Violation> {
        let payload: Value = serde_json::from_slice(payload).map_err(not_json)?;
        self.check_value(&payload)
    }

    fn check_value(&self, payload: &Value) -> Result<(), Violation> {
        self.0
            .validator
            .validate(payload)
            .map_err(|error| Violation::Payload {
                subject: Box::new(self.0.subject.clone()),
                pointer: error.instance_path().as_str().into(),
                // Without the value: what is refused may be personal, and goes into logs and letters.
                what: error.masked().to_string().into(),
            })
    }
}

fn not_json(error: serde_json::Error) -> Violation {
    Violation::NotJson(error.to_string().into())
}

/// The dialect of all schemas.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Compiles `schema`. Nothing is fetched, and patterns match in time that is linear in the text.
pub(crate) fn compile(schema: &Value) -> Result<Validator, Malformed> {
    let malformed = |error: jsonschema::ValidationError<'_>| Malformed {
        pointer: error.instance_path().as_str().to_owned(),
        what: error.to_string(),
    };
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex())
        .build(schema)
        .map_err(malformed)
}

/// Why an event is not what its type promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// The type has no schema, and every type has to have one.
    #[error("no schema is known for events of type `{0}`")]
    UnknownType(Box<str>),
    /// The type has schemas, but none of this major version.
    #[error("`{}` is not known in major version {}, only in {known}", .subject.name, .subject.major)]
    UnknownMajor {
        /// What the event says it is.
        subject: Box<Subject>,
        /// The versions that are known.
        known: Box<str>,
    },
    /// The payload is not JSON.
    #[error("the payload is not JSON: {0}")]
    NotJson(Box<str>),
    /// The payload breaks the schema.
    #[error("{} breaks the schema `{subject}`: {what}", at(.pointer))]
    Payload {
        /// Whose schema.
        subject: Box<Subject>,
        /// Where in the payload, as a JSON Pointer; empty for the whole of it.
        pointer: Box<str>,
        /// What is wrong there. It quotes no value.
        what: Box<str>,
    },
    /// An upcaster could not read the payload.
    #[error("the upcaster from `{from}` fails: {why}")]
    Upcast {
        /// What it was given.
        from: Box<Subject>,
        /// What it said.
        why: Box<str>,
    },
}

fn at(pointer: &str) -> String {
    match pointer {
        "" => "the payload".to_owned(),
        pointer => format!("`{pointer}`"),
    }
}

impl Violation {
    /// The stable error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotJson(_) | Self::Payload { .. } => "RC-EVT-060",
            Self::UnknownType(_) | Self::UnknownMajor { .. } => "RC-EVT-061",
            Self::Upcast { .. } => "RC-EVT-064",
        }
    }

    /// The class of the letter that it makes.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::NotJson(_) | Self::Payload { .. } | Self::Upcast { .. } => CLASS_SCHEMA,
            Self::UnknownType(_) | Self::UnknownMajor { .. } => CLASS_UNKNOWN_SCHEMA,
        }
    }
}

/// The schemas that hold in one place, compiled.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    schemas: BTreeMap<String, BTreeMap<u16, Schema>>,
    every_type: bool,
}

impl Registry {
    /// `schemas`; a later one replaces an earlier one for the same subject.
    #[must_use]
    pub fn new(schemas: impl IntoIterator<Item = Schema>) -> Self {
        let mut registry = Self::default();
        for schema in schemas {
            registry.add(schema);
        }
        registry
    }

    /// Adds `schema`, in the place of the one for the same subject.
    pub fn add(&mut self, schema: Schema) {
        let Subject { name, major } = schema.subject().clone();
        self.schemas.entry(name).or_default().insert(major, schema);
    }

    /// The same schemas, and a type that has none is refused.
    #[must_use]
    pub fn of_every_type(mut self) -> Self {
        self.every_type = true;
        self
    }

    /// All schemas, by type and version.
    pub fn schemas(&self) -> impl Iterator<Item = &Schema> {
        self.schemas.values().flat_map(BTreeMap::values)
    }

    /// The schema of `subject`.
    #[must_use]
    pub fn get(&self, subject: &Subject) -> Option<&Schema> {
        self.schemas.get(&subject.name)?.get(&subject.major)
    }

    /// The newest major version of the type `name`.
    #[must_use]
    pub fn newest(&self, name: &str) -> Option<u16> {
        self.schemas.get(name)?.keys().next_back().copied()
    }

    /// The schema that `event` has to keep; `None` for a type without one, where that is allowed, and for what passes
    /// in the place of an event that was given up.
    ///
    /// # Errors
    /// [`Violation::UnknownType`] and [`Violation::UnknownMajor`].
    pub fn schema_of(&self, event: &NewEvent) -> Result<Option<&Schema>, Violation> {
        if event.event_type == VOID {
            return Ok(None);
        }
        let (name, major) = name_and_major(event);
        let Some(majors) = self.schemas.get(name) else {
            return if self.every_type {
                Err(Violation::UnknownType((&*event.event_type).into()))
            } else {
                Ok(None)
            };
        };
        match majors.get(&major) {
            Some(schema) => Ok(Some(schema)),
            None => Err(Violation::UnknownMajor {
                subject: Box::new(Subject::of(event)),
                known: majors
                    .keys()
                    .map(u16::to_string)
                    .collect::<Vec<_>>()
                    .join(", ")
                    .into(),
            }),
        }
    }

    /// Checks that `event` is what its type promises.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn check(&self, event: &NewEvent) -> Result<(), Violation> {
        match self.schema_of(event)? {
            Some(schema) => schema.check(&event.payload),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
