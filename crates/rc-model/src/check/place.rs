//! Where a value stands in its file.

use serde_json::{Map, Value as Json};

use crate::source::quote;
use crate::yaml::Entry;

/// Where a value stands. Paths are put together only when something is told: files have thousands of values.
#[derive(Clone, Copy)]
pub(super) struct Place<'a, 'p> {
    pub(super) above: Option<&'p Self>,
    /// The nearest key.
    pub(super) key: Option<&'a Entry>,
    /// The place in the list that the nearest key holds.
    pub(super) index: Option<usize>,
    /// Whether the value may be a secret, so that it is never repeated.
    pub(super) secret: bool,
    /// The keys that a mapping here may have.
    pub(super) properties: Option<&'a Map<String, Json>>,
}

impl<'a, 'p> Place<'a, 'p> {
    pub(super) fn root() -> Self {
        Self {
            above: None,
            key: None,
            index: None,
            secret: false,
            properties: None,
        }
    }

    pub(super) fn below(&'p self, entry: &'a Entry) -> Self {
        Self {
            above: Some(self),
            key: Some(entry),
            index: None,
            secret: self.secret,
            properties: None,
        }
    }

    pub(super) fn item(&'p self, index: usize) -> Self {
        Self {
            above: Some(self),
            key: self.key,
            index: Some(index),
            secret: self.secret,
            properties: None,
        }
    }

    /// `services.orders.routes[0]`; empty for the file.
    pub(super) fn path(&self) -> String {
        let mut path = self.above.map(Place::path).unwrap_or_default();
        match (self.index, self.key) {
            (Some(index), _) => path.push_str(&format!("[{index}]")),
            (None, Some(entry)) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&entry.key);
            }
            (None, None) => {}
        }
        path
    }

    /// The mappings around this one with the keys that they may have, the nearest first.
    pub(super) fn around(&self) -> impl Iterator<Item = (&'p Place<'a, 'p>, &'a Map<String, Json>)> {
        std::iter::successors(self.above, |place| place.above)
            .filter_map(|place| Some((place, place.properties?)))
    }

    /// The path's last part, in backticks, or the file.
    pub(super) fn name(&self) -> String {
        match self.path().rsplit('.').next() {
            Some(last) if !last.is_empty() => quote(last),
            _ => "the file".to_owned(),
        }
    }

    /// ` in `services.orders``, or nothing for the file.
    pub(super) fn within(&self) -> String {
        match self.path() {
            path if path.is_empty() => String::new(),
            path => format!(" in {}", quote(&path)),
        }
    }
}
