use super::*;

fn salt(name: &str) -> RolloutId {
    RolloutId::new(name).unwrap()
}

fn tenant(number: usize) -> TenantId {
    TenantId::new(&format!("tenant-{number}")).unwrap()
}

#[test]
fn percentages_are_read_to_a_hundredth_and_refused_outside() {
    for (text, buckets) in [("0", 0), ("10", 1_000), ("12.34%", 1_234), ("100", BUCKETS)] {
        assert_eq!(text.parse::<Share>().unwrap().buckets(), buckets, "{text}");
    }
    for text in ["-1", "100.5", "NaN", "inf", "", "ten"] {
        assert!(text.parse::<Share>().is_err(), "{text}");
    }
    assert_eq!(Share::from_percent(12.5).unwrap().to_string(), "12.5%");
    assert!(Share::ALL.is_all());
}

#[test]
fn buckets_are_even_and_do_not_depend_on_neighbours() {
    let salt = salt("docs-v2");
    for share in [100, 1_000, 5_000, 9_000] {
        let inside = (0..20_000)
            .filter(|n| bucket(&salt, &tenant(*n), None) < share)
            .count();
        let wanted = 2 * usize::from(share);
        // Five standard deviations of a fair draw.
        let spread = 5.0 * (20_000.0 * f64::from(share) / 1e4 * (1.0 - f64::from(share) / 1e4)).sqrt();
        assert!(
            (inside as f64 - wanted as f64).abs() < spread,
            "{inside} of {wanted}"
        );
    }
}

#[test]
fn another_rollout_begins_with_other_tenants() {
    let first = |name: &str| -> Vec<usize> {
        let salt = salt(name);
        (0..1_000)
            .filter(|n| bucket(&salt, &tenant(*n), None) < 1_000)
            .collect()
    };
    let (one, other) = (first("docs-v2"), first("docs-v3"));
    let both = one.iter().filter(|n| other.contains(n)).count();
    assert!(both < one.len() / 3, "{both} of {}", one.len());
}

#[test]
fn users_of_one_tenant_are_apart_and_a_tenant_without_a_user_has_one_bucket() {
    let (salt, acme) = (salt("docs-v2"), tenant(1));
    let users: std::collections::BTreeSet<u16> = (0..100)
        .map(|n| bucket(&salt, &acme, Some(&format!("key{n}"))))
        .collect();
    assert!(users.len() > 90);
    assert_eq!(bucket(&salt, &acme, None), bucket_of(seed(&salt, &acme)));
}

#[test]
fn buckets_never_change() {
    // Other gateways and earlier releases know these. Whoever changes them moves every user of a running rollout.
    let (salt, acme) = (salt("docs-v2"), TenantId::new("acme").unwrap());
    let found = [bucket(&salt, &acme, None), bucket(&salt, &acme, Some("k1"))];
    assert_eq!(found, [221, 6089]);
}

#[test]
fn a_weight_reads_as_it_was_written() {
    let weight = Weight {
        generation: 7,
        percent: Share::from_percent(33.33).unwrap(),
        owner: Owner::Rollout("docs-v2-7".to_owned()),
        members: Some(vec![tenant(1)]),
    };
    let text = serde_json::to_string(&weight).unwrap();
    assert_eq!(
        text,
        r#"{"generation":7,"percent":33.33,"owner":{"rollout":"docs-v2-7"},"members":["tenant-1"]}"#
    );
    assert_eq!(serde_json::from_str::<Weight>(&text).unwrap(), weight);
}
