//! What Cargo.lock may hold, and what may be compiled into the product.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Fault, Tree};
use crate::process::Stop;

/// Crates whose types cross ours: two versions of one would not fit each other.
const ONE_VERSION: &[&str] = &[
    "axum",
    "bytes",
    "h2",
    "http",
    "http-body",
    "hyper",
    "rusqlite",
    "rustls",
    "serde",
    "tokio",
    "tokio-postgres",
    "tracing",
];

/// Crates that may not even be resolved.
const NEVER_LOCKED: &[&str] = &["async-std", "native-tls", "openssl", "openssl-sys", "serde_yaml"];

/// Crates that a dependency may name as an option, but that the product never compiles.
const NEVER_COMPILED: &[&str] = &["native-tls", "openssl", "openssl-sys", "ring"];

/// The one registry, as cargo writes it into the lock file wherever the crates were fetched from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
}

const FILE: &str = "Cargo.lock";

pub(super) fn check(tree: &Tree) -> Result<Vec<Fault>, Stop> {
    let text = tree
        .text(FILE)
        .ok_or_else(|| Stop::usage("Cargo.lock is not tracked"))?;
    locked_faults(text)
}

fn locked_faults(text: &str) -> Result<Vec<Fault>, Stop> {
    let lock: Lock = toml::from_str(text).map_err(|error| Stop::usage(format!("{FILE}: {error}")))?;
    let mut faults = Vec::new();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in &lock.package {
        versions.entry(&package.name).or_default().push(&package.version);
        if package.source.as_deref().is_some_and(|source| source != REGISTRY) {
            faults.push(Fault::file(
                FILE,
                format!("`{}` does not come from crates.io", package.name),
            ));
        }
        if NEVER_LOCKED.contains(&package.name.as_str()) {
            faults.push(Fault::file(
                FILE,
                format!("`{}` is banned (see deny.toml)", package.name),
            ));
        }
    }
    for name in ONE_VERSION {
        if let Some(found) = versions.get(name).filter(|found| found.len() > 1) {
            faults.push(Fault::file(
                FILE,
                format!("`{name}` is there more than once: {}", found.join(", ")),
            ));
        }
    }
    Ok(faults)
}

/// `product` holds the names of all crates that are compiled into `rc`.
pub(super) fn check_product(product: &[String]) -> Vec<Fault> {
    NEVER_COMPILED
        .iter()
        .filter(|name| product.iter().any(|found| found == *name))
        .map(|name| {
            let message = format!("`rc` compiles `{name}`; the one cryptography backend is aws-lc-rs");
            Fault::file("crates/rc/Cargo.toml", message)
        })
        .collect()
}

#[cfg(test)]
mod tests;
