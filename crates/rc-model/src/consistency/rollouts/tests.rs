use crate::split::{Share, SplitBy};
use crate::workspace::{Model, Sources};

const CATALOG: &str = "services:
  gateway: {tier: gold, owner: platform}
  docs: {tier: gold, owner: web, command: [a], routes: [{path: /pages}], versions: {v2: docs-v2}}
  docs-v2: {tier: gold, owner: web, command: [b]}
";

fn read(catalog: &str, rollouts: &str) -> Result<Model, Vec<String>> {
    let tenants = format!("tenants:\n  acme: {{tier: gold}}\n{rollouts}");
    let sources = Sources::from_texts(None, Some(catalog), Some(&tenants));
    Model::read(&sources).map_err(|found| found.iter().map(|problem| problem.message.clone()).collect())
}

#[test]
fn a_rollout_reads_with_its_defaults() {
    let model = read(
        CATALOG,
        "rollouts:\n  docs-v2: {service: docs, to: v2, pin: {acme: stable}}\n",
    )
    .unwrap();
    let rollout = &model.tenants.rollouts["docs-v2"];
    assert_eq!((rollout.percent, rollout.by), (Share::NONE, SplitBy::Tenant));
    let service = &model.catalog.services["docs"];
    assert_eq!(service.versions["v2"].as_str(), "docs-v2");
}

#[test]
fn names_that_stand_for_nothing_are_told() {
    for (rollout, wanted) in [
        ("a: {service: dcs, to: v2}", "there is no service `dcs`"),
        ("a: {service: docs, to: v3}", "there is no version `v3`"),
        ("a: {service: docs, to: stable}", "there is no version `stable`"),
        (
            "a: {service: docs, to: v2, pin: {acme: v3}}",
            "there is no version `v3`",
        ),
        (
            "a: {service: docs, to: v2, pin: {nobody: v2}}",
            "there is no tenant `nobody`",
        ),
        (
            "a: {service: docs, to: v2, percent_of: {nobody: 5}}",
            "there is no tenant `nobody`",
        ),
        (
            "{a: {service: docs, to: v2}, b: {service: docs, to: v2, percent: 5}}",
            "`a` and `b` divide the same requests of `docs`",
        ),
    ] {
        let separator = if rollout.starts_with('{') { " " } else { "\n  " };
        let found = read(CATALOG, &format!("rollouts:{separator}{rollout}\n"));
        assert_eq!(found.unwrap_err(), [wanted], "{rollout}");
    }
}

#[test]
fn versions_are_other_services() {
    for (versions, wanted) in [
        ("{v2: docs}", "`docs` cannot be a version of `docs`"),
        ("{v2: gateway}", "`gateway` cannot be a version of `docs`"),
        ("{v2: docs-v3}", "there is no service `docs-v3`"),
        ("{stable: docs-v2}", "the version `stable` is the service itself"),
    ] {
        let catalog = CATALOG.replace("{v2: docs-v2}", versions);
        assert_eq!(read(&catalog, "").unwrap_err(), [wanted], "{versions}");
    }
}

#[test]
fn parts_are_percentages() {
    for percent in ["-1", "101", "half", ".nan"] {
        let rollout = format!("rollouts:\n  a: {{service: docs, to: v2, percent: {percent}}}\n");
        assert!(read(CATALOG, &rollout).is_err(), "{percent}");
    }
}
