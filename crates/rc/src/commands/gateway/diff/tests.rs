use super::*;

fn told(text: &str) -> Told {
    Told::alone(GatewayModel::from_text(Path::new("gateway.yaml"), text).unwrap())
}

fn text(tenants: &str, route: &str) -> String {
    format!(
        "identity: {{header: loopback}}\nservices: {{a: {{endpoints: [unix:/a.sock], routes: [{route}]}}}}\n{tenants}"
    )
}

#[test]
fn a_changed_tier_is_told_for_its_tenants_together_and_the_same_is_nothing() {
    let before = told(&text(
        "tiers: {basic: {rps: {rate: 5/s}}}\ntenants: {acme: {tier: basic}, globex: {tier: basic}, hooli: {tier: gold}}\n",
        "{path: /}",
    ));
    let after = told(&text(
        "tiers: {basic: {rps: {rate: 8/s}}}\ntenants: {acme: {tier: basic}, globex: {tier: basic}, initech: {tier: gold}}\n",
        "{path: /, timeout: 5s}",
    ));
    assert_eq!(compare(&view(&before), &view(&before)), []);
    let changes = compare(&view(&before), &view(&after));
    assert_eq!(
        for_people(&changes),
        "tenants
  + initech
  - hooli
  ~ acme, globex  rps.rate: 5/s -> 8/s
routes
  ~ / (all methods)  timeout: nothing -> 5s"
    );
}
