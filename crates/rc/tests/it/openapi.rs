//! The OpenAPI documents against the running platform, by schemathesis: every operation with generated
//! requests, every answer held against its schema.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::world::{World, told};

/// The pinned tool that `cargo xtask setup` installed.
#[expect(
    clippy::disallowed_methods,
    reason = "a test finds its tools where `setup` put them"
)]
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

/// The document that a running service gives, on its own socket.
fn document(world: &World, service: &str) -> Value {
    let socket = world.path().join(format!(".royalcrown/run/{service}.sock"));
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "10", "--unix-socket"])
        .arg(socket)
        .arg("http://localhost/openapi.json")
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{service}: {error}"))
}

/// One path may lead to two services, by its method: the public door has the documents of both.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) if into.is_null() => *into = from.clone(),
        _ => {}
    }
}

#[test]
fn slow_the_platform_answers_as_its_openapi_documents_say() {
    let world = World::new();
    // Generated requests come faster than any tier allows.
    world.write(
        "tenants.yaml",
        "tenants:\n  acme: {tier: gold, demo: true, rps: {rate: 100000/s, burst: 100000}}\n",
    );
    world.up();
    let key = world.key("acme");
    let mut whole = document(&world, "ingest");
    merge(&mut whole, &document(&world, "docs-api"));
    let spec = world.write("openapi.json", &whole.to_string());
    let output = Command::new(schemathesis())
        .arg("run")
        .arg(spec)
        .args(["--url", &format!("http://{}", world.address)])
        .args(["--header", &format!("Authorization: Bearer {key}")])
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", "25", "--seed", "7"])
        // What a schema cannot say is refused too: a key that came with another body, a cursor of another
        // search, a path that could be read in two ways. Those refusals have tests of their own.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .args(["--request-timeout", "20", "--no-color"])
        .current_dir(world.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    for service in ["gateway", "ingest", "docs-api"] {
        let path = world.path().join(format!(".royalcrown/logs/{service}.log"));
        let log = fs_err::read_to_string(path).unwrap();
        assert!(!log.contains("panicked"), "{service} panicked");
    }
}
