use super::*;

const PLAN: &str = r#"
image: {repository: docs-api}
rollout:
  enabled: true
  steps:
    - setWeight: 10
    - pause: {duration: 2m}
    - setWeight: 30
    - pause: {duration: 5m}
    - setWeight: 60
    - pause: {duration: 10m}
  metrics:
    - name: error-rate
      interval: 1m
      failureLimit: 1
      provider: prometheus
      query: rate(http_requests_total{status=~"5.."}[5m]) > 0.02
"#;

fn spec(text: &str) -> Result<RolloutSpec, Vec<Diagnostic>> {
    read(&Arc::new(SourceFile::new("values.yaml", text)))
}

fn stages(text: &str) -> Vec<(u8, Option<u64>)> {
    let stages = spec(text).unwrap().stages().unwrap();
    stages
        .iter()
        .map(|stage| (stage.percent, stage.watch.map(|watch| watch.as_secs())))
        .collect()
}

fn told(text: &str) -> String {
    let problems = spec(text).unwrap_err();
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_part_of_a_chart_becomes_stages() {
    let expect = [(10, Some(120)), (30, Some(300)), (60, Some(600)), (100, Some(0))];
    assert_eq!(stages(PLAN), expect);
    assert_eq!(spec(PLAN).unwrap().metrics[0].failure_limit, 1);
    // What is not written is the same plan.
    assert_eq!(stages("replicas: 2"), expect);
    assert_eq!(stages("rollout:"), expect);
    assert_eq!(stages("rollout: {enabled: false}"), [(100, Some(0))]);
}

#[test]
fn pauses_add_up_and_one_without_end_waits_for_a_person() {
    assert_eq!(
        stages(
            "rollout: {steps: [{setWeight: 5}, {pause: {duration: 30s}}, {pause: {duration: 1m}}, {setWeight: 50}, \
             {pause: {}}, {pause: {duration: 1m}}, {setWeight: 100}, {pause: {duration: 1h}}]}"
        ),
        [(5, Some(90)), (50, None), (100, Some(3_600))]
    );
}

#[test]
fn what_makes_no_sense_is_told_with_its_line() {
    for (text, says) in [
        ("rollout:\n  steps:\n  - pause: {}\n", "values.yaml:3:5"),
        (
            "rollout:\n  steps:\n  - setWeight: 30\n  - setWeight: 10\n",
            "values.yaml:4:5",
        ),
        (
            "rollout:\n  steps:\n  - {setWeight: 30, pause: {}}\n",
            "make two steps of it",
        ),
        (
            "rollout:\n  steps:\n  - {}\n",
            "a step has `setWeight` or `pause`",
        ),
        ("rollout:\n  steps:\n  - setWeight: 0\n", "values.yaml:3"),
        ("rollout:\n  steps:\n  - setWieght: 10\n", "`setWeight`"),
        ("rollout:\n  steps:\n  - pause: {duration: 10}\n", "values.yaml:3"),
        ("rollout: [1]", "values.yaml:1"),
    ] {
        let told = told(text);
        assert!(told.contains(says), "{text}: {told}");
    }
    let many: String = (1..=40).map(|n| format!("  - setWeight: {n}\n")).collect();
    assert!(told(&format!("rollout:\n  steps:\n{many}")).contains("at most 32 weights"));
}
