//! The files of one project, read together: all of them hold, or every fault of all of them is told.

mod in_force;

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::catalog::CatalogFile;
use crate::consistency::{self, Document, Documents};
use crate::digest::Digest;
use crate::project::ProjectFile;
use crate::source::{ByteSpan, Diagnostic, SourceFile};
use crate::tenants::TenantsFile;
use crate::yaml::{self, FILE_BYTES_MAX, Node, PROBLEMS_MAX, Value};
use crate::{check, schema};

/// `royalcrown.yaml`
pub const PROJECT_FILE: &str = "royalcrown.yaml";
/// `service-catalog.yaml`
pub const CATALOG_FILE: &str = "service-catalog.yaml";
/// `tenants.yaml`
pub const TENANTS_FILE: &str = "tenants.yaml";

/// All files of a project.
pub const FILES: [&str; 3] = [PROJECT_FILE, CATALOG_FILE, TENANTS_FILE];

/// What a project says: defaults where it says nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    pub project: ProjectFile,
    pub catalog: CatalogFile,
    pub tenants: TenantsFile,
    /// The version of the configuration: the digest of the texts, for logs and metrics.
    pub digest: Digest,
    /// What is probably not meant but does no harm.
    pub warnings: Vec<Diagnostic>,
}

/// The text of one file, if it has one.
#[derive(Debug, Clone, Default)]
pub(crate) enum Slot {
    #[default]
    Absent,
    Text(Arc<SourceFile>),
    Unreadable(Diagnostic),
}

/// The texts of a project's files.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// In the order of [`FILES`].
    slots: [Slot; 3],
    strays: Vec<Diagnostic>,
}

impl Sources {
    /// Texts from memory; `None` for a file that is not there.
    #[must_use]
    pub fn from_texts(project: Option<&str>, catalog: Option<&str>, tenants: Option<&str>) -> Self {
        let slot = |name: &str, text: Option<&str>| match text {
            Some(text) => Slot::Text(Arc::new(SourceFile::new(name, text))),
            None => Slot::Absent,
        };
        Self {
            slots: [
                slot(PROJECT_FILE, project),
                slot(CATALOG_FILE, catalog),
                slot(TENANTS_FILE, tenants),
            ],
            strays: Vec::new(),
        }
    }

    /// Reads the files in `dir`. What cannot be read becomes a diagnostic of [`Model::read`].
    #[must_use]
    pub fn from_dir(dir: &Path) -> Self {
        Self {
            slots: FILES.map(|name| read_file(&dir.join(name), name)),
            strays: FILES.iter().filter_map(|name| stray(dir, name)).collect(),
        }
    }

    /// Which of the files are there.
    #[must_use]
    pub fn present(&self) -> Vec<&'static str> {
        let is_there = |slot: &Slot| !matches!(slot, Slot::Absent);
        let named = FILES.into_iter().zip(&self.slots);
        named
            .filter_map(|(name, slot)| is_there(slot).then_some(name))
            .collect()
    }

    /// The texts in the order of [`FILES`]; `None` for a file that is not there or cannot be read.
    fn texts(&self) -> [Option<&str>; FILES.len()] {
        std::array::from_fn(|at| match &self.slots[at] {
            Slot::Text(source) => Some(source.text()),
            Slot::Absent | Slot::Unreadable(_) => None,
        })
    }

    /// The text of one of [`FILES`], if it is there and can be read.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&Arc<SourceFile>> {
        let at = FILES.iter().position(|known| *known == name)?;
        match &self.slots[at] {
            Slot::Text(source) => Some(source),
            Slot::Absent | Slot::Unreadable(_) => None,
        }
    }

    /// The digest of the texts. A file that is not there counts as such.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut framed = Vec::new();
        for (name, slot) in FILES.iter().zip(&self.slots) {
            if let Slot::Text(source) = slot {
                framed.extend_from_slice(format!("{name} {}\n", source.text().len()).as_bytes());
                framed.extend_from_slice(source.text().as_bytes());
            }
        }
        Digest::of(&framed)
    }
}

/// Regular files only: a pipe would block, and a device may have no end.
pub(crate) fn read_file(path: &Path, name: &str) -> Slot {
    let failed = |message: String, hint: &str| {
        Slot::Unreadable(Diagnostic::of_file("RC-CFG-001", name, message).hint(hint))
    };
    let metadata = match fs_err::metadata(path) {
        Ok(metadata) => metadata,
        // A link that leads nowhere is a fault, not an absent file.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !path.is_symlink() => {
            return Slot::Absent;
        }
        Err(error) => return failed(error.to_string(), "check that it exists and that you may read it"),
    };
    if !metadata.is_file() {
        return failed(
            format!("`{name}` is not a regular file"),
            "put a text file there, or remove it for the defaults",
        );
    }
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    let mut bytes = Vec::new();
    let read = fs_err::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    if let Err(error) = read {
        return failed(error.to_string(), "check that you may read it");
    }
    if bytes.len() > FILE_BYTES_MAX {
        let size = metadata.len().max(limit);
        return Slot::Unreadable(
            Diagnostic::of_file(
                "RC-CFG-002",
                name,
                format!("the file has {size} bytes, the limit is {FILE_BYTES_MAX}"),
            )
            .hint("is this the right file? Models are small; data belongs into the store"),
        );
    }
    match String::from_utf8(bytes) {
        Ok(text) => Slot::Text(Arc::new(SourceFile::new(name, text))),
        Err(error) => Slot::Unreadable(not_utf8(name, error.as_bytes(), error.utf8_error().valid_up_to())),
    }
}

fn not_utf8(name: &str, bytes: &[u8], valid: usize) -> Diagnostic {
    // Everything before the fault is shown as it is, so that the place can be found.
    let source = Arc::new(SourceFile::new(name, String::from_utf8_lossy(bytes)));
    let bom = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let start = valid.saturating_sub(bom);
    let span = ByteSpan::new(start, start + char::REPLACEMENT_CHARACTER.len_utf8());
    let hint = match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it looks like UTF-16; save it as UTF-8",
        _ => "save the file as UTF-8",
    };
    let byte = bytes.get(valid).copied().unwrap_or_default();
    Diagnostic::error(
        "RC-CFG-002",
        &source,
        span,
        format!("the byte 0x{byte:02x} is not UTF-8"),
    )
    .hint(hint)
}

/// `tenants.yml` beside no `tenants.yaml` is a file that somebody believes in.
fn stray(dir: &Path, name: &str) -> Option<Diagnostic> {
    let other = name.replace(".yaml", ".yml");
    let there = fs_err::metadata(dir.join(&other)).is_ok_and(|metadata| metadata.is_file());
    there.then(|| {
        Diagnostic::of_file("RC-CFG-018", &other, format!("`{other}` is not read"))
            .demoted()
            .hint(format!("rename it to `{name}`"))
    })
}

impl Model {
    /// Reads and compares all files. A file that is not there, or empty, gives its defaults.
    ///
    /// # Errors
    /// All faults of all files, in the order of the files and of the lines, with the warnings.
    pub fn read(sources: &Sources) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let mut trees: [Option<(&Arc<SourceFile>, Node)>; 3] = [None, None, None];
        for (slot, tree) in sources.slots.iter().zip(&mut trees) {
            match slot {
                Slot::Absent => {}
                Slot::Unreadable(diagnostic) => problems.push(diagnostic.clone()),
                Slot::Text(source) => match yaml::parse(source) {
                    Ok(root) => *tree = Some((source, root)),
                    Err(found) => problems.extend(found),
                },
            }
        }
        let document = |index: usize| match (&trees[index], &sources.slots[index]) {
            (Some((_, root)), _) if root.value == Value::Null => Document::Absent,
            (Some((source, root)), _) => Document::Read { source, root },
            (None, Slot::Absent) => Document::Absent,
            (None, _) => Document::Broken,
        };
        problems.extend(consistency::check(&Documents {
            project: document(0),
            catalog: document(1),
            tenants: document(2),
        }));
        let [project, catalog, tenants] = &trees;
        let project = typed::<ProjectFile>("royalcrown", project.as_ref(), &mut problems);
        let catalog = typed::<CatalogFile>("service-catalog", catalog.as_ref(), &mut problems);
        let tenants = typed::<TenantsFile>("tenants", tenants.as_ref(), &mut problems);
        problems.extend(sources.strays.iter().cloned());
        let problems = in_order(problems);
        match (project, catalog, tenants) {
            (Some(project), Some(mut catalog), Some(tenants))
                if !problems.iter().any(Diagnostic::is_error) =>
            {
                catalog.add_ledger();
                Ok(Self {
                    project,
                    catalog,
                    tenants,
                    digest: sources.digest(),
                    warnings: problems,
                })
            }
            _ => Err(problems),
        }
    }
}

/// The value of a file, or `None` when it has faults. An absent or empty file is its default.
pub(crate) fn typed<T: Default + DeserializeOwned>(
    name: &str,
    tree: Option<&(&Arc<SourceFile>, Node)>,
    problems: &mut Vec<Diagnostic>,
) -> Option<T> {
    let Some((source, root)) = tree.filter(|(_, root)| root.value != Value::Null) else {
        return Some(T::default());
    };
    let schema = schema::schema(name).expect("the names of files are names of schemas");
    let (found, secrets) = check::check(source, &schema, root);
    let sound = !found.iter().any(Diagnostic::is_error);
    problems.extend(found);
    if !secrets.is_empty() {
        // Also in what has been found by others: they may speak of the same line.
        let secrets: Arc<[ByteSpan]> = secrets.into();
        for problem in problems
            .iter_mut()
            .filter(|problem| problem.file == source.name())
        {
            *problem = problem.clone().hide(&secrets);
        }
    }
    if !sound {
        return None;
    }
    match serde::Deserialize::deserialize(root) {
        Ok(value) => Some(value),
        // The check above knows everything the types refuse; should they ever part, nothing gets through.
        Err(error) => {
            problems.push(
                Diagnostic::error(
                    "RC-CFG-009",
                    source,
                    ByteSpan::default(),
                    format!("a value is malformed: {error}"),
                )
                .hint("compare the file with what `rc schema` prints"),
            );
            None
        }
    }
}

/// Files in their own order, then by place; of a file with very many problems the first ones.
pub(crate) fn in_order(mut problems: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let rank = |file: &str| FILES.iter().position(|name| *name == file).unwrap_or(FILES.len());
    problems.sort_by(|a, b| {
        (rank(&a.file), &a.file, a.span.start, a.code).cmp(&(rank(&b.file), &b.file, b.span.start, b.code))
    });
    // An alias repeats what its anchor has been told.
    problems.dedup_by(|a, b| (&a.file, a.span, a.code) == (&b.file, b.span, b.code));
    let mut kept: Vec<Diagnostic> = Vec::new();
    for file in problems.chunk_by(|a, b| a.file == b.file) {
        kept.extend(file.iter().take(PROBLEMS_MAX).cloned());
        if let Some(rest) = file.len().checked_sub(PROBLEMS_MAX).filter(|rest| *rest > 0) {
            let more = format!("{rest} more problems in this file are not shown");
            // An error if any of them is one: a file is not better for having many faults.
            let rest = Diagnostic::of_file("RC-CFG-002", &file[0].file, more);
            kept.push(if file.iter().any(Diagnostic::is_error) {
                rest
            } else {
                rest.demoted()
            });
        }
    }
    kept
}

#[cfg(test)]
mod tests;
