//! Bad input at the public door: refused with a reason, and nothing of it takes effect.

use serde_json::Value;

use crate::world::World;

/// Refused requests to `POST /ingest/batch` and `POST /ingest`: what is wrong, headers, body, status.
const REFUSED: &[(&str, &str, &str, u16)] = &[
    (
        "malformed JSON",
        "Content-Type: application/json",
        "[{\"text\": \"a\"",
        400,
    ),
    ("not an array", "Content-Type: application/json", "\"text\"", 400),
    (
        "wrong content type",
        "Content-Type: text/plain",
        "[{\"text\":\"a\"}]",
        415,
    ),
    ("no content type", "X-Nothing: 1", "[{\"text\":\"a\"}]", 415),
    (
        "wrong charset",
        "Content-Type: application/json; charset=latin1",
        "[{\"text\":\"a\"}]",
        415,
    ),
    (
        "unknown encoding",
        "Content-Type: application/json\nContent-Encoding: br",
        "[{\"text\":\"a\"}]",
        415,
    ),
    (
        "not gzip at all",
        "Content-Type: application/json\nContent-Encoding: gzip",
        "[{\"text\":\"a\"}]",
        400,
    ),
];

#[test]
fn what_cannot_be_read_is_refused_with_a_problem() {
    let world = World::new();
    world.up();
    let key = world.key("acme");
    for (what, headers, body, status) in REFUSED {
        let head = format!(
            "POST /ingest/batch HTTP/1.1\nAuthorization: Bearer {key}\nIdempotency-Key: k-{status}\n{headers}"
        );
        let answer = world.http(&head, body.as_bytes());
        assert_eq!(answer.status, *status, "{what}: {answer:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{what}"
        );
        let problem = answer.json();
        assert!(
            problem["code"].as_str().unwrap().starts_with("RC-"),
            "{what}: {problem}"
        );
        assert_eq!(
            problem["trace_id"].as_str().unwrap().len(),
            32,
            "{what}: {problem}"
        );
    }

    // Wrong UTF-8, U+0000, depth, size: raw bytes that no text file would hold.
    let deep = format!("[{}{}]", "[".repeat(200), "]".repeat(200));
    let nul_escape = "[{\"text\":\"a\\u0000b\"}]";
    let bodies: [(&str, Vec<u8>); 3] = [
        ("wrong UTF-8", b"[{\"text\":\"\xff\xfe\"}]".to_vec()),
        ("deep nesting", deep.into_bytes()),
        ("U+0000", nul_escape.as_bytes().to_vec()),
    ];
    for (what, body) in bodies {
        let head = format!(
            "POST /ingest/batch HTTP/1.1\nAuthorization: Bearer {key}\nIdempotency-Key: {}\nContent-Type: application/json",
            what.replace(' ', "-")
        );
        let answer = world.http(&head, &body);
        let accepted = if answer.status == 202 {
            answer.json()["accepted"].as_u64()
        } else {
            Some(0)
        };
        assert_eq!(accepted, Some(0), "{what}: {answer:?}");
        assert!(matches!(answer.status, 202 | 400 | 422), "{what}: {answer:?}");
    }
    let huge = vec![b' '; 9 << 20];
    let head = format!(
        "POST /ingest/batch HTTP/1.1\nAuthorization: Bearer {key}\nIdempotency-Key: huge\nContent-Type: application/json"
    );
    assert_eq!(world.http(&head, &huge).status, 413);

    let missing = world.http(
        &format!("POST /ingest HTTP/1.1\nAuthorization: Bearer {key}\nContent-Type: application/json"),
        br#"{"text":"a"}"#,
    );
    assert_eq!(missing.status, 400, "{missing:?}");
    assert_eq!(
        world.get("/search?q=a", &key).json()["hits"],
        Value::Array(Vec::new())
    );
}

#[test]
fn the_same_key_with_the_same_body_gives_the_same_answer_and_with_another_422() {
    let world = World::new();
    world.up();
    let key = world.key("acme");
    let body = r#"{"id":"one","title":"First","text":"a document"}"#;
    let first = world.post("/ingest", &key, "key-1", body);
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(first.header("idempotency-key"), Some("key-1"));
    assert!(first.header("location").is_some());
    let second = world.post("/ingest", &key, "key-1", body);
    assert_eq!((second.status, &second.body), (first.status, &first.body));
    assert_eq!(second.header("idempotency-replayed"), Some("true"));
    let other = world.post("/ingest", &key, "key-1", r#"{"id":"two","text":"another"}"#);
    assert_eq!(other.status, 422, "{other:?}");
    // The same key of another tenant is another key.
    let foreign = world.post(
        "/ingest",
        &world.key("globex"),
        "key-1",
        r#"{"id":"two","text":"another"}"#,
    );
    assert_eq!(foreign.status, 202, "{foreign:?}");
}

#[test]
fn nobody_gets_in_without_a_valid_key() {
    let world = World::new();
    world.up();
    let made = world.json(&["tenant", "key", "create", "acme", "--label", "short-lived"]);
    let (id, key) = (made["key_id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert_eq!(world.get("/search?q=a", key).status, 200);
    world.ok(&["tenant", "key", "revoke", id]);
    let revoked = world.get("/search?q=a", key);
    assert_eq!(
        revoked.status, 401,
        "a revoked key is dead when the revocation is acknowledged"
    );

    let swapped = format!("{}{}", &key[..key.len() - 4], "AAAA");
    let unknown = "rck_aaaaaaaaaaaa_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for wrong in [swapped.as_str(), unknown, "rck_", "x", ""] {
        let answer = world.get("/search?q=a", wrong);
        assert_eq!(answer.status, 401, "{wrong}");
        assert!(answer.header("www-authenticate").is_some());
        let (code, title) = (answer.json()["code"].clone(), answer.json()["title"].clone());
        assert_eq!(
            (code, title),
            (revoked.json()["code"].clone(), revoked.json()["title"].clone()),
            "one answer for all"
        );
    }
    let output = world.rc(&["tenant", "key", "create", "acmee"]);
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("acmee") && text.contains("`acme`"), "{text}");

    // The list shows no secret, and neither does any file of the state.
    let secret = &key[key.len() - 32..];
    assert!(!world.ok(&["tenant", "key", "list"]).contains(secret));
    let found = std::process::Command::new("grep")
        .args(["-rlF", secret, world.path().join(".royalcrown").to_str().unwrap()])
        .output()
        .unwrap();
    assert!(
        found.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&found.stdout)
    );
}

#[test]
fn a_tenant_sees_its_own_documents_only_whatever_headers_it_sends() {
    let world = World::new();
    world.up();
    let (acme, globex) = (world.key("acme"), world.key("globex"));
    let body = r#"{"id":"secret-plan","title":"Plan","text":"the zanzibar plan"}"#;
    assert_eq!(
        world
            .post("/ingest?wait=indexed&timeout=10s", &acme, "k", body)
            .status,
        200
    );
    assert_eq!(world.get("/docs/secret-plan", &acme).status, 200);
    let (foreign, missing) = (
        world.get("/docs/secret-plan", &globex),
        world.get("/docs/nothing", &globex),
    );
    assert_eq!((foreign.status, missing.status), (404, 404));
    let without_trace = |answer: &crate::world::Answer| {
        let mut problem = answer.json();
        problem.as_object_mut().unwrap().remove("trace_id");
        problem
            .to_string()
            .replace("secret-plan", "X")
            .replace("nothing", "X")
    };
    assert_eq!(without_trace(&foreign), without_trace(&missing));

    for trick in [
        "X-Rc-Tenant: acme",
        "x_rc_tenant: acme",
        "X-RC-TENANT: acme\nX-Rc-Tier: gold\nX-Rc-User: root",
        "X-Forwarded-For: 127.0.0.1\nX-Tenant: acme",
        "Connection: x-rc-tenant\nX-Rc-Tenant: acme",
    ] {
        let head = format!("GET /search?q=zanzibar HTTP/1.1\nAuthorization: Bearer {globex}\n{trick}");
        let answer = world.http(&head, b"");
        if answer.status == 200 {
            assert_eq!(answer.json()["hits"], Value::Array(Vec::new()), "{trick}");
        } else {
            assert_eq!(answer.status, 400, "{trick}: {answer:?}");
        }
    }
    assert_eq!(
        world
            .http("GET /docs/secret-plan HTTP/1.1\nX-Rc-Tenant: acme", b"")
            .status,
        401
    );
    assert_eq!(
        world.http("GET /metrics HTTP/1.1", b"").status,
        404,
        "not on the public door"
    );
    assert_eq!(
        world.http("GET /-/keys HTTP/1.1", b"").status,
        404,
        "not on the public door"
    );
}

#[test]
fn full_text_syntax_is_only_text() {
    let world = World::new();
    world.up();
    let key = world.key("acme");
    let body = r#"{"id":"d","title":"Title","text":"near the title column, and or not"}"#;
    assert_eq!(
        world
            .post("/ingest?wait=indexed&timeout=10s", &key, "k", body)
            .status,
        200
    );
    for query in [
        "%22",
        "%22%22",
        "NEAR(a+b)",
        "title:near",
        "*",
        "a*b*",
        "%5Etitle",
        "a+AND",
        "OR",
        "NOT+a",
        "-a",
        "(((",
        ")))",
        "%27%3B+DROP+TABLE+documents%3B--",
        "a%00b",
        "%F0%9F%98%80",
        "%ff",
        "col%3Aval*",
        "{a b}:c",
        "+%2B%2B",
        "a%22b",
        "%E2%80%AEabc",
        "fts_acme",
    ] {
        let answer = world.get(&format!("/search?q={}", query.replace(' ', "+")), &key);
        assert!(matches!(answer.status, 200 | 400), "{query}: {answer:?}");
    }
    let found = world.get("/search?q=%22near+the+title%22", &key).json();
    assert_eq!(found["hits"][0]["id"], "d", "{found}");
}

#[test]
fn a_tenant_over_its_rate_is_told_when_to_come_back() {
    let world = World::new();
    world.write(
        "tenants.yaml",
        "tenants:\n  acme: {tier: gold, demo: true, rps: {rate: 2/s, burst: 3}}\n  globex: {tier: silver}\n",
    );
    world.up();
    let (acme, globex) = (world.key("acme"), world.key("globex"));
    let answers: Vec<_> = (0..8).map(|_| world.get("/search?q=a", &acme)).collect();
    let refused = answers
        .iter()
        .find(|answer| answer.status == 429)
        .expect("eight at once are over three");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{refused:?}");
    assert!(
        refused.header("ratelimit-policy").unwrap().contains("q="),
        "{refused:?}"
    );
    assert!(
        refused.header("ratelimit").unwrap().contains("r=0"),
        "{refused:?}"
    );
    assert!(!refused.json()["violated-policies"].as_array().unwrap().is_empty());
    assert!(
        answers[0].header("ratelimit").is_some(),
        "a good answer tells the state too"
    );
    assert_eq!(
        world.get("/search?q=a", &globex).status,
        200,
        "another tenant's limit is its own"
    );
}
