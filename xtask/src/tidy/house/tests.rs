use super::{makefile, makefile_targets, tasks};

const MAKEFILE: &str =
    ".PHONY: up\n\nup: ## run it\n\t@cargo xtask up $(ARGS)\n\nhelp: ## this\n\t@cargo xtask help\n";

#[test]
fn targets_are_read_with_their_descriptions() {
    let targets = makefile_targets(MAKEFILE);
    assert_eq!(targets.len(), 2);
    assert_eq!(
        (targets[0].name.as_str(), targets[0].about.as_str()),
        ("up", "run it")
    );
    assert!(makefile(&targets).is_empty());
}

#[test]
fn a_target_that_does_more_than_call_xtask_is_named() {
    for recipe in ["\tcargo build\n", "\t@cargo xtask up\n\t@cargo xtask test\n", ""] {
        assert_eq!(
            makefile(&makefile_targets(&format!("up: ## run it\n{recipe}"))).len(),
            1,
            "{recipe}"
        );
    }
}

#[test]
fn tasks_equal_targets() {
    let targets = makefile_targets(MAKEFILE);
    let file = |label: &str, command: &str, detail: &str| {
        format!(r#"{{"tasks": [{{"label": "{label}", "command": "{command}", "detail": "{detail}"}}]}}"#)
    };
    assert!(tasks(&file("up", "make up", "run it"), &targets).is_empty());
    assert_eq!(tasks(&file("up", "make down", "run it"), &targets).len(), 1);
    assert_eq!(tasks(&file("up", "make up", "run"), &targets).len(), 1);
    assert_eq!(tasks(r#"{"tasks": []}"#, &targets).len(), 1);
    assert_eq!(tasks("", &targets).len(), 1);
}
