//! TLS with HTTP/1.1 and HTTP/2 chosen by ALPN.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::support::{Client, Live, PATIENCE, Service, Setup};

struct Tls {
    server: Arc<rustls::ServerConfig>,
    certificate: CertificateDer<'static>,
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

impl Tls {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["gw.test".to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut server = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self {
            server: Arc::new(server),
            certificate,
        }
    }

    fn client(&self, alpn: &[&str]) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let mut client = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(client)
    }

    fn start(&self, service: &Service) -> Live {
        let mut setup = Setup::new(service);
        setup.tls = Some(self.server.clone());
        setup.start()
    }
}

fn connect(
    live: &Live,
    config: Arc<rustls::ClientConfig>,
) -> Client<rustls::StreamOwned<rustls::ClientConnection, TcpStream>> {
    let connection = rustls::ClientConnection::new(config, ServerName::try_from("gw.test").unwrap()).unwrap();
    let socket = TcpStream::connect(live.address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    Client {
        stream: rustls::StreamOwned::new(connection, socket),
        buffer: Vec::new(),
    }
}

#[test]
fn http_1_works_inside_tls_with_and_without_alpn() {
    let (service, tls) = (Service::echo(), Tls::new());
    let live = tls.start(&service);
    for alpn in [&["http/1.1"][..], &[]] {
        let mut client = connect(&live, tls.client(alpn));
        for _ in 0..3 {
            client.send(live.request("POST /up", "Content-Length: 300000\r\n"));
            client.send(vec![b'x'; 300_000]);
            assert_eq!(client.reply().status, 200);
        }
    }
    assert_eq!(service.seen()[0].header("x-forwarded-proto"), Some("https"));
}

#[test]
fn http_2_is_chosen_by_alpn_and_carries_parallel_streams() {
    let service = Service::start(|seen, stream| {
        let body = format!("{} {}", seen.line(), seen.body.len());
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .is_ok()
    });
    let tls = Tls::new();
    let live = tls.start(&service);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(live.address).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(tls.client(&["h2"]));
        let stream = connector
            .connect(ServerName::try_from("gw.test").unwrap(), socket)
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let _ended = connection.await;
        });
        let mut streams = tokio::task::JoinSet::new();
        for n in 0..64_usize {
            let mut sender = sender.clone();
            let key = live.key.reveal().to_owned();
            streams.spawn(async move {
                let body = bytes::Bytes::from(vec![b'x'; n * 5_000]);
                let request = http::Request::post(format!("https://gw.test/up/{n}"))
                    .header("x-api-key", key)
                    .body(Full::new(body))
                    .unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.status(), 200);
                assert!(response.headers().contains_key("x-request-id"));
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, format!("POST /up/{n} HTTP/1.1 {}", n * 5_000));
            });
        }
        while let Some(done) = streams.join_next().await {
            done.unwrap();
        }
    });
    assert_eq!(service.seen().len(), 64);
}

#[test]
fn big_answers_flow_to_http_2_clients_and_cut_ones_are_reset() {
    const BIG: usize = 8 << 20;
    let service = Service::start(|seen, stream| {
        let _head = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n");
        if seen.line().contains("cut") {
            let _some = stream.write_all(&[b'x'; 1_000]);
            return false;
        }
        stream.write_all(&vec![b'x'; BIG]).is_ok()
    });
    let live = Setup::new(&service).start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(live.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
                .await
                .unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let _ended = connection.await;
        });
        let mut ask = async |path: &str| {
            let request = http::Request::get(format!("http://gw.test/up/{path}"))
                .header("x-api-key", live.key.reveal())
                .body(Full::new(bytes::Bytes::new()))
                .unwrap();
            // A reset may overtake the head of an answer that is cut.
            let response = sender.send_request(request).await?;
            assert_eq!(response.status(), 200);
            response
                .into_body()
                .collect()
                .await
                .map(|body| body.to_bytes().len())
        };
        assert_eq!(ask("whole").await.unwrap(), BIG);
        assert!(ask("cut").await.is_err());
        assert_eq!(ask("whole").await.unwrap(), BIG, "the connection goes on");
    });
}

#[test]
fn plain_http_on_a_tls_port_is_closed_and_counted() {
    let (service, tls) = (Service::echo(), Tls::new());
    let live = tls.start(&service);
    let mut client = live.client();
    client.send(live.request("GET /up", ""));
    while client.stream.write_all(b"x").is_ok() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    live.expect_metric("rc_traffic_handshake_failures_total 1");
    assert!(service.seen().is_empty());
}

#[test]
fn a_source_that_begins_too_many_handshakes_is_cut_and_what_is_open_goes_on() {
    let (service, tls) = (Service::echo(), Tls::new());
    let mut setup = Setup::new(&service).config(|config| {
        config.limits.handshakes_per_source_max = 1;
        config.limits.handshakes_per_source_burst = 3;
    });
    setup.tls = Some(tls.server.clone());
    let live = setup.start();
    let mut open: Vec<_> = (0..3)
        .map(|_| connect(&live, tls.client(&["http/1.1"])))
        .collect();
    for client in &mut open {
        client.send(live.request("GET /up", ""));
        assert_eq!(client.reply().status, 200);
    }
    // One a second comes back, so that one of many in a row is over.
    let refused = (0..100).any(|_| {
        let mut client = connect(&live, tls.client(&["http/1.1"]));
        client.send(live.request("GET /up", ""));
        client.reply_to(false).is_none()
    });
    assert!(refused);
    assert!(!live.metrics().contains("rc_traffic_handshakes_refused_total 0"));
    open[0].send(live.request("GET /up", ""));
    assert_eq!(open[0].reply().status, 200);
}

#[test]
fn handshakes_that_stand_still_end_in_time_and_keep_nobody_waiting() {
    let (service, tls) = (Service::echo(), Tls::new());
    let mut setup = Setup::new(&service).config(|config| {
        config.limits.head_timeout = std::time::Duration::from_secs(3);
    });
    setup.tls = Some(tls.server.clone());
    let live = setup.start();
    let hello = {
        let name = ServerName::try_from("gw.test").unwrap();
        let mut connection = rustls::ClientConnection::new(tls.client(&["h2"]), name).unwrap();
        let mut hello = Vec::new();
        connection.write_tls(&mut hello).unwrap();
        hello
    };
    // Nothing, half a hello, and a whole hello whose answer is not taken up.
    let stalled: Vec<TcpStream> = (0..120)
        .map(|n| {
            let mut client = TcpStream::connect(live.address).unwrap();
            let said: &[u8] = match n % 3 {
                0 => b"",
                1 => &hello[..hello.len() / 2],
                _ => &hello,
            };
            client.write_all(said).unwrap();
            client
        })
        .collect();
    let mut garbage = TcpStream::connect(live.address).unwrap();
    garbage.write_all(b"GET /up HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut client = connect(&live, tls.client(&["http/1.1"]));
    client.send(live.request("GET /up", ""));
    assert_eq!(client.reply().status, 200, "they are not in its way");
    live.expect_metric("rc_traffic_handshake_failures_total 121");
    drop(stalled);
    client.send(live.request("GET /up", ""));
    assert_eq!(client.reply().status, 200);
}
