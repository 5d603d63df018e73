//! The audit log, end to end: who, what, why and when, in order, once, and provably unchanged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rc_runtime::procfs;
use rustix::process::Signal;
use serde_json::Value;

use crate::world::{World, eventually, told};

mod stores;

const TENANTS: &str = "tenants:\n  acme: {tier: gold, demo: true}\n";

/// All entries, in the order of the log.
fn entries(world: &World) -> Vec<Value> {
    let mut listed = world.json(&["audit", "log", "-n", "100000"]);
    let mut entries = listed["entries"].take().as_array_mut().unwrap().split_off(0);
    entries.sort_by_key(|entry| entry["index"].as_u64());
    let indices: Vec<u64> = entries
        .iter()
        .map(|entry| entry["index"].as_u64().unwrap())
        .collect();
    assert_eq!(indices, (0..entries.len() as u64).collect::<Vec<_>>());
    entries
}

/// `key.create acme/…` and the like, with the reason's code.
fn said(entry: &Value) -> (String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        text(&entry["action"]),
        text(&entry["resource"]["id"]),
        text(&entry["reason"]["code"]),
    )
}

/// The place of the first entry, from `from` on, with this action and this resource.
fn position(entries: &[Value], from: usize, action: &str, resource: &str) -> usize {
    let found = entries[from..].iter().position(|entry| {
        let (found, on, _) = said(entry);
        found == action && on == resource
    });
    from + found.unwrap_or_else(|| panic!("no {action} of {resource} from {from} on in {entries:#?}"))
}

fn status(world: &World) -> Value {
    let output = world.rc(&["status", "--output", "json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(&output)))
}

fn pid(world: &World, service: &str) -> Option<u32> {
    let status = status(world);
    let services = status["services"].as_array()?;
    let found = services.iter().find(|found| found["service"] == service)?;
    found["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
}

/// Kills a service as the kernel's memory killer would; `false` when it is not there at this moment.
fn kill(world: &World, service: &str) -> bool {
    let process = pid(world, service).and_then(procfs::process);
    if let Some(process) = &process {
        procfs::signal(process, Signal::KILL);
    }
    process.is_some()
}

/// `rc audit verify`, with its exit code and its verdict.
fn verify(world: &World, more: &[&str]) -> (Option<i32>, Value) {
    let mut args = vec!["audit", "verify", "--output", "json"];
    args.extend(more);
    let output = world.rc(&args);
    let verdict =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(&output)));
    (output.status.code(), verdict)
}

fn whole(world: &World) -> Value {
    let (code, verdict) = verify(world, &[]);
    assert_eq!(
        (code, &verdict["whole"]),
        (Some(0), &Value::Bool(true)),
        "{verdict:#}"
    );
    verdict
}

/// Every file below `dir`, with its content.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push((entry.path(), fs_err::read(entry.path()).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn what_was_done_is_told_in_order_with_who_why_and_when() {
    let world = World::new();
    world.write("tenants.yaml", TENANTS);
    let before = rc_model::Clock::now(&rc_model::SystemClock);
    world.up();
    let made = world.json(&[
        "tenant",
        "key",
        "create",
        "acme",
        "--label",
        "ci",
        "--reason",
        "for the nightly build",
    ]);
    let (key_id, key) = (made["key_id"].as_str().unwrap(), made["key"].as_str().unwrap());
    world.ok(&[
        "tenant",
        "key",
        "revoke",
        key_id,
        "--reason",
        "it leaked in a chat",
    ]);
    // Revoking again changes nothing and is no entry.
    world.ok(&["tenant", "key", "revoke", key_id]);

    let in_force = || status(&world)["config"]["digest"].as_str().unwrap().to_owned();
    let first = in_force();
    world.write("tenants.yaml", &format!("{TENANTS}  initech: {{tier: silver}}\n"));
    eventually("the change is applied", || (in_force() != first).then_some(()));
    let second = in_force();
    world.write("tenants.yaml", "tenants:\n  acme: {tier: no-such-tier}\n");
    eventually("the change is refused", || {
        (status(&world)["config"]["state"] == "refused").then_some(())
    });
    eventually("both have told of it", || {
        let told = entries(&world);
        let refused = told.iter().filter(|entry| entry["action"] == "config.refuse");
        (refused.count() == 2).then_some(())
    });
    // Back to what is in force, which is no change; a service reads the files when it starts.
    world.write("tenants.yaml", &format!("{TENANTS}  initech: {{tier: silver}}\n"));
    eventually("what is in force is what the files say", || {
        (status(&world)["config"]["state"] == "applied").then_some(())
    });
    let old = pid(&world, "ingest");
    assert!(kill(&world, "ingest"));
    eventually("ingest is back", || {
        let now = pid(&world, "ingest");
        (now.is_some() && now != old && status(&world)["state"] == "ready").then_some(())
    });
    whole(&world);
    world.ok(&["down"]);

    let told = entries(&world);
    let me = format!("os-user:{}", rustix::process::getuid().as_raw());
    let who = |entry: &Value| {
        format!(
            "{}:{}",
            entry["actor"]["kind"].as_str().unwrap(),
            entry["actor"]["id"].as_str().unwrap()
        )
    };
    // In this order, whatever lies between.
    let mut at = 0;
    let mut seen = Vec::new();
    for (action, resource, code, actor) in [
        ("platform.start", "local", "asked", me.as_str()),
        ("service.start", "ingest", "catalog", "service:rc-up"),
        ("service.crash", "ingest", "ended", "service:rc-up"),
        ("service.start", "ingest", "crashed", "service:rc-up"),
        ("service.stop", "gateway", "asked", "service:rc-up"),
        ("service.stop", "ingest", "asked", "service:rc-up"),
        ("service.stop", "prov-ledger", "asked", "service:rc-up"),
        ("platform.stop", "local", "asked", me.as_str()),
    ] {
        at = position(&told, at, action, resource);
        let entry = &told[at];
        assert_eq!(
            (said(entry).2.as_str(), who(entry).as_str()),
            (code, actor),
            "{entry:#}"
        );
        seen.push(entry.clone());
    }
    assert_eq!(at, told.len() - 1, "the stop is the last word");
    assert_eq!(seen[2]["detail"]["exit"], "ended by SIGKILL");
    assert_eq!(seen[0]["after"], Value::String(first.clone()));

    let created = position(&told, 0, "key.create", key_id);
    let revoked = position(&told, created, "key.revoke", key_id);
    assert_eq!(told[created]["reason"]["text"], "for the nightly build");
    assert_eq!(told[created]["detail"]["label"], "ci");
    assert_eq!(told[created]["resource"]["tenant"], "acme");
    assert_eq!(who(&told[created]), me);
    assert_eq!(told[created]["trace_id"].as_str().unwrap().len(), 32);
    assert_eq!(told[revoked]["reason"]["text"], "it leaked in a chat");
    assert_eq!(told[revoked]["before"], told[created]["after"]);
    let of_the_key = told.iter().filter(|entry| said(entry).1 == key_id).count();
    assert_eq!(of_the_key, 2, "the second revocation changed nothing");

    for who in ["gateway", "rc-up"] {
        let applied = position(&told, 0, "config.apply", who);
        let refused = position(&told, applied, "config.refuse", who);
        assert_eq!(told[applied]["before"], Value::String(first.clone()));
        assert_eq!(told[applied]["after"], Value::String(second.clone()));
        assert_eq!(told[refused]["before"], Value::String(second.clone()));
        assert_eq!(told[refused]["outcome"], "refused");
        let problem = told[refused]["detail"]["problems"][0].as_str().unwrap();
        assert!(
            problem.contains("tenants.yaml:2:") && problem.contains("no-such-tier"),
            "{problem}"
        );
    }
    let after = rc_model::Clock::now(&rc_model::SystemClock);
    for entry in &told {
        let at = rc_model::Timestamp::parse(entry["at"].as_str().unwrap()).unwrap();
        assert!(before <= at && at <= after, "{entry:#}");
    }

    // The next run goes on in the same log, and filters pick from it.
    let verdict = whole(&world);
    assert_eq!(verdict["size"], told.len());
    assert_eq!(verdict["waiting"], 0);
    world.ok(&["audit", "log", "--tenant", "acme", "--action", "key"]);
    let picked = world.json(&[
        "audit",
        "log",
        "--action",
        "key.revoke",
        "--actor",
        &me,
        "--since",
        "1h",
    ]);
    let ids: Vec<&Value> = picked["entries"].as_array().unwrap().iter().collect();
    assert!(ids.iter().any(|entry| entry["resource"]["id"] == *key_id));
    assert!(ids.iter().all(|entry| entry["action"] == "key.revoke"));
    let none = world.json(&["audit", "log", "--since", "2100-01-01T00:00:00Z"]);
    assert_eq!(none["entries"], Value::Array(Vec::new()));

    // Whatever the ledger and the outboxes keep: no secret, and the log itself has no free text.
    let secret = &key[key.len() - 32..];
    let state = world.path().join(".royalcrown");
    for (path, bytes) in files(&state) {
        let has = |needle: &str| {
            bytes
                .windows(needle.len())
                .any(|window| window == needle.as_bytes())
        };
        assert!(!has(secret), "{} holds a secret", path.display());
        if path.starts_with(state.join("data/prov-ledger/log")) {
            assert!(
                !has("nightly") && !has("leaked in"),
                "{} holds free text",
                path.display()
            );
        }
    }
    let text = world.ok(&["audit", "log"]);
    for part in [
        "WHO",
        "\"for the nightly build\"",
        "platform.stop",
        "ended by SIGKILL",
        &me,
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
}

#[test]
fn every_key_has_exactly_one_entry_when_ledger_and_gateway_are_killed_meanwhile() {
    const KILLS: usize = 6;
    let world = World::new();
    world.write("tenants.yaml", TENANTS);
    world.up();
    let done = AtomicBool::new(false);
    let made: Vec<String> = std::thread::scope(|scope| {
        let makers: Vec<_> = (0..3)
            .map(|maker| {
                let (world, done) = (&world, &done);
                scope.spawn(move || {
                    let mut made = Vec::new();
                    let mut number = 0;
                    while !done.load(Ordering::Relaxed) {
                        number += 1;
                        let label = format!("burst-{maker}-{number}");
                        let output = world.rc(&[
                            "tenant", "key", "create", "acme", "--label", &label, "--output", "json",
                        ]);
                        // A creation whose answer is lost may have happened: it is looked for below.
                        if output.status.success() {
                            let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
                            made.push(answer["key_id"].as_str().unwrap().to_owned());
                        }
                    }
                    made
                })
            })
            .collect();
        for turn in 0..KILLS {
            let victim = ["prov-ledger", "gateway"][turn % 2];
            let old = pid(&world, victim);
            assert!(kill(&world, victim));
            eventually("it is back", || {
                let now = pid(&world, victim);
                (now.is_some() && now != old && status(&world)["state"] == "ready").then_some(())
            });
            std::thread::sleep(std::time::Duration::from_millis(150 + 70 * turn as u64));
        }
        done.store(true, Ordering::Relaxed);
        makers
            .into_iter()
            .flat_map(|maker| maker.join().unwrap())
            .collect()
    });
    assert!(made.len() > 20, "only {} keys were made", made.len());
    eventually("everything is delivered", || {
        let listed = world.json(&["audit", "log", "-n", "1"]);
        (listed["waiting"] == 0).then_some(())
    });
    let told = entries(&world);
    let mut created: BTreeMap<String, usize> = BTreeMap::new();
    for entry in told.iter().filter(|entry| entry["action"] == "key.create") {
        *created.entry(said(entry).1).or_default() += 1;
    }
    assert!(created.values().all(|count| *count == 1), "{created:?}");
    for key in &made {
        assert!(
            created.contains_key(key),
            "{key} was acknowledged and is not in the log"
        );
    }
    // And the other way round: what the log says is what the gateway has.
    let listed = world.json(&["tenant", "key", "list", "acme"]);
    let kept: BTreeSet<String> = listed["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["key_id"].as_str().unwrap().to_owned())
        .collect();
    let in_log: BTreeSet<String> = told
        .iter()
        .filter(|entry| entry["action"] == "key.create")
        .map(|entry| said(entry).1)
        .collect();
    assert_eq!(in_log, kept);
    let crashes = told
        .iter()
        .filter(|entry| entry["action"] == "service.crash")
        .count();
    assert_eq!(crashes, KILLS);
    whole(&world);
}

#[test]
fn while_the_ledger_is_away_entries_wait_and_are_told() {
    let world = World::new();
    world.up();
    let supervisor = status(&world)["pid"].as_u64().unwrap();
    // Stopped, not dead: it is not started again, and answers nothing.
    let ledger = procfs::process(pid(&world, "prov-ledger").unwrap()).unwrap();
    procfs::signal(&ledger, Signal::STOP);
    let made = world.json(&["tenant", "key", "create", "acme", "--reason", "meanwhile"]);
    let key_id = made["key_id"].as_str().unwrap();
    let output = world.rc(&["audit", "log"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("to be written"), "{}", told(&output));
    let listed = world.json(&["audit", "log", "-n", "1000"]);
    assert!(listed["waiting"].as_u64().unwrap() >= 1, "{listed:#}");
    assert!(!listed["entries"].to_string().contains(key_id));
    // The supervisor is killed in the middle: nothing is lost.
    let supervisor = procfs::process(u32::try_from(supervisor).unwrap()).unwrap();
    procfs::signal(&supervisor, Signal::KILL);
    procfs::signal(&ledger, Signal::CONT);
    eventually("the services have ended", || {
        let state = world.path().canonicalize().unwrap().join(".royalcrown");
        let left = procfs::marked(rc_runtime::MARK, &format!("{}#", state.display()));
        left.is_empty().then_some(())
    });
    world.up();
    eventually("everything is delivered", || {
        let listed = world.json(&["audit", "log", "-n", "1"]);
        (listed["waiting"] == 0).then_some(())
    });
    let told = entries(&world);
    let there = told.iter().filter(|entry| said(entry).1 == key_id);
    assert_eq!(there.count(), 1);
    let starts: Vec<&Value> = told
        .iter()
        .filter(|entry| entry["action"] == "platform.start")
        .collect();
    assert_eq!(starts.len(), 2);
    assert!(starts[0]["detail"]["run_before"].is_null());
    assert!(
        starts[1]["detail"]["run_before"].is_string(),
        "the second start tells of the kill"
    );
    whole(&world);
}

#[test]
fn erased_texts_leave_the_log_whole_and_changed_ones_do_not() {
    let world = World::new();
    world.up();
    world.ok(&["tenant", "key", "create", "acme", "--reason", "a personal matter"]);
    world.ok(&["down"]);
    let db = world.path().join(".royalcrown/data/prov-ledger/ledger.db");
    let conn = rc_store::rusqlite::Connection::open(&db).unwrap();
    let erased = conn
        .execute(
            "DELETE FROM texts WHERE text = CAST('a personal matter' AS BLOB)",
            [],
        )
        .unwrap();
    assert_eq!(erased, 1);
    let verdict = whole(&world);
    assert_eq!(verdict["texts"]["erased"], 1);
    assert!(world.ok(&["audit", "log"]).contains("(reason erased)"));

    conn.execute(
        "UPDATE texts SET text = CAST('{\"label\":\"other\"}' AS BLOB) WHERE text LIKE '%label%'",
        [],
    )
    .unwrap();
    let (code, verdict) = verify(&world, &[]);
    assert_eq!(code, Some(1), "{verdict:#}");
    let fault = &verdict["faults"][0];
    assert_eq!(fault["kind"], "text");
    assert_eq!(fault["file"], ".royalcrown/data/prov-ledger/ledger.db");
    assert!(fault["index"].is_u64());
}

#[test]
fn tampering_is_seen_and_the_file_is_named() {
    let world = World::new();
    world.write("tenants.yaml", TENANTS);
    world.up();
    world.key("acme");
    world.ok(&["down"]);
    let folder = world.path().join(".royalcrown/data/prov-ledger");
    let log = folder.join("log");
    let older = Copy::of(&folder);
    let saved = world.path().join("saved");
    let saved = saved.to_str().unwrap();
    let (code, verdict) = verify(&world, &["--save", saved]);
    assert_eq!((code, &verdict["saved"]), (Some(0), &Value::from(saved)));

    world.up();
    world.key("acme");
    world.ok(&["down"]);
    let keys = format!("@{saved}.keys");
    let (code, verdict) = verify(&world, &["--checkpoint", saved, "--key", &keys]);
    assert_eq!(code, Some(0), "{verdict:#}");
    assert_eq!(verdict["checkpoints_given"], 1);
    let whole_copy = Copy::of(&folder);
    let size = verdict["size"].as_u64().unwrap();

    // A byte of any published file, at both ends.
    let published: Vec<PathBuf> = files(&log)
        .into_iter()
        .filter(|(path, bytes)| !path.starts_with(log.join("wal")) && !bytes.is_empty())
        .map(|(path, _)| path)
        .collect();
    assert!(published.len() > 4, "{published:?}");
    for path in &published {
        let good = fs_err::read(path).unwrap();
        for at in [0, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs_err::write(path, &bad).unwrap();
            refused(&world, &[], path, &format!("byte {at}"));
        }
        fs_err::write(path, &good).unwrap();
    }
    // The newest tile and bundle, and the checkpoint, gone.
    for path in [
        log.join(format!("tile/0/000.p/{size}")),
        log.join(format!("tile/entries/000.p/{size}")),
        log.join("checkpoint"),
    ] {
        let good = fs_err::read(&path).unwrap();
        fs_err::remove_file(&path).unwrap();
        refused(&world, &[], &path, "gone");
        fs_err::write(&path, &good).unwrap();
    }
    whole(&world);

    // An older log: its second copy knows better.
    older.put(&log, "log");
    let found = refused(&world, &[], &log, "rolled back");
    assert!(found.to_string().contains("older"), "{found:#}");
    // With an older database as well, the outboxes know what they delivered.
    older.put(&folder, "");
    let found = refused(&world, &[], &log, "all of it rolled back");
    assert_eq!(found["kind"], "lost", "{found:#}");
    whole_copy.put(&folder, "");
    whole(&world);

    // Another key, and a log that it signed: what was kept elsewhere shows it.
    let other = World::new();
    other.up();
    other.ok(&["down"]);
    let theirs = other.path().join(".royalcrown/data/prov-ledger");
    fs_err::copy(theirs.join("key"), folder.join("key")).unwrap();
    refused(&world, &[], &log.join("checkpoint"), "another key");
    Copy::of(&theirs).put(&folder, "");
    let (code, verdict) = verify(&world, &["--checkpoint", saved]);
    assert_eq!(code, Some(1), "{verdict:#}");
    assert_eq!(verdict["faults"][0]["file"], "saved", "{verdict:#}");
    let (code, verdict) = verify(&world, &["--key", &keys]);
    assert_eq!(code, Some(1), "{verdict:#}");
    assert!(
        verdict["faults"].to_string().contains("log/checkpoint"),
        "{verdict:#}"
    );
    // The platform does not go on with it either: its outboxes have gone further than this log.
    whole_copy.put(&folder, "");

    // No log at all: nothing was begun, or it is gone.
    fs_err::remove_dir_all(&log).unwrap();
    refused(&world, &[], &log, "the log is gone");
    let up = world.rc(&["up", "--detach"]);
    assert!(!up.status.success(), "{}", told(&up));
    assert!(
        told(&up).contains("RC-LED-003") || told(&up).contains("is gone"),
        "{}",
        told(&up)
    );
    let empty = World::new();
    let none = empty.rc(&["audit", "verify"]);
    assert_eq!(none.status.code(), Some(3), "{}", told(&none));
    let none = empty.rc(&["audit", "log"]);
    assert_eq!(none.status.code(), Some(3), "{}", told(&none));
}

#[test]
fn what_is_given_to_verify_must_be_what_it_says() {
    let world = World::new();
    world.up();
    let nonsense = world.write("nonsense", "not a note\n");
    for args in [
        ["--checkpoint", nonsense.to_str().unwrap()],
        ["--checkpoint", "/no/such/file"],
        ["--key", "not-a-key"],
        ["--key", "@/no/such/file"],
    ] {
        let output = world.rc(&["audit", "verify", args[0], args[1]]);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", told(&output));
        assert!(told(&output).contains("RC-LED-029"), "{}", told(&output));
    }
    // The honest word on what this proves, and how to prove more.
    let output = world.rc(&["audit", "verify"]);
    let text = told(&output);
    for part in [
        "the log is whole",
        "agrees with itself",
        "--save",
        "from the same disk",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

#[test]
fn live_the_gateways_outbox_lies_in_postgresql() {
    let server = rc_test::Postgres::start_own(true);
    let database = server.fresh_database();
    let world = World::new();
    let settings = format!(
        "gateway:\n  listen: {}\nstore:\n  url: \"{}\"\n",
        world.address, database.url
    );
    world.write("royalcrown.yaml", &settings);
    world.write("tenants.yaml", TENANTS);
    world.ok(&["migrate"]);
    world.up();
    let made = world.json(&["tenant", "key", "create", "acme", "--reason", "on PostgreSQL"]);
    let key_id = made["key_id"].as_str().unwrap().to_owned();

    // A change that cannot be recorded is not in force in the gateway, and comes by itself when it can.
    server.stop();
    world.write("tenants.yaml", &format!("{TENANTS}  initech: {{tier: silver}}\n"));
    eventually("the gateway says why it waits", || {
        let config = config(&world);
        let problems = config["refused"]["problems"].to_string();
        problems
            .contains("cannot be recorded in the audit log")
            .then_some(())
    });
    assert_eq!(config(&world)["version"], 1);
    let output = world.rc(&["audit", "log"]);
    assert!(output.status.success(), "{}", told(&output));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("whether entries of gateway wait cannot be seen"),
        "{}",
        told(&output)
    );
    server.start_again();
    eventually("the change is in force", || {
        (config(&world)["version"] == 2).then_some(())
    });
    world.ok(&["tenant", "key", "create", "initech"]);
    eventually("everything is delivered", || {
        let listed = world.json(&["audit", "log", "-n", "1"]);
        (listed["waiting"] == 0 && listed["silent"] == Value::Array(Vec::new())).then_some(())
    });
    let told = entries(&world);
    let of = |action: &str, resource: &str| {
        let found = told.iter().filter(|entry| {
            let (found, on, _) = said(entry);
            found == action && on == resource
        });
        found.count()
    };
    assert_eq!(of("key.create", &key_id), 1);
    assert_eq!(of("config.apply", "gateway"), 1);
    assert_eq!(
        of("config.refuse", "gateway"),
        0,
        "a change that waits is not refused"
    );
    let verdict = whole(&world);
    assert_eq!(verdict["sources"], 2);
    world.ok(&["down"]);
    whole(&world);
}

/// The configuration that the gateway has in force.
fn config(world: &World) -> Value {
    let socket = world.path().join(".royalcrown/run/gateway.sock");
    let output = std::process::Command::new("curl")
        .args(["-sS", "--max-time", "20", "--unix-socket"])
        .arg(socket)
        .arg("http://localhost/-/config")
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(&output)))
}

/// A verdict of exit code 1 that names `file`; gives the fault that does.
fn refused(world: &World, more: &[&str], file: &Path, what: &str) -> Value {
    let (code, verdict) = verify(world, more);
    assert_eq!(code, Some(1), "{}: {what}: {verdict:#}", file.display());
    let named = file.strip_prefix(world.path()).unwrap().to_str().unwrap();
    let faults = verdict["faults"].as_array().unwrap();
    let found = faults.iter().find(|fault| {
        let place = fault["file"].as_str().unwrap();
        place.ends_with(named) || fault["text"].as_str().unwrap().contains(named)
    });
    let found = found.unwrap_or_else(|| panic!("{named}: {what}: it is not named in {verdict:#}"));
    assert!(!found["meaning"].as_str().unwrap().is_empty());
    found.clone()
}

/// A folder as it was.
struct Copy(Vec<(PathBuf, Vec<u8>)>);

impl Copy {
    fn of(folder: &Path) -> Self {
        let relative = |path: PathBuf| path.strip_prefix(folder).unwrap().to_owned();
        Self(
            files(folder)
                .into_iter()
                .map(|(path, bytes)| (relative(path), bytes))
                .collect(),
        )
    }

    /// Puts the part below `sub` in the place of what is in `folder`.
    fn put(&self, folder: &Path, sub: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        fs_err::remove_dir_all(folder).unwrap();
        for (path, bytes) in &self.0 {
            let Ok(path) = path.strip_prefix(sub) else {
                continue;
            };
            let path = folder.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(&path, bytes).unwrap();
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}
