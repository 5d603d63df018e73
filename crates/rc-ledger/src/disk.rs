//! What the log asks of a disk, and the real one. Tests have another, which forgets what was not synced.
//!
//! It refuses to know what files mean. Paths are text below the log's folder, `/` between parts.

use std::fmt::Debug;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::Error;
use crate::log::CHECKPOINT;

/// The file whose lock makes a process the only writer.
pub(crate) const LOCK: &str = "wal/lock";

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) name: String,
    pub(crate) folder: bool,
}

/// Reading a log's folder.
pub(crate) trait Files: Send + Sync + Debug {
    /// A file's bytes; `None` when there is no such file.
    fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, Error>;

    /// What is in a folder, sorted; nothing when there is no such folder.
    fn list(&self, folder: &str) -> Result<Vec<Name>, Error>;
}

/// Writing to it. Nothing is on disk before it was synced.
pub(crate) trait Disk: Files {
    /// Makes a file, or another content of one.
    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error>;

    /// Adds to the end of a file that is there.
    fn append(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error>;

    /// Moves over what is there, in one step; makes the folder that it needs.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), Error>;

    /// Removes a file; it may be gone already.
    fn remove(&mut self, path: &str) -> Result<(), Error>;

    /// Removes a folder with everything in it; it may be gone already.
    fn remove_folder(&mut self, path: &str) -> Result<(), Error>;

    /// A file's content is on disk.
    fn sync(&mut self, path: &str) -> Result<(), Error>;

    /// The names in a folder are on disk.
    fn sync_folder(&mut self, folder: &str) -> Result<(), Error>;

    /// Everything that was written so far is on disk, contents and names.
    fn sync_all(&mut self) -> Result<(), Error>;
}

/// A folder of the file system, to read.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    dir: PathBuf,
}

impl Folder {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The log's own folder is "".
    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() {
            self.dir.clone()
        } else {
            self.dir.join(path)
        }
    }
}

impl Files for Folder {
    fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, Error> {
        let full = self.path(path);
        let file = match open_file(&full) {
            Ok(Some(file)) => file,
            Ok(None) => return Err(Error::damaged(path, "it is not a regular file")),
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(Error::io("open", &full, error)),
        };
        let mut bytes = Vec::new();
        file.take(bytes_max as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io("read", &full, error))?;
        if bytes.len() > bytes_max {
            return Err(Error::damaged(
                path,
                format!("it has more than {bytes_max} bytes"),
            ));
        }
        Ok(Some(bytes))
    }

    fn list(&self, folder: &str) -> Result<Vec<Name>, Error> {
        let full = self.path(folder);
        let failed = |error| Error::io("list", &full, error);
        let entries = match fs_err::read_dir(&full) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let folder = entry.file_type().map_err(failed)?.is_dir();
            let name = entry.file_name().to_string_lossy().into_owned();
            names.push(Name { name, folder });
        }
        names.sort();
        Ok(names)
    }
}

/// Opens a regular file to read it; `None` for a folder, a pipe, a socket or a device. It never waits: opening a
/// pipe as usual would, until somebody writes to it.
pub(crate) fn open_file(path: &Path) -> io::Result<Option<fs_err::File>> {
    if !fs_err::metadata(path)?.is_file() {
        return Ok(None);
    }
    let mut options = fs_err::OpenOptions::new();
    options.read(true);
    // It may have become another since.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    fs_err::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags);
    let file = options.open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// A folder of the file system that this process alone writes to.
#[derive(Debug)]
pub(crate) struct LockedFolder {
    folder: Folder,
    lock: fs_err::File,
    /// The file that was appended to last, kept open.
    tail: Option<(String, fs_err::File)>,
}

impl LockedFolder {
    /// Takes the writer's place; makes the folder when `make` says so.
    pub(crate) fn take(dir: &Path, make: bool) -> Result<Self, Error> {
        let folder = Folder::new(dir);
        let wal = folder.path("wal");
        if make {
            make_folders(&wal)?;
        } else if !wal.is_dir() {
            if dir.join(CHECKPOINT).exists() {
                return Err(Error::damaged("wal", "the write-ahead log is missing"));
            }
            return Err(Error::NoLog(dir.to_owned()));
        }
        let path = folder.path(LOCK);
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create(true).truncate(false);
        let lock = options
            .open(&path)
            .map_err(|error| Error::io("open", &path, error))?;
        match rustix::fs::flock(lock.file(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                folder,
                lock,
                tail: None,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Locked(dir.to_owned())),
            Err(errno) => Err(Error::io("lock", &path, errno.into())),
        }
    }

    /// What is open under a name that now means another file, or none, is let go: it must not be synced in
    /// that file's place.
    fn forget(&mut self, path: &str) {
        self.tail.take_if(|(name, _)| name == path);
    }

    /// The open file at `path`, to append to.
    fn tail(&mut self, path: &str) -> Result<&mut fs_err::File, Error> {
        let held = self.tail.take().filter(|(name, _)| name == path);
        let tail = match held {
            Some(tail) => tail,
            None => {
                let full = self.folder.path(path);
                let mut options = fs_err::OpenOptions::new();
                let file = options
                    .append(true)
                    .open(&full)
                    .map_err(|error| Error::io("open", &full, error))?;
                (path.to_owned(), file)
            }
        };
        Ok(&mut self.tail.insert(tail).1)
    }
}

impl Drop for LockedFolder {
    fn drop(&mut self) {
        // Given back by name: a process that another thread is just starting may hold a copy of the descriptor
        // until its `exec`, and closing ours would leave the lock with it. When this fails, closing does it.
        let _ = rustix::fs::flock(self.lock.file(), FlockOperation::Unlock);
    }
}

impl Files for LockedFolder {
    fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, Error> {
        self.folder.read(path, bytes_max)
    }

    fn list(&self, folder: &str) -> Result<Vec<Name>, Error> {
        self.folder.list(folder)
    }
}

impl Disk for LockedFolder {
    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let full = self.folder.path(path);
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o644);
        options
            .open(&full)
            .and_then(|mut file| file.write_all(bytes))
            .map_err(|error| Error::io("write", &full, error))
    }

    fn append(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let done = self.tail(path)?.write_all(bytes);
        done.map_err(|error| Error::io("append to", &self.folder.path(path), error))
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), Error> {
        self.forget(from);
        self.forget(to);
        let (from, to) = (self.folder.path(from), self.folder.path(to));
        let failed = |error| Error::io("rename to", &to, error);
        match fs_err::rename(&from, &to) {
            Err(error) if is_gone(&error) => {
                let folder = to.parent().expect("a file of the log is in a folder");
                fs_err::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
                fs_err::rename(&from, &to).map_err(failed)
            }
            done => done.map_err(failed),
        }
    }

    fn remove(&mut self, path: &str) -> Result<(), Error> {
        self.forget(path);
        let full = self.folder.path(path);
        match fs_err::remove_file(&full) {
            Err(error) if !is_gone(&error) => Err(Error::io("remove", &full, error)),
            _ => Ok(()),
        }
    }

    fn remove_folder(&mut self, path: &str) -> Result<(), Error> {
        let full = self.folder.path(path);
        match fs_err::remove_dir_all(&full) {
            Err(error) if !is_gone(&error) => Err(Error::io("remove", &full, error)),
            _ => Ok(()),
        }
    }

    fn sync(&mut self, path: &str) -> Result<(), Error> {
        let done = self.tail(path)?.sync_data();
        done.map_err(|error| Error::io("sync", &self.folder.path(path), error))
    }

    fn sync_folder(&mut self, folder: &str) -> Result<(), Error> {
        sync_path(&self.folder.path(folder))
    }

    fn sync_all(&mut self) -> Result<(), Error> {
        rustix::fs::syncfs(self.lock.file())
            .map_err(|errno| Error::io("sync the file system of", &self.folder.dir, errno.into()))
    }
}

/// Makes a folder and those above it; each is on disk under its name.
fn make_folders(folder: &Path) -> Result<(), Error> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|above| !above.is_dir()).collect();
    fs_err::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
    for made in missing {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty());
        sync_path(above.unwrap_or_else(|| Path::new(".")))?;
    }
    Ok(())
}

/// What a folder lists is on disk.
fn sync_path(folder: &Path) -> Result<(), Error> {
    fs_err::File::open(folder)
        .and_then(|file| file.sync_all())
        .map_err(|error| Error::io("sync", folder, error))
}

#[cfg(test)]
pub(crate) mod tests;
