//! What statements cost and what stores advise, as `rc db` tells it of a running platform; and the slowest statements
//! in the traces of the requests that run them.

use serde_json::Value;

use crate::world::{World, eventually, told};

/// Documents that are ingested; the projector applies them in a batch or two.
const DOCUMENTS: usize = 40;

/// Sends what runs the slow statements: single documents, and searches of every form.
fn use_it(world: &World) {
    let key = world.key("acme");
    for number in 0..DOCUMENTS {
        let body = format!("{{\"id\":\"d{number}\",\"text\":\"the harbour report of november {number}\"}}");
        let last = number + 1 == DOCUMENTS;
        let path = if last {
            "/ingest?wait=indexed&timeout=15s"
        } else {
            "/ingest"
        };
        let answer = world.post(path, &key, &format!("k{number}"), &body);
        assert!(matches!(answer.status, 200 | 202), "{answer:?}");
    }
    for query in ["%22harbour+report%22", "harbour+OR+november", "harbour+report"] {
        let found = world.get(&format!("/search?q={query}"), &key);
        assert_eq!(found.json()["total"], DOCUMENTS, "{found:?}");
    }
}

/// The profile's statement whose text holds `part`.
fn statement<'p>(profile: &'p Value, part: &str) -> &'p Value {
    let statements = profile["statements"].as_array().unwrap();
    statements
        .iter()
        .find(|statement| statement["text"].as_str().unwrap().contains(part))
        .unwrap_or_else(|| panic!("no `{part}` in {profile:#}"))
}

/// `slow`: a part of each of the five slowest statements, and the service that runs it.
fn check(world: &World, kind: &str, slow: [(&str, &str); 5]) {
    let profile = world.json(&["db", "profile", "--top", "1000", "--plans"]);
    for (service, part) in slow {
        let found = statement(&profile, part);
        assert_eq!(
            (&found["service"], &found["kind"]),
            (&service.into(), &kind.into()),
            "{found:#}"
        );
        assert!(found["calls"].as_u64().unwrap() > 0 && found["total_ms"].as_f64().unwrap() > 0.0);
        // SQLite has nothing to plan in an insert of values.
        let planned = kind == "postgresql" || part.starts_with("SELECT");
        assert_eq!(
            !found["plan"].as_array().unwrap().is_empty(),
            planned,
            "{found:#}"
        );
    }
    let searches = statement(&profile, slow[0].1);
    assert_eq!(searches["calls"], 3, "{searches:#}");
    let page = world.ok(&["db", "profile", "--markdown", "--top", "3"]);
    assert!(
        page.starts_with("| service |") && page.contains("```sql"),
        "{page}"
    );

    for (_, part) in slow {
        eventually("the statement is in the trace of a request", || {
            let traces = world.json(&["trace", "--limit", "1000"]);
            let ids = traces["traces"].as_array().unwrap().iter().rev();
            ids.filter_map(|trace| trace["id"].as_str())
                .any(|id| world.json(&["trace", id]).to_string().contains(&quoted(part)))
                .then_some(())
        });
    }

    // Nothing is large here. What is unused may be told, and nothing else.
    let advised = world.json_of(&["db", "advise"]);
    let looked: Vec<&str> = advised["looked_at"]
        .as_array()
        .unwrap()
        .iter()
        .map(|at| at["service"].as_str().unwrap())
        .collect();
    assert!(
        looked.contains(&"ingest") && looked.contains(&"docs-api"),
        "{advised:#}"
    );
    for advice in advised["advice"].as_array().unwrap() {
        assert_eq!(advice["kind"], "unused_index", "{advised:#}");
    }
    let said = world.rc(&["db", "advise"]);
    let code = i32::from(!advised["advice"].as_array().unwrap().is_empty());
    assert_eq!(said.status.code(), Some(code), "{}", told(&said));
}

/// As it stands inside of JSON.
fn quoted(part: &str) -> String {
    part.replace('"', "\\\"")
}

#[test]
fn live_db_tells_of_the_embedded_store() {
    let world = World::new();
    world.up();
    use_it(&world);
    check(
        &world,
        "sqlite",
        [
            ("docs-api", "SELECT rowid, rank(\"fts_{tenant}\""),
            ("docs-api", "INSERT INTO \"fts_{tenant}\" (rowid, title"),
            ("docs-api", "INSERT INTO documents (tenant, row_no"),
            ("ingest", "INSERT INTO outbox"),
            ("ingest", "INSERT INTO requests"),
        ],
    );
}

#[test]
fn live_db_tells_of_postgresql() {
    let server = rc_test::Postgres::start();
    let world = World::new();
    let settings = format!(
        "gateway:\n  listen: {}\nstore:\n  url: \"{}\"\n",
        world.address,
        server.fresh_database().url
    );
    world.write("royalcrown.yaml", &settings);
    world.ok(&["migrate"]);
    world.up();
    use_it(&world);
    check(
        &world,
        "postgresql",
        [
            ("docs-api", "ts_rank("),
            ("docs-api", "INSERT INTO search"),
            ("docs-api", "SELECT merge_search_words()"),
            ("ingest", "INSERT INTO documents (tenant, id, version"),
            ("ingest", "INSERT INTO requests"),
        ],
    );
}
