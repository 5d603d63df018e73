//! Real documents: the text of Debian packages, cut into pieces of about 2 KB.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use walkdir::WalkDir;

use super::scratch;
use crate::cx::Cx;
use crate::process::{self, Stop};
use crate::setup;

/// How many documents are ingested.
pub(super) const COUNT: usize = 5_000;

/// A piece ends at the first empty line or heading after this many bytes.
const PIECE_BYTES: usize = 1_950;

/// A longer run without one is cut at the next line.
const PIECE_BYTES_MAX: usize = 2_600;

/// A word that only the last document has.
pub(super) const MARKER: &str = "zzlastdocumentzz";

/// Folders of an unpacked package that hold text.
const FOLDERS: &[&str] = &[
    "usr/share/man",
    "usr/share/doc",
    "usr/share/common-licenses",
    "usr/share/perl",
];

/// Writes [`COUNT`] documents as NDJSON.
pub(super) fn write(cx: &Cx, output: &Path) -> Result<(), Stop> {
    setup::corpus::download_missing(cx)?;
    let unpacked = scratch::folder(cx)?;
    for name in setup::corpus::PACKAGES {
        let folder = unpacked.path().join(name);
        let mut command = Command::new("dpkg-deb");
        process::output(
            command
                .arg("-x")
                .arg(setup::corpus::package(cx, name))
                .arg(&folder),
        )?;
    }
    // Manual pages and changelogs are compressed one by one; links to what is not there make it exit 1 or 2.
    process::probe(
        Command::new("gzip")
            .args(["--decompress", "--quiet", "--recursive"])
            .arg(unpacked.path()),
    );
    let mut pieces = Vec::new();
    for package in setup::corpus::PACKAGES {
        for folder in FOLDERS {
            for entry in WalkDir::new(unpacked.path().join(package).join(folder)).sort_by_file_name() {
                // A package without such a folder is no fault.
                let Ok(entry) = entry else { continue };
                let Some(text) = entry
                    .file_type()
                    .is_file()
                    .then(|| readable(entry.path()))
                    .flatten()
                else {
                    continue;
                };
                let file = entry
                    .path()
                    .strip_prefix(unpacked.path())
                    .expect("the walk stays below its root");
                let title = file.to_string_lossy().into_owned();
                for (number, text) in (1..).zip(cut(&text)) {
                    pieces.push((format!("{title}#{number}"), title.clone(), text));
                }
            }
        }
    }
    if pieces.len() < COUNT {
        return Err(Stop::world(format!(
            "the packages give {} documents; {COUNT} are needed",
            pieces.len()
        )));
    }
    let mut file = std::io::BufWriter::new(fs_err::File::create(output)?);
    for index in 0..COUNT {
        // Evenly from all packages.
        let (id, title, text) = &pieces[index * pieces.len() / COUNT];
        let marker = if index + 1 == COUNT {
            format!("\n{MARKER}\n")
        } else {
            String::new()
        };
        writeln!(
            file,
            "{}",
            json!({"id": id, "title": title, "text": format!("{text}{marker}")})
        )?;
    }
    file.flush()?;
    Ok(())
}

/// The file's text, without the marks of manual pages; `None` when it is not text.
fn readable(path: &Path) -> Option<String> {
    let text = String::from_utf8(fs_err::read(path).ok()?).ok()?;
    let manual = path.components().any(|part| part.as_os_str() == "man");
    Some(if manual { without_marks(&text) } else { text }).filter(|text| !text.contains('\0'))
}

/// A manual page as plain lines: headings stay, other requests and font changes go.
pub(super) fn without_marks(page: &str) -> String {
    let mut out = String::with_capacity(page.len());
    for line in page.lines() {
        let line = match line.split_once(' ') {
            Some((".SH" | ".SS", heading)) => {
                out.push('\n');
                heading.trim_matches('"')
            }
            Some((".B" | ".I" | ".BR" | ".BI" | ".IR" | ".IP" | ".RB" | ".TP", rest)) => rest,
            _ if line.starts_with(['.', '\'']) => continue,
            _ => line,
        };
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match (c, chars.peek()) {
                ('\\', Some('f')) => {
                    chars.next();
                    chars.next();
                }
                ('\\', Some('-')) => {}
                ('\\', Some('&' | '"')) => {
                    chars.next();
                }
                (c, _) => out.push(c),
            }
        }
        out.push('\n');
    }
    out
}

/// Pieces of about [`PIECE_BYTES`], cut at empty lines where there are any. A rest too short to be a document
/// of its own stays with the piece before it.
pub(super) fn cut(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut piece = String::new();
    for line in text.lines() {
        let full = piece.len() >= PIECE_BYTES && line.trim().is_empty();
        if full || piece.len() + line.len() > PIECE_BYTES_MAX {
            pieces.push(std::mem::take(&mut piece));
        }
        piece.push_str(line);
        piece.push('\n');
    }
    match pieces.last_mut() {
        Some(last) if piece.len() < PIECE_BYTES / 4 => last.push_str(&piece),
        Some(_) | None => pieces.push(piece),
    }
    pieces.retain(|piece| piece.len() >= PIECE_BYTES / 4);
    pieces
}
