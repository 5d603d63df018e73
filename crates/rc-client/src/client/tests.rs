use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;
use crate::config::{ApiKey, Endpoint, Identity, Trust};
use crate::error::{ErrorKind, Retry};
use crate::retry::{Backoff, BudgetPolicy};
use crate::wire::{BatchState, ItemStatus};

mod fake;

use fake::{Fake, Step, reply, text};

const STORED: &str = r#"{"batch":"b-1","accepted":2,"duplicates":0,"rejected":0,"items":[]}"#;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn accepted() -> Step {
    reply(202, "", STORED)
}

fn problem(status: u16, headers: &str, more: &str) -> Step {
    let body = format!(r#"{{"type":"urn:x","title":"refused","status":{status},"code":"RC-GW-003"{more}}}"#);
    reply(status, headers, &body)
}

fn config(fake: &Fake) -> Config {
    let identity = match fake.endpoint {
        Endpoint::Unix(_) => Identity::Tenant(rc_model::TenantId::new("acme").unwrap()),
        Endpoint::Tcp { .. } => Identity::Key(ApiKey::new("rck_acme_1").unwrap()),
    };
    let mut config = Config::new(fake.endpoint.clone(), identity);
    config.backoff = Backoff {
        base: ms(5),
        cap: ms(20),
        attempts_max: 8,
    };
    config.deadline = Duration::from_secs(10);
    config
}

fn client(fake: &Fake) -> Client {
    Client::new(config(fake)).unwrap()
}

async fn ingest(client: &Client) -> Result<Answer<BatchAnswer>, Error> {
    let body = Bytes::from_static(b"{\"text\":\"a\"}\n{\"text\":\"b\"}\n");
    let key = IdempotencyKey::of("run", &body);
    client.ingest_batch(body, &key, &IngestOptions::default()).await
}

#[tokio::test]
async fn the_same_bytes_and_key_go_out_again_until_they_are_taken() {
    let fake = Fake::start(
        vec![problem(503, "", ""), problem(502, "", ""), problem(504, "", "")],
        accepted(),
    )
    .await;
    let answer = ingest(&client(&fake)).await.unwrap();
    assert_eq!(
        (answer.value.accepted, answer.meta.attempts, answer.meta.throttled),
        (2, 4, 1)
    );
    let seen = fake.seen();
    assert_eq!(seen.len(), 4);
    for request in &seen {
        assert_eq!(request.request_line(), "POST /ingest/batch HTTP/1.1");
        assert_eq!(request.body, seen[0].body);
        assert_eq!(
            request.header("idempotency-key"),
            seen[0].header("idempotency-key")
        );
        assert_eq!(request.header("content-type"), Some("application/x-ndjson"));
        assert_eq!(request.header("authorization"), Some("Bearer rck_acme_1"));
        // All attempts belong to one trace, and say how long the caller will wait.
        assert_eq!(
            request.header("traceparent").unwrap()[3..35],
            answer.meta.trace_id
        );
        assert!(
            request
                .header("x-request-timeout-ms")
                .unwrap()
                .parse::<u64>()
                .unwrap()
                <= 10_000
        );
    }
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let fake = Fake::start(
        vec![problem(429, "retry-after: 1\r\n", r#","retry_after_ms":150"#)],
        accepted(),
    )
    .await;
    let start = Instant::now();
    let answer = ingest(&client(&fake)).await.unwrap();
    assert!(start.elapsed() >= ms(150), "{:?}", start.elapsed());
    assert!(
        start.elapsed() < ms(900),
        "the exact wait counts, not the rounded one: {:?}",
        start.elapsed()
    );
    assert_eq!(answer.meta.throttled, 1);

    let fake = Fake::start(vec![problem(503, "retry-after: 1\r\n", "")], accepted()).await;
    let start = Instant::now();
    ingest(&client(&fake)).await.unwrap();
    assert!(start.elapsed() >= ms(1_000));
}

#[tokio::test]
async fn one_refusal_makes_the_other_calls_of_the_resource_wait_too() {
    let fake = Fake::start(vec![problem(429, "", r#","retry_after_ms":200"#)], accepted()).await;
    let client = client(&fake);
    let mut calls = JoinSet::new();
    let first = client.clone();
    calls.spawn(async move { ingest(&first).await.map(|_| ()) });
    tokio::time::sleep(ms(50)).await;
    let start = Instant::now();
    ingest(&client).await.unwrap();
    assert!(start.elapsed() >= ms(140), "{:?}", start.elapsed());
    calls.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_not_waited_for() {
    let fake = Fake::start(vec![], problem(429, "retry-after: 3600\r\n", "")).await;
    let start = Instant::now();
    let error = ingest(&client(&fake)).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!((error.kind(), error.status()), (ErrorKind::Refused, Some(429)));
    assert_eq!(error.retry(), Retry::After(Duration::from_secs(3_600)));
}

#[tokio::test]
async fn a_connection_reset_in_the_middle_of_the_answer_is_tried_again() {
    let cut = text(202, "", STORED)[..120].to_owned();
    let before = Step::SendAndClose(String::new());
    let fake = Fake::start(vec![Step::SendAndClose(cut), before], accepted()).await;
    let answer = ingest(&client(&fake)).await.unwrap();
    assert_eq!(answer.meta.attempts, 3);
    let keys: Vec<_> = fake
        .seen()
        .iter()
        .map(|seen| seen.header("idempotency-key").map(str::to_owned))
        .collect();
    assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn a_write_without_a_key_is_not_repeated_once_it_was_sent() {
    let fake = Fake::start(vec![Step::SendAndClose(String::new())], accepted()).await;
    let mut request = get("/x".to_owned(), "x");
    request.idempotent = false;
    let error = client(&fake).raw(&request).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Interrupted, 1));
    assert_eq!(error.retry(), Retry::IfIdempotent);
    assert_eq!(fake.seen().len(), 1);
}

#[tokio::test]
async fn what_is_wrong_with_the_request_is_not_tried_again() {
    for status in [400, 401, 403, 413, 415, 422, 500] {
        let fake = Fake::start(vec![problem(status, "", r#","detail":"because""#)], accepted()).await;
        let error = ingest(&client(&fake)).await.unwrap_err();
        assert_eq!(
            (error.status(), error.attempts(), error.retry()),
            (Some(status), 1, Retry::No)
        );
        assert_eq!(error.code(), Some("RC-GW-003"));
        assert_eq!(error.to_string(), "refused: because");
    }
}

#[tokio::test]
async fn a_conflict_is_tried_again_only_while_the_first_is_under_way() {
    let fake = Fake::start(vec![problem(409, "retry-after: 0\r\n", "")], accepted()).await;
    assert_eq!(ingest(&client(&fake)).await.unwrap().meta.attempts, 2);
    let fake = Fake::start(vec![problem(409, "", "")], accepted()).await;
    assert_eq!(ingest(&client(&fake)).await.unwrap_err().attempts(), 1);
}

#[tokio::test]
async fn partial_success_lists_what_was_refused() {
    let body = r#"{"batch":"b-9","accepted":1,"duplicates":1,"rejected":1,"items":[
        {"index":1,"status":"rejected","code":"RC-ING-004","pointer":"/text","detail":"too long","retryable":false},
        {"index":2,"status":"duplicate","id":"d-1","version":3},
        {"index":3,"status":"quarantined","retryable":true}]}"#;
    let fake = Fake::start(vec![], reply(202, "idempotency-replayed: true\r\n", body)).await;
    let answer = ingest(&client(&fake)).await.unwrap();
    assert!(answer.meta.replayed);
    let items = answer.value.items;
    assert_eq!(items[0].status, ItemStatus::Rejected);
    assert_eq!(items[0].pointer.as_deref(), Some("/text"));
    assert_eq!(
        (items[1].status, items[1].version),
        (ItemStatus::Duplicate, Some(3))
    );
    assert_eq!((items[2].status, items[2].retryable), (ItemStatus::Unknown, true));
}

#[tokio::test]
async fn a_slow_server_costs_an_attempt_and_then_the_deadline() {
    let slow = Step::After(ms(2_000), Box::new(accepted()));
    let fake = Fake::start(vec![slow.clone()], accepted()).await;
    let mut patient = config(&fake);
    patient.attempt_timeout = ms(100);
    let answer = ingest(&Client::new(patient).unwrap()).await.unwrap();
    assert_eq!(answer.meta.attempts, 2);

    let fake = Fake::start(vec![], slow).await;
    let mut hasty = config(&fake);
    hasty.attempt_timeout = ms(100);
    hasty.deadline = ms(350);
    let start = Instant::now();
    let error = ingest(&Client::new(hasty).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(start.elapsed() < ms(1_000), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_body_that_stalls_is_cut() {
    let head = text(202, "", STORED);
    let (head, _) = head.split_at(head.len() - 10);
    let fake = Fake::start(vec![Step::Send(head.to_owned())], accepted()).await;
    let mut config = config(&fake);
    config.attempt_timeout = ms(100);
    assert_eq!(
        ingest(&Client::new(config).unwrap()).await.unwrap().meta.attempts,
        2
    );
}

#[tokio::test]
async fn retries_end_with_the_budget() {
    let fake = Fake::start(vec![], problem(503, "", "")).await;
    let mut config = config(&fake);
    config.budget = BudgetPolicy {
        share: 0.1,
        minimum: 5,
    };
    let client = Client::new(config).unwrap();
    for _ in 0..100 {
        ingest(&client).await.unwrap_err();
    }
    let sent = fake.seen().len();
    assert!((100..=115).contains(&sent), "{sent} requests for 100 calls");
}

#[tokio::test]
async fn connections_are_reused_and_never_more_than_the_lanes() {
    let fake = Fake::start(vec![], Step::After(ms(20), Box::new(accepted()))).await;
    let client = client(&fake);
    for _ in 0..5 {
        ingest(&client).await.unwrap();
    }
    assert_eq!(fake.connections(), 1);
    let mut config = config(&fake);
    config.lanes_max = 3;
    let narrow = Client::new(config).unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..12 {
        let narrow = narrow.clone();
        calls.spawn(async move { ingest(&narrow).await.map(|_| ()) });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(fake.connections(), 4);
    assert_eq!(fake.seen().last().map(|seen| seen.connection > 1), Some(true));
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closed_goes_unnoticed() {
    let closing = Step::SendAndClose(text(202, "", STORED));
    let fake = Fake::start(vec![closing.clone(), closing], accepted()).await;
    let client = client(&fake);
    for _ in 0..3 {
        ingest(&client).await.unwrap();
        tokio::time::sleep(ms(20)).await;
    }
    assert_eq!(fake.connections(), 3);
}

#[tokio::test]
async fn an_answer_that_is_too_large_or_no_answer_at_all_is_refused() {
    let fake = Fake::start(vec![reply(202, "", &"x".repeat(4_000))], accepted()).await;
    let mut small = config(&fake);
    small.response_bytes_max = 1_000;
    assert_eq!(
        ingest(&Client::new(small).unwrap()).await.unwrap_err().kind(),
        ErrorKind::TooLarge
    );

    for garbage in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"] {
        let fake = Fake::start(vec![Step::SendAndClose(garbage.to_owned())], accepted()).await;
        assert_eq!(
            ingest(&client(&fake)).await.unwrap_err().kind(),
            ErrorKind::Malformed,
            "{garbage}"
        );
    }
    for body in ["", "null", "<html>", r#"{"batch":1}"#] {
        let fake = Fake::start(vec![reply(202, "", body)], accepted()).await;
        assert_eq!(
            ingest(&client(&fake)).await.unwrap_err().kind(),
            ErrorKind::Malformed,
            "{body}"
        );
    }
    let fake = Fake::start(vec![reply(418, "", "a <b>teapot</b>\u{7}")], accepted()).await;
    assert_eq!(
        ingest(&client(&fake)).await.unwrap_err().to_string(),
        "418 I'm a teapot: a <b>teapot</b>"
    );
}

#[tokio::test]
async fn nobody_listening_is_said_plainly() {
    let fake = Fake::start(vec![], accepted()).await;
    let mut config = config(&fake);
    config.backoff.attempts_max = 3;
    let client = Client::new(config).unwrap();
    drop(fake);
    tokio::time::sleep(ms(20)).await;
    let error = ingest(&client).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Unreachable, 3));
    assert!(
        error
            .to_string()
            .starts_with("no connection to http://127.0.0.1:"),
        "{error}"
    );
}

#[tokio::test]
async fn a_unix_socket_takes_the_tenant_even_under_a_long_path() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(80)).join("e".repeat(80));
    fs_err::create_dir_all(&deep).unwrap();
    // Bound under a short name and moved: a socket keeps its identity.
    let short = folder.path().join("s");
    let listener = tokio::net::UnixListener::bind(&short).unwrap();
    let path = deep.join("gateway.sock");
    fs_err::rename(&short, &path).unwrap();
    let fake = Fake::start_unix(listener, &path, accepted());
    ingest(&client(&fake)).await.unwrap();
    assert_eq!(fake.seen()[0].header("x-rc-tenant"), Some("acme"));
    assert_eq!(fake.seen()[0].header("authorization"), None);
}

#[test]
fn a_tenant_s_name_is_no_identity_over_the_network() {
    let endpoint = Endpoint::parse("http://127.0.0.1:1").unwrap();
    let tenant = Identity::Tenant(rc_model::TenantId::new("acme").unwrap());
    let error = Client::new(Config::new(endpoint, tenant)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn reads_tell_found_unchanged_and_absent_apart() {
    let body = r#"{"id":"man/ls.1","title":"ls","text":"list","attrs":{"ext":"1"},"version":7}"#;
    let script = vec![
        reply(200, "etag: \"e7\"\r\n", body),
        Step::Send("HTTP/1.1 304 X\r\netag: \"e7\"\r\n\r\n".into()),
        problem(404, "", ""),
    ];
    let fake = Fake::start(script, accepted()).await;
    let client = client(&fake);
    let Fetched::Found { document, etag } = client.get_doc("man/ls.1", None).await.unwrap().value else {
        panic!("not found")
    };
    assert_eq!((document.version, etag.as_deref()), (Some(7), Some("\"e7\"")));
    assert_eq!(
        client.get_doc("man/ls.1", etag.as_deref()).await.unwrap().value,
        Fetched::NotModified
    );
    assert_eq!(client.get_doc("..", None).await.unwrap().value, Fetched::Absent);
    let seen = fake.seen();
    assert_eq!(seen[0].request_line(), "GET /docs/man%2Fls.1 HTTP/1.1");
    assert_eq!(seen[1].header("if-none-match"), Some("\"e7\""));
    assert_eq!(seen[2].request_line(), "GET /docs/%2E%2E HTTP/1.1");
}

#[tokio::test]
async fn a_search_reaches_the_server_as_it_was_typed() {
    let body = r#"{"hits":[{"id":"a","score":1.5,"snippet":"x <mark>y</mark>"}],"next_cursor":"c2"}"#;
    let fake = Fake::start(vec![], reply(200, "", body)).await;
    let query = SearchQuery {
        text: "\"a b\" & c=ä".into(),
        limit: Some(5),
        cursor: Some("c1==".into()),
        filters: vec![("ext".into(), "1".into())],
        since: rc_model::Timestamp::parse("2026-01-01T00:00:00Z"),
        until: None,
    };
    let answer = client(&fake).search(&query).await.unwrap();
    assert_eq!(answer.value.hits[0].id, "a");
    assert_eq!(answer.value.next_cursor.as_deref(), Some("c2"));
    let expected = "GET /search?q=%22a%20b%22%20%26%20c%3D%C3%A4&limit=5&filter=ext%3A1&since=2026-01-01T00%3A00%3A00.000Z&cursor=c1%3D%3D HTTP/1.1";
    assert_eq!(fake.seen()[0].request_line(), expected);
}

#[tokio::test]
async fn a_batch_s_progress_is_read() {
    let fake = Fake::start(
        vec![],
        reply(200, "", r#"{"batch":"b-1","state":"relayed","more":1}"#),
    )
    .await;
    let status = client(&fake).batch_status("b-1").await.unwrap().value;
    assert!(status.state > BatchState::Stored && status.state < BatchState::Indexed);
}

#[tokio::test]
async fn only_believed_certificates_are_talked_to() {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![own.cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let fake = Fake::start_tls(tokio_rustls::TlsAcceptor::from(Arc::new(server)), accepted()).await;
    let folder = tempfile::tempdir().unwrap();
    let pem = folder.path().join("ca.pem");
    fs_err::write(&pem, own.cert.pem()).unwrap();
    let mut believing = config(&fake);
    believing.trust = Trust::File(pem.clone());
    ingest(&Client::new(believing).unwrap()).await.unwrap();

    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs_err::write(&pem, stranger.cert.pem()).unwrap();
    let mut doubting = config(&fake);
    doubting.trust = Trust::File(pem.clone());
    let error = ingest(&Client::new(doubting).unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Unreachable, 1));

    for broken in ["", "not a certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
        fs_err::write(&pem, broken).unwrap();
        let mut config = config(&fake);
        config.trust = Trust::File(pem.clone());
        assert_eq!(
            Client::new(config).err().unwrap().kind(),
            ErrorKind::Config,
            "{broken}"
        );
    }
}

#[test]
fn texts_are_encoded_for_paths_and_queries() {
    assert_eq!(encode("a/b c.txt"), "a%2Fb%20c.txt");
    assert_eq!(encode("..."), "%2E%2E%2E");
    assert_eq!(encode("é"), "%C3%A9");
    assert_eq!(encode("-_~.x"), "-_~.x");
}
