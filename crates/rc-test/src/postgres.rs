//! A real PostgreSQL for tests: one server a test process, on a Unix socket in a temporary folder.
//!
//! The server is the child of a small shell that waits for the end of its standard input, whose other end
//! the test process holds. However the test process ends, the shell stops the server and removes the
//! folder.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::free_port;

/// How long a server may take to answer its first query.
const START_TIME_MAX: Duration = Duration::from_secs(60);

/// How long a server may take to recover by itself.
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(10);

/// Folders that may hold one folder a version, newest first.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Folders of other installations.
const FOLDERS: [&str; 3] = ["/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin"];

/// `$1` programs, `$2` folder, `$3` listen address, `$4` port, `$5` settings. Stops at the end of standard
/// input.
const WATCHDOG: &str = r#"
"$1/postgres" -D "$2/data" -k "$2" -h "$3" -p "$4" $5 \
    -c max_connections=200 -c max_prepared_transactions=8 -c logging_collector=off \
    </dev/null >>"$2/log" 2>&1 &
server=$!
cat >/dev/null
kill -QUIT $server 2>/dev/null
wait $server
[ -e "$2/keep" ] || rm -rf "$2"
"#;

/// A server whose data may be lost with the machine: tests do not crash the machine.
const FAST: &str = "-c fsync=off -c full_page_writes=off -c shared_buffers=64MB -c autovacuum_naptime=5s";

/// A server that keeps what it has acknowledged, with a cache of a fraction of a small machine.
const DURABLE: &str = "-c fsync=on -c full_page_writes=on -c synchronous_commit=on -c shared_buffers=256MB";

/// A server of the fast kind that writes what logical replication needs.
const LOGICAL: &str = "-c fsync=off -c full_page_writes=off -c shared_buffers=64MB -c autovacuum_naptime=5s \
     -c wal_level=logical -c max_replication_slots=40 -c max_wal_senders=40";

/// A server of the durable kind that writes what logical replication needs.
const DURABLE_LOGICAL: &str = "-c fsync=on -c full_page_writes=on -c synchronous_commit=on -c shared_buffers=256MB \
     -c wal_level=logical";

/// A running server. Dropping the last use of a server of one's own stops it; the shared one lives as
/// long as the process.
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    /// Not zero for a server that also listens on loopback.
    tcp_port: u16,
    owner: Option<(u32, u32)>,
    settings: &'static str,
    /// The shell; closing its standard input stops the server. Locked by stop and start.
    watchdog: Mutex<Option<Child>>,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// A database with its own role, which is no superuser and owns nothing else.
#[derive(Debug, Clone)]
pub struct Database {
    /// `postgresql://role@.../database`
    pub url: String,
    /// The database's name; the role has the same.
    pub name: String,
}

impl Postgres {
    /// The server of this test process; the first call starts it.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub fn start() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::start_own(false))
    }

    /// A server of the caller's own, which can be stopped and started again. With `tcp` it also listens
    /// on a free port of the loopback address.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start_own(tcp: bool) -> Self {
        Self::start_with(FAST, tcp)
    }

    /// A server of the caller's own that waits for the disk at every commit, for measurements.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start_durable() -> Self {
        Self::start_with(DURABLE, false)
    }

    /// The same with `wal_level=logical`, also on a free port of the loopback address.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start_durable_logical() -> Self {
        Self::start_with(DURABLE_LOGICAL, true)
    }

    /// A server of the caller's own with `wal_level=logical`.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start_logical(tcp: bool) -> Self {
        Self::start_with(LOGICAL, tcp)
    }

    /// A server of the caller's own with its data in `data`, an empty folder on a disk that may lose its power.
    /// It listens on loopback. `durable`: it waits for the disk at every commit.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start_on(data: &Path, durable: bool) -> Self {
        Self::start_in(Some(data), if durable { DURABLE } else { FAST }, true)
    }

    /// A physical standby of this server, which follows it until [`Self::promote`]. It listens as this one does.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn standby(&self) -> Self {
        let standby = Self::prepare(self.settings, self.tcp_port != 0);
        let made = standby
            .command("pg_basebackup")
            .args([
                "--no-sync",
                "--checkpoint=fast",
                "--write-recovery-conf",
                "-U",
                "postgres",
            ])
            .args(["-p", &self.port().to_string(), "-h"])
            .arg(&self.folder)
            .arg("-D")
            .arg(standby.folder.join("data"))
            .output()
            .expect("pg_basebackup can be run");
        assert!(
            made.status.success(),
            "pg_basebackup failed: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        standby.run();
        standby
    }

    /// Makes a standby a server of its own, with what it has received.
    ///
    /// # Panics
    /// When it is none.
    pub fn promote(&self) {
        self.admin(&["SELECT pg_promote()"]);
    }

    fn start_with(settings: &'static str, tcp: bool) -> Self {
        Self::start_in(None, settings, tcp)
    }

    /// A server that has no data yet.
    fn prepare(settings: &'static str, tcp: bool) -> Self {
        let programs = programs();
        let folder = tempfile::Builder::new()
            .prefix("rc-test-pg-")
            .tempdir()
            .expect("a temporary folder")
            .keep();
        let owner = unprivileged_user();
        if let Some((user, group)) = owner {
            std::os::unix::fs::chown(&folder, Some(user), Some(group)).expect("the folder can be given away");
        }
        Self {
            programs,
            folder,
            tcp_port: if tcp { free_port() } else { 0 },
            owner,
            settings,
            watchdog: Mutex::new(None),
        }
    }

    fn start_in(data: Option<&Path>, settings: &'static str, tcp: bool) -> Self {
        let server = Self::prepare(settings, tcp);
        if let Some(elsewhere) = data {
            if let Some((user, group)) = server.owner {
                std::os::unix::fs::chown(elsewhere, Some(user), Some(group)).expect("root gives files away");
            }
            std::os::unix::fs::symlink(elsewhere, server.folder.join("data")).expect("a folder of ours");
        }
        let data = server.folder.join("data");
        let made = server
            .command("initdb")
            .args(["--no-sync", "--no-instructions", "-A", "trust", "-U", "postgres"])
            .args(["-E", "UTF8", "--locale=C", "-D"])
            .arg(&data)
            .output()
            .expect("initdb can be run");
        assert!(
            made.status.success(),
            "initdb failed: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        server.run();
        server
    }

    /// Creates an empty database and the role that owns it.
    ///
    /// # Panics
    /// When the server refuses.
    #[must_use]
    pub fn fresh_database(&self) -> Database {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("rc_test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        self.admin(&[
            &format!("CREATE ROLE {name} LOGIN"),
            &format!("CREATE DATABASE {name} OWNER {name}"),
        ]);
        Database {
            url: self.url(&name, &name),
            name,
        }
    }

    /// Runs statements as the superuser, each in its own transaction.
    ///
    /// # Panics
    /// When one fails.
    pub fn admin(&self, statements: &[&str]) {
        let mut psql = self.psql();
        for statement in statements {
            psql.args(["-c", statement]);
        }
        let done = psql.output().expect("psql can be run");
        assert!(
            done.status.success(),
            "{statements:?} failed: {}{}",
            String::from_utf8_lossy(&done.stderr),
            self.log()
        );
    }

    /// The URL of `database` for `role`: over loopback where the server listens there, else by the
    /// socket.
    #[must_use]
    pub fn url(&self, role: &str, database: &str) -> String {
        if self.tcp_port == 0 {
            let host = self.folder.display().to_string().replace('/', "%2F");
            format!("postgresql://{role}@{host}:5432/{database}")
        } else {
            format!("postgresql://{role}@127.0.0.1:{}/{database}", self.tcp_port)
        }
    }

    /// Where a server that was started with `tcp` listens.
    ///
    /// # Panics
    /// For a server that does not.
    #[must_use]
    pub fn address(&self) -> std::net::SocketAddr {
        assert_ne!(self.tcp_port, 0, "the server listens on a socket file only");
        std::net::SocketAddr::from(([127, 0, 0, 1], self.tcp_port))
    }

    /// What one query of the superuser in `database` gives: columns divided by `|`, rows by line ends.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn ask(&self, database: &Database, query: &str) -> String {
        let mut psql = self.psql();
        // The last `-d` counts.
        psql.args(["-d", &database.name, "-A", "-t", "-c", query]);
        let done = psql.output().expect("psql can be run");
        assert!(
            done.status.success(),
            "{query} failed: {}{}",
            String::from_utf8_lossy(&done.stderr),
            self.log()
        );
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    /// Kills the process of one connection, as a machine without memory does: the server then ends all
    /// connections and recovers as after a crash.
    ///
    /// # Panics
    /// When nobody is connected.
    pub fn kill_a_backend(&self) {
        let query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' \
                     AND pid <> pg_backend_pid() LIMIT 1";
        let mut psql = self.psql();
        psql.args(["-A", "-t", "-c", query]);
        let done = psql.output().expect("psql can be run");
        let pid = String::from_utf8_lossy(&done.stdout).trim().parse().ok();
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        let pid = pid.expect("somebody is connected");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("a process of ours");
    }

    /// Puts a file into the data folder, readable by the server alone: certificates, keys.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn add_file(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.folder.join("data").join(name);
        fs_err::write(&path, text).expect("the data folder can be written");
        let private = std::fs::Permissions::from_mode(0o600);
        fs_err::set_permissions(&path, private).expect("our own file");
        if let Some((user, group)) = self.owner {
            std::os::unix::fs::chown(&path, Some(user), Some(group)).expect("root gives files away");
        }
    }

    /// Stops the server at once, as a crash would, and keeps its data.
    ///
    /// # Panics
    /// When it does not stop.
    pub fn stop(&self) {
        fs_err::write(self.folder.join("keep"), "").expect("the folder can be written");
        self.close();
    }

    /// Kills the server and all its processes with `kill -9`, and keeps its data for [`Self::start_again`].
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self) {
        let pid = fs_err::read_to_string(self.folder.join("data/postmaster.pid")).expect("the server runs");
        let pid = pid
            .lines()
            .next()
            .expect("its first line is the process id")
            .trim();
        let signal = |pid: &str, signal| {
            if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
                // One that ended meanwhile is what we want.
                let _ = rustix::process::kill_process(pid, signal);
            }
        };
        // Stopped first: it must not start another process while its processes are counted.
        signal(pid, rustix::process::Signal::STOP);
        let children = fs_err::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for pid in children.split_whitespace().chain([pid]) {
            signal(pid, rustix::process::Signal::KILL);
        }
        // The next server wants the shared memory that the last of them lets go. A dead one that nobody has
        // waited for yet has let it go.
        let lives = |pid: &str| {
            let stat = fs_err::read_to_string(format!("/proc/{pid}/stat"));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        let until = tokio::time::Instant::now() + START_TIME_MAX;
        while children.split_whitespace().any(lives) && tokio::time::Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.stop();
    }

    /// Starts the server again after [`Self::stop`] or [`Self::kill`].
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&self) {
        fs_err::remove_file(self.folder.join("keep")).expect("the server was stopped");
        self.run();
    }

    /// Starts the server again if it has ended by itself, as one does that cannot write its log.
    ///
    /// # Panics
    /// When it does not start.
    pub fn revive(&self) {
        let until = tokio::time::Instant::now() + RECOVERY_TIME_MAX;
        while !self.answers() {
            if tokio::time::Instant::now() > until {
                self.stop();
                self.start_again();
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn answers(&self) -> bool {
        let asked = self.psql().args(["-c", "SELECT 1"]).output();
        asked.expect("psql can be run").status.success()
    }

    fn port(&self) -> u16 {
        if self.tcp_port == 0 { 5432 } else { self.tcp_port }
    }

    fn run(&self) {
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", WATCHDOG, "rc-test-postgres"])
            .arg(&self.programs)
            .arg(&self.folder)
            .arg(if self.tcp_port == 0 { "" } else { "127.0.0.1" })
            .arg(self.port().to_string())
            .arg(self.settings)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C at the terminal goes to the tests; the shell follows when they end.
            .process_group(0);
        self.drop_privileges(&mut shell);
        let child = shell.spawn().expect("a shell can be run");
        *self.watchdog.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);

        let until = tokio::time::Instant::now() + START_TIME_MAX;
        while !self.answers() {
            assert!(
                tokio::time::Instant::now() < until,
                "PostgreSQL does not start: {}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
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

    fn psql(&self) -> Command {
        let mut psql = self.command("psql");
        psql.args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-h",
        ]);
        psql.arg(&self.folder).arg("-p");
        psql.arg(self.port().to_string());
        psql
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir("/").stdin(Stdio::null());
        self.drop_privileges(&mut command);
        command
    }

    /// PostgreSQL refuses to run as root.
    fn drop_privileges(&self, command: &mut Command) {
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
    }

    fn log(&self) -> String {
        fs_err::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.close();
        // A stopped server was told to keep its data; nobody can start it again now.
        let _ = fs_err::remove_dir_all(&self.folder);
    }
}

/// The folder of `initdb`, `postgres` and `psql`.
fn programs() -> PathBuf {
    let mut versions: Vec<(u32, PathBuf)> = fs_err::read_dir(VERSIONS)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    versions.sort();
    let newest_first = versions.into_iter().rev().map(|(_, folder)| folder);
    let all = newest_first.chain(FOLDERS.iter().map(PathBuf::from));
    for folder in all {
        if ["initdb", "postgres", "psql"]
            .iter()
            .all(|name| is_file(&folder.join(name)))
        {
            return folder;
        }
    }
    panic!(
        "PostgreSQL's server programs (initdb, postgres) were not found in {VERSIONS}/*/bin or {FOLDERS:?}: \
         run `make test`, which installs what the tests need"
    );
}

fn is_file(path: &Path) -> bool {
    fs_err::metadata(path).is_ok_and(|meta| meta.is_file())
}

/// User and group for the server when the tests run as root: `postgres`, else `nobody`.
fn unprivileged_user() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs_err::read_to_string("/etc/passwd").expect("/etc/passwd can be read");
    let of = |name: &str| {
        users.lines().find_map(|line| {
            let mut fields = line.split(':');
            (fields.next()? == name).then_some(())?;
            let user = fields.nth(1)?.parse().ok()?;
            let group = fields.next()?.parse().ok()?;
            Some((user, group))
        })
    };
    let user = of("postgres").or_else(|| of("nobody"));
    Some(user.expect("a user `postgres` or `nobody`: PostgreSQL refuses to run as root"))
}

#[cfg(test)]
mod tests;
