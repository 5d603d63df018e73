use super::*;
use rc_model::split::Owner;

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn rollout(by: &str) -> Rollout {
    let text = format!(r#"{{"service":"docs","to":"v2","by":"{by}","pin":{{"pinned":"v2"}}}}"#);
    serde_json::from_str(&text).unwrap()
}

fn traffic() -> Traffic {
    [
        ("huge", 600),
        ("large", 250),
        ("small", 100),
        ("tiny", 45),
        ("idle", 0),
        ("pinned", 9_000),
    ]
    .map(|(name, count)| (tenant(name), count))
    .into()
}

fn weight(percent: f64, members: &[&str]) -> Weight {
    Weight {
        generation: 1,
        percent: Share::from_percent(percent).unwrap(),
        owner: Owner::Ramp,
        members: Some(members.iter().map(|name| tenant(name)).collect()),
    }
}

fn packed(from: &Weight, percent: f64) -> Vec<String> {
    let share = Share::from_percent(percent).unwrap();
    let name = RolloutId::new("docs-v2").unwrap();
    let members = pack(&name, &rollout("traffic"), from, share, &traffic()).unwrap();
    members.iter().map(ToString::to_string).collect()
}

#[test]
fn a_growing_part_keeps_whom_it_has_and_never_passes_the_share() {
    let mut now = weight(0.0, &[]);
    for (percent, wanted) in [
        (1.0, vec!["idle"]),
        (10.0, vec!["idle", "tiny"]),
        (30.0, vec!["idle", "tiny", "large"]),
        (60.0, vec!["idle", "tiny", "large", "small"]),
        (100.0, vec!["idle", "tiny", "large", "small", "huge"]),
    ] {
        let members = packed(&now, percent);
        assert_eq!(members, wanted, "{percent}");
        let names: Vec<&str> = members.iter().map(String::as_str).collect();
        now = weight(percent, &names);
    }
}

#[test]
fn a_shrinking_part_gives_back_who_came_last() {
    let now = weight(60.0, &["idle", "tiny", "large", "small"]);
    assert_eq!(packed(&now, 30.0), ["idle", "tiny", "large"]);
    assert_eq!(packed(&now, 0.0), [""; 0]);
}

#[test]
fn the_first_packing_begins_with_those_of_the_buckets() {
    let name = RolloutId::new("docs-v2").unwrap();
    let start = Weight {
        members: None,
        ..weight(50.0, &[])
    };
    let inside: Vec<TenantId> = traffic()
        .into_keys()
        .filter(|tenant| tenant.as_str() != "pinned" && bucket(&name, tenant, None) < 5_000)
        .collect();
    let members = packed(&start, 90.0);
    assert!(
        inside.iter().all(|tenant| members.contains(&tenant.to_string())),
        "{inside:?} {members:?}"
    );
}

#[test]
fn tenants_that_are_gone_are_no_members_and_other_rollouts_have_none() {
    assert_eq!(packed(&weight(10.0, &["gone", "tiny"]), 10.0), ["tiny", "idle"]);
    let name = RolloutId::new("docs-v2").unwrap();
    let other = pack(
        &name,
        &rollout("tenant"),
        &weight(10.0, &[]),
        Share::ALL,
        &traffic(),
    );
    assert_eq!(other, None);
}
