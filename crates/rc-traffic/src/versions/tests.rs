use super::*;
use crate::snapshot::{AnonymousPolicy, RouteSpec, Snapshot, SnapshotSpec, TenantSpec, UpstreamSpec};
use rc_model::catalog::Builtin;
use rc_model::split::{Owner, Share, bucket};
use rc_model::tenants::TenantsFile;

const TENANTS: usize = 500;

fn service() -> ServiceId {
    Builtin::DocsApi.id()
}

fn tenant(number: usize) -> TenantId {
    TenantId::new(&format!("tenant-{number}")).unwrap()
}

fn endpoint(name: &str) -> Vec<Endpoint> {
    vec![Endpoint::Unix(format!("/run/{name}.sock").into())]
}

fn rollout(by: SplitBy, percent: f64) -> RolloutSpec {
    let rollout = Rollout {
        service: service(),
        route: None,
        to: VersionId::new("v2").unwrap(),
        percent: Share::from_percent(percent).unwrap(),
        by,
        pin: Default::default(),
        percent_of: Default::default(),
    };
    RolloutSpec {
        name: RolloutId::new("docs-v2").unwrap(),
        weight: Weight::start(&rollout),
        rollout,
    }
}

/// `/docs` and `/search` of docs-api, which has a `v2` and a `v3`.
fn snapshot(rollouts: Vec<RolloutSpec>) -> Snapshot {
    let limits = TenantsFile::default()
        .effective(&TenantId::new("acme").unwrap())
        .unwrap();
    let version = |name: &str| VersionSpec {
        service: service(),
        version: VersionId::new(name).unwrap(),
        endpoints: endpoint(name),
        health: Health::default(),
    };
    let routes = Builtin::DocsApi.routes().into_iter().map(|route| RouteSpec {
        route,
        service: service(),
    });
    Snapshot::build(SnapshotSpec {
        version: 1,
        tenants: (0..TENANTS)
            .map(|number| TenantSpec {
                id: tenant(number),
                limits: limits.clone(),
            })
            .collect(),
        routes: routes.collect(),
        upstreams: vec![UpstreamSpec {
            service: service(),
            endpoints: endpoint("v1"),
            health: Health::default(),
        }],
        versions: VersionsSpec {
            versions: vec![version("v2"), version("v3")],
            rollouts,
        },
        anonymous: AnonymousPolicy::default(),
    })
    .unwrap()
}

/// The version that a request by the first route goes to.
fn chosen<'a>(snapshot: &'a Snapshot, tenant: Option<usize>, user: Option<&str>, random: u64) -> &'a str {
    let split = snapshot.routes[0].split.as_ref().unwrap();
    let lane = snapshot.lanes[split.choose(tenant, user, || random)];
    assert_eq!(lane.route, 0);
    snapshot.upstreams[lane.upstream].version()
}

fn on_v2(snapshot: &Snapshot) -> Vec<usize> {
    (0..TENANTS)
        .filter(|number| chosen(snapshot, Some(*number), None, 0) == "v2")
        .collect()
}

#[test]
fn every_version_of_every_route_has_a_lane_of_its_own() {
    let snapshot = snapshot(Vec::new());
    let lanes: Vec<_> = snapshot
        .lanes
        .iter()
        .map(|lane| {
            (
                snapshot.routes[lane.route].path.as_str(),
                snapshot.upstreams[lane.upstream].label(),
            )
        })
        .collect();
    let found: Vec<(&str, &str)> = lanes
        .iter()
        .map(|(path, label)| (*path, label.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            ("/docs", "docs-api"),
            ("/search", "docs-api"),
            ("/docs", "docs-api@v2"),
            ("/docs", "docs-api@v3"),
            ("/search", "docs-api@v2"),
            ("/search", "docs-api@v3"),
        ]
    );
    assert_eq!(on_v2(&snapshot), [0; 0], "without a rollout all stay");
}

#[test]
fn a_growing_share_takes_nobody_back() {
    for by in [SplitBy::Tenant, SplitBy::Traffic] {
        let mut before = Vec::new();
        for percent in [0.0, 0.01, 1.0, 10.0, 30.0, 60.0, 99.9, 100.0] {
            let now = on_v2(&snapshot(vec![rollout(by, percent)]));
            assert!(
                before.iter().all(|tenant| now.contains(tenant)),
                "{by:?} {percent}"
            );
            let (least, most) = (percent * 0.6 - 5.0, percent * 1.4 + 5.0);
            let part = now.len() as f64 * 100.0 / TENANTS as f64;
            assert!((least..=most).contains(&part), "{by:?} {percent}: {part}");
            before = now;
        }
        assert_eq!(before.len(), TENANTS);
    }
}

#[test]
fn users_stay_where_their_bucket_is_and_go_with_their_tenant_without_one() {
    let salt = RolloutId::new("docs-v2").unwrap();
    let snapshot = snapshot(vec![rollout(SplitBy::User, 30.0)]);
    for number in 0..50 {
        for user in [None, Some("k1"), Some("k2")] {
            let wanted = match bucket(&salt, &tenant(number), user) < 3_000 {
                true => "v2",
                false => "stable",
            };
            // Whatever is drawn.
            for random in [0, 5_000, u64::MAX] {
                assert_eq!(chosen(&snapshot, Some(number), user, random), wanted);
            }
        }
    }
}

#[test]
fn requests_are_drawn_each_by_itself_also_those_of_nobody() {
    let snapshot = snapshot(vec![rollout(SplitBy::Request, 25.0)]);
    for tenant in [None, Some(0), Some(7)] {
        for (random, wanted) in [(0, "v2"), (2_499, "v2"), (2_500, "stable"), (12_499, "v2")] {
            assert_eq!(chosen(&snapshot, tenant, Some("k1"), random), wanted);
        }
    }
}

#[test]
fn nobody_in_particular_moves_when_all_have() {
    for by in [SplitBy::User, SplitBy::Tenant, SplitBy::Traffic] {
        for (percent, wanted) in [(99.99, "stable"), (100.0, "v2")] {
            let snapshot = snapshot(vec![rollout(by, percent)]);
            assert_eq!(chosen(&snapshot, None, None, 0), wanted, "{by:?} {percent}");
        }
    }
}

#[test]
fn pins_and_shares_of_a_tenant_come_before_everybodys() {
    for by in [SplitBy::Request, SplitBy::User, SplitBy::Tenant, SplitBy::Traffic] {
        for percent in [0.0, 100.0] {
            let mut spec = rollout(by, percent);
            let pins = [(1, "stable"), (2, "v2"), (3, "v3")];
            spec.rollout.pin = pins
                .map(|(number, version)| (tenant(number), VersionId::new(version).unwrap()))
                .into();
            spec.rollout.percent_of = [
                (tenant(2), Share::NONE),
                (tenant(4), Share::ALL),
                (tenant(5), Share::NONE),
            ]
            .into();
            let snapshot = snapshot(vec![spec]);
            for (number, wanted) in pins.into_iter().chain([(4, "v2"), (5, "stable")]) {
                assert_eq!(
                    chosen(&snapshot, Some(number), Some("k1"), 5_000),
                    wanted,
                    "{by:?} {percent} {number}"
                );
            }
        }
    }
}

#[test]
fn by_traffic_the_members_that_were_packed_are_it() {
    let mut spec = rollout(SplitBy::Traffic, 50.0);
    spec.weight = Weight {
        generation: 1,
        owner: Owner::Ramp,
        members: Some(vec![tenant(3), tenant(9), TenantId::new("gone").unwrap()]),
        ..spec.weight
    };
    assert_eq!(on_v2(&snapshot(vec![spec])), [3, 9]);
}

#[test]
fn the_rollout_of_a_path_comes_before_that_of_the_service() {
    let (everything, mut search) = (rollout(SplitBy::Tenant, 100.0), rollout(SplitBy::Tenant, 0.0));
    search.rollout.route = Some("/search".to_owned());
    for rollouts in [vec![everything.clone(), search.clone()], vec![search, everything]] {
        let snapshot = snapshot(rollouts);
        let versions: Vec<&str> = snapshot.routes[..2]
            .iter()
            .map(|route| {
                let lane = route.split.as_ref().unwrap().choose(Some(0), None, || 0);
                snapshot.upstreams[snapshot.lanes[lane].upstream].version()
            })
            .collect();
        assert_eq!(versions, ["v2", "stable"]);
    }
}

#[test]
fn a_version_that_cannot_be_reached_yet_gets_nothing() {
    let mut spec = rollout(SplitBy::Request, 100.0);
    spec.rollout.to = VersionId::new("v9").unwrap();
    spec.rollout.pin = [(tenant(1), VersionId::new("v3").unwrap())].into();
    let snapshot = snapshot(vec![spec]);
    assert_eq!(chosen(&snapshot, Some(0), None, 0), "stable");
    assert_eq!(chosen(&snapshot, Some(1), None, 0), "v3");
    assert_eq!(chosen(&snapshot, None, None, 0), "stable");
}
