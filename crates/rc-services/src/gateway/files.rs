//! Reading the project's files and the endpoint table, off the async threads.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rc_model::endpoints::Endpoints;
use rc_model::workspace::{FILES, Model, Sources};
use rc_model::{Digest, Layout};

use crate::audit;

/// What the files look like from outside: enough to see that one changed.
pub(super) type Fingerprint = Vec<Option<(u64, u64, i64, i64)>>;

/// Largest endpoint table that is read.
const ENDPOINTS_BYTES_MAX: u64 = 1 << 20;

/// The files' content, checked.
pub(super) struct Loaded {
    pub(super) model: Model,
    pub(super) endpoints: Endpoints,
}

/// Inode, size and modification time of every file that matters.
pub(super) fn fingerprint(layout: &Layout) -> Fingerprint {
    let project = layout.project();
    let files = FILES.map(|file| project.join(file));
    files
        .iter()
        .map(|path| stamp(path))
        .chain([stamp(&layout.endpoints_file())])
        .collect()
}

/// What one file looks like from outside.
pub(super) fn stamp(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let found = fs_err::metadata(path).ok()?;
    Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
}

/// Files that cannot be put in force.
#[derive(Debug)]
pub(super) struct Broken {
    /// Names the texts; `None` when the fault is in the endpoint table, which the supervisor writes.
    pub(super) digest: Option<Digest>,
    /// Each problem as a text for people.
    pub(super) problems: Vec<String>,
    /// Each problem in one line.
    pub(super) lines: Vec<String>,
}

impl Broken {
    /// A single problem, whose text is one line.
    pub(super) fn one(digest: Option<Digest>, problem: String) -> Box<Self> {
        Box::new(Self {
            digest,
            problems: vec![problem.clone()],
            lines: vec![problem],
        })
    }
}

/// Reads and checks everything.
///
/// # Errors
/// All problems.
pub(super) fn load(layout: &Layout) -> Result<Loaded, Box<Broken>> {
    let sources = Sources::from_dir(layout.project());
    let model = Model::read(&sources).map_err(|problems| {
        let errors: Vec<_> = problems.iter().filter(|problem| problem.is_error()).collect();
        Box::new(Broken {
            digest: Some(sources.digest()),
            problems: errors.iter().map(ToString::to_string).collect(),
            lines: errors.iter().map(|problem| audit::problem(problem)).collect(),
        })
    })?;
    let endpoints = load_endpoints(&layout.endpoints_file()).map_err(|problem| Broken::one(None, problem))?;
    Ok(Loaded { model, endpoints })
}

/// As [`load`]; when the files have problems, what is in force, and `true`: they are to be looked at again.
///
/// # Errors
/// All problems, when nothing is in force.
pub(super) fn load_at_start(layout: &Layout) -> Result<(Loaded, bool), Box<Broken>> {
    let Ok((model, faults)) = Model::read_or_in_force(layout) else {
        return load(layout).map(|loaded| (loaded, false));
    };
    let endpoints = load_endpoints(&layout.endpoints_file()).map_err(|problem| Broken::one(None, problem))?;
    Ok((Loaded { model, endpoints }, !faults.is_empty()))
}

/// The endpoint table; absent means that nothing but our own services runs.
fn load_endpoints(path: &Path) -> Result<Endpoints, String> {
    match fs_err::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Endpoints::default()),
        Err(error) => return Err(error.to_string()),
        Ok(found) if found.len() > ENDPOINTS_BYTES_MAX => {
            return Err(format!("{} is too large", path.display()));
        }
        Ok(_) => {}
    }
    let text = fs_err::read_to_string(path).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}
