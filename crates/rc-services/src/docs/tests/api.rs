//! The HTTP face over a real store, on a real socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use rc_serve::{Edge, Metrics, Readiness, Tree, edge, uds};
use serde_json::{Value, json};

use super::contract::NASTY;
use super::world::{World, document, put};
use crate::docs::flight::Flights;
use crate::docs::http::{Api, router};
use crate::docs::progress::Progress;
use crate::document::Document;

struct Client {
    folder: tempfile::TempDir,
    tree: Tree,
    progress: Progress,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.tree.stop();
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    fn header(&self, name: header::HeaderName) -> &str {
        self.headers
            .get(&name)
            .unwrap_or_else(|| panic!("no {name}"))
            .to_str()
            .unwrap()
    }
}

impl Client {
    fn new(world: &World) -> Self {
        let progress = Progress::new(tokio_util::sync::CancellationToken::new());
        let api = Api {
            store: Arc::clone(&world.store),
            progress: progress.clone(),
            flights: Flights::new(prometheus_client::metrics::counter::Counter::default()),
        };
        let edge = Edge {
            service: "docs-api",
            router: router(Arc::new(api)),
            readiness: Readiness::new(),
            metrics: Metrics::new(),
            access: rc_model::project::AccessLog::Off,
            sink: None,
            marks: rc_serve::Marks::default(),
        };
        let (folder, tree) = (tempfile::tempdir().unwrap(), Tree::new());
        edge::serve_uds(&folder.path().join("docs-api.sock"), edge, &tree).unwrap();
        Self {
            folder,
            tree,
            progress,
        }
    }

    async fn send(&self, request: Request<Bytes>) -> Answer {
        let socket = self.folder.path().join("docs-api.sock");
        let response = uds::call(&socket, request, Duration::from_secs(30))
            .await
            .unwrap();
        let (head, body) = response.into_parts();
        let mut headers = head.headers;
        headers.remove(header::DATE);
        Answer {
            status: head.status,
            headers,
            body,
        }
    }

    async fn get(&self, owner: &str, target: &str) -> Answer {
        self.send(request("GET", owner, target, &[])).await
    }
}

fn request(
    method: &str,
    owner: &str,
    target: &str,
    headers: &[(header::HeaderName, &str)],
) -> Request<Bytes> {
    let mut request = Request::builder()
        .method(method)
        .uri(target)
        .header("x-rc-tenant", owner)
        .header("x-request-id", "req-1")
        .header(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        );
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    request.body(Bytes::new()).unwrap()
}

/// `text` as a value in a query string.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

pub(super) async fn a_document_is_served_with_validators(world: &World) {
    let client = Client::new(world);
    let sent = Document {
        attrs: [("lang".to_owned(), "en".to_owned())].into(),
        time: rc_model::Timestamp::parse("2026-01-02T03:04:05Z"),
        ..document("a", "Cat", "the <b>cat</b>")
    };
    world.put("acme", [sent]).await;
    let answer = client.get("acme", "/docs/a").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json(),
        json!({"id": "a", "title": "Cat", "text": "the <b>cat</b>", "attrs": {"lang": "en"},
               "time": "2026-01-02T03:04:05.000Z", "version": 1, "updated_at": "2026-11-21T10:00:00.001Z"})
    );
    assert_eq!(answer.header(header::CONTENT_TYPE), "application/json");
    assert_eq!(answer.header(header::CACHE_CONTROL), "private, no-cache");
    assert_eq!(
        answer.header(header::LAST_MODIFIED),
        "Sat, 21 Nov 2026 10:00:00 GMT"
    );
    let etag = answer.header(header::ETAG).to_owned();

    let head = client.send(request("HEAD", "acme", "/docs/a", &[])).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.header(header::ETAG), etag);

    let list = format!("\"other\", W/{etag}");
    let same = client
        .send(request(
            "GET",
            "acme",
            "/docs/a",
            &[(header::IF_NONE_MATCH, &list)],
        ))
        .await;
    assert_eq!((same.status, same.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(same.header(header::ETAG), etag);
    let date = "Sat, 21 Nov 2026 10:00:00 GMT";
    let same = client
        .send(request(
            "GET",
            "acme",
            "/docs/a",
            &[(header::IF_MODIFIED_SINCE, date)],
        ))
        .await;
    assert_eq!(same.status, StatusCode::NOT_MODIFIED);

    world
        .apply(vec![put("acme", 2, document("a", "", "changed"))])
        .await;
    client.progress.advance();
    let changed = client
        .send(request(
            "GET",
            "acme",
            "/docs/a",
            &[(header::IF_NONE_MATCH, &etag)],
        ))
        .await;
    assert_eq!(changed.status, StatusCode::OK);
    assert_ne!(changed.header(header::ETAG), etag);
    let other = client.send(request("DELETE", "acme", "/docs/a", &[])).await;
    assert_eq!(other.status, StatusCode::METHOD_NOT_ALLOWED);
}

pub(super) async fn a_missing_document_and_anothers_look_the_same(world: &World) {
    let client = Client::new(world);
    world.put("globex", [document("theirs", "", "secret")]).await;
    let others = client.get("acme", "/docs/theirs").await;
    let missing = client.get("acme", "/docs/nobody").await;
    assert_eq!(others.status, StatusCode::NOT_FOUND);
    assert_eq!(others.body, missing.body);
    assert_eq!(others.headers, missing.headers);
    assert_eq!(others.json()["code"], "RC-DOC-001");
    assert_eq!(client.get("globex", "/docs/theirs").await.status, StatusCode::OK);
    let nobody = client
        .send(Request::get("/docs/theirs").body(Bytes::new()).unwrap())
        .await;
    assert_eq!(
        (nobody.status, &nobody.json()["code"]),
        (StatusCode::UNAUTHORIZED, &json!("RC-DOC-006"))
    );
    let nobody = client
        .send(Request::get("/search?q=secret").body(Bytes::new()).unwrap())
        .await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
}

pub(super) async fn ids_are_decoded_once(world: &World) {
    let client = Client::new(world);
    let ids = ["man/ls.1", "a b", "100%", "%2F", "ünï/中", "a?b#c", "a+b", "..."];
    world.put("acme", ids.map(|id| document(id, "", "x"))).await;
    for id in ids {
        let answer = client.get("acme", &format!("/docs/{}", escaped(id))).await;
        assert_eq!(
            (answer.status, &answer.json()["id"]),
            (StatusCode::OK, &json!(id))
        );
    }
    for (target, status) in [
        ("/docs/man/ls.1", 404),
        ("/docs/%252F", 200),
        ("/docs/%ff", 400),
        ("/docs/%00", 400),
        ("/docs/%0A", 400),
        ("/docs/..%2F..%2Fetc%2Fpasswd", 400),
        (&format!("/docs/{}", "x".repeat(201)), 400),
    ] {
        let answer = client.get("acme", target).await;
        assert_eq!(answer.status, status, "{target}");
        if status != 200 {
            assert_eq!(
                answer.header(header::CONTENT_TYPE),
                "application/problem+json",
                "{target}"
            );
        }
    }
}

pub(super) async fn a_search_is_served_page_by_page(world: &World) {
    let client = Client::new(world);
    let all = (0..1_105).map(|number| document(&format!("doc{number}"), "Cats", "a cat sat"));
    world.put("acme", all.collect::<Vec<_>>()).await;
    let first = client.get("acme", "/search?q=cat&limit=100").await;
    assert_eq!(first.status, StatusCode::OK);
    let page = first.json();
    assert_eq!(page["hits"].as_array().unwrap().len(), 100);
    assert_eq!(
        (&page["total"], &page["total_is_lower_bound"]),
        (&json!(1_000), &json!(true))
    );
    assert_eq!(page["hits"][0]["snippet"], "a <mark>cat</mark> sat");
    assert_eq!(page["hits"][0]["title"], "Cats");
    assert_eq!(page["hits"][0]["version"], 1);
    assert!(page["hits"][0]["score"].as_f64().unwrap() > 0.0);

    let mut ids = std::collections::BTreeSet::new();
    let mut target = "/search?q=cat&limit=100".to_owned();
    loop {
        let page = client.get("acme", &target).await.json();
        for hit in page["hits"].as_array().unwrap() {
            assert!(
                ids.insert(hit["id"].as_str().unwrap().to_owned()),
                "a document twice"
            );
        }
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        target = format!("/search?q=cat&limit=100&cursor={cursor}");
    }
    assert_eq!(ids.len(), 1_105);

    let cursor = page["next_cursor"].as_str().unwrap();
    world.put("globex", [document("a", "", "cat")]).await;
    for (owner, query) in [("acme", "cats"), ("globex", "cat"), ("acme", "cat&filter=a:b")] {
        let answer = client
            .get(owner, &format!("/search?q={query}&cursor={cursor}"))
            .await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (StatusCode::BAD_REQUEST, &json!("RC-DOC-005"))
        );
    }
    let etag = first.header(header::ETAG);
    let again = request(
        "GET",
        "acme",
        "/search?q=cat&limit=100",
        &[(header::IF_NONE_MATCH, etag)],
    );
    assert_eq!(client.send(again).await.status, StatusCode::NOT_MODIFIED);
    let few = client.get("acme", "/search?q=zebra").await.json();
    assert_eq!(
        few,
        json!({"hits": [], "total": 0, "total_is_lower_bound": false})
    );
}

pub(super) async fn bad_input_is_refused_with_a_reason(world: &World) {
    let client = Client::new(world);
    world.put("acme", [document("a", "", "cat")]).await;
    for (query, code, part) in [
        ("", "RC-DOC-003", "`q` is missing"),
        ("q=", "RC-DOC-004", "no word"),
        ("q=%22cat", "RC-DOC-004", "never closed, at character 1"),
        ("q=a+-%22cat", "RC-DOC-004", "at character 4"),
        ("q=-cat", "RC-DOC-004", "at least one word"),
        ("q=cat+OR", "RC-DOC-004", "`OR`"),
        (
            "q=cat+d*",
            "RC-DOC-004",
            "at least 2 characters before the `*`, at character 5",
        ),
        (
            "q=aa*+bb*+cc*+dd*+ee*",
            "RC-DOC-004",
            "at most 4 prefixes, at character 17",
        ),
        ("q=cat&limit=1000", "RC-DOC-003", "`limit`"),
        ("q=cat&cursor=xyz", "RC-DOC-005", "`cursor`"),
        ("q=cat&page=2", "RC-DOC-003", "`page`"),
        ("q=%ff", "RC-DOC-003", "UTF-8"),
    ] {
        let answer = client.get("acme", &format!("/search?{query}")).await;
        let problem = answer.json();
        assert_eq!(
            (answer.status, &problem["code"]),
            (StatusCode::BAD_REQUEST, &json!(code)),
            "{query}"
        );
        assert!(
            problem["detail"].as_str().unwrap().contains(part),
            "{query}: {problem}"
        );
        assert_eq!(problem["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    }
    for text in NASTY {
        let answer = client.get("acme", &format!("/search?q={}", escaped(text))).await;
        assert!(
            answer.status == 200 || answer.status == 400,
            "{text:?}: {}",
            answer.status
        );
    }
}

pub(super) async fn marks_are_ours_and_the_rest_is_escaped(world: &World) {
    let client = Client::new(world);
    let hostile = "<script>alert(\"cat\")</script> <mark>dog</mark> & cat's <img src=x onerror='x'>";
    world.put("acme", [document("a", "<i>", hostile)]).await;
    let hit = client.get("acme", "/search?q=cat").await.json()["hits"][0].clone();
    assert_eq!(
        hit["snippet"],
        "&lt;script&gt;alert(&quot;<mark>cat</mark>&quot;)&lt;/script&gt; &lt;mark&gt;dog&lt;/mark&gt; &amp; \
         <mark>cat</mark>&#39;s &lt;img src=x onerror=&#39;x&#39;&gt;"
    );
    assert_eq!(
        hit["title"], "<i>",
        "the title is data: whoever shows it escapes it"
    );
}

pub(super) async fn a_wait_ends_when_the_documents_are_there(world: &World) {
    let client = Client::new(world);
    let wait = |docs: Value, timeout_ms: u64| {
        let body = json!({"tenant": "acme", "docs": docs, "timeout_ms": timeout_ms}).to_string();
        client.send(Request::post("/-/indexed").body(Bytes::from(body)).unwrap())
    };
    let answer = wait(json!([["a", 1]]), 30).await;
    assert_eq!(
        (answer.status, answer.json()),
        (StatusCode::OK, json!({"indexed": false}))
    );
    let applied = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        world
            .put("acme", [document("a", "", "x"), document("b", "", "x")])
            .await;
        client.progress.advance();
    };
    let (answer, ()) = futures_util::join!(wait(json!([["a", 1], ["b", 1]]), 20_000), applied);
    assert_eq!(answer.json(), json!({"indexed": true}));
    assert_eq!(wait(json!([]), 0).await.json(), json!({"indexed": true}));
    assert_eq!(wait(json!([["a", 2]]), 1).await.json(), json!({"indexed": false}));
    let many: Vec<Value> = (0..1_001).map(|number| json!([number.to_string(), 1])).collect();
    assert_eq!(wait(Value::from(many), 1).await.status, StatusCode::BAD_REQUEST);
    let broken = client
        .send(Request::post("/-/indexed").body(Bytes::from("{")).unwrap())
        .await;
    assert_eq!(
        (broken.status, &broken.json()["code"]),
        (StatusCode::BAD_REQUEST, &json!("RC-DOC-010"))
    );
}

/// What an event of a document carried is what is counted, whatever is in it.
pub(super) async fn sizes_are_those_of_the_events(world: &World) {
    let client = Client::new(world);
    let sent = Document {
        attrs: [("lang".to_owned(), "en\"\u{7}".to_owned())].into(),
        time: rc_model::Timestamp::parse("2026-01-02T03:04:05Z"),
        ..document("a", "Tit\u{fc}l", "line\nline \u{1F600}")
    };
    let bytes = sent.to_payload().len();
    world.put("acme", [sent, document("b", "", "x")]).await;
    let sizes = |wanted: Value| {
        let body = Bytes::from(wanted.to_string());
        client.send(Request::post("/-/sizes").body(body).unwrap())
    };
    let answer = sizes(json!({"tenant": "acme", "ids": ["b", "nobody", "a"]})).await;
    let of_b = r#"{"id":"b","text":"x"}"#.len();
    assert_eq!(answer.json(), json!({"sizes": [["b", 1, of_b], ["a", 1, bytes]]}));
    assert_eq!(
        sizes(json!({"tenant": "globex", "ids": ["a"]})).await.json(),
        json!({"sizes": []})
    );
    let many: Vec<String> = (0..1_001).map(|number| number.to_string()).collect();
    let refused = sizes(json!({"tenant": "acme", "ids": many})).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

pub(super) async fn equal_reads_at_the_same_time_share_nothing_between_tenants(world: &World) {
    let client = Client::new(world);
    world.put("acme", [document("a", "", "acme's word")]).await;
    world.put("globex", [document("a", "", "globex's word")]).await;
    let reads = (0..40).map(|number| {
        let owner = if number % 2 == 0 { "acme" } else { "globex" };
        let target = if number % 4 < 2 {
            "/docs/a"
        } else {
            "/search?q=word"
        };
        let answer = client.get(owner, target);
        async move { (owner, answer.await) }
    });
    for (owner, answer) in futures_util::future::join_all(reads).await {
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let (own, other) = if owner == "acme" {
            ("acme", "globex")
        } else {
            ("globex", "acme")
        };
        assert!(text.contains(own) && !text.contains(other), "{owner}: {text}");
    }
}
