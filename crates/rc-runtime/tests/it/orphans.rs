//! Nothing is left behind, whatever a child does and whoever is killed.

use std::process::{Command, Stdio};
use std::time::Duration;

use rc_runtime::{Kind, State, procfs, sweep_leftovers};

use crate::roles;
use crate::world::{World, alive, all_dead, eventually, kill_minus_nine};

/// Forks twice, starts a session of its own, ignores SIGTERM, and writes its id to `escaped.pid`.
const ESCAPE: &str = "(setsid sh -c 'trap \"\" TERM; echo $$ >> escaped.pid; while :; do sleep 1; done' &) ;";

#[tokio::test]
async fn a_daemon_that_forks_twice_goes_with_its_service() {
    let world = World::new();
    let running = world.start(vec![world.spec(
        "api",
        Kind::Guarded,
        &format!("{ESCAPE} exec sleep 1000"),
    )]);
    running.ready(1).await;
    let escaped = world.pids("escaped.pid", 1).await;
    assert!(alive(escaped[0]));
    running.stop().await;
    assert!(!alive(escaped[0]), "the stop waits for it");
}

#[tokio::test]
async fn a_service_that_ends_takes_its_daemons_with_it_at_each_restart() {
    let world = World::new();
    let mut spec = world.spec("api", Kind::Guarded, &format!("{ESCAPE} sleep 0.2; exit 4"));
    spec.drain = Duration::from_millis(50);
    let running = world.start(vec![spec]);
    running.state("api", State::CrashLooped).await;
    let escaped = world.pids("escaped.pid", 5).await;
    assert_eq!(escaped.len(), 5, "one a start: {escaped:?}");
    assert!(escaped.iter().all(|pid| !alive(*pid)));
    running.stop().await;
}

#[tokio::test]
async fn kill_minus_nine_of_the_guard_leaves_nothing_and_the_service_comes_back() {
    let world = World::new();
    let running = world.start(vec![world.spec(
        "api",
        Kind::Guarded,
        &format!("{ESCAPE} echo $$ >> main.pid; exec sleep 1000"),
    )]);
    let guard = running.state("api", State::Ready).await.pid.unwrap();
    let mut first = world.pids("main.pid", 1).await;
    first.extend(world.pids("escaped.pid", 1).await);
    kill_minus_nine(guard);
    let second = world.pids("main.pid", 2).await;
    all_dead(&first).await;
    assert!(alive(second[1]));
    let status = running.state("api", State::Ready).await;
    assert_eq!(status.last_exit.unwrap().text, "ended by SIGKILL");
    running.stop().await;
    all_dead(&second).await;
}

#[tokio::test]
async fn kill_minus_nine_of_the_supervisor_leaves_nothing() {
    let world = World::new();
    let mut command = roles::command("supervisor_role").into_iter();
    let mut supervisor = Command::new(command.next().unwrap())
        .args(command)
        .arg("--")
        .arg(world.dir.path())
        .arg(world.open_port().to_string())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut pids = Vec::new();
    for file in ["ours.pid", "main.pid", "escaped.pid"] {
        pids.extend(world.pids(file, 1).await);
    }
    let family: Vec<u32> = procfs::descendants(supervisor.id())
        .iter()
        .map(|process| process.pid)
        .collect();
    assert!(
        family.len() >= pids.len(),
        "{family:?} holds {pids:?} and the guard"
    );
    kill_minus_nine(supervisor.id());
    supervisor.wait().unwrap();
    all_dead(&family).await;
    all_dead(&pids).await;
    assert_eq!(
        world.read("ours.drained"),
        "drained\n",
        "our own services drain by themselves"
    );
}

#[tokio::test]
async fn the_next_supervisor_ends_what_even_the_guard_left_behind() {
    let world = World::new();
    let scope = world.dir.path().to_str().unwrap();
    let start = |script: &str| {
        Command::new("sh")
            .args(["-c", script])
            .env("RC_INSTANCE", format!("{scope}#api#1-1"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap()
    };
    let (mut polite, mut stubborn) = (start("exec sleep 0.3"), start("exec sleep 1000"));
    // The test is the parent and must look, or the ended ones stay as zombies; the sweep ignores those.
    let killed = sweep_leftovers(scope, Duration::from_secs(1)).await;
    assert_eq!(killed, ["sleep 1000"], "one ended in time by itself");
    assert!(polite.wait().unwrap().success());
    assert!(!stubborn.wait().unwrap().success());
    assert!(sweep_leftovers(scope, Duration::from_secs(1)).await.is_empty());
}

#[tokio::test]
async fn a_dropped_supervisor_lets_its_children_drain() {
    let world = World::new();
    let running = world.start(vec![world.spec(
        "ours",
        Kind::Ours,
        "echo $$ > pid; cat; echo drained > drained",
    )]);
    let pids = world.pids("pid", 1).await;
    running.abort();
    all_dead(&pids).await;
    eventually("drained", || (world.read("drained") == "drained\n").then_some(())).await;
}
