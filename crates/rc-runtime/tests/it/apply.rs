//! Another set of services while they run.

use rc_runtime::{Changes, Kind, SpecError, State};

use crate::world::{World, alive, all_dead, id};

#[tokio::test]
async fn only_what_changed_is_touched() {
    let world = World::new();
    let spec = |name: &str, seconds: u32| {
        world.spec(
            name,
            Kind::Guarded,
            &format!("echo $$ >> {name}.pids; exec sleep {seconds}"),
        )
    };
    let running = world.start(vec![
        spec("same", 1000),
        spec("changed", 1000),
        spec("gone", 1000),
    ]);
    let before = running.ready(3).await;
    for name in ["same", "changed", "gone"] {
        world.pids(&format!("{name}.pids"), 1).await;
    }
    let changes = running
        .handle
        .apply(vec![spec("same", 1000), spec("changed", 2000), spec("new", 1000)])
        .await
        .unwrap();
    let expected = Changes {
        added: vec![id("new")],
        removed: vec![id("gone")],
        changed: vec![id("changed")],
    };
    assert_eq!(changes, expected);
    let changed = world.pids("changed.pids", 2).await;
    all_dead(&changed[..1]).await;
    all_dead(&world.pids("gone.pids", 1).await).await;
    let is_there = |board: &rc_runtime::Board, name: &str| board.services.contains_key(&id(name));
    let after = running
        .until("applied", |board| {
            board.ready()
                && is_there(board, "new")
                && !is_there(board, "gone")
                && board.services[&id("changed")]
                    .pid
                    .is_some_and(|pid| Some(pid) != before.services[&id("changed")].pid)
        })
        .await;
    assert_eq!(after.services[&id("same")].pid, before.services[&id("same")].pid);
    assert_eq!(after.services[&id("changed")].restarts, 0);
    running.stop().await;
    assert!(!alive(changed[1]));
}

#[tokio::test]
async fn a_crash_looped_service_comes_back_when_its_entry_is_mended() {
    let world = World::new();
    let running = world.start(vec![world.spec("api", Kind::Guarded, "exit 1")]);
    running.state("api", State::CrashLooped).await;
    running
        .handle
        .apply(vec![world.spec("api", Kind::Guarded, "exec sleep 1000")])
        .await
        .unwrap();
    let status = running.state("api", State::Ready).await;
    assert_eq!((status.restarts, status.last_exit), (0, None));
    running.stop().await;
}

#[tokio::test]
async fn a_service_that_is_removed_and_added_again_runs_once() {
    let world = World::new();
    let spec = || world.spec("api", Kind::Guarded, "echo $$ >> pids; exec sleep 1000");
    let running = world.start(vec![spec()]);
    world.pids("pids", 1).await;
    running.ready(1).await;
    running.handle.apply(Vec::new()).await.unwrap();
    running.handle.apply(vec![spec()]).await.unwrap();
    let pids = world.pids("pids", 2).await;
    running.state("api", State::Ready).await;
    assert_eq!(pids.iter().filter(|pid| alive(**pid)).count(), 1);
    running.stop().await;
    all_dead(&pids).await;
}

#[tokio::test]
async fn a_contradiction_changes_nothing() {
    let world = World::new();
    let spec = || world.spec("api", Kind::Ours, "exec sleep 1000");
    let running = world.start(vec![spec()]);
    let before = running.ready(1).await;
    let mut bad = spec();
    bad.needs = vec![id("nobody")];
    let error = running.handle.apply(vec![bad]).await.unwrap_err();
    assert_eq!(
        error,
        SpecError::Unknown {
            service: id("api"),
            needed: id("nobody")
        }
    );
    assert_eq!(running.handle.board(), before);
    let handle = running.handle.clone();
    running.stop().await;
    assert_eq!(handle.apply(Vec::new()).await.unwrap_err(), SpecError::Stopping);
}

#[tokio::test]
async fn another_order_restarts_nobody() {
    let world = World::new();
    let spec = |name: &str| world.spec(name, Kind::Ours, "exec sleep 1000");
    let running = world.start(vec![spec("gateway"), spec("api")]);
    let before = running.ready(2).await;
    let mut gateway = spec("gateway");
    gateway.outlived_by = vec![id("api"), id("new")];
    gateway.needs = vec![id("api")];
    let changes = running
        .handle
        .apply(vec![gateway, spec("api"), spec("new")])
        .await
        .unwrap();
    assert_eq!((changes.added, changes.changed), (vec![id("new")], Vec::new()));
    let after = running.ready(3).await;
    for name in ["gateway", "api"] {
        assert_eq!(after.services[&id(name)].pid, before.services[&id(name)].pid);
    }
    running.stop().await;
}
