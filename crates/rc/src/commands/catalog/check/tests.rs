use super::*;

fn read(catalog: &str, tenants: &str) -> Result<Model, Vec<Diagnostic>> {
    Model::read(&Sources::from_texts(None, Some(catalog), Some(tenants)))
}

#[test]
fn services_are_shown_with_who_answers_for_them() {
    let catalog = r##"
owners:
  core: {oncall: "#oncall-core"}
  shop: {}
services:
  docs-api: {tier: gold, owner: core}
  gateway: {tier: gold, owner: core, oncall: "#edge"}
  orders: {tier: silver, owner: shop, command: [orders], routes: [{path: /orders}]}
"##;
    let model = read(catalog, "").unwrap();
    insta::assert_snapshot!(services(&model), @r"
    SERVICE      TIER    OWNER  ON-CALL       ROUTES
    docs-api     gold    core   #oncall-core  /docs GET,HEAD
                                              /search GET,HEAD
    gateway      gold    core   #edge         -
    orders       silver  shop   -             /orders
    prov-ledger  gold    core   #oncall-core  -
    ");
}

#[test]
fn the_summary_counts() {
    let of = |catalog: &str, tenants: &str| {
        let result = read(catalog, tenants);
        let problems = match &result {
            Ok(model) => model.warnings.clone(),
            Err(problems) => problems.clone(),
        };
        summary(
            result.as_ref().ok(),
            &problems,
            &["service-catalog.yaml", "tenants.yaml"],
        )
    };
    for (catalog, tenants, expected) in [
        (
            "",
            "",
            "4 services and 2 tenants (service-catalog.yaml, tenants.yaml): no problems",
        ),
        (
            "",
            "tenants: {}",
            "4 services and 0 tenants (service-catalog.yaml, tenants.yaml): 1 warning",
        ),
        (
            "x: 1",
            "",
            "1 problem in 1 file; `rc explain RC-CFG-005` says more",
        ),
        (
            "x: 1\ny: 2",
            "z: 1",
            "3 problems in 2 files; `rc explain RC-CFG-005` says more",
        ),
        (
            "services: {}",
            "z: 1",
            "1 problem and 1 warning in 2 files; `rc explain RC-CFG-005` says more",
        ),
    ] {
        assert_eq!(of(catalog, tenants), expected);
    }
    let defaults = Model::read(&Sources::default()).unwrap();
    assert_eq!(
        summary(Some(&defaults), &[], &[]),
        "4 services and 2 tenants (no files, so the defaults apply): no problems"
    );
}

#[test]
fn the_json_shape_is_stable() {
    let problems = read("services: {docs-api: {teir: gold, owner: core}}", "").unwrap_err();
    insta::assert_snapshot!(serde_json::to_string_pretty(&report(false, &problems)).unwrap(), @r#"
    {
      "ok": false,
      "problems": [
        {
          "code": "RC-CFG-005",
          "severity": "error",
          "file": "service-catalog.yaml",
          "line": 1,
          "column": 23,
          "message": "unknown key `teir` in `services.docs-api`",
          "hint": "did you mean `tier`?"
        }
      ]
    }
    "#);
    insta::assert_snapshot!(serde_json::to_string(&report(true, &[])).unwrap(), @r#"{"ok":true,"problems":[]}"#);
}
