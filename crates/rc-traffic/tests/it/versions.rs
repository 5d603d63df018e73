//! Requests between two versions of a service: who gets which, and that every one of them is counted.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rc_model::resilience::Health;
use rc_model::split::{Owner, Rollout, Share, SplitBy, Weight};
use rc_model::{RolloutId, ServiceId, VersionId};
use rc_traffic::versions::{CountsReport, OUTCOMES};
use rc_traffic::{RolloutSpec, Snapshot, SnapshotSpec, VersionSpec, VersionsSpec};

use crate::support::{Live, Service, Setup, eventually, spec};

fn versions(service: &Service, by: SplitBy, percent: f64, generation: u64) -> VersionsSpec {
    let (up, v2) = (ServiceId::new("up").unwrap(), VersionId::new("v2").unwrap());
    let rollout = Rollout {
        service: up.clone(),
        route: None,
        to: v2.clone(),
        percent: Share::NONE,
        by,
        pin: BTreeMap::new(),
        percent_of: BTreeMap::new(),
    };
    VersionsSpec {
        versions: vec![VersionSpec {
            service: up,
            version: v2,
            endpoints: vec![service.endpoint()],
            health: Health::default(),
        }],
        rollouts: vec![RolloutSpec {
            name: RolloutId::new("up-v2").unwrap(),
            weight: Weight {
                generation,
                percent: Share::from_percent(percent).unwrap(),
                owner: Owner::Ramp,
                members: None,
            },
            rollout,
        }],
    }
}

fn snapshot(version: u64, stable: &Service, canary: &Service, by: SplitBy, percent: f64) -> Snapshot {
    Snapshot::build(SnapshotSpec {
        versions: versions(canary, by, percent, version),
        ..spec(version, vec![stable.endpoint()])
    })
    .unwrap()
}

/// What all closed seconds sum up to: begun, and by version the outcomes.
fn sums(report: &CountsReport) -> (u64, BTreeMap<&str, BTreeMap<&'static str, u64>>) {
    let (mut begun, mut versions) = (0, BTreeMap::<&str, BTreeMap<&'static str, u64>>::new());
    for count in report.seconds.iter().flat_map(|second| &second.counts) {
        begun += count.begun;
        let outcomes = versions.entry(count.version.as_str()).or_default();
        for (name, number) in OUTCOMES
            .iter()
            .zip(count.outcomes)
            .filter(|(_, number)| *number > 0)
        {
            *outcomes.entry(name).or_insert(0) += number;
        }
        if count.unfinished > 0 {
            *outcomes.entry("unfinished").or_insert(0) += count.unfinished;
        }
    }
    (begun, versions)
}

/// Reads until `total` requests are in closed seconds.
fn counted(live: &Live, total: u64) -> CountsReport {
    let report = std::cell::RefCell::new(None);
    eventually("all requests are in closed seconds", || {
        let found = live.gateway.counts(None, None);
        let whole = sums(&found).0 >= total;
        *report.borrow_mut() = Some(found);
        whole
    });
    report.into_inner().unwrap()
}

#[test]
fn live_a_tenant_goes_to_the_version_that_the_weight_says_and_the_service_is_told() {
    let (stable, canary) = (Service::echo(), Service::echo());
    let live = Setup::new(&stable)
        .spec(|spec| spec.versions = versions(&canary, SplitBy::Tenant, 0.0, 1))
        .start();
    let sent = live.request("GET /up/1", "X-RC-Version: v9\r\n");
    let mut client = live.client();
    client.send(&sent);
    assert_eq!(client.reply().status, 200);
    assert_eq!(stable.seen()[0].header("x-rc-version"), Some("stable"));
    assert!(!stable.raw().contains("v9"), "a client cannot say it");

    live.gateway
        .install(snapshot(2, &stable, &canary, SplitBy::Tenant, 100.0));
    assert_eq!(live.get("/up/2").status, 200);
    assert_eq!(canary.seen()[0].header("x-rc-version"), Some("v2"));
    live.gateway
        .install(snapshot(3, &stable, &canary, SplitBy::Tenant, 0.0));
    assert_eq!(live.get("/up/3").status, 200);
    assert_eq!((stable.seen().len(), canary.seen().len()), (2, 1));
}

#[test]
fn live_a_service_with_one_version_is_neither_told_nor_counted() {
    let service = Service::echo();
    let live = Setup::new(&service).start();
    assert_eq!(live.get("/up/1").status, 200);
    assert_eq!(service.seen()[0].header("x-rc-version"), None);
    assert_eq!(live.gateway.counts(None, None).seconds, []);
}

#[test]
fn live_a_version_that_cannot_be_reached_is_what_its_requests_count_for() {
    let stable = Service::echo();
    // Nobody listens there any more.
    let gone = {
        let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        rc_traffic::Endpoint::Tcp(held.local_addr().unwrap())
    };
    let live = Setup::new(&stable)
        .spec(|spec| {
            spec.versions = versions(&stable, SplitBy::Tenant, 100.0, 1);
            spec.versions.versions[0].endpoints = vec![gone];
        })
        .start();
    assert_eq!(live.get("/up/1").status, 503);
    assert!(stable.seen().is_empty(), "no other version takes over");
    let report = counted(&live, 1);
    let (_, versions) = sums(&report);
    assert_eq!(versions["v2"], BTreeMap::from([("unreachable", 1)]));
}

#[test]
fn live_every_request_is_counted_once_under_load_across_reloads_and_with_a_service_that_cuts() {
    let stable = Service::echo();
    let answered = AtomicU64::new(0);
    let canary = Service::start(move |seen, stream| {
        // Every third exchange is broken before the answer.
        if answered.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
            return false;
        }
        let body = seen.line();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .is_ok()
    });
    let live = Setup::new(&stable)
        .spec(|spec| spec.versions = versions(&canary, SplitBy::Request, 50.0, 1))
        .start();
    let done = AtomicBool::new(false);
    let (mut ok, mut failed) = (0, 0);
    std::thread::scope(|scope| {
        let live = &live;
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    let (mut ok, mut failed) = (0, 0);
                    for _ in 0..60 {
                        // POST: never sent a second time.
                        let mut client = live.client();
                        client.send(live.request("POST /up/1", "Content-Length: 0\r\n"));
                        match client.reply().status {
                            200 => ok += 1,
                            _ => failed += 1,
                        }
                    }
                    (ok, failed)
                })
            })
            .collect();
        let (stable, canary, done) = (&stable, &canary, &done);
        let reloads = scope.spawn(move || {
            let mut version = 2;
            while !done.load(Ordering::Relaxed) {
                let percent = if version % 2 == 0 { 40.0 } else { 60.0 };
                live.gateway
                    .install(snapshot(version, stable, canary, SplitBy::Request, percent));
                version += 1;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        for client in clients {
            let (more_ok, more_failed) = client.join().unwrap();
            ok += more_ok;
            failed += more_failed;
        }
        done.store(true, Ordering::Relaxed);
        reloads.join().unwrap();
    });
    let report = counted(&live, 240);
    let (begun, versions) = sums(&report);
    assert_eq!((begun, ok + failed), (240, 240), "{versions:?}");
    let (old, new) = (&versions["stable"], &versions["v2"]);
    assert_eq!(*old, BTreeMap::from([("2xx", stable.seen().len() as u64)]));
    assert_eq!(new["2xx"] + new["broken"], canary.seen().len() as u64);
    assert_eq!(old["2xx"] + new["2xx"], ok);
    assert_eq!(new.values().sum::<u64>() - new["2xx"], failed);
}
