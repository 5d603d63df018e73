//! What no schema of one file can say: names that must stand for something, and values that must fit together.
//!
//! Works on trees, so that a file with other faults is still compared as far as it can be read. Of a file
//! that cannot be read at all nothing is assumed.

use std::sync::Arc;

use crate::source::{ByteSpan, Diagnostic, SourceFile};
use crate::tenants::TenantsFile;
use crate::units::Span;
use crate::yaml::{Entry, Node};

mod catalog;
mod gateway;
mod rollouts;
mod tenants;

/// One of the files, as far as it is known.
#[derive(Clone, Copy)]
pub(crate) enum Document<'a> {
    /// There is none: its defaults apply.
    Absent,
    /// It is there and cannot be read: nothing is known.
    Broken,
    Read {
        source: &'a Arc<SourceFile>,
        root: &'a Node,
    },
}

impl<'a> Document<'a> {
    /// The entry of a key of the top level, with the file.
    fn entry(self, key: &str) -> Option<(&'a Arc<SourceFile>, &'a Entry)> {
        match self {
            Self::Read { source, root } => Some((source, root.entry(key)?)),
            Self::Absent | Self::Broken => None,
        }
    }

    fn is_broken(self) -> bool {
        matches!(self, Self::Broken)
    }
}

/// The files of one project.
#[derive(Clone, Copy)]
pub(crate) struct Documents<'a> {
    pub(crate) project: Document<'a>,
    pub(crate) catalog: Document<'a>,
    pub(crate) tenants: Document<'a>,
}

/// Everything that does not fit together.
pub(crate) fn check(documents: &Documents<'_>) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    tenants::check(documents, &mut problems);
    catalog::check(documents, &mut problems);
    rollouts::check(documents, &mut problems);
    problems
}

/// Everything that does not fit together in a `gateway.yaml`.
pub(crate) fn check_gateway(source: &Arc<SourceFile>, root: &Node, problems: &mut Vec<Diagnostic>) {
    gateway::check(source, root, problems);
}

/// The names of all tiers, if they are known.
fn tiers(documents: &Documents<'_>) -> Option<Vec<String>> {
    if documents.tenants.is_broken() {
        return None;
    }
    let builtin = TenantsFile::builtin_tiers();
    let mut names: Vec<String> = ["gold", "silver", "bronze"].map(str::to_owned).into();
    debug_assert!(names.iter().all(|name| builtin.contains_key(name.as_str())));
    if let Some((_, own)) = documents.tenants.entry("tiers") {
        let own = own.value.entries().iter().map(|entry| entry.key.clone());
        names.extend(own.filter(|name| !builtin.contains_key(name.as_str())));
    }
    Some(names)
}

/// A duration that is written at `entry` and is nothing.
fn check_not_zero(source: &Arc<SourceFile>, entry: Option<&Entry>, problems: &mut Vec<Diagnostic>) {
    let Some(entry) = entry else { return };
    if is_zero(&entry.value) {
        let message = format!("`{}` must be longer than nothing", entry.key);
        problems.push(
            Diagnostic::error("RC-CFG-008", source, entry.value.span, message)
                .label("every request would be too late")
                .hint("remove it for the default, or write a time such as `30s`"),
        );
    }
}

fn is_zero(span: &Node) -> bool {
    let zero = |text| Span::parse(text).is_ok_and(|span| span.duration().is_zero());
    span.as_text().is_some_and(zero)
}

/// Numbers of one mapping that must not grow smaller in the order of `keys`.
fn check_ascending(
    source: &Arc<SourceFile>,
    entry: Option<&Entry>,
    keys: &[&str],
    problems: &mut Vec<Diagnostic>,
) {
    let Some(entry) = entry else { return };
    let numbers = keys.iter().filter_map(|key| Some((*key, entry.value.get(key)?)));
    let numbers: Vec<_> = numbers
        .filter_map(|(key, node)| Some((key, node, node.as_int()?)))
        .collect();
    for pair in numbers.windows(2) {
        let [(small, node, less), (large, _, more)] = pair else {
            continue;
        };
        if less > more {
            let message = format!("`{small}` is more than `{large}`: {less} and {more}");
            problems.push(
                Diagnostic::error("RC-CFG-017", source, node.span, message)
                    .hint(format!("raise `{large}`, or write at most `{small}: {more}`")),
            );
        }
    }
}

/// The first line of a value, which is enough to point at it.
fn first_line(source: &SourceFile, span: ByteSpan) -> ByteSpan {
    let text = source.slice(span);
    let end = text.find(['\n', '\r']).unwrap_or(text.len());
    ByteSpan::new(span.start, span.start + end)
}
