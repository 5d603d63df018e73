//! A scratch project with the built `rc` in it. Whatever it started ends with it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// Longest time that one exchange with the platform may take in a test.
const EXCHANGE_MAX: Duration = Duration::from_secs(20);

/// A scratch project.
pub(crate) struct World {
    dir: TempDir,
    /// The gateway's public address.
    pub(crate) address: SocketAddr,
}

/// What an HTTP exchange gave.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The value of a header, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", String::from_utf8_lossy(&self.body)))
    }
}

impl World {
    /// A project that listens on a free port and is otherwise all defaults.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("rc-it-").tempdir().unwrap();
        let address = free_address();
        let world = Self { dir, address };
        world.write("royalcrown.yaml", &format!("gateway:\n  listen: {address}\n"));
        world
    }

    /// A project that `rc init` made: the service `orders`, written in `template`.
    pub(crate) fn scaffold(template: &str) -> Self {
        let world = Self::new();
        let made = world.path().join("made");
        world.ok(&["init", "orders", "--template", template, "--dir", "made"]);
        for entry in fs_err::read_dir(&made).unwrap() {
            let path = entry.unwrap().path();
            fs_err::rename(&path, world.path().join(path.file_name().unwrap())).unwrap();
        }
        fs_err::remove_dir(made).unwrap();
        world
    }

    /// The project's folder.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file of the project.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, text).unwrap();
        path
    }

    /// `rc` with these arguments, in the project, without the caller's environment of `RC_…`.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rc"));
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        for name in ["RC_STORE_URL", "RC_BUS_URL", "RC_API_KEY", "RC_URL"] {
            command.env_remove(name);
        }
        for name in [
            "ENDPOINT",
            "TRACES_ENDPOINT",
            "HEADERS",
            "TRACES_HEADERS",
            "CERTIFICATE",
        ] {
            command.env_remove(format!("OTEL_EXPORTER_OTLP_{name}"));
        }
        command.env("NO_COLOR", "1");
        command
    }

    /// Runs `rc` to its end.
    pub(crate) fn rc(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs `rc`, expects success, and gives stdout.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.rc(args);
        assert!(output.status.success(), "rc {args:?}: {}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs `rc … --output json`, expects success, and gives what it printed.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.extend(["--output", "json"]);
        let text = self.ok(&args);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
    }

    /// Runs `rc … --output json` and gives what it printed, whatever the answer is.
    pub(crate) fn json_of(&self, args: &[&str]) -> Value {
        let output = self.rc(&[args, &["--output", "json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", told(&output)))
    }

    /// Starts the platform in the background and waits until it is ready.
    pub(crate) fn up(&self) {
        let output = self.rc(&["up", "--detach"]);
        assert!(output.status.success(), "rc up --detach: {}", told(&output));
    }

    /// Makes a key of `tenant`.
    pub(crate) fn key(&self, tenant: &str) -> String {
        let made = self.json(&["tenant", "key", "create", tenant]);
        made["key"].as_str().unwrap().to_owned()
    }

    /// One HTTP/1.1 exchange with the gateway. `head` is the request line and headers, without the blank line.
    pub(crate) fn http(&self, head: &str, body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(EXCHANGE_MAX)).unwrap();
        let mut request = head.replace('\n', "\r\n").into_bytes();
        request.extend_from_slice(b"\r\nHost: test\r\nConnection: close\r\n");
        if !body.is_empty() {
            request.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        // The gateway may answer and close before it has read everything.
        let _ = stream.write_all(&request);
        let mut raw = Vec::new();
        let _ = stream.read_to_end(&mut raw);
        let end = raw.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {}", String::from_utf8_lossy(&raw)));
        let head = String::from_utf8_lossy(&raw[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap();
        let body = dechunk(&head, raw[end + 4..].to_vec());
        Answer { status, head, body }
    }

    /// A GET with a key.
    pub(crate) fn get(&self, path: &str, key: &str) -> Answer {
        self.http(&format!("GET {path} HTTP/1.1\nAuthorization: Bearer {key}"), b"")
    }

    /// A POST of JSON with a key and an idempotency key.
    pub(crate) fn post(&self, path: &str, key: &str, idempotency: &str, body: &str) -> Answer {
        let head = format!(
            "POST {path} HTTP/1.1\nAuthorization: Bearer {key}\nContent-Type: application/json\nIdempotency-Key: {idempotency}"
        );
        self.http(&head, body.as_bytes())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Nothing may outlive its test; `rc down` says so itself when nothing runs.
        let _ = self.rc(&["down"]);
    }
}

/// What a command printed, for messages.
pub(crate) fn told(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A port that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits until `check` gives something; panics with `what` after 20 s.
pub(crate) fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    for _ in 0..400 {
        if let Some(found) = check() {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{what} did not happen within 20 s");
}

fn dechunk(head: &str, raw: Vec<u8>) -> Vec<u8> {
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return raw;
    }
    let mut rest = &raw[..];
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap().trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 4 + size..];
    }
    body
}
