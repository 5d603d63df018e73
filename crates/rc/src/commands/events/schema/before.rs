//! The schemas as they were: in another folder, or in a commit.

use std::path::Path;
use std::process::{Command, Output};

use rc_events::schema::FILE_SUFFIX;

use crate::fault::Fault;
use crate::schemas::{self, FOLDER, File};

/// The code of a folder or commit that is not there.
const NOT_THERE: &str = "RC-EVT-063";

/// The schemas that `against` names: a folder of files, seen from `cwd`, else a commit of git in which those of
/// `project` are.
///
/// # Errors
/// When it is neither.
pub(super) fn read(cwd: &Path, project: &Path, against: &str) -> Result<Vec<File>, Fault> {
    // What starts with a dash would be an option of git; a folder of such a name is `./-x`.
    if against.is_empty() || against.starts_with('-') {
        return Err(not_there(against, "no name of a folder or a commit"));
    }
    let folder = cwd.join(against);
    if folder.is_dir() {
        return schemas::read(&folder, against);
    }
    git(
        project,
        against,
        &[
            "rev-parse",
            "--quiet",
            "--verify",
            &format!("{against}^{{commit}}"),
        ],
    )?;
    let listed = git(
        project,
        against,
        &["ls-tree", "-z", "--name-only", against, &format!("{FOLDER}/")],
    )?;
    let mut files = Vec::new();
    for path in listed.split('\0').filter(|path| path.ends_with(FILE_SUFFIX)) {
        let name = path.rsplit('/').next().unwrap_or(path);
        let text = git(
            project,
            against,
            &["show", &format!("{against}:./{FOLDER}/{name}")],
        )?;
        files.push(File::new(name, format!("{against}:{FOLDER}/{name}"), text));
    }
    Ok(files)
}

/// What git prints, run in the project's folder.
fn git(project: &Path, against: &str, args: &[&str]) -> Result<String, Fault> {
    let run = Command::new("git").args(args).current_dir(project).output();
    match run {
        Ok(Output { status, stdout, .. }) if status.success() => String::from_utf8(stdout)
            .map_err(|error| not_there(against, "a schema in it is not UTF-8").because(error)),
        Ok(Output { stderr, .. }) => {
            let said = String::from_utf8_lossy(&stderr);
            let why = match said.trim() {
                "" => "git knows no such commit here",
                said => said,
            };
            Err(not_there(against, why))
        }
        Err(error) => Err(not_there(against, "git does not run").because(error)),
    }
}

fn not_there(against: &str, why: &str) -> Fault {
    Fault::usage(
        NOT_THERE,
        format!("`{against}` is no folder, and no commit with schemas: {why}"),
    )
    .hint("write `--against main`, another branch, tag or commit, or the path of a folder")
}
