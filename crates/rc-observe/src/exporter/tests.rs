use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rc_serve::{Metrics, Tree};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::otlp::tests::span;
use crate::ring::RingConfig;
use crate::telemetry::{Telemetry, TelemetryConfig};

/// What a receiver got: fields, and the number of spans.
#[derive(Debug, Clone)]
struct Got {
    head: http::HeaderMap,
    path: String,
    spans: usize,
}

/// A receiver that answers as it is told and records what it got.
struct Receiver {
    address: std::net::SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

type Answer = Arc<dyn Fn(usize) -> (Duration, Response<Full<Bytes>>) + Send + Sync>;

fn count_spans(body: &[u8]) -> usize {
    use crate::wire::{Field, Fields};
    let inside = |message: &[u8], number: u32| -> Vec<Vec<u8>> {
        let found = Fields::of(message).filter_map(|field| match field.unwrap() {
            (found, Field::Bytes(bytes)) if found == number => Some(bytes.to_vec()),
            _ => None,
        });
        found.collect()
    };
    let resource_spans = inside(body, 1).remove(0);
    inside(&inside(&resource_spans, 2).remove(0), 2).len()
}

impl Receiver {
    async fn start(answer: impl Fn(usize) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        Self::with(None, Arc::new(move |count| (Duration::ZERO, answer(count)))).await
    }

    async fn with(tls: Option<Arc<rustls::ServerConfig>>, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (got, connections) = (Arc::<Mutex<Vec<Got>>>::default(), Arc::new(AtomicUsize::new(0)));
        let mut tasks = JoinSet::new();
        let (record, opened) = (Arc::clone(&got), Arc::clone(&connections));
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                opened.fetch_add(1, Ordering::Relaxed);
                let (record, answer, tls) = (Arc::clone(&record), Arc::clone(&answer), tls.clone());
                open.spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (record, answer) = (Arc::clone(&record), Arc::clone(&answer));
                        async move {
                            let (head, body) = request.into_parts();
                            let body = body.collect().await.unwrap().to_bytes();
                            let count = {
                                let mut record = record.lock().unwrap();
                                record.push(Got {
                                    head: head.headers,
                                    path: head.uri.path().to_owned(),
                                    spans: count_spans(&body),
                                });
                                record.len()
                            };
                            let (wait, response) = answer(count);
                            tokio::time::sleep(wait).await;
                            Ok::<_, std::convert::Infallible>(response)
                        }
                    });
                    let server = hyper::server::conn::http1::Builder::new();
                    let _ = match tls {
                        Some(tls) => match tokio_rustls::TlsAcceptor::from(tls).accept(stream).await {
                            Ok(stream) => server.serve_connection(TokioIo::new(stream), service).await,
                            Err(_) => return,
                        },
                        None => server.serve_connection(TokioIo::new(stream), service).await,
                    };
                });
            }
        });
        Self {
            address,
            got,
            connections,
            _tasks: tasks,
        }
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    async fn wait_for(&self, requests: usize) -> Vec<Got> {
        let by = tokio::time::Instant::now() + Duration::from_secs(20);
        while self.got().len() < requests {
            assert!(tokio::time::Instant::now() < by, "{:?}", self.got());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.got()
    }

    fn config(&self) -> OtlpConfig {
        OtlpConfig {
            endpoint: Endpoint::base(&format!("http://{}", self.address)).unwrap(),
            headers: Headers::parse("api-key=s3cret").unwrap(),
            timeout: Duration::from_secs(2),
            ca: None,
        }
    }
}

fn status(code: u16) -> Response<Full<Bytes>> {
    Response::builder().status(code).body(Full::default()).unwrap()
}

fn resource() -> Resource {
    Resource {
        service: "ingest".to_owned(),
        version: "0.1.0".to_owned(),
        namespace: None,
        region: None,
    }
}

/// The exporter alone, without buffers and disk before it.
struct Sending {
    queue: Arc<Queue>,
    counters: Counters,
    tree: Tree,
}

fn send_to(config: OtlpConfig) -> Sending {
    let (counters, tree) = (Counters::default(), Tree::new());
    let queue = Arc::new(Queue::new(counters.clone()));
    let exporter = Exporter::new(config, &resource(), Arc::clone(&queue), counters.clone()).unwrap();
    tree.spawn("export", exporter.run(tree.stopping()));
    Sending {
        queue,
        counters,
        tree,
    }
}

fn chunk(spans: u64) -> Bytes {
    let mut out = Vec::new();
    for id in 1..=spans {
        otlp::encode(&span(1, id, "POST /ingest"), &mut out);
    }
    out.into()
}

impl Sending {
    fn push(&self, spans: u64) {
        self.queue.push(chunk(spans), spans);
    }

    async fn end(&self) -> Result<(), Vec<String>> {
        self.tree.drain(Duration::from_secs(10)).await
    }
}

#[tokio::test]
async fn spans_arrive_with_the_fields_that_the_receiver_wants() {
    let receiver = Receiver::start(|_| status(200)).await;
    let sending = send_to(receiver.config());
    sending.push(3);
    sending.push(4);
    let got = receiver.wait_for(1).await;
    assert_eq!((got[0].path.as_str(), got[0].spans), ("/v1/traces", 7));
    assert_eq!(got[0].head["content-type"], "application/x-protobuf");
    assert_eq!(got[0].head["api-key"], "s3cret");
    assert_eq!(got[0].head["host"], receiver.address.to_string());
    assert_eq!(got[0].head["user-agent"], "royalcrown/0.1.0");
    sending.push(1);
    receiver.wait_for(2).await;
    sending.end().await.unwrap();
    assert_eq!(sending.counters.exported.get(), 8);
    assert_eq!(
        receiver.connections.load(Ordering::Relaxed),
        1,
        "the connection is kept"
    );
}

#[tokio::test]
async fn a_busy_receiver_is_asked_again_when_it_said() {
    let busy = |code: u16, after: &str| {
        let mut response = status(code);
        response
            .headers_mut()
            .insert("retry-after", after.parse().unwrap());
        response
    };
    let receiver = Receiver::start(move |count| match count {
        1 => busy(429, "1"),
        2 => busy(503, "0"),
        3 => status(502),
        _ => status(200),
    })
    .await;
    let sending = send_to(receiver.config());
    sending.push(2);
    receiver.wait_for(1).await;
    let began = tokio::time::Instant::now();
    receiver.wait_for(2).await;
    assert!(
        began.elapsed() > Duration::from_millis(900),
        "{:?}",
        began.elapsed()
    );
    let got = receiver.wait_for(4).await;
    assert!(got.iter().all(|got| got.spans == 2));
    sending.end().await.unwrap();
    assert_eq!(sending.counters.exported.get(), 2);
    assert_eq!(sending.counters.dropped("export"), 0);
}

#[tokio::test]
async fn what_is_refused_is_not_sent_again() {
    let receiver = Receiver::start(|count| status(if count == 1 { 401 } else { 200 })).await;
    let sending = send_to(receiver.config());
    sending.push(5);
    receiver.wait_for(1).await;
    sending.push(2);
    receiver.wait_for(2).await;
    sending.end().await.unwrap();
    assert_eq!(sending.counters.dropped("rejected"), 5);
    assert_eq!(sending.counters.exported.get(), 2);
}

#[tokio::test]
async fn a_partial_success_counts_what_was_rejected() {
    let receiver = Receiver::start(|_| {
        // partial_success { rejected_spans: 3, error_message: "no" }
        let body = Bytes::from_static(&[0x0a, 0x06, 0x08, 0x03, 0x12, 0x02, b'n', b'o']);
        Response::new(Full::new(body))
    })
    .await;
    let sending = send_to(receiver.config());
    sending.push(10);
    receiver.wait_for(1).await;
    sending.end().await.unwrap();
    assert_eq!(sending.counters.exported.get(), 7);
    assert_eq!(sending.counters.dropped("rejected"), 3);
}

#[tokio::test]
async fn a_slow_receiver_fills_the_queue_and_no_more() {
    let slow: Answer = Arc::new(|_| (Duration::from_secs(30), status(200)));
    let receiver = Receiver::with(None, slow).await;
    let sending = send_to(receiver.config());
    let big = chunk(2_000);
    let rounds = 3 * QUEUE_BYTES_MAX / big.len();
    sending.push(1);
    receiver.wait_for(1).await;
    for _ in 0..rounds {
        sending.queue.push(big.clone(), 2_000);
    }
    let waiting = sending.queue.waiting.lock().unwrap().bytes;
    assert!(
        waiting <= QUEUE_BYTES_MAX && waiting > QUEUE_BYTES_MAX / 2,
        "{waiting}"
    );
    let fitting = (QUEUE_BYTES_MAX / big.len()) as u64;
    let dropped = sending.counters.dropped("queue");
    assert_eq!(dropped, (rounds as u64 - fitting) * 2_000);
    // The end is the caller's deadline, not the receiver's.
    let began = tokio::time::Instant::now();
    assert!(sending.tree.drain(Duration::from_millis(200)).await.is_err());
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn nobody_there_costs_spans_after_a_few_attempts() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let receiver = Receiver::start(|_| status(200)).await;
    let mut config = receiver.config();
    config.endpoint = Endpoint::base(&format!("http://{address}")).unwrap();
    let sending = send_to(config);
    sending.push(4);
    tokio::time::sleep(BATCH_EVERY + Duration::from_millis(300)).await;
    // At the end there is one more attempt, not a wait.
    sending.end().await.unwrap();
    assert_eq!(sending.counters.dropped("export"), 4);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_made_again() {
    let receiver = Receiver::start(|count| {
        let mut response = status(200);
        if count == 1 {
            response
                .headers_mut()
                .insert("connection", "close".parse().unwrap());
        }
        response
    })
    .await;
    let sending = send_to(receiver.config());
    sending.push(1);
    receiver.wait_for(1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    sending.push(1);
    receiver.wait_for(2).await;
    sending.end().await.unwrap();
    assert_eq!(sending.counters.exported.get(), 2);
    assert_eq!(receiver.connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn tls_is_spoken_with_those_that_the_authorities_vouch_for_and_nobody_else() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (ca, key) = (folder.path().join("ca.pem"), folder.path().join("key.pem"));
    fs_err::write(&ca, certified.cert.pem()).unwrap();
    fs_err::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let tls = rc_serve::tls::server_config(&ca, &key, &[b"http/1.1"]).unwrap();
    let receiver = Receiver::with(Some(tls), Arc::new(|_| (Duration::ZERO, status(200)))).await;
    let mut config = receiver.config();
    config.endpoint = Endpoint::base(&format!("https://localhost:{}", receiver.address.port())).unwrap();
    config.ca = Some(ca);
    let sending = send_to(config.clone());
    sending.push(2);
    receiver.wait_for(1).await;
    sending.end().await.unwrap();
    assert_eq!(sending.counters.exported.get(), 2);

    // The same receiver under a name that its certificate does not have.
    config.endpoint = Endpoint::base(&format!("https://127.0.0.1:{}", receiver.address.port())).unwrap();
    let sending = send_to(config.clone());
    sending.push(2);
    sending.end().await.unwrap();
    assert_eq!(sending.counters.dropped("export"), 2);
    assert_eq!(receiver.got().len(), 1);

    config.ca = Some(key);
    let queue = Arc::new(Queue::new(Counters::default()));
    assert!(Exporter::new(config, &resource(), queue, Counters::default()).is_err());
}

#[tokio::test]
async fn the_whole_way_from_a_span_to_the_receiver_ends_within_the_deadline() {
    let receiver = Receiver::start(|_| status(200)).await;
    let folder = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let config = |otlp| TelemetryConfig {
        resource: resource(),
        ring: RingConfig {
            folder: folder.path().join("ingest"),
            keep_bytes: 0,
        },
        otlp,
    };
    let telemetry = Telemetry::start(config(Some(receiver.config())), &metrics);
    for id in 1..=250 {
        telemetry.sink().span(&span(1, id, "POST /ingest"));
    }
    telemetry.finish(Duration::from_secs(5)).await;
    let sent: usize = receiver.got().iter().map(|got| got.spans).sum();
    assert_eq!(sent, 250, "what was recorded before the end is sent");
    let text = metrics.render();
    for line in [
        "rc_telemetry_spans_recorded_total 250",
        "rc_telemetry_spans_exported_total 250",
    ] {
        assert!(text.contains(line), "{text}");
    }

    // Without a receiver nobody is asked.
    let telemetry = Telemetry::start(config(None), &Metrics::new());
    telemetry.sink().span(&span(2, 1, "GET /docs/{id}"));
    telemetry.finish(Duration::from_secs(5)).await;
    assert_eq!(receiver.connections.load(Ordering::Relaxed), 1);
}

#[test]
fn pauses_grow_and_differ() {
    for attempt in 1..ATTEMPTS_MAX {
        let base = BACKOFF_FIRST * (1 << (attempt - 1));
        let pause = backoff(attempt);
        assert!(pause >= base / 2 && pause < base + base / 2, "{pause:?}");
    }
    assert_eq!(short("a\nb\u{1b}c"), "a b c");
    assert_eq!(short(&"x".repeat(500)).len(), 200);
    assert_eq!(StatusCode::TOO_MANY_REQUESTS.as_u16(), 429);
}
