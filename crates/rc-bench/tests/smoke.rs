//! Every subject that needs nothing but what the tests install measures something, on the `rc` that was built
//! beside this program. How fast it is says nothing here.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a subject that cannot be measured is a failed test"
)]

use std::path::Path;
use std::process::Command;

/// What `rc-bench run SUBJECT --quick` prints, parsed.
fn figures(subject: &str) -> Vec<serde_json::Value> {
    let bench = Path::new(env!("CARGO_BIN_EXE_rc-bench"));
    let rc = bench.with_file_name("rc");
    assert!(
        rc.is_file(),
        "there is no {}: run `cargo build -p rc`, or the tests of the whole workspace",
        rc.display()
    );
    let scratch = tempfile::tempdir().unwrap();
    let own = scratch.path().join("rc");
    // The bench finds processes by their program, and other tests run this one too.
    fs_err::hard_link(&rc, &own)
        .or_else(|_| fs_err::copy(&rc, &own).map(drop))
        .unwrap();
    let work = scratch.path().join("work");
    fs_err::create_dir(&work).unwrap();
    let output = Command::new(bench)
        .args(["run", subject, "--quick", "--rc"])
        .arg(&own)
        .arg("--scratch")
        .arg(&work)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{subject}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    printed["figures"].as_array().unwrap().clone()
}

/// The highest value of a figure.
fn value(figures: &[serde_json::Value], group: &str, name: &str) -> f64 {
    let found = figures
        .iter()
        .find(|figure| figure["group"].as_str().unwrap().starts_with(group) && figure["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no `{name}` in `{group}`: {figures:#?}"));
    let values = found["values"].as_array().unwrap().iter();
    values
        .filter_map(serde_json::Value::as_f64)
        .fold(f64::NEG_INFINITY, f64::max)
}

#[test]
fn slow_telemetry_is_measured_in_pairs() {
    let figures = figures("telemetry");
    for name in ["off", "on"] {
        let name = format!("CPU of the platform a request, telemetry {name}");
        assert!(value(&figures, "2000 requests a second", &name) > 1.0);
    }
    assert!(value(&figures, "2000", "cost of telemetry").is_finite());
}

/// Without peers: those are not installed for tests.
#[test]
fn slow_victims_and_noise_meet_at_the_gateway() {
    let figures = figures("gateway");
    assert!(value(&figures, "saturation", "CPU a request, gateway") > 1.0);
    for group in ["idle", "A:", "A20:", "D:"] {
        assert!(value(&figures, group, "victims, p99, gateway") > 0.0, "{group}");
    }
    assert!(value(&figures, "A:", "noise refused, gateway") > 0.0);
    let reloads = "F: 10,000 tenants";
    assert!(value(&figures, reloads, "reloads in a minute, gateway") > 0.0);
    assert!(value(&figures, reloads, "memory with 10,000 tenants, gateway") > 1.0);
    // What a build cannot do is there, without a value.
    for group in ["B:", "C:", "E:", "a thousand concurrent misses"] {
        let of_group = |figure: &&serde_json::Value| figure["group"].as_str().unwrap().starts_with(group);
        assert!(figures.iter().any(|figure| of_group(&figure)), "{group}");
    }
}

#[test]
fn slow_a_stream_is_acknowledged_and_found() {
    let figures = figures("sustained");
    assert!(value(&figures, "1200 ", "acknowledged documents") > 0.0);
    assert!(value(&figures, "1200 ", "the search is behind by at most") >= 0.0);
    assert!(value(&figures, "ingested to searchable", "documents probed") >= 1.0);
}

#[test]
fn live_the_peers_of_ingest_write_into_the_tables_of_today() {
    let figures = figures("ingest");
    let naive = "naive singles, one commit each, 16 connections";
    for store in ["SQLite", "PostgreSQL"] {
        assert!(value(&figures, store, naive) > 0.0);
    }
    for name in [
        "binary `COPY` in batches of 500, 1 connection",
        "binary `COPY`, and `to_tsvector` into the search's tables",
    ] {
        assert!(value(&figures, "PostgreSQL", name) > 0.0);
    }
}
