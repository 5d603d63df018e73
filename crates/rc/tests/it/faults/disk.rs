//! Disks that are full, read-only, or fail while the platform runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rc_test::disk::{self, Disk};
use serde_json::Value;

use super::documents::Set;
use super::processes::{kill, left, pid, ready, running, status};
use super::queues::{Reply, expect_refusal, own_get};
use crate::world::{Answer, World, eventually, told};

/// The disk of the full-disk test; a twentieth of it is the reserve.
const DISK_MIB: u32 = 192;

/// What is left of it when it is nearly full: less than the reserve, more than a few documents.
const NEARLY_FULL_BYTES: u64 = 6 << 20;

/// Starts the platform by `command`, which ends with the program `rc`.
fn up(world: &World, mut command: Command) {
    let output = command
        .args(["up", "--detach"])
        .current_dir(world.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
}

fn data(world: &World) -> PathBuf {
    let data = world.path().canonicalize().unwrap().join(".royalcrown/data");
    fs_err::create_dir_all(&data).unwrap();
    data
}

/// A file that takes room away. Gone when dropped.
struct Ballast {
    file: fs_err::File,
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    fn on(folder: &Path) -> Self {
        let path = folder.join("ballast");
        let file = fs_err::File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&path)
            .unwrap();
        Self { file, path, bytes: 0 }
    }

    /// Grows until `left` bytes of the disk are free.
    fn leave(&mut self, left: u64) {
        loop {
            let stat = rustix::fs::fstatvfs(&self.file).unwrap();
            let free = stat.f_bavail * stat.f_frsize;
            if free <= left {
                return;
            }
            let more = free - left;
            let flags = rustix::fs::FallocateFlags::empty();
            // Others write, too: what does not fit any more is tried smaller.
            if rustix::fs::fallocate(&self.file, flags, self.bytes, more).is_ok() {
                self.bytes += more;
            }
        }
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _gone_with_its_namespace = fs_err::remove_file(&self.path);
    }
}

fn post(world: &World, key: &str, set: &Set, number: usize) -> Answer {
    world.post(
        "/ingest",
        key,
        &format!("key-{}", set.id(number)),
        &set.document(number),
    )
}

fn as_reply(answer: &Answer) -> Reply {
    Reply {
        status: answer.status,
        retry_after: answer.header("retry-after").and_then(|value| value.parse().ok()),
        code: answer.json()["code"].as_str().unwrap_or_default().to_owned(),
        body: String::from_utf8_lossy(&answer.body).into_owned(),
    }
}

/// What `/ready` of a service says of one part; the service must not call itself ready.
fn unready_part(world: &World, service: &str, part: &str) -> Option<String> {
    let report = own_get(world, service, "/ready");
    let report: Value = (report.status == 503).then(|| serde_json::from_str(&report.body).unwrap())?;
    let said = report["components"][part].as_str()?;
    said.starts_with("down: ").then(|| said.to_owned())
}

fn expect_reads(world: &World, key: &str, set: &Set) {
    let document = world.get(&format!("/docs/{}", set.id(1)), key);
    assert_eq!(document.status, 200, "{document:?}");
    let found = world.get(&format!("/search?q={}w0&limit=1", set.name()), key);
    assert_eq!(found.status, 200, "{found:?}");
}

#[test]
fn slow_a_full_disk_refuses_writes_keeps_reads_and_takes_writes_again_when_there_is_room() {
    if let Some(why) = disk::refused() {
        println!("disk: this kernel gives no disk of one's own ({why}); a limit on files stands for it");
        return writes_fail_and_come_back();
    }
    let world = World::new();
    let data = data(&world);
    up(
        &world,
        disk::command_on(Disk::Small { mib: DISK_MIB }, &data, env!("CARGO_BIN_EXE_rc")),
    );
    let key = world.key("acme");
    let (kept, late) = (Set::new("kept", 500), Set::new("late", 20));
    let stored = world.json(&["ingest", "--wait", kept.file(&world).to_str().unwrap()]);
    assert_eq!(stored["documents"]["accepted"], 500, "{stored:#}");

    // Nearly full: documents are refused before anything breaks, and said so.
    let supervisor = pid(&world, "rc-up").unwrap();
    let there = disk::seen_by(supervisor, &data);
    let mut ballast = Ballast::on(&there);
    ballast.leave(NEARLY_FULL_BYTES);
    let refused = eventually("a document is refused", || {
        let answer = post(&world, &key, &late, 0);
        (answer.status != 202).then_some(answer)
    });
    expect_refusal(&as_reply(&refused), 503, "RC-ING-031");
    let said = eventually("ingest names the disk", || unready_part(&world, "ingest", "room"));
    assert!(said.contains("RC-ING-031") && said.contains("free"), "{said}");
    eventually("the platform says so", || {
        (status(&world)["state"] == "degraded").then_some(())
    });
    expect_reads(&world, &key, &kept);
    let removed = world.http(
        &format!(
            "DELETE /docs/{} HTTP/1.1\nAuthorization: Bearer {key}",
            kept.id(0)
        ),
        b"",
    );
    assert_eq!(removed.status, 202, "room is made by deleting: {removed:?}");
    drop(ballast);
    eventually("documents are taken again", || {
        (post(&world, &key, &late, 0).status == 202).then_some(())
    });
    ready(&world);

    // Full from one moment to the next, in the middle of a large run, and processes die while it is.
    let many = Set::new("many", 20_000);
    let ingest = world
        .command(&["ingest", many.file(&world).to_str().unwrap(), "--output", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ballast = Ballast::on(&there);
    std::thread::sleep(std::time::Duration::from_millis(400));
    ballast.leave(0);
    let refused = eventually("a document is refused", || {
        ballast.leave(0);
        let answer = post(&world, &key, &late, 1);
        (answer.status != 202).then_some(answer)
    });
    let refused = as_reply(&refused);
    println!(
        "disk: full in the middle of a run: {} {}",
        refused.status, refused.code
    );
    assert!(
        matches!(refused.code.as_str(), "RC-ING-022" | "RC-ING-031"),
        "{refused:?}"
    );
    expect_refusal(&refused, 503, &refused.code);
    expect_reads(&world, &key, &kept);
    for service in ["docs-api", "ingest"] {
        let dead = running(&world, service);
        kill(dead);
        eventually("it is back", || pid(&world, service).filter(|now| *now != dead));
    }
    eventually("reads are back on the full disk", || {
        (world.get(&format!("/docs/{}", kept.id(1)), &key).status == 200).then_some(())
    });
    expect_reads(&world, &key, &kept);

    // Room again: everything goes on by itself.
    drop(ballast);
    let output = ingest.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
    eventually("documents are taken again", || {
        (post(&world, &key, &late, 1).status == 202).then_some(())
    });
    ready(&world);
    many.expect_searchable(&world, &key);
    // SQLite would look for the file outside the namespace; nothing writes any more, so a copy tells the same.
    let copy = tempfile::tempdir().unwrap();
    for name in ["bus.db", "bus.db-wal"] {
        fs_err::copy(there.join("ingest").join(name), copy.path().join(name)).unwrap();
    }
    let once = many.on_bus(&copy.path().join("bus.db"));
    assert_eq!((once.events, once.documents, once.kseq_max), (20_000, 20_000, 1));
    println!("disk: 20000 documents acknowledged around a full disk, each searchable and on the bus once");
}

#[test]
fn slow_a_disk_that_fails_while_the_platform_runs_is_noticed_and_its_return_too() {
    writes_fail_and_come_back();
}

fn writes_fail_and_come_back() {
    let world = World::new();
    up(&world, disk::command_that_can_fail(env!("CARGO_BIN_EXE_rc")));
    let key = world.key("acme");
    let set = Set::new("fail", 100);
    for number in 0..10 {
        assert_eq!(post(&world, &key, &set, number).status, 202);
    }
    eventually("they are indexed", || {
        (world.get(&format!("/docs/{}", set.id(9)), &key).status == 200).then_some(())
    });

    // Ingest: refused with a wait, named, and nothing of it stored.
    let ingest = running(&world, "ingest");
    disk::fail_writes(ingest, true);
    for number in 10..20 {
        expect_refusal(&as_reply(&post(&world, &key, &set, number)), 503, "RC-ING-022");
    }
    let said = eventually("ingest names its store", || {
        unready_part(&world, "ingest", "store")
    });
    println!("disk: ingest's /ready while its disk fails: {said}");
    expect_reads(&world, &key, &set);
    disk::fail_writes(ingest, false);
    for number in 10..20 {
        eventually("documents are taken again", || {
            (post(&world, &key, &set, number).status == 202).then_some(())
        });
    }
    ready(&world);

    // Docs-api: writes are acknowledged and wait, reads go on, and `/ready` says who does not move.
    let docs = running(&world, "docs-api");
    disk::fail_writes(docs, true);
    for number in 20..60 {
        assert_eq!(post(&world, &key, &set, number).status, 202);
    }
    let said = eventually("docs-api names its projector", || {
        unready_part(&world, "docs-api", "projector")
    });
    println!("disk: docs-api's /ready while its disk fails: {said}");
    expect_reads(&world, &key, &set);
    disk::fail_writes(docs, false);
    for number in 60..100 {
        assert_eq!(post(&world, &key, &set, number).status, 202);
    }
    set.expect_searchable(&world, &key);

    // The gateway: no key is made that is not kept; the keys that are there go on.
    let gateway = running(&world, "gateway");
    disk::fail_writes(gateway, true);
    let output = world.rc(&["tenant", "key", "create", "acme"]);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    expect_reads(&world, &key, &set);
    disk::fail_writes(gateway, false);
    let another = eventually("keys are made again", || {
        let output = world.rc(&["tenant", "key", "create", "acme", "--output", "json"]);
        let made: Value = serde_json::from_slice(&output.stdout).ok()?;
        made["key"].as_str().map(str::to_owned)
    });
    expect_reads(&world, &another, &set);
    ready(&world);
    set.expect_once_on_bus(&world);
    assert_eq!(
        [ingest, docs, gateway],
        ["ingest", "docs-api", "gateway"].map(|service| running(&world, service)),
        "nobody had to be restarted"
    );
}

#[test]
fn a_read_only_disk_at_the_start_is_named_and_nothing_is_left_running() {
    if let Some(why) = disk::refused() {
        panic!("this kernel gives no disk of one's own, which the test needs: {why}");
    }
    let world = World::new();
    world.up();
    let set = Set::new("read", 50);
    let stored = world.json(&["ingest", "--wait", set.file(&world).to_str().unwrap()]);
    assert_eq!(stored["documents"]["accepted"], 50, "{stored:#}");
    world.ok(&["down"]);

    let mut command = disk::command_on(Disk::ReadOnly, &data(&world), env!("CARGO_BIN_EXE_rc"));
    let refused = command
        .args(["up", "--detach"])
        .current_dir(world.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", told(&refused));
    assert!(
        told(&refused).contains("Read-only file system"),
        "{}",
        told(&refused)
    );
    eventually("nothing is left running", || {
        left(&world).is_empty().then_some(())
    });

    world.up();
    let key = world.key("acme");
    set.expect_searchable(&world, &key);
    set.expect_once_on_bus(&world);
}
