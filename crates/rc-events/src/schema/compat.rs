//! May this schema replace that one? Yes when everything that the old one allows, the new one allows too: then
//! readers of the new one can read all events there are.
//!
//! It walks both schemas side by side and looks, for each keyword of the new one, for something in the old one that
//! promises as much. What it cannot prove it says, so that silence is a proof. It never looks at events.
//!
//! Read first: [`compare`], [`Finding`].

mod bounds;
mod keywords;
mod members;
mod side;

use serde_json::{Map, Value};

use keywords::Group;
use side::Side;

/// Deepest nesting of both schemas, references followed, that is compared.
const DEPTH_MAX: usize = 64;

/// Most pairs of places that are compared: alternatives in alternatives grow fast.
const PAIRS_MAX: usize = 10_000;

/// How sure a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// The new schema refuses something that the old one allows.
    Breaks,
    /// It may allow as much; nobody could show that it does.
    Unproven,
}

impl Certainty {
    /// Its word, for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Breaks => "breaks",
            Self::Unproven => "unproven",
        }
    }
}

/// One reason why the new schema may not replace the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where in the new schema, as a JSON Pointer.
    pub pointer: String,
    /// Whether it is certain.
    pub certainty: Certainty,
    /// What is narrower than it was.
    pub what: String,
}

/// Every reason why `new` may not replace `old`; none: it may.
#[must_use]
pub fn compare(old: &Value, new: &Value) -> Vec<Finding> {
    let mut compare = Compare {
        old_root: old,
        new_root: new,
        open: Vec::new(),
        left: PAIRS_MAX,
    };
    let mut findings = match side::unresolvable(old).or_else(|| side::unresolvable(new)) {
        Some(keyword) if !side::same(old, new) => vec![Finding {
            pointer: String::new(),
            certainty: Certainty::Unproven,
            what: format!("`{keyword}` changes what references mean, and is not understood here"),
        }],
        Some(_) | None => compare.narrower(&Side::root(old), &Side::root(new), 0),
    };
    findings.sort_by(|a, b| (&a.pointer, a.certainty).cmp(&(&b.pointer, b.certainty)));
    findings.dedup();
    findings
}

/// A comparison under way.
struct Compare<'s> {
    old_root: &'s Value,
    new_root: &'s Value,
    /// Pairs of places that are being compared, each with the depth in the *instance* at which it was met: a pair
    /// that comes again further down holds if it holds here, because instances end.
    open: Vec<(String, String, usize)>,
    /// How many pairs may still be looked at.
    left: usize,
}

impl<'s> Compare<'s> {
    /// Every way in which `new` allows less than `old`. `depth` counts the steps into the instance.
    fn narrower(&mut self, old: &Side<'s>, new: &Side<'s>, depth: usize) -> Vec<Finding> {
        if side::same(old.schema, new.schema) && self.same_references(old.schema) {
            return Vec::new();
        }
        let keywords = match (old.schema, new.schema) {
            (_, Value::Bool(true)) | (Value::Bool(false), _) => return Vec::new(),
            (_, Value::Object(keywords)) => keywords,
            (_, _) => return vec![new.breaks("", "nothing is allowed here any more")],
        };
        let met = self
            .open
            .iter()
            .rfind(|(a, b, _)| *a == old.pointer && *b == new.pointer);
        match met {
            Some((_, _, at)) if *at < depth => return Vec::new(),
            None if self.open.len() < DEPTH_MAX && self.left > 0 => {}
            Some(_) | None => {
                return vec![new.unproven("", "it refers to itself, or is too large or deep to follow")];
            }
        }
        self.left -= 1;
        self.open.push((old.pointer.clone(), new.pointer.clone(), depth));
        let mut findings = Vec::new();
        for group in keywords::groups(keywords) {
            findings.extend(self.group(old, new, keywords, &group, depth));
        }
        self.open.pop();
        findings
    }

    /// Every way in which one group of keywords of `new` allows less than `old`.
    fn group(
        &mut self,
        old: &Side<'s>,
        new: &Side<'s>,
        keywords: &'s Map<String, Value>,
        group: &Group<'s>,
        depth: usize,
    ) -> Vec<Finding> {
        let unchanged = |name: &&str| {
            old.get(name) == keywords.get(*name)
                && keywords
                    .get(*name)
                    .is_none_or(|value| self.same_references(value))
        };
        if group.self_contained() && group.names().iter().all(unchanged) && group.names() != ["$ref"] {
            return Vec::new();
        }
        let direct = self.direct(old, new, keywords, group, depth);
        if direct.is_empty() || self.elsewhere(old, new, keywords, group, depth) {
            return Vec::new();
        }
        direct
    }

    /// Whether another part of `old` promises what `group` demands: its listed values, a part of its `allOf`, what
    /// it refers to, or every branch of its alternatives.
    fn elsewhere(
        &mut self,
        old: &Side<'s>,
        new: &Side<'s>,
        keywords: &'s Map<String, Value>,
        group: &Group<'s>,
        depth: usize,
    ) -> bool {
        // Old references may go in circles; what is too deep to follow proves nothing.
        if old.hops >= DEPTH_MAX {
            return false;
        }
        if let Some(values) = side::listed(old.schema) {
            return group.admits(self.new_root, keywords, &values);
        }
        let target = old.target(self.old_root);
        let mut parts = old.branches("allOf").into_iter().chain(target);
        if parts.any(|part| self.group(&part, new, keywords, group, depth).is_empty()) {
            return true;
        }
        ["anyOf", "oneOf"].into_iter().any(|keyword| {
            let branches = old.branches(keyword);
            !branches.is_empty()
                && branches
                    .iter()
                    .all(|branch| self.group(branch, new, keywords, group, depth).is_empty())
        })
    }

    /// Whether `value` means the same in both schemas, as far as references in it go.
    fn same_references(&self, value: &Value) -> bool {
        !side::refers(value) || self.old_root == self.new_root
    }
}

#[cfg(test)]
mod tests;
