//! Which crate may use which: the layers of ARCHITECTURE.md as a table. Arrows point down only.

use super::Fault;
use super::workspace::Workspace;

/// A crate's place. A crate that is not here may not exist: a new one is a design change.
struct Place {
    name: &'static str,
    /// Crates of ours that its product code may use.
    uses: &'static [&'static str],
}

const ALL_BELOW_SERVICES: &[&str] = &[
    "rc-events",
    "rc-ledger",
    "rc-model",
    "rc-runtime",
    "rc-serve",
    "rc-store",
    "rc-traffic",
];

const PLACES: &[Place] = &[
    // 0: the nouns
    Place {
        name: "rc-model",
        uses: &[],
    },
    // 1: storing, and running a process well
    Place {
        name: "rc-store",
        uses: &["rc-model"],
    },
    Place {
        name: "rc-serve",
        uses: &["rc-model"],
    },
    Place {
        name: "rc-outbox",
        uses: &["rc-model"],
    },
    // 2: engines
    Place {
        name: "rc-traffic",
        uses: &["rc-model", "rc-serve"],
    },
    Place {
        name: "rc-events",
        uses: &["rc-model", "rc-outbox", "rc-store"],
    },
    Place {
        name: "rc-runtime",
        uses: &["rc-model", "rc-serve"],
    },
    Place {
        name: "rc-ledger",
        uses: &["rc-model", "rc-store"],
    },
    Place {
        name: "rc-judge",
        uses: &["rc-model"],
    },
    // 3: what engines are put together to
    Place {
        name: "rc-delivery",
        uses: &["rc-model"],
    },
    Place {
        name: "rc-services",
        uses: ALL_BELOW_SERVICES,
    },
    Place {
        name: "rc-observe",
        uses: ALL_BELOW_SERVICES,
    },
    Place {
        name: "rc-cluster",
        uses: ALL_BELOW_SERVICES,
    },
    Place {
        name: "rc-client",
        uses: &["rc-model"],
    },
    // 4: the binary
    Place {
        name: "rc",
        uses: &[
            "rc-client",
            "rc-cluster",
            "rc-events",
            "rc-judge",
            "rc-ledger",
            "rc-model",
            "rc-observe",
            "rc-runtime",
            "rc-serve",
            "rc-services",
            "rc-store",
            "rc-traffic",
        ],
    },
    // dev: never part of the product
    Place {
        name: DEV,
        uses: &["rc-model"],
    },
    Place {
        name: "rc-bench",
        uses: &["rc-events", "rc-model", "rc-outbox", DEV],
    },
    Place {
        name: "rc-chaos",
        uses: &[
            "rc-cluster",
            "rc-events",
            "rc-model",
            "rc-outbox",
            "rc-store",
            DEV,
        ],
    },
    Place {
        name: "xtask",
        uses: &[],
    },
];

/// The crate of scratch worlds: a dev-dependency of any crate that it does not itself use.
const DEV: &str = "rc-test";

/// Crates of others that only some of ours may use, so that what a layer refuses to know stays unknown.
const FENCED: &[(&[&str], &[&str], &str)] = &[
    (
        &["clap", "clap_complete", "clap_mangen", "miette", "indicatif"],
        &["rc", "rc-bench", "rc-chaos", "xtask"],
        "nothing below the binary knows the command line",
    ),
    (
        &["axum"],
        &["rc-serve", "rc-services", "rc"],
        "engines know no web framework",
    ),
    (
        &[
            "rusqlite",
            "tokio-postgres",
            "deadpool-postgres",
            "postgres-types",
        ],
        &[
            "rc-store",
            "rc-outbox",
            "rc-events",
            "rc-services",
            "rc-test",
            "rc-bench",
            "rc-chaos",
        ],
        "SQL is written in the store and in what owns tables",
    ),
    (
        &["tokio", "hyper", "hyper-util", "tokio-util", "rustls", "socket2"],
        &[
            "rc-bench",
            "rc-chaos",
            "rc-client",
            "rc-cluster",
            "rc-events",
            "rc-observe",
            "rc-runtime",
            "rc-serve",
            "rc-services",
            "rc-store",
            "rc-test",
            "rc-traffic",
            "rc",
        ],
        "rc-model has no async and no network, and xtask runs programs",
    ),
];

pub(super) fn check(workspace: &Workspace) -> Vec<Fault> {
    let mut faults = Vec::new();
    for package in &workspace.packages {
        let manifest = package.manifest();
        let Some(place) = PLACES.iter().find(|place| place.name == package.name) else {
            faults.push(Fault::file(
                &manifest,
                format!(
                    "`{}` has no place in the layers: give it one in xtask/src/tidy/layers.rs and in \
                     ARCHITECTURE.md, in a commit of its own with the reason",
                    package.name
                ),
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            if let Some(message) = edge(place, name, dependency.is_dev(), workspace.is_member(name)) {
                faults.push(Fault::file(&manifest, message));
            }
        }
    }
    faults
}

/// What is wrong with the edge from `place` to `name`, if anything.
fn edge(place: &Place, name: &str, dev: bool, ours: bool) -> Option<String> {
    let from = place.name;
    if ours {
        let used_by_dev = || {
            PLACES
                .iter()
                .any(|other| other.name == DEV && other.uses.contains(&from))
        };
        let allowed = place.uses.contains(&name) || (dev && name == DEV && !used_by_dev());
        return (!allowed).then(|| match name == DEV {
            true if dev => {
                format!("`{from}` may not use `{DEV}`: `{DEV}` uses it, and there would be two of it")
            }
            true => format!("`{DEV}` is for tests: make it a dev-dependency"),
            false => format!("`{from}` may not use `{name}`: arrows point down only (see ARCHITECTURE.md)"),
        });
    }
    FENCED
        .iter()
        .find(|(names, users, _)| names.contains(&name) && !users.contains(&from) && !dev)
        .map(|(_, _, reason)| format!("`{from}` may not use `{name}`: {reason}"))
}

#[cfg(test)]
mod tests;
