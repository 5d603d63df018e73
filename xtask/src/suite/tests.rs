use super::{Ran, Tally, UNSTEADY_MAX, executable, scope};

fn ran(lines: &[&str]) -> Ran {
    let mut ran = Ran::default();
    lines.iter().for_each(|line| ran.add(line));
    ran
}

const TWO_FAILED: [&str; 4] = [
    "test bus::tests::slow ... FAILED",
    "test bus::tests::right ... ok",
    "test relay::wrong ... FAILED",
    "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
];

#[test]
fn what_passes_alone_is_unsteady_and_what_fails_again_has_failed() {
    let first = ran(&TWO_FAILED);
    assert!(first.deserves_a_second_look());
    let second = ran(&[
        "test relay::wrong ... FAILED",
        "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.10s",
    ]);
    let both = first.after(&second);
    assert_eq!(both.unsteady, ["bus::tests::slow"]);
    assert_eq!(both.tally.to_string(), "2 passed, 1 failed, 0 skipped");
    assert!(both.tally.verdict().is_err());
}

#[test]
fn a_second_look_that_did_not_run_them_all_excuses_none() {
    let second = ran(&[
        "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.10s",
    ]);
    let both = ran(&TWO_FAILED).after(&second);
    assert!(both.unsteady.is_empty());
    assert_eq!(both.tally.to_string(), "1 passed, 2 failed, 0 skipped");
}

#[test]
fn many_failures_and_failures_without_a_name_get_no_second_look() {
    assert!(!ran(&[]).deserves_a_second_look());
    assert!(!ran(&TWO_FAILED[2..]).deserves_a_second_look());
    let many: Vec<String> = (0..=UNSTEADY_MAX)
        .map(|at| format!("test t{at} ... FAILED"))
        .collect();
    let mut lines: Vec<&str> = many.iter().map(String::as_str).collect();
    let result = format!(
        "test result: FAILED. 0 passed; {} failed; 0 ignored; 0 measured",
        many.len()
    );
    lines.push(&result);
    assert!(!ran(&lines).deserves_a_second_look());
}

#[test]
fn closing_lines_of_all_test_programs_are_added_up() {
    let mut tally = Tally::default();
    for line in [
        "running 3 tests",
        "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 17 filtered out; finished in 0.00s",
        "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        "test result: a test that prints like one",
    ] {
        tally.add(line);
    }
    assert_eq!(tally.to_string(), "4 passed, 2 failed, 1 skipped");
    assert_eq!(tally.verdict().unwrap_err().exit, 1);
}

#[test]
fn a_run_without_tests_is_a_failure() {
    assert_eq!(Tally::default().verdict().unwrap_err().message, "no test ran");
}

#[test]
fn the_program_is_found_among_cargos_messages_and_its_unit_tests_are_not_it() {
    let message = |kind: &str, test: bool| {
        format!(
            r#"{{"reason":"compiler-artifact","target":{{"name":"rc","kind":["{kind}"]}},"profile":{{"test":{test}}},"executable":"/t/debug/rc"}}"#
        )
    };
    assert_eq!(
        executable(&message("bin", false), "rc"),
        Some("/t/debug/rc".into())
    );
    assert_eq!(executable(&message("bin", true), "rc"), None);
    assert_eq!(executable(&message("bin", false), "other"), None);
    assert_eq!(
        executable(r#"{"reason":"build-finished","success":true}"#, "rc"),
        None
    );
    assert_eq!(executable("not JSON", "rc"), None);
}

#[test]
fn the_whole_workspace_is_meant_unless_a_package_is_named() {
    assert_eq!(scope(&["--release"]), ["--workspace"]);
    assert!(scope(&["-prc-store"]).is_empty());
    assert!(scope(&["--package", "rc"]).is_empty());
}
