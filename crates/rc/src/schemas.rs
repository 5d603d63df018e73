//! A project's own schemas of events: the files of its folder `schemas/`.

use std::path::Path;
use std::sync::Arc;

use rc_events::schema::{FILE_SUFFIX, Malformed, Registry, Schema};
use rc_model::source::{ByteSpan, SourceFile};
use rc_model::yaml::{self, Node, Value};
use rc_model::{Diagnostic, Layout};

use crate::fault::Fault;

/// The folder's name inside the project.
pub(crate) const FOLDER: &str = "schemas";

/// The code of a file that is no schema.
const MALFORMED: &str = "RC-EVT-062";

/// A file of schemas, as it was read.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// `doc.put.v1.json`
    pub(crate) name: String,
    pub(crate) source: Arc<SourceFile>,
}

impl File {
    /// The text of the file `name`, which people know as `shown`.
    pub(crate) fn new(name: &str, shown: String, text: String) -> Self {
        Self {
            name: name.to_owned(),
            source: Arc::new(SourceFile::new(shown, text)),
        }
    }

    /// The schema in it.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub(crate) fn schema(&self) -> Result<Schema, Malformed> {
        Schema::parse(&self.name, self.source.text())
    }

    /// Where in the text the value at `pointer` is; the nearest one around it where it is not there.
    pub(crate) fn span(&self, pointer: &str) -> ByteSpan {
        // JSON is YAML but for odd escapes; a file that is not has its fault on the first line.
        let Ok(root) = yaml::parse(&self.source) else {
            return ByteSpan::default();
        };
        let (mut node, mut span) = (&root, root.span);
        for token in pointer.split('/').skip(1) {
            let Some((at, below)) = step(node, &token.replace("~1", "/").replace("~0", "~")) else {
                break;
            };
            (node, span) = (below, at);
        }
        span
    }

    /// The line, from 1, of the value at `pointer`.
    pub(crate) fn line(&self, pointer: &str) -> usize {
        self.source.position(self.span(pointer).start).line
    }
}

/// The place of a member's name, or of an item, and what it holds.
fn step<'n>(node: &'n Node, token: &str) -> Option<(ByteSpan, &'n Node)> {
    match &node.value {
        Value::Map(_) => {
            let entry = node.entry(token)?;
            Some((entry.key_span, &entry.value))
        }
        Value::List(items) => {
            let item = items.get(token.parse::<usize>().ok()?)?;
            Some((item.span, item))
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Text(_) => None,
    }
}

/// The schemas in `folder`, by name; none where there is no such folder.
///
/// # Errors
/// When the folder or a file cannot be read.
pub(crate) fn read(folder: &Path, shown: &str) -> Result<Vec<File>, Fault> {
    let failed = |error: std::io::Error| {
        Fault::world(
            MALFORMED,
            format!("the schemas in {} cannot be read", folder.display()),
        )
        .because(error)
    };
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs_err::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.ends_with(FILE_SUFFIX) {
            let text = fs_err::read_to_string(&path).map_err(failed)?;
            files.push(File::new(name, format!("{shown}/{name}"), text));
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// The project's schemas, for what runs.
///
/// # Errors
/// When one cannot be read.
pub(crate) fn registry(layout: &Layout) -> Result<Registry, Fault> {
    compiled(&read(&layout.project().join(FOLDER), FOLDER)?)
}

/// `files`, compiled.
///
/// # Errors
/// All that are no schemas.
pub(crate) fn compiled(files: &[File]) -> Result<Registry, Fault> {
    let mut registry = Registry::default();
    let mut problems = Vec::new();
    for file in files {
        match file.schema() {
            Ok(schema) => registry.add(schema),
            Err(malformed) => problems.push(
                Diagnostic::error(
                    MALFORMED,
                    &file.source,
                    file.span(&malformed.pointer),
                    malformed.what,
                )
                .to_string(),
            ),
        }
    }
    if problems.is_empty() {
        return Ok(registry);
    }
    let what = format!("the schemas of events have problems\n\n{}", problems.join("\n"));
    Err(Fault::usage(MALFORMED, what).hint("`rc events schema check` shows each with its place"))
}

#[cfg(test)]
mod tests;
