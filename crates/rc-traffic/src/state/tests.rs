use super::*;
use std::time::Duration;

use rc_model::Timestamp;
use rc_model::clock::ManualClock;
use rc_model::tenants::{RateLimit, TenantsFile};
use rc_model::units::Rate;

use crate::config::GatewayConfig;
use crate::key::KeySet;
use crate::limit::Colour;
use crate::snapshot::{AnonymousPolicy, SnapshotSpec, TenantSpec};

fn snapshot(version: u64, tenants: &[&str], rate: &str, burst: u64) -> Snapshot {
    Snapshot::build(spec(version, tenants, rate, burst)).unwrap()
}

fn spec(version: u64, tenants: &[&str], rate: &str, burst: u64) -> SnapshotSpec {
    let file = TenantsFile::default();
    let acme = TenantId::new("acme").unwrap();
    let tenants = tenants.iter().map(|name| {
        let mut limits = file.effective(&acme).unwrap();
        limits.rps = RateLimit::of(Rate::parse(rate).unwrap(), burst);
        TenantSpec {
            id: TenantId::new(name).unwrap(),
            limits,
        }
    });
    SnapshotSpec {
        version,
        versions: Default::default(),
        tenants: tenants.collect(),
        routes: Vec::new(),
        upstreams: Vec::new(),
        anonymous: AnonymousPolicy::default(),
    }
}

fn burst_left(shared: &Shared, tenant: &str) -> usize {
    let active = shared.active.load();
    let index = active.snapshot.by_tenant[tenant] as usize;
    let rule = &active.snapshot.tenants[index].rps;
    let now_ns = shared.clock.monotonic_ns();
    let admitted = |_: &usize| {
        let meter = active.limits[index].meter();
        matches!(rule.check(meter, now_ns, || false), Colour::Green { .. })
    };
    (0..10_000).take_while(admitted).count()
}

fn shared(first: Snapshot) -> (Shared, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(0)));
    clock.advance(Duration::from_secs(1));
    let config = GatewayConfig::new(Vec::new());
    (
        Shared::new(config, first, Arc::new(KeySet::default()), clock.clone()),
        clock,
    )
}

#[test]
fn a_used_allowance_stays_used_across_snapshots_and_other_tenants_keep_theirs() {
    let (shared, clock) = shared(snapshot(1, &["acme", "globex"], "1/s", 10));
    assert_eq!(burst_left(&shared, "acme"), 10);
    for version in 2..100 {
        // Order and number of tenants change; the state follows the name.
        shared.install(snapshot(version, &["new", "globex", "acme"], "1/s", 10));
        assert_eq!(burst_left(&shared, "acme"), 0, "version {version}");
    }
    assert_eq!(burst_left(&shared, "globex"), 10);
    clock.advance(Duration::from_secs(3));
    assert_eq!(burst_left(&shared, "acme"), 3);
    assert_eq!(shared.active.load().snapshot.version(), 99);
}

#[test]
fn removing_and_adding_a_tenant_is_no_way_to_a_fresh_allowance() {
    let (shared, clock) = shared(snapshot(1, &["acme"], "1/s", 10));
    assert_eq!(burst_left(&shared, "acme"), 10);
    shared.install(snapshot(2, &["globex"], "1/s", 10));
    shared.install(snapshot(3, &["acme"], "1/s", 10));
    assert_eq!(burst_left(&shared, "acme"), 0);
    // Once it has rested, it is forgotten.
    clock.advance(Duration::from_secs(60));
    shared.install(snapshot(4, &["globex"], "1/s", 10));
    assert_eq!(shared.kept.lock().unwrap().tenants.len(), 1);
}

#[test]
fn a_changed_rate_applies_at_once() {
    let (shared, clock) = shared(snapshot(1, &["acme"], "1/h", 10));
    assert_eq!(burst_left(&shared, "acme"), 10);
    shared.install(snapshot(2, &["acme"], "100/s", 50));
    assert_eq!(burst_left(&shared, "acme"), 0);
    clock.advance(Duration::from_millis(100));
    assert_eq!(burst_left(&shared, "acme"), 10);
}

#[test]
fn the_states_of_tenants_that_are_gone_are_bounded_and_none_comes_back_full() {
    let (shared, clock) = shared(snapshot(1, &["acme"], "1/s", 10));
    // Many come, use everything up, and go: one more than is kept. The first to go has the least left to wait.
    let names: Vec<String> = (0..=GONE_MAX).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    shared.install(snapshot(2, &names[..1], "1/s", 10));
    assert_eq!(burst_left(&shared, names[0]), 10);
    clock.advance(Duration::from_millis(500));
    shared.install(snapshot(3, &names, "1/s", 10));
    for name in &names[1..] {
        assert_eq!(burst_left(&shared, name), 10);
    }
    shared.install(snapshot(4, &["acme"], "1/s", 10));
    assert_eq!(shared.kept.lock().unwrap().tenants.len(), GONE_MAX + 1);
    assert!(!shared.kept.lock().unwrap().tenants.contains_key(names[0]));
    // Neither the one that was forgotten nor one that is kept comes back full.
    shared.install(snapshot(5, &["acme", names[0], names[1], "stranger"], "1/s", 10));
    assert_eq!(burst_left(&shared, names[0]), 0);
    assert_eq!(burst_left(&shared, names[1]), 0);
    // Nobody can tell a stranger from the forgotten; whoever was there all the time is not touched.
    assert_eq!(burst_left(&shared, "stranger"), 0);
    assert_eq!(burst_left(&shared, "acme"), 10);
    // Once the forgotten would have rested, all is as it was.
    clock.advance(Duration::from_secs(60));
    shared.install(snapshot(6, &["acme", "another"], "1/s", 10));
    assert_eq!(burst_left(&shared, "another"), 10);
    assert_eq!(shared.kept.lock().unwrap().tenants.len(), 2);
}

#[test]
fn thousands_of_reloads_neither_fill_a_bank_nor_lose_what_accrues() {
    let policy = |version| {
        let mut spec = spec(version, &["acme"], "10/s", 5);
        spec.tenants[0].limits.rps.credits = 20;
        Snapshot::build(spec).unwrap()
    };
    let (shared, clock) = shared(policy(1));
    let ask = || {
        let active = shared.active.load();
        let rule = &active.snapshot.tenants[0].rps;
        rule.check(active.limits[0].meter(), shared.clock.monotonic_ns(), || true)
    };
    let served = || {
        (0..100)
            .take_while(|_| !matches!(ask(), Colour::Red { .. }))
            .count()
    };
    assert_eq!(served(), 25);
    for version in 2..2_002 {
        clock.advance(Duration::from_millis(1));
        shared.install(policy(version));
    }
    // Two seconds at ten a second.
    assert_eq!(served(), 20);
}
