use super::*;

#[test]
fn defaults_can_be_held_and_read_back() {
    let rules = Rules::default();
    rules.check().unwrap();
    let text = serde_json::to_string(&rules).unwrap();
    let read: Rules = serde_json::from_str(&text).unwrap();
    assert_eq!((read.digest(), read), (rules.digest(), rules));
}

#[test]
fn empty_rules_are_the_defaults_and_unknown_keys_are_refused() {
    assert_eq!(serde_json::from_str::<Rules>("{}").unwrap(), Rules::default());
    serde_json::from_str::<Rules>(r#"{"alhpa": 0.05}"#).unwrap_err();
}

#[test]
fn rules_that_cannot_be_held_are_named() {
    let broken = |change: fn(&mut Rules)| {
        let mut rules = Rules::default();
        change(&mut rules);
        rules.check().unwrap_err().key
    };
    assert_eq!(broken(|rules| rules.alpha = 0.0), "alpha");
    assert_eq!(broken(|rules| rules.alpha = f64::NAN), "alpha");
    assert_eq!(broken(|rules| rules.pass_alpha = 1.0), "pass_alpha");
    assert_eq!(broken(|rules| rules.error_budget = 1.5), "error_budget");
    assert_eq!(broken(|rules| rules.errors.margin = 1.0), "errors");
    assert_eq!(broken(|rules| rules.latency.tolerance = 0.5), "latency");
    assert_eq!(broken(|rules| rules.quantiles.push(1.0)), "quantiles");
    assert_eq!(broken(|rules| rules.weights.errors = 0.9), "weights");
    assert_eq!(broken(|rules| rules.tenants_max = 1_001), "tenants_max");
    assert_eq!(broken(|rules| rules.guard_failures = 0), "guard_failures");
}
