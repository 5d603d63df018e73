//! Stores that were restored, damaged or deleted: the audit log is held against them, and they against it.

use super::*;

/// Kinds of the faults, or of the warnings, of a verdict.
fn kinds(verdict: &Value, list: &str) -> BTreeSet<String> {
    let found = verdict[list].as_array().unwrap().iter();
    found
        .map(|fault| fault["kind"].as_str().unwrap().to_owned())
        .collect()
}

fn copy_folder(from: &Path, to: &Path) {
    if to.exists() {
        fs_err::remove_dir_all(to).unwrap();
    }
    for (path, bytes) in files(from) {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs_err::create_dir_all(target.parent().unwrap()).unwrap();
        fs_err::write(target, bytes).unwrap();
    }
}

/// A project with some entries, stopped.
fn stopped() -> World {
    let world = World::new();
    world.write("tenants.yaml", TENANTS);
    world.up();
    world.ok(&["tenant", "key", "create", "acme", "--label", "one"]);
    eventually("it is delivered", || {
        (world.json(&["audit", "log", "-n", "1"])["waiting"] == 0).then_some(())
    });
    world.ok(&["down"]);
    whole(&world);
    world
}

#[test]
fn a_revoked_key_stays_revoked_when_its_store_is_restored_from_a_backup() {
    let world = World::new();
    world.write("tenants.yaml", TENANTS);
    world.up();
    let made = world.json(&["tenant", "key", "create", "acme", "--label", "leaked"]);
    let (id, key) = (made["key_id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let status_of = |key: &str| world.get("/docs/none", key).status;
    eventually("the key opens the door", || (status_of(key) == 404).then_some(()));
    world.ok(&["down"]);
    let data = world.path().join(".royalcrown/data/gateway");
    let backup = world.path().join("backup");
    copy_folder(&data, &backup);

    world.up();
    world.ok(&["tenant", "key", "revoke", id, "--reason", "it leaked"]);
    eventually("it is refused", || (status_of(key) == 401).then_some(()));
    world.ok(&["down"]);
    copy_folder(&backup, &data);

    let (code, verdict) = verify(&world, &[]);
    assert_eq!(code, Some(1), "{verdict:#}");
    assert_eq!(kinds(&verdict, "faults"), BTreeSet::from(["rewound".to_owned()]));
    world.up();
    for _ in 0..10 {
        assert_eq!(status_of(key), 401, "the key is alive again");
    }
    let new = world.key("acme");
    eventually("the new key opens the door", || {
        (status_of(&new) == 404).then_some(())
    });
    eventually("everything is delivered", || {
        (world.json(&["audit", "log", "-n", "1"])["waiting"] == 0).then_some(())
    });
    assert_eq!(status(&world)["state"], "ready");
    world.ok(&["down"]);
    whole(&world);
    let entries = entries(&world);
    let rewound = position(&entries, 0, "store.rewind", "gateway");
    let again = position(&entries, rewound, "key.revoke", id);
    assert_eq!(said(&entries[again]).2, "store-rewind");
}

#[test]
fn an_outbox_that_cannot_be_read_is_a_fault() {
    let world = stopped();
    let data = world.path().join(".royalcrown/data/gateway");
    // Whole, with what may still be in the WAL.
    let backup = world.path().join("backup");
    copy_folder(&data, &backup);
    let path = data.join("gateway.db");
    let kept = fs_err::read(&path).unwrap();
    type Damage = fn(&[u8]) -> Vec<u8>;
    let damages: [(&str, Damage); 4] = [
        ("empty", |_| Vec::new()),
        ("halved", |bytes| bytes[..bytes.len() / 2].to_vec()),
        ("zeroed", |bytes| vec![0; bytes.len()]),
        ("another file", |_| b"hello".to_vec()),
    ];
    // What SQLite keeps beside a file fits that file only.
    let put = |bytes: &[u8]| {
        for beside in ["gateway.db-wal", "gateway.db-shm"] {
            let _ = fs_err::remove_file(path.with_file_name(beside));
        }
        fs_err::write(&path, bytes).unwrap();
    };
    for (what, damage) in damages {
        put(&damage(&kept));
        let (code, verdict) = verify(&world, &[]);
        assert_eq!(code, Some(1), "{what}: {verdict:#}");
        assert_eq!(
            kinds(&verdict, "faults"),
            BTreeSet::from(["outbox".to_owned()]),
            "{what}"
        );
        assert_eq!(verdict["silent"][0]["service"], "gateway", "{what}");
    }
    // A pipe, where opening waits for a writer that never comes.
    fs_err::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(verify(&world, &[]).0, Some(1));
    fs_err::remove_file(&path).unwrap();
    // Gone is no fault of the log, but it is told.
    let (code, verdict) = verify(&world, &[]);
    assert_eq!(
        (code, &verdict["whole"]),
        (Some(0), &Value::Bool(true)),
        "{verdict:#}"
    );
    assert_eq!(
        kinds(&verdict, "warnings"),
        BTreeSet::from(["left-behind".to_owned()])
    );
    copy_folder(&backup, &data);
    whole(&world);
}

#[test]
fn a_server_that_is_away_is_told_and_is_no_fault() {
    let world = stopped();
    let away = format!("postgres://u@{}/db", crate::world::free_address());
    let output = world
        .command(&["audit", "verify", "--output", "json"])
        .env("RC_STORE_URL", away)
        .output()
        .unwrap();
    let verdict: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert_eq!(verdict["whole"], true);
    assert_eq!(verdict["silent"][0]["service"], "gateway", "{verdict:#}");
}

#[test]
fn a_log_that_is_gone_is_remembered_by_those_who_told_it_things() {
    let world = World::new();
    let output = world.rc(&["audit", "verify"]);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    let world = stopped();
    fs_err::remove_dir_all(world.path().join(".royalcrown/data/prov-ledger")).unwrap();
    let (code, verdict) = verify(&world, &[]);
    assert_eq!(code, Some(1), "{verdict:#}");
    assert_eq!(verdict["faults_total"], 2, "{verdict:#}");
    let output = world.rc(&["up", "--detach"]);
    assert!(
        told(&output).contains("the audit log is gone"),
        "{}",
        told(&output)
    );
    // The supervisor's entries do not fit the new log: that is shown, by name and code.
    eventually("it is shown", || {
        let status = status(&world);
        let told = status["audit"].as_str()?.starts_with("RC-LED-024: ");
        (told && status["state"] == "degraded").then_some(())
    });
    let output = world.rc(&["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("RC-LED-024"), "{}", told(&output));
}

#[test]
fn what_a_first_start_left_undone_is_not_a_fault() {
    let world = stopped();
    let data = world.path().join(".royalcrown/data/prov-ledger");
    let fresh = World::new();
    let target = fresh.path().join(".royalcrown/data/prov-ledger");
    let verdict = |step: &str| {
        let output = fresh.rc(&["audit", "verify"]);
        assert_eq!(output.status.code(), Some(3), "{step}: {}", told(&output));
        assert!(told(&output).contains("RC-LED-028"), "{step}: {}", told(&output));
    };
    fs_err::create_dir_all(target.join("making")).unwrap();
    verdict("a folder");
    fs_err::write(target.join("ledger.db"), "").unwrap();
    verdict("an empty database");
    fs_err::copy(data.join("key"), target.join("making/key")).unwrap();
    verdict("a key that waits");
    copy_folder(&data.join("log"), &target.join("log"));
    verdict("a log in its place");
}

#[test]
fn an_end_that_cannot_be_recorded_is_told() {
    let world = World::new();
    world.up();
    let supervisor = status(&world)["pid"].as_u64().unwrap();
    let supervisor = procfs::process(u32::try_from(supervisor).unwrap()).unwrap();
    // It hangs, and is killed in the end.
    procfs::signal(&supervisor, Signal::STOP);
    let output = world.rc(&["down", "--now"]);
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    assert!(told(&output).contains("RC-LED-032"), "{}", told(&output));
    world.up();
    world.ok(&["down"]);
    let entries = entries(&world);
    let starts: Vec<&Value> = entries
        .iter()
        .filter(|entry| entry["action"] == "platform.start")
        .collect();
    assert!(starts[1]["detail"]["run_before"].is_string(), "{:#}", starts[1]);
}
