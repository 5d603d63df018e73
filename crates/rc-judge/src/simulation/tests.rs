use super::*;

/// Runs of one cell here; `rc judge bench` makes 2,000.
const RUNS: u64 = 150;

fn row(name: &str, rps: f64) -> Row {
    let cell = CELLS
        .iter()
        .find(|cell| cell.name == name && cell.requests_per_second == rps)
        .unwrap_or_else(|| panic!("no cell {name} at {rps}"));
    run(cell, RUNS, 1).unwrap()
}

/// Of 150 healthy releases 1 % would be 1.5; five would come once in 50 seeds, and the seed is fixed.
const FALSE_PERCENT_MAX: f64 = 100.0 * 4.0 / RUNS as f64;

#[test]
fn healthy_releases_are_left_alone_whatever_else_happens() {
    for (name, rps) in [
        ("quiet", 20.0),
        ("60 s shared outage", 20.0),
        ("errors in clumps of 10", 20.0),
        ("cold canary", 200.0),
        ("sticky split", 200.0),
    ] {
        let row = row(name, rps);
        assert!(row.judge.taken_back_percent <= FALSE_PERCENT_MAX, "{row:?}");
    }
}

#[test]
fn a_shared_outage_is_what_fixed_thresholds_blame() {
    let row = row("60 s shared outage", 20.0);
    assert!(row.fixed_threshold.taken_back_percent > 50.0, "{row:?}");
}

#[test]
fn worse_releases_are_found_in_time() {
    for (name, rps) in [
        ("2x errors", 200.0),
        ("5x errors", 200.0),
        ("10x errors", 200.0),
        ("10x errors", 20.0),
        ("every request fails", 200.0),
        ("20 % slower", 200.0),
    ] {
        let row = row(name, rps);
        assert_eq!(row.missed, Vec::<String>::new(), "{row:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_row() {
    assert_eq!(row("5x errors", 200.0), row("5x errors", 200.0));
}
