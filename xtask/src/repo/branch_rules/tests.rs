use serde_json::json;

use super::{FILE, differ, parse, required_checks};
use crate::cx::Cx;

#[test]
fn the_repositorys_rules_are_valid_and_require_checks_that_exist() {
    let cx = Cx::from_environment().unwrap();
    let rulesets = parse(&cx.read(FILE).unwrap()).unwrap();
    let checks: Vec<&str> = rulesets.iter().flat_map(required_checks).collect();
    assert!(!checks.is_empty());
    // A required check that no workflow reports would block every change for ever.
    let workflow = cx.read(".github/workflows/ci.yml").unwrap();
    for check in checks {
        assert!(
            workflow.contains(&format!("    name: {check}\n")),
            "no job of ci.yml is named `{check}`"
        );
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let text = json!({"rulesets": [
        {"name": "a", "target": "tag", "enforcement": "on", "conditions": {}, "rules": [{"type": "deletoin"}]},
        {"name": "a", "target": "branch", "enforcement": "active",
         "conditions": {"ref_name": {"include": ["~DEFAULT_BRANCH"]}}, "rules": []},
    ]});
    let message = parse(&text.to_string()).unwrap_err().message;
    for expect in [
        "`target`",
        "`enforcement`",
        "names no branch",
        "`deletoin`",
        "a name of its own",
        "no rule",
    ] {
        assert!(message.contains(expect), "{expect}: {message}");
    }
}

#[test]
fn only_what_the_data_says_is_compared_and_lists_are_compared_whole() {
    let wanted = json!({"enforcement": "active", "rules": [
        {"type": "deletion"},
        {"type": "pull_request", "parameters": {"required_approving_review_count": 1}},
    ]});
    let same = json!({"id": 7, "enforcement": "active", "rules": [
        {"type": "pull_request", "parameters": {"required_approving_review_count": 1, "extra": false}},
        {"type": "deletion"},
    ]});
    let other = json!({"id": 7, "enforcement": "disabled", "rules": [
        {"type": "pull_request", "parameters": {"required_approving_review_count": 0}},
        {"type": "update"},
    ]});
    let differences = |found| {
        let mut differences = Vec::new();
        differ(&wanted, &found, "", &mut differences);
        differences
    };
    assert_eq!(differences(same), Vec::<String>::new());
    assert_eq!(
        differences(other),
        [
            "`enforcement` is \"disabled\", and should be \"active\"",
            "`rules` lacks \"deletion\"",
            "`rules[\"pull_request\"].parameters.required_approving_review_count` is 0, and should be 1",
            "`rules` has \"update\" too",
        ]
    );
}
