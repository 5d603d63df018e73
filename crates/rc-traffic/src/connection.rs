//! What a worker does: takes connections, finds out which protocol they speak, owns their tasks.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::answer::{CONNECTIONS_FULL, Refusal, put, put_number};
use crate::crowd::Present;
use crate::hooks::Hooks;
use crate::io::{Inbox, Io, Rewound, Timer};
use crate::metrics::{add, bump};
use crate::state::Shared;
use crate::worker::{Peer, SWEEP_INTERVAL, Worker};
use crate::{h1, h2};

/// What every HTTP/2 connection begins with (RFC 9113, section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client is told to wait when no worker has room for its connection.
const FULL_RETRY_AFTER_NS: u64 = 1_000_000_000;

/// The answer for a connection that no worker has room for.
pub(crate) fn full_answer() -> Vec<u8> {
    let refusal = Refusal::new(&CONNECTIONS_FULL).after_ns(FULL_RETRY_AFTER_NS);
    let (mut out, mut body) = (Vec::with_capacity(512), Vec::with_capacity(256));
    out.extend_from_slice(b"HTTP/1.1 503 Service Unavailable\r\n");
    refusal.write_fields(&mut out);
    refusal.write_body(None, &mut body);
    put_number(&mut out, "content-length", body.len() as u64);
    put(&mut out, "connection", b"close");
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&body);
    out
}

/// A connection on its way to a worker.
pub(crate) struct Accepted {
    pub(crate) socket: Socket,
    pub(crate) peer: Peer,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) slot: Option<Slot>,
    pub(crate) present: Option<Present>,
}

/// A place among a worker's connections; free again when dropped.
pub(crate) struct Slot(pub(crate) Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket that no runtime knows yet.
pub(crate) enum Socket {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Socket {
    pub(crate) fn write_once(&self, bytes: &[u8]) -> io::Result<usize> {
        use std::io::Write as _;
        match self {
            Self::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                (&*socket).write(bytes)
            }
            Self::Unix(socket) => {
                socket.set_nonblocking(true)?;
                (&*socket).write(bytes)
            }
        }
    }

    fn register(self) -> io::Result<Io> {
        Ok(match self {
            Self::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                socket.set_nodelay(true)?;
                Io::Tcp(tokio::net::TcpStream::from_std(socket)?)
            }
            Self::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Io::Unix(tokio::net::UnixStream::from_std(socket)?)
            }
        })
    }
}

/// Runs one worker until it is told to stop and its connections are done. Returns how many were cut.
pub(crate) async fn work(
    index: usize,
    shared: Arc<Shared>,
    hooks: Hooks,
    mut incoming: mpsc::Receiver<Accepted>,
    stop: CancellationToken,
) -> usize {
    let drain = shared.config.drain;
    let worker = Rc::new(Worker::new(index, shared, hooks, stop.clone()));
    let mut connections = JoinSet::new();
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = incoming.recv() => match accepted {
                Some(accepted) => {
                    bump(&worker.counters().connections);
                    connections.spawn_local(serve(Rc::clone(&worker), accepted));
                }
                // Nobody can send connections any more: the gateway's owner is gone.
                None => {
                    stop.cancel();
                    break;
                }
            },
            Some(ended) = connections.join_next() => note_panic(&worker, ended),
            _ = sweep.tick() => worker.sweep(Instant::now()),
        }
    }
    incoming.close();
    while let Ok(accepted) = incoming.try_recv() {
        connections.spawn_local(serve(Rc::clone(&worker), accepted));
    }
    let until = Instant::now() + drain;
    while let Ok(Some(ended)) = tokio::time::timeout_at(until, connections.join_next()).await {
        note_panic(&worker, ended);
    }
    let cut = connections.len();
    connections.shutdown().await;
    cut
}

/// A bug in one connection ends that connection, is counted and logged, and nothing else.
fn note_panic(worker: &Worker, ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        bump(&worker.counters().panics);
        tracing::error!(%error, "a connection was ended by a bug");
    }
}

/// The same for a task that nobody joins. It is owned by the task, and dropped with it.
pub(crate) struct PanicNote(pub(crate) Rc<Worker>);

impl Drop for PanicNote {
    fn drop(&mut self) {
        if std::thread::panicking() {
            bump(&self.0.counters().panics);
            tracing::error!("a stream was ended by a bug");
        }
    }
}

/// Serves one connection.
async fn serve(worker: Rc<Worker>, accepted: Accepted) {
    let (_slot, _present) = (accepted.slot, accepted.present);
    let _open = Open::new(&worker);
    let Ok(io) = accepted.socket.register() else {
        return;
    };
    let mut timer = Timer::new();
    let until = Instant::now() + worker.shared.config.limits.head_timeout;
    let (io, speaks_h2) = match (io, accepted.tls) {
        (Io::Tcp(stream), Some(config)) => {
            let handshake = shake_hands(&worker, stream, config);
            let Ok(Ok(stream)) = tokio::time::timeout_at(until, handshake).await else {
                bump(&worker.counters().handshake_failures);
                return;
            };
            let speaks_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            (Io::Tls(Box::new(stream)), speaks_h2)
        }
        (io, _) => (io, false),
    };
    if speaks_h2 {
        return h2::serve(
            worker,
            Rewound {
                first: Bytes::new(),
                io,
            },
            accepted.peer,
        )
        .await;
    }
    let Some((io, inbox)) = peek(io, until, &worker, &mut timer).await else {
        return;
    };
    drop(timer);
    if inbox.filled().starts_with(PREFACE) {
        let first = Bytes::copy_from_slice(inbox.filled());
        return h2::serve(worker, Rewound { first, io }, accepted.peer).await;
    }
    h1::serve(worker, io, inbox, accepted.peer).await;
}

/// A TLS handshake. Its expensive step, from the client's hello to our answer, is taken by one connection at a time,
/// and then everything else that is ready has its turn: a flood of handshakes is served between requests, not before
/// them.
async fn shake_hands(
    worker: &Worker,
    stream: tokio::net::TcpStream,
    config: Arc<rustls::ServerConfig>,
) -> io::Result<TlsStream<tokio::net::TcpStream>> {
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    let turn = worker.handshake_turn.acquire().await;
    let rest = hello.into_stream(config);
    tokio::task::yield_now().await;
    drop(turn);
    rest.await
}

/// Reads until it is clear whether the client speaks HTTP/2 without being asked.
async fn peek(mut io: Io, until: Instant, worker: &Worker, timer: &mut Timer) -> Option<(Io, Inbox)> {
    let mut inbox = Inbox::new();
    let mut stop = std::pin::pin!(worker.stop.cancelled());
    let clear = std::future::poll_fn(|cx| {
        loop {
            let filled = inbox.filled();
            let same = filled.iter().zip(PREFACE).take_while(|(a, b)| a == b).count();
            if filled.len() >= PREFACE.len() || same < filled.len() {
                return Poll::Ready(true);
            }
            match inbox.poll_fill(&mut io, cx, crate::io::INBOX_BYTES_MAX) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(_) => return Poll::Ready(false),
                Poll::Pending => break,
            }
        }
        if inbox.is_empty() && Pin::as_mut(&mut stop).poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        timer.poll(until, cx).map(|()| false)
    });
    let clear = clear.await;
    clear.then_some((io, inbox))
}

/// Counts a connection as open.
struct Open(Rc<Worker>);

impl Open {
    fn new(worker: &Rc<Worker>) -> Self {
        bump(&worker.counters().connections_open);
        Self(Rc::clone(worker))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        add(&self.0.counters().connections_open, u64::MAX); // Wraps: one less.
    }
}

#[cfg(test)]
mod tests;
