//! Capturing what services print.

use std::time::Duration;

use rc_runtime::journal::{Line, last_lines, rotated};
use rc_runtime::{Kind, State};

use crate::world::{World, eventually};

#[tokio::test]
async fn both_outputs_are_captured_in_order_with_their_time() {
    let world = World::new();
    let running = world.start(vec![world.spec(
        "api",
        Kind::Ours,
        "for n in 1 2 3; do echo out $n; echo err $n >&2; done; exec sleep 1000",
    )]);
    let path = world.dir.path().join("api.log");
    let printed = |lines: &[String]| -> Vec<String> {
        let own = lines
            .iter()
            .map(|line| Line::parse(line))
            .filter(|line| !line.json);
        own.inspect(|line| assert!(line.at.is_some()))
            .map(|line| line.text.to_owned())
            .collect()
    };
    let lines = eventually("six lines", || {
        let lines = printed(&last_lines(&path, 100).unwrap().0);
        (lines.len() == 6).then_some(lines)
    })
    .await;
    assert_eq!(lines, ["out 1", "err 1", "out 2", "err 2", "out 3", "err 3"]);
    running.ready(1).await;
    running.stop().await;
    let log = world.read("api.log");
    for remark in [
        "\"started, pid ",
        "\"ready after ",
        "\"asked to stop\"",
        "\"stopped\"",
    ] {
        assert!(log.contains(remark), "{remark} is missing in {log}");
    }
}

#[tokio::test]
async fn a_flood_fills_no_disk_and_delays_nobody() {
    let world = World::new();
    let flood = world.spec(
        "flood",
        Kind::Guarded,
        "exec yes 'a line that never ends to come'",
    );
    let running = world.start(vec![flood, world.spec("calm", Kind::Ours, "exec sleep 1000")]);
    running.ready(2).await;
    let path = world.dir.path().join("flood.log");
    eventually("a rotation", || rotated(&path).exists().then_some(())).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let size = |path: &std::path::Path| fs_err::metadata(path).map_or(0, |meta| meta.len());
    // The bound of these tests is 1 MiB a file; one write may come on top.
    assert!(size(&path) + size(&rotated(&path)) < 3 << 20);
    assert_eq!(running.state("calm", State::Ready).await.restarts, 0);
    let stopping = tokio::time::timeout(Duration::from_secs(10), running.stop());
    stopping.await.expect("a flood does not hold up the stop");
}

#[tokio::test]
async fn a_child_that_holds_the_pipe_does_not_hold_up_the_restart() {
    let world = World::new();
    // Nobody guards this one; what it leaves behind keeps its output open.
    let script = "echo $$ >> pids; sleep 3 & exit 1";
    let running = world.start(vec![world.spec("leaky", Kind::Ours, script)]);
    world.pids("pids", 2).await;
    running.stop().await;
}
