//! A gateway from the outside: made, bound, run, given new policy, stopped.
//!
//! N workers, each a thread with a runtime, connections and upstream pools of its own; a connection stays
//! where it was put. One acceptor hands sockets to the worker with the fewest connections. That beats a
//! listener per worker with `SO_REUSEPORT`, which spreads connections by hash: few long-lived ones land
//! unevenly (envoy#4602, hitch#142), and the option lets a second gateway share the port unnoticed.
//! Accepting costs a few microseconds a connection, once; requests never pass through the acceptor.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use rc_model::{Clock, ServiceId, TenantId};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{GatewayConfig, Listener};
use crate::connection::{self, Accepted, Socket};
use crate::hooks::Hooks;
use crate::key::KeyTable;
use crate::metrics::TrafficCollector;
use crate::snapshot::Snapshot;
use crate::state::Shared;
use crate::versions::CountsReport;
use crate::worker::Peer;

/// Connections that wait for a worker to take them.
const HANDOVER_MAX: usize = 1_024;
/// The kernel's queue of connections that wait to be accepted.
const BACKLOG: i32 = 4_096;
/// Pause after the process ran out of file descriptors: accepting again at once would only spin.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);
/// How often the log says so while it lasts.
const EXHAUSTED_TOLD_EVERY: Duration = Duration::from_secs(10);

/// A gateway's handle. Cheap to clone; policy and keys can be replaced through any clone at any moment.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

/// A gateway whose listeners are bound and which has not begun to work.
pub struct Bound {
    shared: Arc<Shared>,
    hooks: Hooks,
    doors: Vec<Door>,
}

struct Door {
    socket: Listening,
    address: BoundAddress,
    tls: Option<Arc<rustls::ServerConfig>>,
    /// Clients on this machine may name a tenant.
    believes_loopback: bool,
}

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Where a gateway listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoundAddress {
    Tcp { address: SocketAddr, tls: bool },
    Unix { path: PathBuf },
}

/// Why a gateway cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}")]
pub struct BindError {
    pub address: String,
    #[source]
    pub source: io::Error,
}

/// How a gateway ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that were cut because they were not finished at the drain's deadline.
    pub cut: usize,
}

impl BindError {
    /// The stable error code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "RC-GW-030"
    }
}

impl std::fmt::Display for BoundAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { address, tls: true } => write!(f, "https://{address}"),
            Self::Tcp { address, tls: false } => write!(f, "http://{address}"),
            Self::Unix { path } => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Gateway {
    /// A gateway with a first policy and first keys. `clock` is where limits read the time.
    #[must_use]
    pub fn new(
        config: GatewayConfig,
        snapshot: Snapshot,
        keys: Arc<dyn KeyTable>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared::new(config, snapshot, keys, clock)),
        }
    }

    /// Puts a policy in use. Requests under way finish with the one they began with; what tenants have
    /// used of their limits stays used.
    pub fn install(&self, snapshot: Snapshot) {
        self.shared.install(snapshot);
    }

    /// Puts keys in use. A key that is not among them is refused from the next request on.
    pub fn set_keys(&self, keys: Arc<dyn KeyTable>) {
        self.shared.keys.store(Arc::new(keys));
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The version of the policy in use.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.active.load().snapshot.version()
    }

    /// The requests of services with several versions, of `service` or of all, that began after the second `since` of
    /// Unix time: seconds that are closed, each the same whenever it is read.
    #[must_use]
    pub fn counts(&self, service: Option<&ServiceId>, since: Option<u64>) -> CountsReport {
        self.shared.counts.report(service, since)
    }

    /// How many requests each tenant sent lately to `service`, which has several versions.
    #[must_use]
    pub fn traffic(&self, service: &ServiceId) -> HashMap<TenantId, u64> {
        self.shared.counts.traffic(service)
    }

    /// The gateway's metrics, for a registry.
    #[must_use]
    pub fn collector(&self) -> Box<dyn Collector> {
        Box::new(TrafficCollector(Arc::clone(&self.shared.metrics)))
    }

    /// OpenMetrics text of a registry that has [`Self::collector`], with a trace as an example on each
    /// bucket of durations that has one.
    #[must_use]
    pub fn with_exemplars(&self, text: &str) -> String {
        self.shared.metrics.with_exemplars(text)
    }

    /// Binds every listener. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// When an address is taken or not allowed; then none stays bound.
    pub fn bind(&self, hooks: Hooks) -> Result<Bound, BindError> {
        let listeners = &self.shared.config.listeners;
        let believes_loopback = self.shared.config.loopback_names_tenants;
        let doors = listeners
            .iter()
            .map(|listener| Door::open(listener, believes_loopback))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Bound {
            shared: Arc::clone(&self.shared),
            hooks,
            doors,
        })
    }
}

impl Bound {
    /// Where the gateway listens, in the order of its configuration, with the ports that were chosen.
    #[must_use]
    pub fn addresses(&self) -> Vec<BoundAddress> {
        self.doors.iter().map(|door| door.address.clone()).collect()
    }

    /// Serves until `stop`, then drains: no new connections, idle ones are closed, requests under way get
    /// the configured time.
    ///
    /// # Errors
    /// When a worker cannot be started or ends by itself.
    pub async fn run(self, stop: CancellationToken) -> io::Result<Stopped> {
        let limits = &self.shared.config.limits;
        let workers = (0..self.shared.config.workers.get())
            .map(|index| Seat::start(index, &self.shared, &self.hooks, &stop))
            .collect::<io::Result<Vec<_>>>()?;
        let (seats, mut ends): (Vec<_>, JoinSet<_>) = workers.into_iter().unzip_into();
        let seats: Arc<[Seat]> = seats.into();
        let mut doors = JoinSet::new();
        for door in self.doors {
            doors.spawn(door.keep(
                Arc::clone(&seats),
                stop.clone(),
                limits.connections_per_worker_max,
            ));
        }
        drop(seats);
        watch(&mut ends, &mut doors, &stop).await
    }
}

/// Waits until every worker has ended. When one does so by itself, or an acceptor does, all stop: a gateway that
/// serves only some of its connections would look alive and not be.
async fn watch(
    ends: &mut JoinSet<Option<usize>>,
    doors: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> io::Result<Stopped> {
    let mut cut = 0;
    let mut failure = None;
    loop {
        let dead = tokio::select! {
            end = ends.join_next() => match end {
                None => break,
                Some(Ok(Some(count))) => {
                    cut += count;
                    None
                }
                Some(Ok(None) | Err(_)) => Some("a worker thread ended by itself"),
            },
            Some(_) = doors.join_next(), if !stop.is_cancelled() => {
                (!stop.is_cancelled()).then_some("an acceptor ended by itself")
            }
        };
        if let Some(dead) = dead {
            tracing::error!("{dead}; the gateway stops");
            failure = Some(io::Error::other(dead));
            stop.cancel();
        }
    }
    doors.shutdown().await;
    failure.map_or(Ok(Stopped { cut }), Err)
}

/// The acceptor's end of one worker.
struct Seat {
    index: usize,
    sender: mpsc::Sender<Accepted>,
    /// Connections that were given to the worker and are not finished.
    load: Arc<AtomicUsize>,
    shared: Arc<Shared>,
}

type End = oneshot::Receiver<usize>;

impl Seat {
    fn start(
        index: usize,
        shared: &Arc<Shared>,
        hooks: &Hooks,
        stop: &CancellationToken,
    ) -> io::Result<(Self, End)> {
        let (sender, receiver) = mpsc::channel(HANDOVER_MAX);
        let (done, end) = oneshot::channel();
        let load = Arc::new(AtomicUsize::new(0));
        let runtime = tokio::runtime::Builder::new_current_thread();
        let (shared_there, hooks, stop) = (Arc::clone(shared), hooks.clone(), stop.child_token());
        std::thread::Builder::new()
            .name(format!("gateway-{index}"))
            .spawn(move || {
                let mut runtime = runtime;
                let built = runtime
                    .enable_all()
                    .build_local(tokio::runtime::LocalOptions::default());
                let runtime = match built {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        tracing::error!(%error, "cannot start a worker");
                        return;
                    }
                };
                let cut = runtime.block_on(connection::work(index, shared_there, hooks, receiver, stop));
                let _nobody_waits = done.send(cut);
            })?;
        let seat = Self {
            index,
            sender,
            load,
            shared: Arc::clone(shared),
        };
        Ok((seat, end))
    }
}

/// Splits started workers into the acceptor's ends and a set that waits for their threads.
trait UnzipInto {
    fn unzip_into(self) -> (Vec<Seat>, JoinSet<Option<usize>>);
}

impl<I: Iterator<Item = (Seat, End)>> UnzipInto for I {
    fn unzip_into(self) -> (Vec<Seat>, JoinSet<Option<usize>>) {
        let mut ends = JoinSet::new();
        let seats = self
            .map(|(seat, end)| {
                ends.spawn(async move { end.await.ok() });
                seat
            })
            .collect();
        (seats, ends)
    }
}

impl Door {
    fn open(listener: &Listener, believes_loopback: bool) -> Result<Self, BindError> {
        match listener {
            Listener::Tcp { address, tls } => {
                let fail = |source| BindError {
                    address: address.to_string(),
                    source,
                };
                let socket = listen(*address).map_err(fail)?;
                let address = BoundAddress::Tcp {
                    address: socket.local_addr().map_err(fail)?,
                    tls: tls.is_some(),
                };
                Ok(Self {
                    socket: Listening::Tcp(socket),
                    address,
                    tls: tls.clone(),
                    believes_loopback,
                })
            }
            Listener::Unix { path } => {
                let fail = |source| BindError {
                    address: path.display().to_string(),
                    source,
                };
                let socket = rc_serve::uds::bind(path).map_err(fail)?;
                Ok(Self {
                    socket: Listening::Unix(socket),
                    address: BoundAddress::Unix { path: path.clone() },
                    tls: None,
                    believes_loopback,
                })
            }
        }
    }

    /// Accepts until `stop`.
    async fn keep(self, seats: Arc<[Seat]>, stop: CancellationToken, connections_max: usize) {
        let mut told_until = tokio::time::Instant::now();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    let tls = self.tls.clone();
                    place(
                        &seats,
                        Accepted {
                            socket,
                            peer,
                            tls,
                            slot: None,
                            present: None,
                        },
                        connections_max,
                    );
                }
                Err(error) if is_one_connections_fault(&error) => {}
                Err(error) => {
                    // Once in a while: twenty lines a second would push the reasons out of the log.
                    let now = tokio::time::Instant::now();
                    if now >= told_until {
                        tracing::warn!(%error, address = %self.address, "cannot accept connections");
                        told_until = now + EXHAUSTED_TOLD_EVERY;
                    }
                    tokio::time::sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }

    /// The next connection, taken out of this runtime so that a worker's can have it.
    async fn accept(&self) -> io::Result<(Socket, Peer)> {
        match &self.socket {
            Listening::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                let peer = Peer {
                    address: Some(address.ip()),
                    trusted: false,
                    names_tenants: self.believes_loopback && address.ip().to_canonical().is_loopback(),
                    uid: None,
                    secure: self.tls.is_some(),
                };
                Ok((Socket::Tcp(stream.into_std()?), peer))
            }
            Listening::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = Peer {
                    address: None,
                    trusted: true,
                    names_tenants: true,
                    uid: stream.peer_cred().ok().map(|credentials| credentials.uid()),
                    secure: false,
                };
                Ok((Socket::Unix(stream.into_std()?), peer))
            }
        }
    }
}

/// Gives a connection to the worker with the fewest, or refuses it.
fn place(seats: &[Seat], mut accepted: Accepted, connections_max: usize) {
    let seat = seats.iter().min_by_key(|seat| seat.load.load(Ordering::Relaxed));
    let Some(seat) = seat else { return };
    // The owner's door has no cap: whoever floods the public one must not lock the operator out.
    if !accepted.peer.trusted && seat.load.load(Ordering::Relaxed) >= connections_max {
        refuse(seat, accepted);
        return;
    }
    if let Some(source) = accepted.peer.address {
        accepted.present = seat.shared.sources.connect(source);
        if accepted.present.is_none() {
            refuse(seat, accepted);
            return;
        }
        let now_ns = seat.shared.clock.monotonic_ns();
        if accepted.tls.is_some() && !seat.shared.sources.may_shake_hands(source, now_ns) {
            let counters = &seat.shared.metrics.workers[seat.index];
            counters.handshakes_refused.fetch_add(1, Ordering::Relaxed);
            return; // An alert would say no more than the end does, and nothing was read that an answer could be to.
        }
    }
    seat.load.fetch_add(1, Ordering::Relaxed);
    accepted.slot = Some(connection::Slot(Arc::clone(&seat.load)));
    if let Err(mpsc::error::TrySendError::Full(accepted)) = seat.sender.try_send(accepted) {
        refuse(seat, accepted);
    }
}

/// Tells a client that there is no room. With TLS there is no cheap way to say so: the socket is closed.
fn refuse(seat: &Seat, accepted: Accepted) {
    seat.shared.metrics.workers[seat.index]
        .connections_refused
        .fetch_add(1, Ordering::Relaxed);
    if accepted.tls.is_none() {
        // The socket's buffer is empty, so the answer fits or the client is gone.
        let _told = accepted.socket.write_once(&connection::full_answer());
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Errors of `accept` that concern the one connection that was about to be made (accept(2)).
fn is_one_connections_fault(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests;
