//! A server that answers what a test tells it to, and remembers what it was asked.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use crate::Endpoint;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Sends these bytes and keeps the connection.
    Send(String),
    /// Sends these bytes and ends the connection.
    SendAndClose(String),
    /// Waits, then does the next thing.
    After(Duration, Box<Self>),
}

/// An answer with a JSON body and further header lines.
pub(super) fn reply(status: u16, headers: &str, body: &str) -> Step {
    Step::Send(text(status, headers, body))
}

pub(super) fn text(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Whatever\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) head: String,
    pub(super) body: Vec<u8>,
    pub(super) connection: usize,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(super) fn request_line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }
}

#[derive(Default)]
struct State {
    script: VecDeque<Step>,
    seen: Vec<Seen>,
    connections: usize,
}

/// The server; it ends when it is dropped. After the script's end it repeats `otherwise`.
pub(super) struct Fake {
    state: Arc<Mutex<State>>,
    pub(super) endpoint: Endpoint,
    _tasks: JoinSet<()>,
}

impl Fake {
    pub(super) async fn start(script: Vec<Step>, otherwise: Step) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let state = Arc::new(Mutex::new(State {
            script: script.into(),
            ..State::default()
        }));
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&state);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(converse(stream, Arc::clone(&shared), otherwise.clone()));
            }
        });
        Self {
            state,
            endpoint,
            _tasks: tasks,
        }
    }

    pub(super) async fn start_tls(acceptor: tokio_rustls::TlsAcceptor, otherwise: Step) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let endpoint = Endpoint::parse(&format!("https://localhost:{port}")).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&state);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, shared, otherwise) =
                    (acceptor.clone(), Arc::clone(&shared), otherwise.clone());
                connections.spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        converse(stream, shared, otherwise).await;
                    }
                });
            }
        });
        Self {
            state,
            endpoint,
            _tasks: tasks,
        }
    }

    /// On a socket that is already bound, at `path`.
    pub(super) fn start_unix(listener: UnixListener, path: &Path, otherwise: Step) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&state);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(converse(stream, Arc::clone(&shared), otherwise.clone()));
            }
        });
        Self {
            state,
            endpoint: Endpoint::Unix(path.to_owned()),
            _tasks: tasks,
        }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    state: Arc<Mutex<State>>,
    otherwise: Step,
) {
    let connection = {
        let mut state = state.lock().unwrap();
        state.connections += 1;
        state.connections
    };
    let mut buffer = Vec::new();
    while let Some((head, body)) = next_request(&mut stream, &mut buffer).await {
        let step = {
            let mut state = state.lock().unwrap();
            state.seen.push(Seen {
                head,
                body,
                connection,
            });
            state.script.pop_front().unwrap_or_else(|| otherwise.clone())
        };
        let mut step = step;
        while let Step::After(wait, next) = step {
            tokio::time::sleep(wait).await;
            step = *next;
        }
        match step {
            Step::Send(text) => {
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Step::SendAndClose(text) => {
                // The test is about what the other side makes of the end.
                let _ = stream.write_all(text.as_bytes()).await;
                let _ = stream.shutdown().await;
                return;
            }
            Step::After(..) => unreachable!("unwrapped above"),
        }
    }
}

async fn next_request<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length:")
                        .map(|n| n.trim().parse::<usize>().unwrap())
                })
                .unwrap_or(0);
            while buffer.len() < end + 4 + length {
                if stream.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            let rest = buffer.split_off(end + 4 + length);
            let body = buffer.split_off(end + 4);
            *buffer = rest;
            return Some((head, body));
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
