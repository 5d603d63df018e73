//! The folder of one release: OCI Image Layout 1.1.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use rc_model::Digest;
use serde::{Deserialize, Serialize};

use super::{JSON_BYTES_MAX, RELEASE_TYPE, ReleaseError, damaged, io, replace};

pub(super) const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// The configuration of what has none (OCI Image Manifest 1.1, guidance for empty descriptors).
pub(super) const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
pub(super) const EMPTY: &[u8] = b"{}";

/// How the names of folders begin that are not releases yet.
pub(super) const STAGED: &str = ".new-";

/// A blob, by what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) artifact_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Manifest {
    schema_version: u8,
    media_type: String,
    artifact_type: String,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
    /// The manifest that this one is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subject: Option<Descriptor>,
}

impl Manifest {
    pub(super) fn of_release(config: Descriptor, layer: Descriptor) -> Self {
        Self {
            schema_version: 2,
            media_type: MANIFEST_TYPE.to_owned(),
            artifact_type: RELEASE_TYPE.to_owned(),
            config,
            layers: vec![layer],
            subject: None,
        }
    }

    pub(super) fn about(subject: Descriptor, kind: &str, config: Descriptor, blob: Descriptor) -> Self {
        Self {
            schema_version: 2,
            media_type: MANIFEST_TYPE.to_owned(),
            artifact_type: kind.to_owned(),
            config,
            layers: vec![blob],
            subject: Some(subject),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Index {
    schema_version: u8,
    media_type: String,
    pub(super) manifests: Vec<Descriptor>,
}

impl Index {
    pub(super) fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: INDEX_TYPE.to_owned(),
            manifests,
        }
    }
}

/// What is wrong with a folder, before it is known whose it is.
#[derive(Debug)]
pub(super) enum Fault {
    Damaged(String),
    Other(ReleaseError),
}

impl Fault {
    pub(super) fn of(self, release: &Digest) -> ReleaseError {
        match self {
            Self::Damaged(what) => damaged(release, what),
            Self::Other(error) => error,
        }
    }
}

impl From<ReleaseError> for Fault {
    fn from(error: ReleaseError) -> Self {
        Self::Other(error)
    }
}

pub(super) fn hex(digest: &Digest) -> String {
    let text = digest.to_string();
    text.strip_prefix("sha256:").unwrap_or(&text).to_owned()
}

pub(super) fn blob(folder: &Path, digest: &Digest) -> PathBuf {
    blobs(folder).join(hex(digest))
}

pub(super) fn blobs(folder: &Path) -> PathBuf {
    folder.join("blobs").join("sha256")
}

/// An empty layout.
pub(super) fn create(folder: &Path) -> Result<(), ReleaseError> {
    fs_err::create_dir_all(blobs(folder)).map_err(io("make the folder of the release"))?;
    replace(&folder.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)
}

pub(super) fn put(folder: &Path, media_type: &str, content: &[u8]) -> Result<Descriptor, ReleaseError> {
    let digest = Digest::of(content);
    let path = blob(folder, &digest);
    if !path.is_file() {
        replace(&path, content)?;
    }
    Ok(Descriptor {
        media_type: media_type.to_owned(),
        artifact_type: String::new(),
        digest,
        size: u64::try_from(content.len()).unwrap_or(u64::MAX),
    })
}

pub(super) fn put_manifest(folder: &Path, manifest: &Manifest) -> Result<Descriptor, ReleaseError> {
    let content = serde_json::to_vec(manifest).expect("texts are JSON");
    let stored = put(folder, MANIFEST_TYPE, &content)?;
    Ok(Descriptor {
        artifact_type: manifest.artifact_type.clone(),
        ..stored
    })
}

/// A blob of JSON, checked.
pub(super) fn get(folder: &Path, at: &Descriptor) -> Result<Vec<u8>, Fault> {
    let gone = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Fault::Damaged(format!("blob {} is gone", at.digest)),
        _ => io("read the release")(error).into(),
    };
    let file = fs_err::File::open(blob(folder, &at.digest)).map_err(gone)?;
    let limit = at.size.min(JSON_BYTES_MAX);
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(io("read the release"))?;
    if Digest::of(&bytes) != at.digest {
        return Err(Fault::Damaged(format!("blob {} is not what it was", at.digest)));
    }
    Ok(bytes)
}

pub(super) fn write_index(folder: &Path, index: &Index) -> Result<(), ReleaseError> {
    let content = serde_json::to_vec(index).expect("texts are JSON");
    replace(&folder.join("index.json"), &content)
}

pub(super) fn read_index(folder: &Path) -> Result<Index, Fault> {
    let mut bytes = Vec::new();
    fs_err::File::open(folder.join("index.json"))
        .and_then(|file| file.take(JSON_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(io("read the index of the release"))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Fault::Damaged(format!("its index is not readable: {error}")))
}

/// Makes names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), ReleaseError> {
    fs_err::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io("sync a folder of the release"))
}
