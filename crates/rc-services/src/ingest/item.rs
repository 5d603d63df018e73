//! Reads one item's JSON into a document, strictly: no unknown, repeated or missing members, no other
//! type where text is expected, every limit of [`crate::document`] kept.
//!
//! `serde_json` does the work per byte; this module answers for the members and says where a fault is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use rc_model::Timestamp;
use serde::de::{self, DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::fault::{self, Fault, Kind, pointer_token};
use crate::document::{
    ATTR_NAME_BYTES_MAX, ATTR_VALUE_BYTES_MAX, ATTRS_MAX, MEMBERS, TEXT_BYTES_MAX, TITLE_BYTES_MAX, check_id,
};

/// A document as it came: the id may be absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) id: Option<String>,
    pub(crate) title: Option<String>,
    pub(crate) text: String,
    pub(crate) attrs: BTreeMap<String, String>,
    pub(crate) time: Option<Timestamp>,
}

/// Why an item is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The text is JSON but not an acceptable document; only this item is concerned.
    Document(Fault),
    /// The text is not JSON, from this byte of the item on.
    Syntax { offset: usize, what: String },
}

/// Reads `item`.
///
/// # Errors
/// The first fault. Broken JSON anywhere in the item is told before faults of the document.
pub(crate) fn parse(item: &[u8]) -> Result<Draft, Refused> {
    let Ok(text) = std::str::from_utf8(item) else {
        return Err(not_utf8(item));
    };
    let place = Place::default();
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = (&mut json)
        .deserialize_any(DocumentVisitor { place: &place })
        .and_then(|draft| json.end().map(|()| draft));
    parsed.map_err(|error| refusal(text, &place, &error))
}

/// Tells a fault of the document from broken JSON: `IgnoredAny` reads any valid JSON to its end.
fn refusal(text: &str, place: &Place, error: &serde_json::Error) -> Refused {
    if let Err(broken) = serde_json::from_str::<IgnoredAny>(text) {
        return syntax(text, &broken);
    }
    let found = place.fault.borrow_mut().take();
    Refused::Document(found.unwrap_or_else(|| {
        let pointer = place.pointer.borrow().clone();
        let message = error.to_string();
        if message.starts_with("number out of range") {
            Fault::new(fault::WRONG_TYPE, pointer, "expected a string, found a number")
        } else {
            // Valid by the grammar and still refused: an escape that names half a surrogate pair.
            Fault::new(
                fault::UNICODE,
                pointer,
                "the string holds a lone surrogate escape such as `\\ud800`",
            )
        }
    }))
}

fn not_utf8(item: &[u8]) -> Refused {
    if let Err(broken) = serde_json::from_slice::<IgnoredAny>(item) {
        return syntax_at(item, &broken);
    }
    let valid = std::str::from_utf8(item).map_or_else(|error| error.valid_up_to(), str::len);
    Refused::Document(Fault::body(
        fault::UNICODE,
        format!("byte {valid} of the item is not UTF-8"),
    ))
}

fn syntax(text: &str, error: &serde_json::Error) -> Refused {
    syntax_at(text.as_bytes(), error)
}

fn syntax_at(item: &[u8], error: &serde_json::Error) -> Refused {
    // serde_json counts lines and columns from 1; the column is 0 right after a line break.
    let line_start = match error.line() {
        0 | 1 => 0,
        line => memchr::memchr_iter(b'\n', item)
            .nth(line - 2)
            .map_or(0, |at| at + 1),
    };
    let offset = (line_start + error.column().saturating_sub(1)).min(item.len());
    let message = error.to_string();
    let what = message
        .rsplit_once(" at line ")
        .map_or(&*message, |(what, _)| what);
    Refused::Syntax {
        offset,
        what: what.to_owned(),
    }
}

/// Where the parser is, and the fault that made it stop.
#[derive(Default)]
struct Place {
    pointer: RefCell<String>,
    fault: RefCell<Option<Fault>>,
}

impl Place {
    fn enter(&self, pointer: String) {
        *self.pointer.borrow_mut() = pointer;
    }

    /// Stops the parser at the current place.
    fn stop<E: de::Error>(&self, kind: Kind, detail: impl Into<String>) -> E {
        let pointer = self.pointer.borrow().clone();
        *self.fault.borrow_mut() = Some(Fault::new(kind, pointer, detail));
        E::custom("refused")
    }
}

struct DocumentVisitor<'p> {
    place: &'p Place,
}

/// Answers every type but the expected one with "expected ..., found ...".
macro_rules! refuse_others {
    ($expected:literal: $($method:ident $argument:ty => $found:expr),+ $(,)?) => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str($expected)
        }
        $(fn $method<E: de::Error>(self, value: $argument) -> Result<Self::Value, E> {
            let found = $found(value);
            Err(self.place.stop(fault::WRONG_TYPE, format!(concat!("expected ", $expected, ", found {}"), found)))
        })+
        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            let detail = concat!("expected ", $expected, ", found null; leave an absent member out");
            Err(self.place.stop(fault::WRONG_TYPE, detail))
        }
    };
}

fn found_bool(value: bool) -> String {
    format!("`{value}`")
}

fn found_number(value: impl fmt::Display) -> String {
    format!("the number {value}")
}

fn found_text(_: &str) -> &'static str {
    "a string"
}

impl<'de> Visitor<'de> for DocumentVisitor<'_> {
    type Value = Draft;

    refuse_others!("a document object":
        visit_bool bool => found_bool,
        visit_i64 i64 => found_number,
        visit_u64 u64 => found_number,
        visit_f64 f64 => found_number,
        visit_str &str => found_text,
    );

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Draft, A::Error> {
        let detail = "expected a document object, found an array; arrays go to `POST /ingest/batch`";
        Err(self.place.stop(fault::WRONG_TYPE, detail))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Draft, A::Error> {
        let place = self.place;
        let (mut id, mut title, mut text, mut attrs, mut time) = (None, None, None, None, None);
        while let Some(name) = map.next_key_seed(NameSeed { place, at: "" })? {
            let twice = || {
                let detail = format!("`{name}` is given twice in one document");
                place.stop(fault::DUPLICATE_MEMBER, detail)
            };
            let string = |limit| StringSeed { place, limit };
            place.enter(format!("/{}", pointer_token(&name)));
            match &*name {
                "id" if id.is_some() => return Err(twice()),
                "title" if title.is_some() => return Err(twice()),
                "text" if text.is_some() => return Err(twice()),
                "attrs" if attrs.is_some() => return Err(twice()),
                "time" if time.is_some() => return Err(twice()),
                "id" => {
                    let value = map.next_value_seed(string(usize::MAX))?;
                    check_id(&value).map_err(|why| place.stop(fault::BAD_VALUE, why))?;
                    id = Some(value);
                }
                "title" => title = Some(map.next_value_seed(string(TITLE_BYTES_MAX))?),
                "text" => text = Some(map.next_value_seed(string(TEXT_BYTES_MAX))?),
                "attrs" => attrs = Some(map.next_value_seed(AttrsSeed { place })?),
                "time" => {
                    let value = map.next_value_seed(string(usize::MAX))?;
                    let expected = "expected RFC 3339 time such as `2026-11-21T10:00:00Z`";
                    let parsed = Timestamp::parse(&value);
                    time = Some(parsed.ok_or_else(|| place.stop(fault::BAD_VALUE, expected))?);
                }
                unknown => return Err(place.stop(fault::UNKNOWN_MEMBER, unknown_member(unknown))),
            }
        }
        place.enter("/text".to_owned());
        let missing = || place.stop(fault::MISSING_MEMBER, "a document needs `text`");
        Ok(Draft {
            id,
            title,
            text: text.ok_or_else(missing)?,
            attrs: attrs.unwrap_or_default(),
            time,
        })
    }
}

/// A member's name; refuses U+0000 like every other string.
struct NameSeed<'p> {
    place: &'p Place,
    /// The pointer of the object that the name is in.
    at: &'static str,
}

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = String;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        self.place.enter(self.at.to_owned());
        deserializer.deserialize_str(StringSeed {
            place: self.place,
            limit: usize::MAX,
        })
    }
}

/// A string of at most `limit` bytes without U+0000.
struct StringSeed<'p> {
    place: &'p Place,
    limit: usize,
}

impl<'de> DeserializeSeed<'de> for StringSeed<'_> {
    type Value = String;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StringSeed<'_> {
    type Value = String;

    refuse_others!("a string":
        visit_bool bool => found_bool,
        visit_i64 i64 => found_number,
        visit_u64 u64 => found_number,
        visit_f64 f64 => found_number,
    );

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        if text.len() > self.limit {
            let (len, max) = (text.len(), self.limit);
            let detail = format!("the string has {len} bytes of UTF-8, at most {max} are allowed");
            return Err(self.place.stop(fault::BAD_VALUE, detail));
        }
        if memchr::memchr(0, text.as_bytes()).is_some() {
            return Err(self.place.stop(fault::NUL, "the string holds U+0000"));
        }
        Ok(text.to_owned())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(self
            .place
            .stop(fault::WRONG_TYPE, "expected a string, found an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<String, A::Error> {
        Err(self
            .place
            .stop(fault::WRONG_TYPE, "expected a string, found an object"))
    }
}

struct AttrsSeed<'p> {
    place: &'p Place,
}

impl<'de> DeserializeSeed<'de> for AttrsSeed<'_> {
    type Value = BTreeMap<String, String>;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AttrsSeed<'_> {
    type Value = BTreeMap<String, String>;

    refuse_others!("an object of strings":
        visit_bool bool => found_bool,
        visit_i64 i64 => found_number,
        visit_u64 u64 => found_number,
        visit_f64 f64 => found_number,
        visit_str &str => found_text,
    );

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(self
            .place
            .stop(fault::WRONG_TYPE, "expected an object of strings, found an array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let place = self.place;
        let mut attrs = BTreeMap::new();
        while let Some(name) = map.next_key_seed(NameSeed { place, at: "/attrs" })? {
            if attrs.len() == ATTRS_MAX {
                let detail = format!("a document has at most {ATTRS_MAX} attributes");
                return Err(place.stop(fault::BAD_VALUE, detail));
            }
            place.enter(format!("/attrs/{}", pointer_token(&name)));
            if name.is_empty() || name.len() > ATTR_NAME_BYTES_MAX {
                let detail = format!("an attribute's name has 1 to {ATTR_NAME_BYTES_MAX} bytes");
                return Err(place.stop(fault::BAD_VALUE, detail));
            }
            if attrs.contains_key(&name) {
                let detail = format!("the attribute `{name}` is given twice");
                return Err(place.stop(fault::DUPLICATE_MEMBER, detail));
            }
            let limit = ATTR_VALUE_BYTES_MAX;
            let value = map.next_value_seed(StringSeed { place, limit })?;
            attrs.insert(name, value);
        }
        Ok(attrs)
    }
}

fn unknown_member(name: &str) -> String {
    // An attacker's name can be long; a person needs its start.
    let shown: String = name.chars().take(64).collect();
    match nearest(&shown) {
        Some(known) => format!("`{shown}` is not a member of a document; did you mean `{known}`?"),
        None => format!("`{shown}` is not a member of a document; other names go into `attrs`"),
    }
}

/// Other people's names for our members.
const ALIASES: [(&str, &str); 12] = [
    ("_id", "id"),
    ("doc_id", "id"),
    ("key", "id"),
    ("name", "title"),
    ("subject", "title"),
    ("body", "text"),
    ("content", "text"),
    ("contents", "text"),
    ("attributes", "attrs"),
    ("metadata", "attrs"),
    ("date", "time"),
    ("timestamp", "time"),
];

fn nearest(name: &str) -> Option<&'static str> {
    let lower = name.to_lowercase();
    if let Some((_, known)) = ALIASES.iter().find(|(alias, _)| *alias == lower) {
        return Some(known);
    }
    rc_model::closest(&lower, MEMBERS)
}

#[cfg(test)]
mod tests;
