//! Starting in order, restarting, giving up, draining.

use std::net::TcpListener;
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use rc_runtime::{Cause, Kind, Probe, State};

use crate::world::{World, all_dead, id};

const FOREVER: &str = "exec sleep 1000";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[tokio::test]
async fn a_service_waits_for_what_it_needs_and_stops_before_it() {
    let world = World::new();
    let port = free_port();
    let script = |name: &str| {
        format!(
            "echo start {name} >> order; trap 'echo stop {name} >> order; exit 0' TERM; while :; do sleep 0.01; done"
        )
    };
    let mut store = world.spec("store", Kind::Ours, &script("store"));
    store.ready = Probe::TcpOpen { port };
    let mut api = world.spec("api", Kind::Guarded, &script("api"));
    api.needs = vec![id("store")];
    let running = world.start(vec![api, store]);

    let status = running.state("store", State::Starting).await;
    assert!(status.pid.is_some());
    tokio::time::sleep(Duration::from_millis(200)).await;
    let waiting = running.state("api", State::Waiting).await;
    assert_eq!(waiting.reason.as_deref(), Some("waits for store"));
    assert_eq!(waiting.pid, None);

    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let board = running.ready(2).await;
    assert!(board.services[&id("store")].ready_after_ms.unwrap() >= 200);
    // The trap must be set before the stop.
    crate::world::eventually("both started", || {
        (world.read("order").lines().count() == 2).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let summary = running.stop().await;
    assert!(
        summary
            .board
            .services
            .values()
            .all(|status| status.state == State::Stopped)
    );
    assert_eq!(
        world.read("order"),
        "start store\nstart api\nstop api\nstop store\n"
    );
}

#[tokio::test]
async fn independent_services_start_side_by_side() {
    let world = World::new();
    let ports: Vec<u16> = (0..4).map(|_| free_port()).collect();
    let specs = ports.iter().enumerate().map(|(n, port)| {
        let mut spec = world.spec(&format!("s{n}"), Kind::Ours, FOREVER);
        spec.ready = Probe::TcpOpen { port: *port };
        spec
    });
    let running = world.start(specs.collect());
    let all_started = |board: &rc_runtime::Board| {
        board.services.len() == 4
            && board
                .services
                .values()
                .all(|status| status.state == State::Starting && status.pid.is_some())
    };
    running.until("all started, none ready", all_started).await;
    running.stop().await;
}

#[tokio::test]
async fn a_service_that_fails_twice_is_restarted_with_pauses_until_it_stays() {
    let world = World::new();
    let script = "echo x >> starts; test $(wc -l < starts) -gt 2 || exit 7; touch up; exec sleep 1000";
    let running = world.start(vec![world.spec("flaky", Kind::Ours, script)]);
    let begin = monotonic_ns();
    crate::world::eventually("the third start", || {
        world.dir.path().join("up").exists().then_some(())
    })
    .await;
    let took = Duration::from_nanos(monotonic_ns() - begin);
    assert!(
        took >= Duration::from_millis(225),
        "pauses of at least 75 and 150 ms: {took:?}"
    );
    let status = running.state("flaky", State::Ready).await;
    assert_eq!(status.restarts, 2);
    assert_eq!(status.last_exit.unwrap().cause, Cause::Status(7));
    running.stop().await;
}

#[tokio::test]
async fn a_crash_loop_is_called_so_and_shows_the_last_lines() {
    let world = World::new();
    let script = "for n in $(seq 30); do echo line $n; done; echo cannot open the store >&2; exit 3";
    let mut spec = world.spec("broken", Kind::Guarded, script);
    spec.ready = Probe::TcpOpen { port: free_port() };
    let mut behind = world.spec("behind", Kind::Ours, FOREVER);
    behind.needs = vec![id("broken")];
    let running = world.start(vec![spec, behind, world.spec("other", Kind::Ours, FOREVER)]);
    let status = running.state("broken", State::CrashLooped).await;
    assert_eq!((status.restarts, status.pid), (4, None));
    let exit = status.last_exit.unwrap();
    assert_eq!(
        (exit.cause, exit.text.as_str()),
        (Cause::Status(3), "ended with exit status 3")
    );
    assert_eq!(status.last_lines.len(), 20);
    assert_eq!(status.last_lines[0], "line 12");
    assert_eq!(status.last_lines[19], "cannot open the store");
    let board = running.until("settled", rc_runtime::Board::settled).await;
    assert_eq!(
        board.services[&id("other")].state,
        State::Ready,
        "the others go on"
    );
    assert_eq!(board.services[&id("behind")].state, State::Waiting);
    running.stop().await;
    assert!(
        world
            .read("broken.log")
            .contains("5 times within 60 s: left alone")
    );
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_named() {
    let world = World::new();
    let mut ours = world.spec("ours", Kind::Ours, "");
    ours.program = "/does/not/exist".into();
    let mut users = world.spec("users", Kind::Guarded, "");
    users.program = "no-such-program".into();
    // The port is open all the same: somebody else's answer must not hide that nothing was started.
    users.ready = Probe::TcpOpen { port: free_port() };
    let mut lost = world.spec("lost", Kind::Ours, FOREVER);
    lost.cwd = "/does/not/exist".into();
    let running = world.start(vec![ours, users, lost]);
    let ours = running.state("ours", State::CrashLooped).await;
    assert!(
        ours.reason
            .unwrap()
            .starts_with("could not be started: /does/not/exist: No such file")
    );
    let users = running.state("users", State::CrashLooped).await;
    assert_eq!(users.last_exit.unwrap().cause, Cause::Status(127));
    assert!(
        users
            .last_lines
            .last()
            .unwrap()
            .starts_with("rc: `no-such-program` cannot be started: No such file")
    );
    let lost = running.state("lost", State::CrashLooped).await;
    assert_eq!(
        lost.reason.unwrap(),
        "could not be started: the folder /does/not/exist does not exist"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_late_service_is_stopped_and_tried_again() {
    let world = World::new();
    let mut spec = world.spec("late", Kind::Guarded, "echo $$ >> pids; exec sleep 1000");
    spec.ready = Probe::TcpOpen { port: free_port() };
    spec.ready_timeout = Duration::from_millis(300);
    let port = match spec.ready {
        Probe::TcpOpen { port } => port,
        _ => unreachable!(),
    };
    let running = world.start(vec![spec]);
    let pids = world.pids("pids", 2).await;
    all_dead(&pids[..1]).await;
    let status = running
        .until("restarted", |board| board.services[&id("late")].restarts >= 1)
        .await
        .services[&id("late")]
        .clone();
    let exit = status.last_exit.unwrap().text;
    assert_eq!(
        exit,
        format!("was not ready within 300 ms: a connection to port {port}: nobody listens")
    );
    running.stop().await;
    all_dead(&world.pids("pids", 2).await).await;
}

#[tokio::test]
async fn a_ready_service_that_stops_answering_is_unready_and_not_restarted() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut spec = world.spec("api", Kind::Ours, FOREVER);
    spec.ready = Probe::TcpOpen { port };
    let running = world.start(vec![spec]);
    let before = running.state("api", State::Ready).await;
    drop(listener);
    let unready = running.state("api", State::Unready).await;
    assert_eq!((unready.pid, unready.restarts), (before.pid, 0));
    assert_eq!(
        unready.reason.unwrap(),
        format!("a connection to port {port}: nobody listens")
    );
    let _listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    running.state("api", State::Ready).await;
    running.stop().await;
}

#[tokio::test]
async fn a_service_that_ignores_sigterm_is_killed_after_its_drain() {
    let world = World::new();
    let script = "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done";
    for kind in [Kind::Ours, Kind::Guarded] {
        let running = world.start(vec![world.spec("deaf", kind, script)]);
        running.ready(1).await;
        let pids = world.pids("pid", 1).await;
        let begin = monotonic_ns();
        running.stop().await;
        let took = Duration::from_nanos(monotonic_ns() - begin);
        assert!(took >= Duration::from_millis(500), "it had its drain: {took:?}");
        assert!(took < Duration::from_secs(10), "{took:?}");
        all_dead(&pids).await;
        fs_err::remove_file(world.dir.path().join("pid")).unwrap();
    }
}

#[tokio::test]
async fn a_second_stop_does_not_wait_for_the_drain() {
    let world = World::new();
    let mut spec = world.spec(
        "deaf",
        Kind::Guarded,
        "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done",
    );
    spec.drain = Duration::from_secs(600);
    let running = world.start(vec![spec]);
    let pids = world.pids("pid", 1).await;
    running.stop.cancel();
    running.state("deaf", State::Stopping).await;
    running.handle.stop_now();
    running.ended().await;
    all_dead(&pids).await;
}

#[tokio::test]
async fn work_in_progress_is_finished_within_the_drain() {
    let world = World::new();
    for kind in [Kind::Ours, Kind::Guarded] {
        let script =
            "trap 'sleep 0.3; echo done > work; exit 0' TERM; echo $$ > pid; while :; do sleep 0.01; done";
        let mut spec = world.spec("worker", kind, script);
        spec.drain = Duration::from_secs(10);
        let running = world.start(vec![spec]);
        running.ready(1).await;
        world.pids("pid", 1).await;
        running.stop().await;
        assert_eq!(world.read("work"), "done\n");
        fs_err::remove_file(world.dir.path().join("work")).unwrap();
        fs_err::remove_file(world.dir.path().join("pid")).unwrap();
    }
}

#[tokio::test]
async fn children_get_a_clean_environment() {
    let world = World::new();
    let mut spec = world.spec("api", Kind::Guarded, "env > env.txt; touch up; exec sleep 1000");
    spec.env.insert("PORT".into(), "4321".into());
    let running = world.start(vec![spec]);
    crate::world::eventually("environment", || {
        world.dir.path().join("up").exists().then_some(())
    })
    .await;
    let env = world.read("env.txt");
    let mut names: Vec<&str> = env
        .lines()
        .filter_map(|line| Some(line.split_once('=')?.0))
        .collect();
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_"].contains(name));
    names.sort_unstable();
    assert_eq!(names, ["PATH", "PORT", "RC_INSTANCE"]);
    running.stop().await;
}
