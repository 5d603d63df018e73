//! The committed OpenAPI documents against the running platform, by schemathesis: every operation with
//! generated requests, every answer held against its schema.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::world::{World, told};

/// The pinned tool that `cargo xtask setup` installed.
fn schemathesis() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .expect("a cache folder");
    let tool = cache.join("royalcrown/tools/bin/schemathesis");
    assert!(
        tool.exists(),
        "{} is missing: `make test` installs it",
        tool.display()
    );
    tool
}

fn check(document: &str) {
    let world = World::new();
    // Generated requests come faster than any tier allows.
    world.write(
        "tenants.yaml",
        "tenants:\n  acme: {tier: gold, demo: true, rps: {rate: 100000/s, burst: 100000}}\n",
    );
    world.up();
    let key = world.key("acme");
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../apis")
        .join(document);
    let output = Command::new(schemathesis())
        .arg("run")
        .arg(path)
        .args(["--url", &format!("http://{}", world.address)])
        .args(["--header", &format!("Authorization: Bearer {key}")])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "25",
            "--seed",
            "7",
        ])
        // What a schema cannot say is refused too: a key that came with another body, a cursor of another
        // search, a path that could be read in two ways. Those refusals have tests of their own.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .args(["--request-timeout", "20", "--no-color"])
        .current_dir(world.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let logs = fs_err::read_to_string(world.path().join(".royalcrown/logs/ingest.log")).unwrap()
        + &fs_err::read_to_string(world.path().join(".royalcrown/logs/docs-api.log")).unwrap();
    assert!(!logs.contains("panicked"), "a handler panicked");
}

#[test]
fn slow_the_ingest_api_answers_as_its_document_says() {
    check("ingest.yaml");
}

#[test]
fn slow_the_documents_api_answers_as_its_document_says() {
    check("docs-api.yaml");
}
