//! The forge's REST interface, through the `gh` program.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::process::{self, Stop};

/// The repository at the forge that the work tree's remote names.
#[derive(Debug)]
pub(super) struct Forge {
    program: PathBuf,
    root: PathBuf,
}

impl Forge {
    pub(super) fn new(root: &Path) -> Self {
        Self::with_program(Path::new("gh"), root)
    }

    /// A forge behind another program that takes the same arguments.
    pub(super) fn with_program(program: &Path, root: &Path) -> Self {
        Self {
            program: program.to_owned(),
            root: root.to_owned(),
        }
    }

    /// One object.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Stop> {
        let text = process::output(&mut self.api("GET", path))?;
        serde_json::from_str(&text).map_err(|error| unexpected(path, &error))
    }

    /// All elements of a list, over all its pages.
    pub(super) fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Stop> {
        let text = process::output(self.api("GET", path).arg("--paginate"))?;
        // Pages come as one array each, one after the other.
        let pages = serde_json::Deserializer::from_str(&text).into_iter::<Vec<T>>();
        pages
            .collect::<Result<Vec<Vec<T>>, _>>()
            .map(|pages| pages.into_iter().flatten().collect())
            .map_err(|error| unexpected(path, &error))
    }

    /// Sends a body; what the forge answers is dropped.
    pub(super) fn send(&self, method: &str, path: &str, body: &Value) -> Result<(), Stop> {
        let mut command = self.api(method, path);
        command
            .args(["--input", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let line = process::shown(&command);
        let mut child = command
            .spawn()
            .map_err(|error| Stop::world(format!("failed to start `{line}`: {error}")))?;
        let mut stdin = child.stdin.take().expect("standard input is piped");
        stdin.write_all(body.to_string().as_bytes())?;
        drop(stdin);
        let status = child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(Stop::world(format!("`{line}` failed: {status}")))
        }
    }

    fn api(&self, method: &str, path: &str) -> Command {
        let mut command = Command::new(&self.program);
        // `gh` fills the owner and the name in from the work tree's remote.
        command
            .current_dir(&self.root)
            .args(["api", "--method", method])
            .arg(format!("repos/{{owner}}/{{repo}}/{path}"));
        command
    }
}

fn unexpected(path: &str, error: &serde_json::Error) -> Stop {
    Stop::world(format!(
        "the forge's answer for `{path}` has another shape: {error}"
    ))
}
