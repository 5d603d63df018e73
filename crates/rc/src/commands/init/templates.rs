//! The templates: plain files of the folder `templates`, built into the program.
//!
//! `{{name}}` and a few like it are replaced, and that is all there is: a template is read, tested and changed as
//! the service that it becomes.

use rc_model::{OwnerId, ServiceId};
use serde::Serialize;

/// What a service is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Template {
    /// Rust with axum
    #[default]
    Rust,
    /// Node.js 18 or later, without packages
    Node,
    /// Python 3.11 or later, without packages
    Python,
}

/// How important a service is: the tiers that exist without being written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Tier {
    Gold,
    #[default]
    Silver,
    Bronze,
}

/// What a service is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answers {
    pub(super) name: ServiceId,
    pub(super) template: Template,
    pub(super) owner: OwnerId,
    pub(super) tier: Tier,
    pub(super) oncall: String,
}

/// A file of a new service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    /// Below the service's folder.
    pub(super) path: &'static str,
    pub(super) text: String,
}

/// Paths and texts of a folder of `templates`. A test compares them with the folder.
macro_rules! files {
    ($folder:literal: $($path:literal)*) => {
        &[$((
            $path,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../templates/", $folder, "/", $path)),
        )),*]
    };
}

type Files = &'static [(&'static str, &'static str)];

/// Files of every service, whatever it is written in.
const SHARED: Files = files! { "shared":
    ".dockerignore"
    ".github/workflows/ci.yml"
    "Makefile"
    "README.md"
    "checks.yml"
    "deploy/values.yaml"
    "flags.json"
    "service-catalog.yaml"
    "tenants.yaml"
};

const RUST: Files = files! { "rust":
    ".devcontainer/devcontainer.json"
    ".gitignore"
    "Cargo.lock"
    "Cargo.toml"
    "Dockerfile"
    "src/app.rs"
    "src/app/tests.rs"
    "src/flags.rs"
    "src/flags/tests.rs"
    "src/log.rs"
    "src/main.rs"
    "src/metrics.rs"
    "src/trace.rs"
    "src/trace/tests.rs"
};

const NODE: Files = files! { "node":
    ".devcontainer/devcontainer.json"
    ".gitignore"
    "Dockerfile"
    "package.json"
    "src/app.js"
    "src/flags.js"
    "src/log.js"
    "src/main.js"
    "src/metrics.js"
    "src/name.js"
    "src/trace.js"
    "test/app.test.js"
    "test/trace.test.js"
};

const PYTHON: Files = files! { "python":
    ".devcontainer/devcontainer.json"
    ".gitignore"
    "Dockerfile"
    "service/__init__.py"
    "service/__main__.py"
    "service/app.py"
    "service/flags.py"
    "service/log.py"
    "service/metrics.py"
    "service/trace.py"
    "tests/__init__.py"
    "tests/test_app.py"
    "tests/test_flags.py"
    "tests/test_trace.py"
};

/// What shared files say differently for each template.
struct Words {
    files: Files,
    /// The keys of the service in the catalog that say how it is built and run.
    run: &'static str,
    test: &'static str,
    /// What must be installed.
    needs: &'static str,
    /// The step of the CI workflow that installs it.
    setup: &'static str,
    /// What gives the header for outgoing calls.
    outgoing: &'static str,
}

impl Template {
    fn words(self) -> Words {
        match self {
            Self::Rust => Words {
                files: RUST,
                run: "    build: [cargo, build, --locked, --target-dir, target]\n    command: [target/debug/service]",
                test: "cargo test --locked",
                needs: "Rust (`cargo`, https://rustup.rs)",
                setup: "      - run: rustup toolchain install stable --profile minimal",
                outgoing: "`Trace::header`",
            },
            Self::Node => Words {
                files: NODE,
                run: "    command: [node, src/main.js]",
                test: "node --test",
                needs: "Node.js 18 or later (`node`)",
                setup: "      - uses: actions/setup-node@v4\n        with: { node-version: 22 }",
                outgoing: "`trace.header()`",
            },
            Self::Python => Words {
                files: PYTHON,
                run: "    command: [python3, -m, service]",
                test: "python3 -m unittest",
                needs: "Python 3.11 or later (`python3`)",
                setup: "      - uses: actions/setup-python@v5\n        with: { python-version: \"3.12\" }",
                outgoing: "`request.trace.header()`",
            },
        }
    }
}

impl Tier {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gold => "gold",
            Self::Silver => "silver",
            Self::Bronze => "bronze",
        }
    }
}

/// The files of a service, sorted by their paths.
pub(super) fn render(answers: &Answers) -> Vec<File> {
    let words = answers.template.words();
    let (name, owner) = (answers.name.as_str(), answers.owner.as_str());
    let [yaml_name, yaml_owner, yaml_oncall] = [name, owner, &answers.oncall].map(yaml);
    let values = [
        ("name", name),
        ("owner", owner),
        ("tier", answers.tier.as_str()),
        ("yaml name", &*yaml_name),
        ("yaml owner", &*yaml_owner),
        ("yaml oncall", &*yaml_oncall),
        ("run", words.run),
        ("test", words.test),
        ("needs", words.needs),
        ("setup", words.setup),
        ("outgoing", words.outgoing),
    ];
    let mut files: Vec<File> = SHARED
        .iter()
        .chain(words.files)
        .map(|&(path, text)| File {
            path,
            text: fill(text, &values),
        })
        .collect();
    files.sort_by_key(|file| file.path);
    files
}

/// `text` as a scalar of YAML that is a text to every reader: `no`, `7` and `1e3` are not as they stand.
fn yaml(text: &str) -> String {
    const NOT_TEXT: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let is_word = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'));
    if is_word && !NOT_TEXT.contains(&text) {
        text.to_owned()
    } else {
        // A JSON string is one in YAML, too.
        serde_json::Value::from(text).to_string()
    }
}

/// `text` with each `{{name}}` that is one of `values` replaced, in one pass: a value is never looked into.
fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let known = after.split_once("}}").and_then(|(name, after)| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            Some((value, after))
        });
        match known {
            Some((value, after)) => {
                filled.push_str(value);
                rest = after;
            }
            // Whatever else has two braces is the file's own business.
            None => {
                filled.push_str("{{");
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests;
