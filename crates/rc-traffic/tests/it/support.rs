//! A live gateway, services that record every byte, and clients that send exactly what they are told.
//!
//! Services and clients are plain threads and blocking sockets, so that a test reads as a script.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus_client::registry::Registry;
use rc_model::catalog::{Method, Route};
use rc_model::project::AccessLog;
use rc_model::resilience::{Health, Retry, Timeout};
use rc_model::tenants::{Concurrency, EffectiveLimits, QueueLimit, RateLimit};
use rc_model::units::{ByteSize, Rate, Span};
use rc_model::{Clock, ServiceId, SystemClock, TenantId, TierId};
use rc_serve::Readiness;
use rc_traffic::{
    AdminHandler, AnonymousPolicy, ApiKey, BoundAddress, Endpoint, Gateway, GatewayConfig, Hooks, KeyEntry,
    KeySet, Listener, RouteSpec, Snapshot, SnapshotSpec, Stopped, TenantSpec, UpstreamSpec,
};
use tokio_util::sync::CancellationToken;

/// No test waits longer than this for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One request as a service saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    pub(crate) connection: usize,
}

impl Seen {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// What a service does with a request; `false` closes the connection.
pub(crate) type Handler = dyn Fn(&Seen, &mut TcpStream) -> bool + Send + Sync;

/// A service that records.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    raw: Arc<Mutex<Vec<u8>>>,
    connections: Arc<AtomicUsize>,
}

impl Service {
    pub(crate) fn start(handler: impl Fn(&Seen, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let service = Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            raw: Arc::default(),
            connections: Arc::default(),
        };
        let (seen, raw, connections) = (
            service.seen.clone(),
            service.raw.clone(),
            service.connections.clone(),
        );
        let handler: Arc<Handler> = Arc::new(handler);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let connection = connections.fetch_add(1, Ordering::SeqCst);
                let (seen, raw, handler) = (seen.clone(), raw.clone(), handler.clone());
                std::thread::spawn(move || serve(stream, connection, &seen, &raw, &*handler));
            }
        });
        service
    }

    /// Answers everything with 200 and the request line.
    pub(crate) fn echo() -> Self {
        Self::start(|seen, stream| {
            let body = if seen.line().starts_with("HEAD") {
                ""
            } else {
                seen.line()
            };
            let length = seen.line().len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nX-Up: yes\r\n\r\n{body}"
            )
            .is_ok()
        })
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Every byte that any connection brought.
    pub(crate) fn raw(&self) -> String {
        String::from_utf8_lossy(&self.raw.lock().unwrap()).into_owned()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.address)
    }
}

fn serve(
    mut stream: TcpStream,
    connection: usize,
    seen: &Mutex<Vec<Seen>>,
    raw: &Mutex<Vec<u8>>,
    handler: &Handler,
) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::new();
    let more = |buffer: &mut Vec<u8>, stream: &mut TcpStream| {
        let mut piece = vec![0; 64 << 10];
        let count = stream.read(&mut piece).unwrap_or(0);
        raw.lock().unwrap().extend_from_slice(&piece[..count]);
        buffer.extend_from_slice(&piece[..count]);
        count > 0
    };
    loop {
        let end = loop {
            if let Some(at) = find(&buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if !more(&mut buffer, &mut stream) {
                return;
            }
        };
        let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end);
        let mut body = Vec::new();
        if let Some(length) = header(&head, "content-length") {
            let length: usize = length.parse().unwrap();
            while buffer.len() < length {
                if !more(&mut buffer, &mut stream) {
                    return;
                }
            }
            body = buffer.drain(..length).collect();
        } else if header(&head, "transfer-encoding").is_some() {
            loop {
                let Some(line_end) = find(&buffer, b"\r\n") else {
                    if !more(&mut buffer, &mut stream) {
                        return;
                    }
                    continue;
                };
                let size =
                    usize::from_str_radix(std::str::from_utf8(&buffer[..line_end]).unwrap(), 16).unwrap();
                while buffer.len() < line_end + 2 + size + 2 {
                    if !more(&mut buffer, &mut stream) {
                        return;
                    }
                }
                body.extend_from_slice(&buffer[line_end + 2..line_end + 2 + size]);
                buffer.drain(..line_end + 2 + size + 2);
                if size == 0 {
                    break;
                }
            }
        }
        let request = Seen {
            head,
            body,
            connection,
        };
        seen.lock().unwrap().push(request.clone());
        if !handler(&request, &mut stream) {
            return;
        }
    }
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// A gateway in a thread of its own.
pub(crate) struct Live {
    pub(crate) gateway: Gateway,
    pub(crate) address: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) key: ApiKey,
    pub(crate) readiness: Readiness,
    pub(crate) stop: CancellationToken,
    thread: Option<JoinHandle<Stopped>>,
    _folder: tempfile::TempDir,
}

/// What a test wants to be different.
pub(crate) struct Setup {
    pub(crate) config: Box<dyn FnOnce(&mut GatewayConfig)>,
    pub(crate) spec: SnapshotSpec,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) admin: Option<Arc<dyn AdminHandler>>,
    pub(crate) clock: Arc<dyn Clock>,
}

pub(crate) fn route(path: &str, methods: &[Method]) -> RouteSpec {
    RouteSpec {
        route: Route {
            path: path.to_owned(),
            methods: methods.to_vec(),
            timeout: None,
            public: false,
            concurrency: None,
            cache: None,
            hedge: None,
        },
        service: ServiceId::new("up").unwrap(),
    }
}

/// Nothing is tried again and no endpoint left alone, so that a test sees every try.
///
/// Tenant `acme` (gold, practically unlimited), routes `/up`, `/docs` (reads), `/open` (public) and
/// `/quick` (200 ms), all to `service`.
pub(crate) fn spec(version: u64, endpoints: Vec<Endpoint>) -> SnapshotSpec {
    let mut open = route("/open", &[]);
    open.route.public = true;
    let mut quick = route("/quick", &[]);
    quick.route.timeout = Some(Span::from_millis(200));
    SnapshotSpec {
        version,
        versions: Default::default(),
        tenants: vec![tenant("acme", "gold", 1_000_000, 1_000_000)],
        routes: vec![
            route("/up", &[]),
            route("/docs", &[Method::Get, Method::Head]),
            open,
            quick,
        ],
        upstreams: vec![UpstreamSpec {
            service: ServiceId::new("up").unwrap(),
            endpoints,
            health: Health::OFF,
        }],
        anonymous: AnonymousPolicy {
            shared: limit(1_000_000, 1_000_000),
            per_source: limit(1_000_000, 1_000_000),
            retry: Retry::OFF,
            ..AnonymousPolicy::default()
        },
    }
}

pub(crate) fn limit(rate: u64, burst: u64) -> RateLimit {
    RateLimit::of(Rate::per_second(rate), burst)
}

pub(crate) fn tenant(id: &str, tier: &str, rate: u64, burst: u64) -> TenantSpec {
    TenantSpec {
        id: TenantId::new(id).unwrap(),
        limits: EffectiveLimits {
            tier: TierId::new(tier).unwrap(),
            weight: 1,
            rps: limit(rate, burst),
            timeout: Timeout::fixed(Span::from_millis(10_000)),
            body_max: ByteSize::new(64 << 20),
            concurrency: Concurrency::default(),
            queue: QueueLimit::default(),
            retry: Retry::OFF,
            storage: None,
        },
    }
}

impl Setup {
    pub(crate) fn new(service: &Service) -> Self {
        Self::to(vec![service.endpoint()])
    }

    pub(crate) fn to(endpoints: Vec<Endpoint>) -> Self {
        Self {
            config: Box::new(|_| {}),
            spec: spec(1, endpoints),
            tls: None,
            admin: None,
            clock: SystemClock::shared(),
        }
    }

    pub(crate) fn config(mut self, change: impl FnOnce(&mut GatewayConfig) + 'static) -> Self {
        self.config = Box::new(change);
        self
    }

    pub(crate) fn spec(mut self, change: impl FnOnce(&mut SnapshotSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    pub(crate) fn start(self) -> Live {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("gateway.sock");
        let mut config = GatewayConfig::new(vec![
            Listener::Tcp {
                address: "127.0.0.1:0".parse().unwrap(),
                tls: self.tls,
            },
            Listener::Unix { path: socket.clone() },
        ]);
        config.workers = NonZeroUsize::new(2).unwrap();
        config.access_log = AccessLog::All;
        (self.config)(&mut config);
        let key = ApiKey::generate().unwrap();
        let entry = KeyEntry {
            id: key.id().clone(),
            hash: key.hash(),
            tenant: TenantId::new("acme").unwrap(),
            user: None,
        };
        let keys: KeySet = [entry].into_iter().collect();
        let snapshot = Snapshot::build(self.spec).unwrap();
        let gateway = Gateway::new(config, snapshot, Arc::new(keys), self.clock);
        let readiness = Readiness::new();
        let hooks = Hooks {
            readiness: readiness.clone(),
            admin: self.admin,
        };
        let (told, address) = std::sync::mpsc::sync_channel(1);
        let (stop, handle) = (CancellationToken::new(), gateway.clone());
        let stop_there = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let bound = handle.bind(hooks).unwrap();
                let BoundAddress::Tcp { address, .. } = bound.addresses()[0] else {
                    panic!("not TCP")
                };
                told.send(address).unwrap();
                bound.run(stop_there).await.unwrap()
            })
        });
        Live {
            gateway,
            address: address.recv_timeout(PATIENCE).unwrap(),
            socket,
            key,
            readiness,
            stop,
            thread: Some(thread),
            _folder: folder,
        }
    }
}

impl Live {
    pub(crate) fn client(&self) -> Client<TcpStream> {
        Client::tcp(self.address)
    }

    pub(crate) fn trusted(&self) -> Client<UnixStream> {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The field that proves to be `acme`, with its line end.
    pub(crate) fn auth(&self) -> String {
        format!("X-API-Key: {}\r\n", self.key.reveal())
    }

    /// A request with host and key, and `fields` (whole lines).
    pub(crate) fn request(&self, line: &str, fields: &str) -> String {
        format!("{line} HTTP/1.1\r\nHost: gw.test\r\n{}{fields}\r\n", self.auth())
    }

    /// Sends one request on a connection of its own.
    pub(crate) fn get(&self, target: &str) -> Reply {
        let mut client = self.client();
        client.send(self.request(&format!("GET {target}"), ""));
        client.reply()
    }

    pub(crate) fn metrics(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(self.gateway.collector());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    /// Waits until a scrape holds `want`: a request is counted a moment after its client has the answer.
    pub(crate) fn expect_metric(&self, want: &str) {
        eventually(want, || self.metrics().contains(want));
    }

    /// Stops and waits for the end of the drain.
    pub(crate) fn stopped(mut self) -> Stopped {
        self.stop.cancel();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// A client that sends exactly what it is told.
pub(crate) struct Client<S> {
    pub(crate) stream: S,
    pub(crate) buffer: Vec<u8>,
}

impl Client<TcpStream> {
    pub(crate) fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }
}

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The body came to the end that its framing promised.
    pub(crate) whole: bool,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn problem(&self) -> rc_model::Problem {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl<S: std::io::Read + std::io::Write> Client<S> {
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The gateway may refuse and close before it has everything.
        let _maybe_closed = self.stream.write_all(bytes.as_ref());
    }

    fn more(&mut self) -> bool {
        let mut piece = vec![0; 64 << 10];
        let count = self.stream.read(&mut piece).unwrap_or(0);
        self.buffer.extend_from_slice(&piece[..count]);
        count > 0
    }

    pub(crate) fn reply(&mut self) -> Reply {
        self.reply_to(false).expect("an answer")
    }

    pub(crate) fn reply_to(&mut self, head_only: bool) -> Option<Reply> {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more() {
                return None;
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let (mut body, mut whole) = (Vec::new(), true);
        if head_only || matches!(status, 100..=199 | 204 | 304) {
        } else if let Some(length) = header(&head, "content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length && whole {
                whole = self.more();
            }
            body = self.buffer.drain(..length.min(self.buffer.len())).collect();
        } else if header(&head, "transfer-encoding").is_some() {
            loop {
                let Some(line_end) = find(&self.buffer, b"\r\n") else {
                    whole = self.more();
                    if whole { continue } else { break }
                };
                let size = usize::from_str_radix(std::str::from_utf8(&self.buffer[..line_end]).unwrap(), 16)
                    .unwrap();
                while self.buffer.len() < line_end + size + 4 && whole {
                    whole = self.more();
                }
                if !whole {
                    break;
                }
                body.extend_from_slice(&self.buffer[line_end + 2..line_end + 2 + size]);
                self.buffer.drain(..line_end + size + 4);
                if size == 0 {
                    break;
                }
            }
        } else {
            while self.more() {}
            body = std::mem::take(&mut self.buffer);
        }
        Some(Reply {
            status,
            head,
            body,
            whole,
        })
    }

    /// Whether the gateway closes the connection without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.more() && self.buffer.is_empty()
    }
}

/// Waits until `check` holds.
pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / 10 {
        if check() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("did not come: {what}");
}
