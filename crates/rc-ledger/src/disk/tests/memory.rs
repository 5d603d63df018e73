//! A disk in memory that stops at a chosen step, runs out of space, and forgets what was not synced.
//!
//! What is lost in a power failure is chosen by a seed, for every file and every name by itself: more than a
//! journalled file system would lose, so that nothing leans on its order.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::Error;
use crate::disk::{Disk, Files, Name};

#[derive(Debug, Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Content>>);

#[derive(Debug, Clone, Default)]
struct Content {
    /// Bytes of a file now, and those that a sync has put on disk.
    files: Vec<(Vec<u8>, Vec<u8>)>,
    names: BTreeMap<String, usize>,
    names_on_disk: BTreeMap<String, usize>,
    steps: usize,
    stop_at: Option<usize>,
    full_at: Option<usize>,
}

/// What a crash leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Crash {
    /// The process is gone, the system goes on.
    Killed,
    /// The system is gone; the seed chooses what of the unsynced is lost.
    Power(u64),
}

impl Memory {
    /// Writing steps so far.
    pub(crate) fn steps(&self) -> usize {
        self.0.lock().unwrap().steps
    }

    /// From this step on nothing happens any more; the step itself happens half.
    pub(crate) fn stop_at(&self, step: usize) {
        self.0.lock().unwrap().stop_at = Some(step);
    }

    /// From this step on there is no space.
    pub(crate) fn full_at(&self, step: Option<usize>) {
        self.0.lock().unwrap().full_at = step;
    }

    /// The disk as the next process finds it.
    pub(crate) fn after(&self, crash: Crash) -> Self {
        let mut content = self.0.lock().unwrap().clone();
        content.stop_at = None;
        content.full_at = None;
        content.steps = 0;
        if let Crash::Power(seed) = crash {
            let mut random = fastrand::Rng::with_seed(seed);
            for (now, on_disk) in &mut content.files {
                match random.u8(0..4) {
                    0 => {}
                    1 => now.clone_from(on_disk),
                    // Some of what was added is there, or only its length.
                    choice => {
                        let from = on_disk.len().min(now.len());
                        let at = random.usize(from..=now.len());
                        if choice == 2 {
                            now.truncate(at);
                        } else {
                            now[at..].fill(0);
                        }
                        if random.bool() && !now.starts_with(on_disk) {
                            now.clone_from(on_disk);
                        }
                    }
                }
                on_disk.clone_from(now);
            }
            let all: BTreeSet<String> = content
                .names
                .keys()
                .chain(content.names_on_disk.keys())
                .cloned()
                .collect();
            for name in all {
                if random.bool() {
                    match content.names_on_disk.get(&name) {
                        Some(file) => content.names.insert(name, *file),
                        None => content.names.remove(&name),
                    };
                }
            }
            content.names_on_disk = content.names.clone();
        }
        Self(Arc::new(Mutex::new(content)))
    }

    /// All files with their bytes.
    pub(crate) fn all(&self) -> Vec<(String, Vec<u8>)> {
        let content = self.0.lock().unwrap();
        let all = content.names.iter();
        all.map(|(name, file)| (name.clone(), content.files[*file].0.clone()))
            .collect()
    }

    /// Makes `path` hold `bytes`, or removes it; not a step.
    pub(crate) fn set(&self, path: &str, bytes: Option<&[u8]>) {
        let mut content = self.0.lock().unwrap();
        content.names.remove(path);
        if let Some(bytes) = bytes {
            let file = content.files.len();
            content.files.push((bytes.to_vec(), bytes.to_vec()));
            content.names.insert(path.to_owned(), file);
        }
    }

    /// One step; gives whether it happens, and an error when it does not or not wholly.
    fn step(&self, grows: bool) -> (bool, Option<Error>) {
        let mut content = self.0.lock().unwrap();
        let step = content.steps;
        content.steps += 1;
        if let Some(stop) = content.stop_at
            && step >= stop
        {
            return (step == stop, Some(failed(io::ErrorKind::BrokenPipe)));
        }
        if grows && content.full_at.is_some_and(|full| step >= full) {
            return (true, Some(failed(io::ErrorKind::StorageFull)));
        }
        (true, None)
    }

    /// A step that happens or not.
    fn whole(&self, what: impl FnOnce(&mut Content) -> Result<(), Error>) -> Result<(), Error> {
        match self.step(false) {
            (_, Some(error)) => Err(error),
            (_, None) => what(&mut self.0.lock().unwrap()),
        }
    }

    /// A step that can happen half: the first half of the bytes is written.
    fn bytes(&self, bytes: &[u8], what: impl FnOnce(&mut Content, &[u8])) -> Result<(), Error> {
        let (happens, error) = self.step(true);
        if happens {
            let len = if error.is_some() {
                bytes.len() / 2
            } else {
                bytes.len()
            };
            what(&mut self.0.lock().unwrap(), &bytes[..len]);
        }
        error.map_or(Ok(()), Err)
    }
}

fn failed(kind: io::ErrorKind) -> Error {
    Error::io("use", Path::new("memory"), kind.into())
}

impl Content {
    fn file(&mut self, path: &str) -> Result<&mut (Vec<u8>, Vec<u8>), Error> {
        let file = self.names.get(path);
        let file = *file.ok_or_else(|| failed(io::ErrorKind::NotFound))?;
        Ok(&mut self.files[file])
    }
}

impl Files for Memory {
    fn read(&self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, Error> {
        let content = self.0.lock().unwrap();
        let Some(file) = content.names.get(path) else {
            return Ok(None);
        };
        let bytes = &content.files[*file].0;
        if bytes.len() > bytes_max {
            return Err(Error::damaged(
                path,
                format!("it has more than {bytes_max} bytes"),
            ));
        }
        Ok(Some(bytes.clone()))
    }

    fn list(&self, folder: &str) -> Result<Vec<Name>, Error> {
        let content = self.0.lock().unwrap();
        let prefix = if folder.is_empty() {
            String::new()
        } else {
            format!("{folder}/")
        };
        let below = content.names.keys().filter_map(|name| name.strip_prefix(&prefix));
        let names: BTreeSet<Name> = below
            .map(|name| match name.split_once('/') {
                Some((name, _)) => Name {
                    name: name.to_owned(),
                    folder: true,
                },
                None => Name {
                    name: name.to_owned(),
                    folder: false,
                },
            })
            .collect();
        Ok(names.into_iter().collect())
    }
}

impl Disk for Memory {
    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        self.bytes(bytes, |content, bytes| {
            let new = content.files.len();
            let file = *content.names.entry(path.to_owned()).or_insert(new);
            if file == new {
                content.files.push((Vec::new(), Vec::new()));
            }
            content.files[file].0 = bytes.to_vec();
        })
    }

    fn append(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        self.bytes(bytes, |content, bytes| {
            let file = content.file(path).expect("the segment is there");
            file.0.extend_from_slice(bytes);
        })
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), Error> {
        self.whole(|content| {
            let file = content.names.remove(from);
            let file = file.ok_or_else(|| failed(io::ErrorKind::NotFound))?;
            content.names.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn remove(&mut self, path: &str) -> Result<(), Error> {
        self.whole(|content| {
            content.names.remove(path);
            Ok(())
        })
    }

    fn remove_folder(&mut self, path: &str) -> Result<(), Error> {
        let prefix = format!("{path}/");
        self.whole(|content| {
            content.names.retain(|name, _| !name.starts_with(&prefix));
            Ok(())
        })
    }

    fn sync(&mut self, path: &str) -> Result<(), Error> {
        self.whole(|content| {
            let file = content.file(path)?;
            file.1.clone_from(&file.0);
            Ok(())
        })
    }

    fn sync_folder(&mut self, folder: &str) -> Result<(), Error> {
        let inside = |name: &str| match name.rsplit_once('/') {
            Some((parent, _)) => parent == folder,
            None => folder.is_empty(),
        };
        self.whole(|content| {
            content.names_on_disk.retain(|name, _| !inside(name));
            let now = content.names.iter().filter(|(name, _)| inside(name));
            content
                .names_on_disk
                .extend(now.map(|(name, file)| (name.clone(), *file)));
            Ok(())
        })
    }

    fn sync_all(&mut self) -> Result<(), Error> {
        self.whole(|content| {
            for (now, on_disk) in &mut content.files {
                on_disk.clone_from(now);
            }
            content.names_on_disk = content.names.clone();
            Ok(())
        })
    }
}
