//! Crash points and mutations are data here and calls there: neither may be without the other.

use std::collections::BTreeSet;
use std::path::Path;

use rc_chaos::fault::{MUTATED_POINTS, OTHER_POINTS, PARKED_POINTS, POINTS};
use rc_chaos::mutation::{HEALED, MUTATIONS};

/// Every `faults::NAME("...")` in the sources of the crates.
fn calls(name: &str) -> BTreeSet<String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = BTreeSet::new();
    let call = format!("faults::{name}(\"");
    let mut folders = vec![crates];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs_err::read_to_string(&path).unwrap();
                let names = text
                    .split(&call)
                    .skip(1)
                    .filter_map(|rest| rest.split('"').next());
                found.extend(names.map(str::to_owned).filter(|name| name.contains('.')));
            }
        }
    }
    found
}

#[test]
fn every_crash_point_of_the_code_is_known() {
    let others = [MUTATED_POINTS, PARKED_POINTS].concat();
    let unvisited = OTHER_POINTS.iter().map(|(point, _why)| *point);
    let names = POINTS
        .iter()
        .map(|(_, point)| *point)
        .chain(others)
        .chain(unvisited);
    let known: BTreeSet<String> = names.map(str::to_owned).collect();
    assert_eq!(calls("point"), known);
}

#[test]
fn every_mutation_of_the_code_is_known() {
    let tried = MUTATIONS.iter().map(|mutation| mutation.name);
    let known: BTreeSet<String> = tried
        .chain(HEALED.iter().map(|healed| healed.name))
        .map(str::to_owned)
        .collect();
    assert_eq!(calls("mutated"), known);
}
