use super::*;
use std::time::Duration;

use rc_model::Timestamp;
use rc_model::clock::ManualClock;
use rc_model::tenants::{RateLimit, TenantsFile};
use rc_model::units::Rate;

use crate::config::GatewayConfig;
use crate::key::KeySet;
use crate::limit::Verdict;
use crate::snapshot::{AnonymousPolicy, SnapshotSpec, TenantSpec};

fn snapshot(version: u64, tenants: &[&str], rate: &str, burst: u64) -> Snapshot {
    let file = TenantsFile::default();
    let acme = TenantId::new("acme").unwrap();
    let tenants = tenants.iter().map(|name| {
        let mut limits = file.effective(&acme).unwrap();
        limits.rps = RateLimit {
            rate: Rate::parse(rate).unwrap(),
            burst: Some(burst),
        };
        TenantSpec {
            id: TenantId::new(name).unwrap(),
            limits,
        }
    });
    Snapshot::build(SnapshotSpec {
        version,
        tenants: tenants.collect(),
        routes: Vec::new(),
        upstreams: Vec::new(),
        anonymous: AnonymousPolicy::default(),
    })
    .unwrap()
}

fn burst_left(shared: &Shared, tenant: &str) -> usize {
    let active = shared.active.load();
    let index = active.snapshot.by_tenant[tenant] as usize;
    let rule = &active.snapshot.tenants[index].rps;
    let now_ns = shared.clock.monotonic_ns();
    let admitted = |_: &usize| {
        matches!(
            rule.check(active.limits[index].tat(), now_ns),
            Verdict::Admit { .. }
        )
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
