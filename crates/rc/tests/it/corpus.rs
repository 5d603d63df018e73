//! A few thousand real documents: manual pages, licence texts, a policy manual and changelogs out of Debian
//! packages, split by section. The same packages give the same documents in the same order.
//!
//! The packages are kept unopened in `~/.cache/royalcrown/corpus` (`XDG_CACHE_HOME` counts), where
//! `cargo xtask setup` puts them; what is missing is downloaded with `apt-get download`.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use rc_model::source::SourceFile;
use rc_model::yaml;
use walkdir::WalkDir;

mod roff;

/// Packages whose manual pages become documents, section by section.
const MANUALS: [&str; 6] = [
    "bash",
    "coreutils",
    "git-man",
    "manpages",
    "manpages-dev",
    "openssh-client",
];

/// Packages whose licences, manuals and changelogs become documents, a few paragraphs each.
const TEXTS: [&str; 5] = [
    "base-files",
    "bash",
    "coreutils",
    "debian-policy",
    "openssh-client",
];

/// Licence texts, manuals and changelogs are cut after the paragraph that reaches this size.
const PIECE_BYTES: usize = 2_500;

/// One document. Its id is a path, so that it can be written as a file just as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    /// `coreutils/ls.1/description`
    pub(crate) id: String,
    /// `ls(1): DESCRIPTION`
    pub(crate) title: String,
    /// The title and the text below it.
    pub(crate) text: String,
}

/// The documents of two tenants, with nothing in common.
pub(crate) struct Corpus {
    /// Manual pages of programs and formats.
    pub(crate) manuals: Vec<Document>,
    /// Licences, policy and changelogs, and the manual pages of system calls.
    pub(crate) texts: Vec<Document>,
}

/// A question and where its answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// What is searched for.
    pub(crate) query: String,
    /// In whose documents: `manuals` or `texts`.
    pub(crate) of: String,
    /// Documents that must be among the first hits.
    pub(crate) answers: Vec<String>,
}

impl Corpus {
    /// Unpacks and splits; takes about three seconds once the packages are there.
    pub(crate) fn build() -> Self {
        let unpacked = tempfile::tempdir().unwrap();
        let mut manuals = Vec::new();
        let mut texts = Vec::new();
        for package in packages() {
            let root = unpacked.path().join(package);
            unpack(package, &root);
            if MANUALS.contains(&package) {
                let pages = manual_pages(package, &root);
                if package == "manpages-dev" {
                    texts.extend(pages)
                } else {
                    manuals.extend(pages)
                }
            }
            if TEXTS.contains(&package) {
                texts.extend(plain_texts(package, &root));
            }
        }
        Self { manuals, texts }
    }

    /// Writes documents as one file each below `folder`, at the path that is their id.
    pub(crate) fn write_files(documents: &[Document], folder: &Path) {
        for document in documents {
            let path = folder.join(&document.id);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, &document.text).unwrap();
        }
    }

    /// Writes documents as NDJSON.
    pub(crate) fn write_lines(documents: &[Document], file: &Path) {
        let lines: Vec<String> = documents
            .iter()
            .map(|document| {
                let Document { id, title, text } = document;
                serde_json::json!({ "id": id, "title": title, "text": text, "attrs": { "source": "debian" } })
                    .to_string()
            })
            .collect();
        fs_err::write(file, lines.join("\n")).unwrap();
    }
}

/// `fixtures/corpus/questions.yaml`.
pub(crate) fn questions() -> Vec<Question> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/corpus/questions.yaml");
    let source = Arc::new(SourceFile::new(
        "questions.yaml",
        fs_err::read_to_string(path).unwrap(),
    ));
    let root = yaml::parse(&source).unwrap_or_else(|faults| panic!("{faults:?}"));
    let text = |node: &yaml::Node, key: &str| node.get(key).and_then(yaml::Node::as_text).unwrap().to_owned();
    let question = |node: &yaml::Node| Question {
        query: text(node, "query"),
        of: text(node, "of"),
        answers: node
            .get("answers")
            .unwrap()
            .items()
            .iter()
            .map(|id| id.as_text().unwrap().to_owned())
            .collect(),
    };
    root.get("questions")
        .unwrap()
        .items()
        .iter()
        .map(question)
        .collect()
}

fn packages() -> impl Iterator<Item = &'static str> {
    let both: std::collections::BTreeSet<&str> = MANUALS.into_iter().chain(TEXTS).collect();
    both.into_iter()
}

/// Where packages are kept.
#[expect(
    clippy::disallowed_methods,
    reason = "a test finds the same cache as `cargo xtask setup`"
)]
fn cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
    cache.unwrap_or_else(home).join("royalcrown/corpus")
}

fn unpack(package: &str, root: &Path) {
    let kept = cache().join(format!("{package}.deb"));
    if !kept.is_file() {
        download(package, &kept);
    }
    let output = Command::new("dpkg-deb").arg("-x").arg(&kept).arg(root).output();
    let output = output
        .unwrap_or_else(|error| panic!("dpkg-deb cannot be run ({error}); it is part of Debian's `dpkg`"));
    assert!(
        output.status.success(),
        "dpkg-deb -x {}: {}",
        kept.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn download(package: &str, kept: &Path) {
    fs_err::create_dir_all(kept.parent().unwrap()).unwrap();
    let folder = tempfile::tempdir_in(kept.parent().unwrap()).unwrap();
    let mut command = Command::new("apt-get");
    command
        .args(["-q", "-o", "APT::Sandbox::User=root", "download", package])
        .current_dir(folder.path());
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "apt-get cannot be run ({error}): put {} there by hand",
            kept.display()
        )
    });
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "apt-get download {package}: {told}\ntype `sudo apt-get update` first"
    );
    let file = fs_err::read_dir(folder.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs_err::rename(file, kept).unwrap();
}

/// The regular files below `root`, decompressed, in the order of their names.
fn files(root: &Path) -> Vec<(PathBuf, String)> {
    let entries = WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .filter_map(Result::ok);
    let regular = entries.filter(|entry| entry.file_type().is_file());
    let read = |path: &Path| {
        let bytes = fs_err::read(path).unwrap();
        if !bytes.starts_with(&[0x1f, 0x8b]) {
            return String::from_utf8(bytes).ok();
        }
        let mut text = String::new();
        MultiGzDecoder::new(&bytes[..])
            .read_to_string(&mut text)
            .ok()
            .map(|_| text)
    };
    regular
        .filter_map(|entry| read(entry.path()).map(|text| (entry.path().to_owned(), text)))
        .collect()
}

fn manual_pages(package: &str, root: &Path) -> Vec<Document> {
    let mut documents = Vec::new();
    // Of the programmer's manual the system calls alone: the library's pages would be half of everything.
    let chapters = if package == "manpages-dev" { 2..=2 } else { 1..=8 };
    for chapter in chapters {
        for (path, page) in files(&root.join(format!("usr/share/man/man{chapter}"))) {
            let file = path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .trim_end_matches(".gz")
                .to_owned();
            let (name, chapter) = file.rsplit_once('.').unwrap();
            let mut times: HashMap<String, u32> = HashMap::new();
            for (heading, text) in roff::sections(&page) {
                let slug = slug(&heading);
                let times = times.entry(slug.clone()).or_default();
                *times += 1;
                let id = if *times == 1 {
                    format!("{package}/{file}/{slug}")
                } else {
                    format!("{package}/{file}/{slug}-{times}")
                };
                let title = format!("{name}({chapter}): {heading}");
                documents.push(Document {
                    id,
                    text: format!("{title}\n\n{text}"),
                    title,
                });
            }
        }
    }
    documents
}

fn plain_texts(package: &str, root: &Path) -> Vec<Document> {
    let mut documents = Vec::new();
    for folder in ["usr/share/common-licenses", "usr/share/doc"] {
        for (path, text) in files(&root.join(folder)) {
            let name = path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .trim_end_matches(".gz")
                .to_owned();
            // Web pages of the same manuals are left out.
            if text.trim().is_empty() || [".html", ".css", ".js"].iter().any(|end| name.ends_with(end)) {
                continue;
            }
            for (number, piece) in (1..).zip(pieces(&text)) {
                let title = format!("{name}, part {number}");
                let id = format!("{package}/{name}/{number}");
                documents.push(Document {
                    id,
                    text: format!("{title}\n\n{piece}"),
                    title,
                });
            }
        }
    }
    documents
}

/// Whole paragraphs, a few in each piece.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for paragraph in text
        .split("\n\n")
        .map(|paragraph| paragraph.trim_matches('\n'))
        .filter(|paragraph| !paragraph.is_empty())
    {
        piece.push_str(paragraph);
        piece.push_str("\n\n");
        if piece.len() >= PIECE_BYTES {
            pieces.push(std::mem::take(&mut piece));
        }
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    pieces
}

/// `EXIT STATUS` as part of a path: `exit-status`.
fn slug(heading: &str) -> String {
    let words = heading
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    let slug = words.map(str::to_lowercase).collect::<Vec<_>>().join("-");
    if slug.is_empty() {
        "section".to_owned()
    } else {
        slug.chars().take(80).collect()
    }
}

#[test]
fn the_corpus_is_real_large_and_the_same_every_time() {
    let corpus = Corpus::build();
    let count = corpus.manuals.len() + corpus.texts.len();
    assert!((5_000..10_000).contains(&count), "{count} documents");
    assert!(corpus.manuals.len() > 1_500 && corpus.texts.len() > 1_500);
    let mut ids: Vec<&str> = corpus
        .manuals
        .iter()
        .chain(&corpus.texts)
        .map(|document| document.id.as_str())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "ids are unique");
    for document in corpus.manuals.iter().chain(&corpus.texts) {
        rc_model::id::check_doc_id(&document.id).unwrap();
        assert!(
            document.text.len() < 256 << 10,
            "{} has {} bytes",
            document.id,
            document.text.len()
        );
        assert!(!document.text.contains('\0'));
    }
    let again = Corpus::build();
    assert_eq!(
        (again.manuals, again.texts),
        (corpus.manuals.clone(), corpus.texts.clone())
    );
    for question in questions() {
        let documents = if question.of == "manuals" {
            &corpus.manuals
        } else {
            &corpus.texts
        };
        for answer in &question.answers {
            assert!(
                documents.iter().any(|document| document.id == *answer),
                "no document `{answer}`"
            );
        }
    }
}
