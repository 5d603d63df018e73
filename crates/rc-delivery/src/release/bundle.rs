//! The layer of a release: its files as a tar archive that is the same for the same files.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use rc_model::Digest;
use sha2::{Digest as _, Sha256};
use tar::{Archive, Builder, EntryType, Header};

use super::layout::{self, Descriptor, Fault};
use super::{ReleaseError, io};

const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// Most files of a release, and their bytes.
const FILES_MAX: usize = 100_000;
const BYTES_MAX: u64 = 4 << 30;

/// Deepest folder.
const DEPTH_MAX: usize = 64;

/// What stands at a path of the archive.
enum What {
    File { from: PathBuf, size: u64, runs: bool },
    Link { to: PathBuf },
}

/// Writes the archive of `files` into the layout in `folder`.
pub(super) fn write(folder: &Path, files: &BTreeMap<String, PathBuf>) -> Result<Descriptor, ReleaseError> {
    let mut all = BTreeMap::new();
    for (name, from) in files {
        collect(name, from, 0, &mut all)?;
    }
    let tried = "write the files of the release";
    let staged = tempfile::NamedTempFile::new_in(layout::blobs(folder)).map_err(io(tried))?;
    let mut archive = Builder::new(Hashing::new(std::io::BufWriter::new(staged)));
    let mut left = BYTES_MAX;
    for (name, what) in &all {
        let mut header = Header::new_ustar();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        match what {
            What::File { from, size, runs } => {
                left = left
                    .checked_sub(*size)
                    .ok_or_else(|| unfit(name, "all files together have more than 4 GiB"))?;
                header.set_entry_type(EntryType::Regular);
                header.set_mode(if *runs { 0o755 } else { 0o644 });
                header.set_size(*size);
                let file = fs_err::File::open(from).map_err(io("read a file of the release"))?;
                // A file that shrinks meanwhile must not shift what follows.
                let mut exactly = Exactly { file, left: *size };
                archive
                    .append_data(&mut header, name, &mut exactly)
                    .map_err(io(tried))?;
            }
            What::Link { to } => {
                header.set_entry_type(EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                archive.append_link(&mut header, name, to).map_err(io(tried))?;
            }
        }
    }
    let hashing = archive.into_inner().map_err(io(tried))?;
    let (digest, size) = (hashing.digest(), hashing.count);
    let staged = hashing
        .inner
        .into_inner()
        .map_err(|error| io(tried)(error.into_error()))?;
    staged.as_file().sync_all().map_err(io(tried))?;
    staged
        .persist(layout::blob(folder, &digest))
        .map_err(|error| io(tried)(error.error))?;
    layout::sync_folder(&layout::blobs(folder))?;
    Ok(Descriptor {
        media_type: LAYER_TYPE.to_owned(),
        artifact_type: String::new(),
        digest,
        size,
    })
}

/// Everything at `from`, by its path in the release.
fn collect(
    name: &str,
    from: &Path,
    depth: usize,
    all: &mut BTreeMap<String, What>,
) -> Result<(), ReleaseError> {
    let plain = Path::new(name)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || !plain {
        return Err(unfit(name, "paths in a release are relative, of plain names"));
    }
    if depth > DEPTH_MAX {
        return Err(unfit(name, "it is deeper than 64 folders"));
    }
    let looked = "look at a file of the release";
    let meta = fs_err::symlink_metadata(from).map_err(io(looked))?;
    let what = if meta.is_dir() {
        for entry in fs_err::read_dir(from).map_err(io(looked))? {
            let entry = entry.map_err(io(looked))?;
            let below = entry.file_name();
            let below = below
                .to_str()
                .ok_or_else(|| unfit(name, "a name in it is not UTF-8"))?;
            collect(&format!("{name}/{below}"), &entry.path(), depth + 1, all)?;
        }
        return Ok(());
    } else if meta.is_symlink() {
        let to = fs_err::read_link(from).map_err(io(looked))?;
        if !stays_inside(name, &to) {
            return Err(unfit(name, "it is a link that leads out of the release"));
        }
        What::Link { to }
    } else if meta.is_file() {
        use std::os::unix::fs::PermissionsExt as _;
        What::File {
            from: from.to_owned(),
            size: meta.len(),
            runs: meta.permissions().mode() & 0o100 != 0,
        }
    } else {
        return Err(unfit(name, "it is no file, folder or link"));
    };
    if all.len() >= FILES_MAX {
        return Err(unfit(name, "there are more than 100,000 files"));
    }
    if all.insert(name.to_owned(), what).is_some() {
        return Err(unfit(name, "it is named twice"));
    }
    Ok(())
}

/// Whether a link at `name` to `to` ends below the root, by names alone.
fn stays_inside(name: &str, to: &Path) -> bool {
    let mut depth = name.matches('/').count();
    for part in to.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return false,
            },
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

fn unfit(path: &str, why: &'static str) -> ReleaseError {
    ReleaseError::Unfit {
        path: path.to_owned(),
        why,
    }
}

/// Unpacks the archive in `file` into the empty folder `into`.
pub(super) fn read(file: &Path, into: &Path, layer: &Descriptor) -> Result<(), Fault> {
    let gone = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Fault::Damaged(format!("blob {} is gone", layer.digest)),
        _ => io("read the files of the release")(error).into(),
    };
    let file = fs_err::File::open(file).map_err(gone)?;
    let mut hashing = Hashing::new(file.take(layer.size));
    let mut archive = Archive::new(&mut hashing);
    // The archive's own times would make every file older than what was built from it.
    archive.set_preserve_mtime(false);
    let unpacked = archive.unpack(into);
    let rest = std::io::copy(&mut hashing, &mut std::io::sink());
    // What was read decides first: a damaged archive can fail in any way.
    if rest.is_err() || hashing.digest() != layer.digest {
        return Err(Fault::Damaged(format!(
            "blob {} is not what it was",
            layer.digest
        )));
    }
    unpacked.map_err(|error| io("unpack the files of the release")(error).into())
}

/// Counts and digests what passes.
struct Hashing<T> {
    inner: T,
    hash: Sha256,
    count: u64,
}

impl<T> Hashing<T> {
    fn new(inner: T) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            count: 0,
        }
    }

    fn passes(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.count += u64::try_from(bytes.len()).unwrap_or(0);
    }

    fn digest(&self) -> Digest {
        Digest::from_bytes(self.hash.clone().finalize().into())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.passes(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(into)?;
        self.passes(&into[..count]);
        Ok(count)
    }
}

/// A file of exactly the size that was announced.
struct Exactly<R> {
    file: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        let count = self.file.read(&mut into[..most])?;
        if count == 0 && most > 0 {
            return Err(std::io::Error::other("a file became shorter while it was read"));
        }
        self.left -= u64::try_from(count).unwrap_or(0);
        Ok(count)
    }
}
