//! Dead letters and replays inside a project: every verb, with its JSON.

use serde_json::Value;

use super::eventually;
use super::{pin, refused};
use crate::world::{World, told};

/// Puts events on the embedded bus that its consumer cannot apply, as a relay of another version would. Each line
/// of `$2`: key, number, type, payload.
const PUT_ON_BUS: &str = "import json, sqlite3, sys, uuid
conn = sqlite3.connect(sys.argv[1])
tail, first = conn.execute('SELECT tail, first FROM bus_state').fetchone()
for key, number, type, payload in json.loads(sys.argv[2]):
    tail += 1
    conn.execute('INSERT INTO bus (seq, origin, origin_pos, at_ms, tenant, topic, key, kseq, id, fingerprint, type, '
                 'schema, time_ms, traceparent, payload, numbering) '
                 'VALUES (?, ?, ?, strftime(\"%s\") * 1000, ?, ?, ?, ?, ?, ?, ?, 1, 1000, NULL, ?, 0)',
                 (tail, 'other', tail, 'acme', 'docs', key, number, uuid.uuid4().bytes, bytes(16), type, payload.encode()))
conn.execute('UPDATE bus_state SET tail = ?', (tail,))
conn.commit()";

fn put_on_bus(world: &World, events: &Value) {
    let done = std::process::Command::new("python3")
        .args(["-c", PUT_ON_BUS])
        .arg(world.path().join(".royalcrown/data/ingest/bus.db"))
        .arg(events.to_string())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", told(&done));
}

/// Pins what a command said of letters. Why an event cannot be applied is not this test's subject: whoever finds it
/// first, a schema or the projector, says it in its own words.
fn pin_letters(name: &str, mut said: Value) {
    fn hide(value: &mut Value) {
        match value {
            Value::Array(values) => values.iter_mut().for_each(hide),
            Value::Object(members) => {
                for (name, value) in members {
                    let reason = ["class", "code", "why"].contains(&name.as_str());
                    if reason && value != "" && value != "behind" {
                        *value = "[reason]".into();
                    }
                    hide(value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    hide(&mut said);
    pin(name, &said);
}

fn until_letters(world: &World, count: u64) {
    eventually(&format!("{count} letters are there"), || {
        (world.json_of(&["events", "dlq", "list"])["total"] == count).then_some(())
    });
}

/// A platform with two documents of acme that are served.
fn platform() -> World {
    let world = World::new();
    world.up();
    let acme = world.key("acme");
    for id in ["one", "two"] {
        let body = format!(r#"{{"id":"{id}","text":"the harbour report"}}"#);
        let stored = world.post("/ingest?wait=indexed&timeout=15s", &acme, id, &body);
        assert_eq!(stored.status, 200, "{stored:?}");
    }
    world
}

#[test]
fn live_letters_are_listed_shown_mended_replayed_and_given_up() {
    let world = platform();
    pin("project_verify", &world.json(&["events", "verify"]));
    assert_eq!(world.json(&["events", "dlq", "list"])["total"], 0);
    world.ok(&["down"]);
    put_on_bus(
        &world,
        &serde_json::json!([
            ["broken", 1, "doc.put.v1", "{\"text\":7}"],
            ["broken", 2, "doc.delete.v1", "{}"],
        ]),
    );
    world.up();
    until_letters(&world, 2);
    pin_letters("dlq_list", world.json_of(&["events", "dlq", "list"]));
    pin_letters("dlq_show", world.json(&["events", "dlq", "show", "docs-api/1"]));
    let status = world.json_of(&["events", "status"]);
    pin_letters("status_of_letters", status["letters"].clone());

    let edit = [
        "events",
        "dlq",
        "edit",
        "1",
        "--reason",
        "the importer sent a number",
    ];
    let patch = r#"[{"op":"replace","path":"/text","value":"seven"}]"#;
    pin_letters("dlq_edit", world.json(&[&edit[..], &["--patch", patch]].concat()));
    let replay = ["events", "dlq", "replay", "--reason", "it is mended"];
    pin_letters(
        "dlq_replay_dry",
        world.json(&[&replay[..], &["--key", "broken", "--dry-run"]].concat()),
    );
    let failed = world.rc(&[&replay[..], &["1", "--output", "json"]].concat());
    assert_eq!(failed.status.code(), Some(1), "{}", told(&failed));
    pin_letters(
        "dlq_replay_failed",
        serde_json::from_slice(&failed.stdout).unwrap(),
    );

    let drop = ["events", "dlq", "drop", "--reason", "nobody needs them"];
    pin_letters(
        "dlq_drop_dry",
        world.json(&[&drop[..], &["--key", "broken", "--dry-run"]].concat()),
    );
    pin_letters("dlq_drop", world.json(&[&drop[..], &["--all"]].concat()));
    until_letters(&world, 0);

    world.ok(&["down"]);
    put_on_bus(&world, &serde_json::json!([["strange", 1, "doc.burnt.v9", "{}"]]));
    world.up();
    until_letters(&world, 1);
    let said = refused(&world, &["events", "dlq", "list"], 1);
    assert!(said.contains("doc.burnt.v9"), "{said}");
    world.ok(&[&drop[..], &["--key", "strange"]].concat());
    until_letters(&world, 0);

    let nothing = refused(&world, &drop, 2);
    assert!(nothing.contains("no letter was chosen"), "{nothing}");
    let gone = refused(&world, &["events", "dlq", "show", "docs-api/99"], 1);
    assert!(gone.contains("RC-EVT-052"), "{gone}");
    let acts = world.ok(&["audit", "log", "--action", "letter"]);
    for act in ["letter.edit", "letter.replay", "letter.drop"] {
        assert!(acts.contains(act), "{acts}");
    }
}

#[test]
fn live_history_is_replayed_by_choice_and_pace_and_never_by_an_old_plan() {
    let world = platform();
    let some = [
        "--since",
        "1h",
        "--tenant",
        "acme",
        "--type",
        "doc.put.v1",
        "--key",
        "one",
    ];
    let replay = [&["events", "replay"], &some[..]].concat();
    let plan = world.json(&[&replay[..], &["--dry-run"]].concat());
    pin("replay_dry", &plan);
    let plan = plan["planned"]["plan"].as_str().unwrap().to_owned();
    let begin = [
        &replay[..],
        &["--rate", "50", "--plan", &plan, "--reason", "by hand"],
    ]
    .concat();
    pin("replay_started", &world.json(&begin));
    eventually("the replay is done", || {
        let jobs = world.json(&["events", "replay", "--list"]);
        (jobs["replays"][0]["state"] == "done").then_some(())
    });
    pin("replay_list", &world.json(&["events", "replay", "--list"]));

    // The plan is of these events and no others.
    let other = [
        "events", "replay", "--key", "two", "--plan", &plan, "--reason", "by hand",
    ];
    let odd = refused(&world, &other, 1);
    assert!(odd.contains("RC-EVT-016"), "{odd}");
    let acme = world.key("acme");
    let body = r#"{"id":"one","text":"a newer report"}"#;
    assert_eq!(
        world
            .post("/ingest?wait=indexed&timeout=15s", &acme, "again", body)
            .status,
        200
    );
    let none = refused(&world, &["events", "replay", "--reason", "x"], 2);
    assert!(none.contains("`--since`, `--key` and the like"), "{none}");
    // A replay of the past does not bring back what was replaced.
    world.ok(&["events", "replay", "--all", "--reason", "all of it"]);
    eventually("the second replay is done", || {
        let jobs = world.json(&["events", "replay", "--list"]);
        (jobs["replays"][0]["state"] == "done").then_some(())
    });
    assert_eq!(world.get("/docs/one", &acme).json()["text"], "a newer report");
}
