use crate::workspace::{Model, Sources};

fn services(catalog: &str) -> Vec<String> {
    let model = Model::read(&Sources::from_texts(None, Some(catalog), None)).unwrap();
    let services = model.catalog.services.iter();
    services
        .map(|(id, service)| format!("{id} {} {}", service.tier, service.owner))
        .collect()
}

#[test]
fn the_ledger_runs_whether_it_is_written_down_or_not() {
    assert_eq!(
        services(
            "services:\n  gateway: {tier: silver, owner: core}\n  web: {tier: bronze, owner: web, command: [x]}\n"
        ),
        ["gateway silver core", "prov-ledger silver core", "web bronze web"]
    );
    assert_eq!(
        services("services:\n  web: {tier: bronze, owner: web, command: [x]}\n"),
        ["prov-ledger bronze web", "web bronze web"]
    );
    assert_eq!(
        services(
            "services:\n  gateway: {tier: gold, owner: core}\n  prov-ledger: {tier: bronze, owner: audit}\n"
        ),
        ["gateway gold core", "prov-ledger bronze audit"]
    );
    assert_eq!(
        services("services: {}\n"),
        [] as [&str; 0],
        "nothing runs, so nothing is recorded"
    );
    assert!(services("").contains(&"prov-ledger gold platform".to_owned()));
}
