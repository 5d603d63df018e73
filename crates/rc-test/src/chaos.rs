//! A proxy that does to connections what networks do: it delays them, stops passing anything on, cuts them,
//! or lets nobody in. It knows no protocol.
//!
//! Plain threads and blocking sockets, two threads a connection: a test has few of them.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a connection that stands still looks whether the weather has changed.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How much is passed on at once.
const PIECE_BYTES: usize = 16 << 10;

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Bytes pass.
    Clear,
    /// Each piece waits this long, in either direction.
    Slow(Duration),
    /// Connections are taken and stay open, and no byte passes: a cable that was pulled.
    Silent,
    /// Connections are closed as soon as they come; those that are there stay.
    Refusing,
    /// Requests pass, and no answer comes back: the acknowledgement that gets lost.
    Unanswered,
    /// The far side of every connection is gone, and the near side is not told: a host that lost its power.
    HalfOpen,
}

/// A running proxy; over when dropped.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    /// Where it listens, for TCP.
    address: Option<SocketAddr>,
    /// The socket file to remove.
    path: Option<PathBuf>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<Target>,
    weather: Mutex<Weather>,
    /// Both ends of each connection; only added to, a test makes few.
    open: Mutex<Vec<Stream>>,
    over: AtomicBool,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Which direction bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// From the client to the server.
    There,
    /// Back to the client.
    Back,
}

#[derive(Debug, Clone)]
enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Proxy {
    /// Listens on a free port of the loopback address and passes on to `target`.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn tcp(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port on loopback");
        let address = listener.local_addr().expect("it is bound");
        listener.set_nonblocking(true).expect("a socket of ours");
        let shared = Shared::start(Target::Tcp(target), move || {
            listener.accept().map(|(stream, _)| Stream::Tcp(stream))
        });
        Self {
            shared,
            address: Some(address),
            path: None,
        }
    }

    /// Listens at the socket file `at`, which must not exist, and passes on to the one at `target`.
    ///
    /// # Panics
    /// When it cannot listen there.
    #[must_use]
    pub fn unix(at: &Path, target: &Path) -> Self {
        let listener = UnixListener::bind(at).expect("a socket file can be made");
        listener.set_nonblocking(true).expect("a socket of ours");
        let shared = Shared::start(Target::Unix(target.to_owned()), move || {
            listener.accept().map(|(stream, _)| Stream::Unix(stream))
        });
        Self {
            shared,
            address: None,
            path: Some(at.to_owned()),
        }
    }

    /// Where a TCP proxy listens.
    ///
    /// # Panics
    /// For a Unix socket.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address.expect("a proxy made by `tcp`")
    }

    /// Changes the weather, for the connections that are there, too.
    pub fn set(&self, weather: Weather) {
        *lock(&self.shared.weather) = weather;
        if weather == Weather::HalfOpen {
            // Each client is followed by its server.
            for server in lock(&self.shared.open).iter().skip(1).step_by(2) {
                server.cut();
            }
        }
    }

    /// Passes connections that come from now on to another server.
    pub fn redirect(&self, target: SocketAddr) {
        *lock(&self.shared.target) = Target::Tcp(target);
    }

    /// Cuts every connection, over TCP with a reset as a dead host's neighbour sends it. Returns how many
    /// were open.
    pub fn cut(&self) -> usize {
        let open = std::mem::take(&mut *lock(&self.shared.open));
        // A client and its server, both of which must go; the end of one may have reached the other already.
        let pair_cut = |pair: &&[Stream]| pair.iter().fold(false, |cut, stream| stream.cut() | cut);
        open.chunks(2).filter(pair_cut).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        self.cut();
        if let Some(path) = &self.path {
            // The one whose socket it stood before may have taken the place back.
            let _ = fs_err::remove_file(path);
        }
    }
}

impl Shared {
    fn start(target: Target, accept: impl Fn() -> std::io::Result<Stream> + Send + 'static) -> Arc<Self> {
        let shared = Arc::new(Self {
            target: Mutex::new(target),
            weather: Mutex::new(Weather::Clear),
            open: Mutex::default(),
            over: AtomicBool::new(false),
        });
        let there = Arc::clone(&shared);
        spawn("chaos", move || {
            while !there.over.load(Ordering::Relaxed) {
                match accept() {
                    Ok(client) => there.connect(client),
                    Err(_nobody) => std::thread::sleep(LOOK_EVERY),
                }
            }
        });
        shared
    }

    fn connect(self: &Arc<Self>, client: Stream) {
        if *lock(&self.weather) == Weather::Refusing {
            client.cut();
            return;
        }
        let target = lock(&self.target).clone();
        let server = match &target {
            Target::Tcp(address) => TcpStream::connect(address).map(Stream::Tcp),
            Target::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
        };
        let Ok(server) = server else {
            client.cut();
            return;
        };
        client.prepare();
        server.prepare();
        let (client_too, server_too) = (client.clone(), server.clone());
        lock(&self.open).extend([client.clone(), server.clone()]);
        for (from, to, way) in [(client, server, Way::There), (server_too, client_too, Way::Back)] {
            let shared = Arc::clone(self);
            spawn("chaos-pass", move || shared.pass(from, to, way));
        }
    }

    fn is_silent(&self, way: Way) -> bool {
        match *lock(&self.weather) {
            Weather::Silent | Weather::HalfOpen => true,
            Weather::Unanswered => way == Way::Back,
            Weather::Clear | Weather::Slow(_) | Weather::Refusing => false,
        }
    }

    /// Passes bytes on in one direction until its end.
    fn pass(&self, mut from: Stream, mut to: Stream, way: Way) {
        let mut piece = vec![0; PIECE_BYTES];
        while !self.over.load(Ordering::Relaxed) {
            if self.is_silent(way) {
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            let count = match from.read(&mut piece) {
                Ok(0) => {
                    to.end();
                    return;
                }
                Ok(count) => count,
                Err(error) if is_pause(&error) => continue,
                Err(_broken) => {
                    to.cut();
                    return;
                }
            };
            if let Weather::Slow(delay) = *lock(&self.weather) {
                std::thread::sleep(delay);
            }
            // What was read when the cable was pulled arrives when it is back, if anybody is there.
            while self.is_silent(way) && !self.over.load(Ordering::Relaxed) {
                std::thread::sleep(LOOK_EVERY);
            }
            if to.write_all(&piece[..count]).is_err() {
                from.cut();
                return;
            }
        }
    }
}

impl Stream {
    fn clone(&self) -> Self {
        match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone().expect("a descriptor")),
            Self::Unix(stream) => Self::Unix(stream.try_clone().expect("a descriptor")),
        }
    }

    fn prepare(&self) {
        let pause = Some(LOOK_EVERY);
        let prepared = match self {
            Self::Tcp(stream) => stream
                .set_nonblocking(false)
                .and_then(|()| stream.set_nodelay(true))
                .and_then(|()| stream.set_read_timeout(pause)),
            Self::Unix(stream) => stream
                .set_nonblocking(false)
                .and_then(|()| stream.set_read_timeout(pause)),
        };
        prepared.expect("a socket of ours");
    }

    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(room),
            Self::Unix(stream) => stream.read(room),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// Ends this direction, as the other side did.
    fn end(&self) {
        let _gone_already = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Ends both directions at once; `false` when it was over already.
    fn cut(&self) -> bool {
        match self {
            Self::Tcp(stream) => {
                // The last descriptor that is closed then sends a reset.
                let _not_connected = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
                stream.shutdown(Shutdown::Both).is_ok()
            }
            Self::Unix(stream) => stream.shutdown(Shutdown::Both).is_ok(),
        }
    }
}

fn is_pause(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .expect("a thread can be started");
}

#[cfg(test)]
mod tests;
