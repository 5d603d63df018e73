//! A real NATS server with JetStream for tests, on free ports of the loopback address, with its store in a
//! temporary folder.
//!
//! It is the child of a small shell that waits for the end of its standard input, whose other end the test
//! process holds: however the test process ends, the server is stopped and the folder removed.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::free_port;

/// How long a server may take until it greets.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a look at the greeting may take.
const GREETING_TIME_MAX: Duration = Duration::from_secs(2);

/// What a message may have at most, headers included: the server's default and room for our headers.
pub const PAYLOAD_BYTES_MAX: usize = 2 << 20;

/// The shortest window of deduplication that there is: nothing here may lean on it.
const SHORT_WINDOW: &str = "limits { duplicate_window: \"100ms\" }";

/// `$1` program, `$2` folder. Stops at the end of standard input.
const WATCHDOG: &str = r#"
"$1" -c "$2/config" </dev/null >>"$2/log" 2>&1 &
server=$!
cat >/dev/null
kill -KILL $server 2>/dev/null
wait $server
[ -e "$2/keep" ] || rm -rf "$2"
"#;

/// How the server treats the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// What it acknowledges is on disk.
    Always,
    /// It writes back every two minutes: its own default.
    Default,
}

/// A running server. Dropping a server of one's own stops it; the shared one lives as long as the process.
pub struct Nats {
    program: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    monitor: SocketAddr,
    /// The shell; closing its standard input kills the server. Locked by kill, stop and start.
    watchdog: Mutex<Option<Child>>,
}

impl std::fmt::Debug for Nats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nats")
            .field("folder", &self.folder)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Nats {
    /// The server of this test process, which syncs always; the first call starts it.
    ///
    /// # Panics
    /// When nats-server is not installed or does not start.
    pub fn start() -> &'static Self {
        static SHARED: OnceLock<Nats> = OnceLock::new();
        SHARED.get_or_init(|| Self::start_own(Sync::Always, ""))
    }

    /// A server of the caller's own, which can be killed and started again. `settings` are lines of its
    /// configuration file: users, certificates.
    ///
    /// # Panics
    /// When nats-server is not installed or does not start.
    #[must_use]
    pub fn start_own(sync: Sync, settings: &str) -> Self {
        Self::start_in(None, sync, settings)
    }

    /// `size` servers that keep streams together; each can be killed and started again.
    ///
    /// # Panics
    /// When nats-server is not installed or does not start.
    #[must_use]
    pub fn start_cluster(size: usize) -> Vec<Self> {
        let ports: Vec<u16> = (0..size).map(|_| free_port()).collect();
        let routes: Vec<String> = ports
            .iter()
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .collect();
        let routes = routes.join(", ");
        let start = |port: &u16| {
            let cluster = format!(
                "server_name: \"at-{port}\"\n\
                 cluster {{ name: \"rc-test\", listen: \"127.0.0.1:{port}\", routes: [{routes}] }}"
            );
            Self::start_own(Sync::Always, &cluster)
        };
        ports.iter().map(start).collect()
    }

    /// A server of the caller's own whose streams lie in `store`, a folder on a disk that may lose its power.
    ///
    /// # Panics
    /// When nats-server is not installed or does not start.
    #[must_use]
    pub fn start_on(store: &Path, sync: Sync) -> Self {
        Self::start_in(Some(store), sync, "")
    }

    fn start_in(store: Option<&Path>, sync: Sync, settings: &str) -> Self {
        let program = program();
        let folder = tempfile::Builder::new()
            .prefix("rc-test-nats-")
            .tempdir()
            .expect("a temporary folder")
            .keep();
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let server = Self {
            program,
            address: at(free_port()),
            monitor: at(free_port()),
            folder,
            watchdog: Mutex::new(None),
        };
        let sync = match sync {
            Sync::Always => "sync_interval: always",
            Sync::Default => "",
        };
        let config = format!(
            "listen: \"{}\"\nhttp: \"{}\"\npid_file: \"{pid}\"\nmax_payload: {PAYLOAD_BYTES_MAX}\n\
             jetstream {{\n  store_dir: \"{store}\"\n  max_file_store: 64GB\n  {sync}\n  {SHORT_WINDOW}\n}}\n{settings}\n",
            server.address,
            server.monitor,
            pid = server.folder.join("pid").display(),
            store = store
                .map_or_else(|| server.folder.join("store"), Path::to_owned)
                .display(),
        );
        fs_err::write(server.folder.join("config"), config).expect("the folder can be written");
        server.run();
        server
    }

    /// Where clients connect: `127.0.0.1:PORT`, the same after a restart.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the server tells about itself over HTTP.
    #[must_use]
    pub fn monitor(&self) -> SocketAddr {
        self.monitor
    }

    /// A name for a stream that no other test of this process has.
    #[must_use]
    pub fn fresh_name(&self) -> String {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
    }

    /// Kills the server as `kill -9` does, and keeps its store.
    ///
    /// # Panics
    /// When it is not running.
    pub fn kill(&self) {
        fs_err::write(self.folder.join("keep"), "").expect("the folder can be written");
        self.close();
    }

    /// Starts the server again after [`Self::kill`], on the same store and the same ports.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&self) {
        fs_err::remove_file(self.folder.join("keep")).expect("the server was killed");
        self.run();
    }

    /// Lets the server stand still, with its connections open, until [`Self::go_on`].
    ///
    /// # Panics
    /// When it is not running.
    pub fn stand_still(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// See [`Self::stand_still`].
    ///
    /// # Panics
    /// When it is not running.
    pub fn go_on(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    /// What the server has written about itself.
    #[must_use]
    pub fn log(&self) -> String {
        fs_err::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = fs_err::read_to_string(self.folder.join("pid")).expect("the server is running");
        let pid = pid
            .trim()
            .parse()
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .expect("the number of a process");
        rustix::process::kill_process(pid, signal).expect("a process of ours");
    }

    fn run(&self) {
        let child = Command::new("/bin/sh")
            .args(["-c", WATCHDOG, "rc-test-nats"])
            .arg(&self.program)
            .arg(&self.folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C at the terminal goes to the tests; the shell follows when they end.
            .process_group(0)
            .spawn()
            .expect("a shell can be run");
        *self.watchdog.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
        let until = tokio::time::Instant::now() + START_TIME_MAX;
        while !self.greets() {
            assert!(
                tokio::time::Instant::now() < until,
                "nats-server does not start: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// It greets when its streams are recovered.
    fn greets(&self) -> bool {
        let greeting = || {
            let stream = TcpStream::connect_timeout(&self.address, GREETING_TIME_MAX)?;
            stream.set_read_timeout(Some(GREETING_TIME_MAX))?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line)?;
            std::io::Result::Ok(line.starts_with("INFO "))
        };
        greeting().unwrap_or(false)
    }

    fn close(&self) {
        let child = self
            .watchdog
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(mut child) = child {
            drop(child.stdin.take());
            child.wait().expect("the shell ends");
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.close();
        // A killed server was told to keep its store; nobody can start it again now.
        let _gone_already = fs_err::remove_dir_all(&self.folder);
    }
}

/// Where `cargo xtask setup` puts the server.
fn program() -> PathBuf {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests find their tools where setup puts them"
    )]
    let var = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = var("XDG_CACHE_HOME").or_else(|| var("HOME").map(|home| home.join(".cache")));
    let ours = cache.map(|cache| cache.join("royalcrown/tools/bin/nats-server"));
    ours.filter(|path| is_file(path)).unwrap_or_else(|| {
        panic!("nats-server was not found: `cargo xtask setup` installs what the tests need")
    })
}

fn is_file(path: &Path) -> bool {
    fs_err::metadata(path).is_ok_and(|meta| meta.is_file())
}
