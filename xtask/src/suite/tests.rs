use super::{Tally, executable, scope};

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
