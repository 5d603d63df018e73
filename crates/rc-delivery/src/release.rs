//! Releases by what is in them: OCI image layouts, one folder each, that nothing changes any more.
//!
//! A release is a manifest with a configuration (what to run, and how) and one layer (the files to run it). Its name
//! is the manifest's digest, so two builds of the same files are one release, and what runs is what was judged. What
//! is said about a release later (a bill of materials, provenance) refers to it and does not change it.
//!
//! Formats: OCI Image Layout 1.1, OCI Image Manifest 1.1, POSIX ustar.

mod bundle;
mod layout;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rc_model::{Digest, ServiceId};
use serde::{Deserialize, Serialize};

use layout::{Descriptor, Index, Manifest};

/// Media type of a release's configuration.
pub const CONFIG_TYPE: &str = "application/vnd.royalcrown.release.config.v1+json";

/// Artifact type of a release.
pub const RELEASE_TYPE: &str = "application/vnd.royalcrown.release.v1";

/// Largest manifest, index or configuration in bytes.
const JSON_BYTES_MAX: u64 = 4 << 20;

/// What is put into a release.
#[derive(Debug)]
pub struct Bundle<'b> {
    /// How it runs.
    pub config: &'b ReleaseConfig,
    /// Files and folders, by their path inside the release: relative, of plain names.
    pub files: &'b BTreeMap<String, PathBuf>,
}

/// How a release runs. It belongs to the release: another command is another release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseConfig {
    /// Whose release it is.
    pub service: ServiceId,
    /// The program and its arguments, relative to the release's files.
    pub command: Vec<String>,
    /// Environment variables. They may be secret: releases are readable by their owner only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The path that answers 2xx when it can serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
    /// The catalog under which it was built.
    pub catalog: String,
    /// The commit that it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// Why a release cannot be made or had.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("there is no release {0}")]
    Absent(Digest),
    #[error("release {release} is damaged: {what}")]
    Damaged { release: Digest, what: String },
    #[error("`{path}` cannot be part of a release: {why}")]
    Unfit { path: String, why: &'static str },
    #[error("failed to {tried}")]
    Io {
        tried: &'static str,
        #[source]
        source: std::io::Error,
    },
}

fn io(tried: &'static str) -> impl FnOnce(std::io::Error) -> ReleaseError {
    move |source| ReleaseError::Io { tried, source }
}

/// All releases of a project, in one folder.
#[derive(Debug, Clone)]
pub struct Releases {
    root: PathBuf,
}

impl Releases {
    /// The releases in `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Makes a release. The same bundle again is the same release, and costs no room.
    ///
    /// It is whole or not there: a process that dies leaves a folder that the next one removes. One at a time.
    ///
    /// # Errors
    /// [`ReleaseError::Unfit`] for a file that cannot be in it, and what the disk says.
    pub fn build(&self, bundle: &Bundle<'_>) -> Result<Digest, ReleaseError> {
        private_folder(&self.root)?;
        let _alone = self.lock()?;
        self.sweep()?;
        let staged = tempfile::Builder::new()
            .prefix(layout::STAGED)
            .tempdir_in(&self.root)
            .map_err(io("make a folder for the release"))?;
        layout::create(staged.path())?;
        let layer = bundle::write(staged.path(), bundle.files)?;
        let config = serde_json::to_vec(bundle.config).expect("texts are JSON");
        let config = layout::put(staged.path(), CONFIG_TYPE, &config)?;
        let manifest = Manifest::of_release(config, layer);
        let release = layout::put_manifest(staged.path(), &manifest)?;
        let name = release.digest;
        layout::write_index(staged.path(), &Index::new(vec![release]))?;
        let into = self.folder(&name);
        if into.is_dir() {
            return Ok(name);
        }
        fs_err::rename(staged.path(), &into).map_err(io("name the release"))?;
        // It has another name now.
        let _old_name = staged.keep();
        layout::sync_folder(&self.root)?;
        Ok(name)
    }

    /// Held by who makes a release.
    fn lock(&self) -> Result<fs_err::File, ReleaseError> {
        let tried = "wait for another one who makes a release";
        let file = fs_err::File::create(self.root.join(".lock")).map_err(io(tried))?;
        file.lock().map_err(io(tried))?;
        Ok(file)
    }

    /// Removes what somebody left who died while making a release.
    fn sweep(&self) -> Result<(), ReleaseError> {
        let tried = "remove what is left of a release that was not finished";
        for entry in fs_err::read_dir(&self.root).map_err(io(tried))? {
            let entry = entry.map_err(io(tried))?;
            if entry.file_name().to_string_lossy().starts_with(layout::STAGED) {
                fs_err::remove_dir_all(entry.path()).map_err(io(tried))?;
            }
        }
        Ok(())
    }

    /// How the release runs.
    ///
    /// # Errors
    /// [`ReleaseError::Absent`], [`ReleaseError::Damaged`].
    pub fn config(&self, release: &Digest) -> Result<ReleaseConfig, ReleaseError> {
        let manifest = self.manifest(release)?;
        let bytes = self.blob(release, &manifest.config)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| damaged(release, format!("its configuration is not readable: {error}")))
    }

    /// Puts the release's files into the folder `into`, which must not exist: whole and as they were, or not at all.
    ///
    /// # Errors
    /// [`ReleaseError::Absent`], [`ReleaseError::Damaged`] also when a file is not what it was.
    pub fn unpack(&self, release: &Digest, into: &Path) -> Result<(), ReleaseError> {
        let manifest = self.manifest(release)?;
        let beside = into.parent().unwrap_or_else(|| Path::new("."));
        private_folder(beside)?;
        let staged = tempfile::Builder::new()
            .prefix(layout::STAGED)
            .tempdir_in(beside)
            .map_err(io("make a folder for the files"))?;
        for layer in &manifest.layers {
            let file = layout::blob(&self.folder(release), &layer.digest);
            bundle::read(&file, staged.path(), layer).map_err(|error| error.of(release))?;
        }
        fs_err::rename(staged.path(), into).map_err(io("name the folder of the files"))?;
        let _old_name = staged.keep();
        Ok(())
    }

    /// Attaches what is known about a release, such as a bill of materials, under its kind.
    ///
    /// # Errors
    /// [`ReleaseError::Absent`], [`ReleaseError::Damaged`], and what the disk says.
    pub fn attach(
        &self,
        release: &Digest,
        kind: &str,
        media_type: &str,
        content: &[u8],
    ) -> Result<(), ReleaseError> {
        self.manifest(release)?;
        let folder = self.folder(release);
        let mut index = layout::read_index(&folder).map_err(|error| error.of(release))?;
        let subject = index
            .manifests
            .iter()
            .find(|one| one.digest == *release)
            .cloned()
            .ok_or_else(|| damaged(release, "its index does not name it".to_owned()))?;
        let empty = layout::put(&folder, layout::EMPTY_TYPE, layout::EMPTY)?;
        let blob = layout::put(&folder, media_type, content)?;
        let about = layout::put_manifest(&folder, &Manifest::about(subject, kind, empty, blob))?;
        if index.manifests.iter().all(|one| one.digest != about.digest) {
            index.manifests.push(about);
            layout::write_index(&folder, &index)?;
        }
        Ok(())
    }

    /// What was attached to a release under `kind`, in the order of attaching.
    ///
    /// # Errors
    /// [`ReleaseError::Absent`], [`ReleaseError::Damaged`].
    pub fn attached(&self, release: &Digest, kind: &str) -> Result<Vec<Vec<u8>>, ReleaseError> {
        let folder = self.folder(release);
        self.manifest(release)?;
        let index = layout::read_index(&folder).map_err(|error| error.of(release))?;
        let mut found = Vec::new();
        for about in index.manifests.iter().filter(|one| one.artifact_type == kind) {
            let manifest = self.manifest_at(release, about)?;
            for layer in &manifest.layers {
                found.push(self.blob(release, layer)?);
            }
        }
        Ok(found)
    }

    /// All releases, by digest.
    ///
    /// # Errors
    /// What the disk says.
    pub fn list(&self) -> Result<Vec<Digest>, ReleaseError> {
        if !self.root.is_dir() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in fs_err::read_dir(&self.root).map_err(io("list the releases"))? {
            let name = entry.map_err(io("list the releases"))?.file_name();
            found.extend(
                name.to_str()
                    .and_then(|hex| Digest::parse(&format!("sha256:{hex}"))),
            );
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Removes a release. One that is not there is removed already.
    ///
    /// # Errors
    /// What the disk says.
    pub fn remove(&self, release: &Digest) -> Result<(), ReleaseError> {
        match fs_err::remove_dir_all(self.folder(release)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(io("remove the release")(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn folder(&self, release: &Digest) -> PathBuf {
        self.root.join(layout::hex(release))
    }

    fn manifest(&self, release: &Digest) -> Result<Manifest, ReleaseError> {
        if !self.folder(release).is_dir() {
            return Err(ReleaseError::Absent(*release));
        }
        self.manifest_at(
            release,
            &Descriptor {
                media_type: layout::MANIFEST_TYPE.to_owned(),
                artifact_type: String::new(),
                digest: *release,
                size: JSON_BYTES_MAX,
            },
        )
    }

    fn manifest_at(&self, release: &Digest, at: &Descriptor) -> Result<Manifest, ReleaseError> {
        let bytes = self.blob(release, at)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| damaged(release, format!("its manifest is not readable: {error}")))
    }

    /// A small blob, checked.
    fn blob(&self, release: &Digest, at: &Descriptor) -> Result<Vec<u8>, ReleaseError> {
        layout::get(&self.folder(release), at).map_err(|error| error.of(release))
    }
}

fn damaged(release: &Digest, what: String) -> ReleaseError {
    ReleaseError::Damaged {
        release: *release,
        what,
    }
}

/// Makes a folder that only its owner can read, and those above it.
fn private_folder(folder: &Path) -> Result<(), ReleaseError> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(io("make a folder"))
}

/// Writes a file whole and durably, in the place of another one of that name.
fn replace(path: &Path, content: &[u8]) -> Result<(), ReleaseError> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let tried = "write a file of the release";
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io(tried))?;
    file.write_all(content).map_err(io(tried))?;
    file.as_file().sync_all().map_err(io(tried))?;
    file.persist(path).map_err(|error| io(tried)(error.error))?;
    layout::sync_folder(folder)
}

#[cfg(test)]
mod tests;
