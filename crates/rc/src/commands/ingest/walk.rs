//! Which files a run reads: what was named, and everything below a folder that can be text.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rc_model::Digest;
use walkdir::{DirEntry, WalkDir};

/// Largest file that is read as one text. Line-delimited files may be larger, they are streamed.
pub(super) const TEXT_FILE_BYTES_MAX: u64 = 64 << 20;

/// Deepest nesting of folders; a tree of links and mounts that goes deeper is not a tree of documents.
const DEPTH_MAX: usize = 128;

/// One file to read, or standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// Where it is; `-` for standard input.
    pub(super) path: PathBuf,
    /// Its path below what was named, with `/` between: the stem of its documents' ids.
    pub(super) name: String,
    /// Its size in bytes; 0 for standard input.
    pub(super) bytes: u64,
    /// What is in it, by its name.
    pub(super) kind: Kind,
}

/// What a file's name says is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Standard input: lines of JSON, or one JSON array.
    Stdin,
    /// One JSON document a line.
    Lines,
    /// JSON documents when it looks like them, else text.
    Json,
    /// Text.
    Text,
}

/// Why something was passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Skip {
    Hidden,
    Link,
    Special,
    TooLarge,
    Binary,
    Empty,
    Unreadable,
}

impl Skip {
    /// For people, after a count.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Link => "symbolic links (`--follow` reads them)",
            Self::Special => "not regular files",
            Self::TooLarge => "larger than 64 MiB",
            Self::Binary => "binary",
            Self::Empty => "empty",
            Self::Unreadable => "unreadable",
        }
    }

    /// For programs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Link => "symbolic_link",
            Self::Special => "special",
            Self::TooLarge => "too_large",
            Self::Binary => "binary",
            Self::Empty => "empty",
            Self::Unreadable => "unreadable",
        }
    }
}

/// How many files were passed over, by reason.
pub(super) type Skips = BTreeMap<Skip, u64>;

/// What a walk found, in the order in which it is read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) sources: Vec<Source>,
    pub(super) skips: Skips,
}

/// Walks `roots` in their order, folders sorted by name. A root that is not there is an error; anything
/// below one that cannot be read is counted.
///
/// # Errors
/// The first root that cannot be read, and why.
pub(super) fn walk(roots: &[PathBuf], cwd: &Path, follow: bool) -> Result<Found, (PathBuf, std::io::Error)> {
    let mut found = Found::default();
    for named in roots {
        if named == Path::new("-") {
            found.sources.push(Source {
                path: named.clone(),
                name: "stdin".to_owned(),
                bytes: 0,
                kind: Kind::Stdin,
            });
            continue;
        }
        let root = cwd.join(named);
        let metadata = root.metadata().map_err(|error| (named.clone(), error))?;
        if metadata.is_dir() {
            walk_folder(&root, follow, &mut found);
        } else {
            let name = root.file_name().map_or_else(String::new, readable);
            add(&mut found, &root, name);
        }
    }
    Ok(found)
}

fn walk_folder(root: &Path, follow: bool, found: &mut Found) {
    // A root that is itself a link was named on purpose; `root/.` walks what it points to.
    let start = root.join(".");
    let mut hidden = 0_u64;
    let walker = WalkDir::new(&start)
        .follow_links(follow)
        .max_depth(DEPTH_MAX)
        .sort_by_file_name();
    let visible =
        |entry: &DirEntry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
    let entries = walker.into_iter().filter_entry(|entry| {
        let keep = visible(entry);
        hidden += u64::from(!keep);
        keep
    });
    let mut seen = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => seen.push(entry),
            // A loop of links, a folder without permission, a file that is gone by now.
            Err(_) => count(&mut found.skips, Skip::Unreadable),
        }
    }
    for entry in seen {
        let kind = entry.file_type();
        if kind.is_dir() {
            continue;
        }
        if kind.is_symlink() {
            count(&mut found.skips, Skip::Link);
            continue;
        }
        let below = entry.path().strip_prefix(&start).unwrap_or_else(|_| entry.path());
        let name = below
            .components()
            .map(|part| readable(part.as_os_str()))
            .collect::<Vec<_>>()
            .join("/");
        add(found, entry.path(), name);
    }
    if hidden > 0 {
        *found.skips.entry(Skip::Hidden).or_default() += hidden;
    }
}

fn add(found: &mut Found, path: &Path, name: String) {
    let kind = kind_of(&name);
    let metadata = match fs_err::metadata(path) {
        Ok(metadata) => metadata,
        Err(_) => return count(&mut found.skips, Skip::Unreadable),
    };
    let bytes = metadata.len();
    if !metadata.is_file() {
        count(&mut found.skips, Skip::Special);
    } else if bytes == 0 {
        count(&mut found.skips, Skip::Empty);
    } else if bytes > TEXT_FILE_BYTES_MAX && kind != Kind::Lines {
        count(&mut found.skips, Skip::TooLarge);
    } else {
        found.sources.push(Source {
            path: path.to_owned(),
            name,
            bytes,
            kind,
        });
    }
}

/// A file's name as text. Bytes that are not UTF-8 become `%FF`, and a `%` that would be taken for the
/// beginning of such a byte becomes `%25`, so that different names stay different.
fn readable(name: &OsStr) -> String {
    let escapes = |rest: &[u8]| {
        matches!(rest, [b'8' | b'9' | b'A'..=b'F', b'0'..=b'9' | b'A'..=b'F', ..]) || rest.starts_with(b"25")
    };
    let bytes = name.as_bytes();
    let mut out = String::with_capacity(bytes.len());
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            at += c.len_utf8();
            match c {
                '%' if escapes(&bytes[at..]) => out.push_str("%25"),
                _ => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            at += 1;
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// What tells whether the files of a run are as they were: a digest of their places, sizes and times, all to
/// the nanosecond. `None` when standard input is among them, of which nothing is known, or a file is gone.
pub(super) fn fingerprint(sources: &[Source]) -> Option<String> {
    let mut all = Vec::new();
    for source in sources {
        if source.kind == Kind::Stdin {
            return None;
        }
        let metadata = fs_err::metadata(&source.path).ok()?;
        all.extend_from_slice(source.path.as_os_str().as_bytes());
        all.push(0);
        // The time of the last change of status cannot be set, so a copy with the old time is seen, too.
        for number in [
            metadata.dev(),
            metadata.ino(),
            metadata.size(),
            metadata.mtime().cast_unsigned(),
            metadata.mtime_nsec().cast_unsigned(),
            metadata.ctime().cast_unsigned(),
            metadata.ctime_nsec().cast_unsigned(),
        ] {
            all.extend_from_slice(&number.to_le_bytes());
        }
    }
    Some(Digest::of(&all).to_string())
}

pub(super) fn count(skips: &mut Skips, reason: Skip) {
    *skips.entry(reason).or_default() += 1;
}

/// The part of a name that says what is in the file: without `.gz`.
pub(super) fn plain_name(name: &str) -> &str {
    name.strip_suffix(".gz").unwrap_or(name)
}

fn kind_of(name: &str) -> Kind {
    let extension = Path::new(plain_name(name))
        .extension()
        .map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("ndjson" | "jsonl") => Kind::Lines,
        Some("json") => Kind::Json,
        Some(_) | None => Kind::Text,
    }
}

#[cfg(test)]
mod tests;
