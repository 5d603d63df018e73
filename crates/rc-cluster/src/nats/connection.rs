//! A client: connections that are taken for one request or one wait and given back when it went well.
//!
//! Nothing runs in the background. A connection that failed, was too slow, or whose request was dropped is
//! closed, so an answer can never reach the wrong question.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use rc_events::Error;
use rc_events::error::ServerFault;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::key;
use super::url::{Login, NatsOptions};
use super::wire::{self, Info, Message, NotNats, Op};

/// Connections that wait for their next use. More are closed.
const IDLE_MAX: usize = 8;

/// An idle connection of this age is asked whether it lives before it is used.
const TRUSTED_FOR: Duration = Duration::from_secs(5);

/// How much is read at once.
const READ_BYTES: usize = 64 << 10;

/// The oldest server with everything that the bus needs, and without the faults of the first servers that
/// had atomic batches.
const VERSION_MIN: (u32, u32) = (2, 14);

/// What went wrong below the level of answers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    NotNats(#[from] NotNats),
    #[error("the server closed the connection")]
    Closed,
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
    #[error("the server says `{0}`")]
    Said(String),
    /// Trying again does not help.
    #[error("{0}")]
    For(Error),
}

impl Broken {
    /// The error of what was `tried` with the server of `options`.
    pub(crate) fn into_error(self, tried: &'static str, options: &NatsOptions) -> Error {
        match self {
            Self::For(error) => error,
            Self::Said(text) if is_about_login(&text) => {
                fault("RC-EVT-045", format!("{options} refuses our user: {text}"), None)
            }
            other => Error::Unreachable {
                tried,
                why: format!("{other} ({options})").into(),
            },
        }
    }
}

/// A server's no, with the code of its kind.
pub(crate) fn fault(code: &'static str, what: impl Into<String>, retry_after: Option<Duration>) -> Error {
    Error::Server(Box::new(ServerFault {
        code,
        what: what.into(),
        retry_after,
    }))
}

fn is_about_login(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["authorization", "authentication", "permissions violation"]
        .iter()
        .any(|word| text.contains(word))
}

/// TCP, with or without TLS.
enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// One connection, logged in, with an inbox of its own.
pub(crate) struct Connection {
    stream: Stream,
    input: BytesMut,
    pub(crate) info: Info,
    /// `_INBOX.<random>`; answers come to `<inbox>.<number>`.
    inbox: String,
    requests: u64,
    used: Instant,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    async fn open(host: &str, port: u16, options: &NatsOptions) -> Result<Self, Broken> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let mut connection = Self {
            stream: Stream::Plain(stream),
            input: BytesMut::new(),
            info: Info::default(),
            inbox: format!("_INBOX.{:032x}", fastrand::u128(..)),
            requests: 0,
            used: Instant::now(),
        };
        let Op::Info(info) = connection.next_op().await? else {
            return Err(NotNats("no greeting").into());
        };
        connection.info = *info;
        if options.tls || connection.info.tls_required {
            connection = connection.encrypt(host, options).await?;
        }
        check_version(&connection.info, options).map_err(Broken::For)?;
        let login = login(&options.login, &connection.info)
            .await
            .map_err(Broken::For)?;
        let hello = format!("CONNECT {login}\r\nSUB {}.* 1\r\nPING\r\n", connection.inbox);
        connection.send(hello.as_bytes()).await?;
        loop {
            match connection.next_op().await? {
                Op::Pong => return Ok(connection),
                Op::Err(text) => return Err(Broken::Said(text)),
                _ => {}
            }
        }
    }

    async fn encrypt(self, host: &str, options: &NatsOptions) -> Result<Self, Broken> {
        let no = |why: String| Broken::For(Error::Invalid(format!("no TLS to {options}: {why}").into()));
        let Stream::Plain(stream) = self.stream else {
            return Err(NotNats("TLS inside TLS").into());
        };
        let config = rc_serve::tls::client_config(options.ca.as_deref(), &[])
            .map_err(|error| no(error.to_string()))?;
        let name = rustls::pki_types::ServerName::try_from(host.to_owned())
            .map_err(|error| no(error.to_string()))?;
        let stream = tokio_rustls::TlsConnector::from(config)
            .connect(name, stream)
            .await?;
        Ok(Self {
            stream: Stream::Tls(Box::new(stream)),
            ..self
        })
    }

    /// Writes what was made with [`wire::put_message`].
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// An address for one answer, or for several.
    pub(crate) fn address(&mut self) -> String {
        self.requests += 1;
        format!("{}.{}", self.inbox, self.requests)
    }

    /// Sends one message and waits for its answer.
    pub(crate) async fn ask(
        &mut self,
        subject: &str,
        headers: &[u8],
        payload: &[u8],
    ) -> Result<Message, Broken> {
        let reply = self.address();
        let mut out = Vec::with_capacity(subject.len() + headers.len() + payload.len() + 128);
        wire::put_message(&mut out, subject, Some(&reply), headers, payload);
        self.send(&out).await?;
        self.answer(&[&reply]).await
    }

    /// The next message to one of these addresses.
    pub(crate) async fn answer(&mut self, addresses: &[&str]) -> Result<Message, Broken> {
        loop {
            match self.next_op().await? {
                Op::Message(message) if addresses.contains(&message.subject.as_str()) => return Ok(message),
                Op::Err(text) => return Err(Broken::Said(text)),
                // An answer that nobody waits for, or what is no message.
                Op::Message(_) | Op::Info(_) | Op::Ping | Op::Pong | Op::Ok => {}
            }
        }
    }

    /// Waits until the subject that was subscribed to has a message.
    pub(crate) async fn heard(&mut self, subject: &str) -> Result<(), Broken> {
        self.answer(&[subject]).await.map(drop)
    }

    async fn next_op(&mut self) -> Result<Op, Broken> {
        loop {
            match wire::parse(&mut self.input)? {
                Some(Op::Ping) => self.send(b"PONG\r\n").await?,
                Some(op) => return Ok(op),
                None => {
                    self.input.reserve(READ_BYTES);
                    if self.stream.read_buf(&mut self.input).await? == 0 {
                        return Err(Broken::Closed);
                    }
                }
            }
        }
    }

    /// Whether the server still has this connection, as far as can be told without asking; asks when it
    /// was not used for a while.
    async fn lives(&mut self) -> bool {
        self.input.reserve(READ_BYTES);
        if let Some(Ok(0) | Err(_)) = self.stream.read_buf(&mut self.input).now_or_never() {
            return false;
        }
        if self.used.elapsed() < TRUSTED_FOR {
            return true;
        }
        let asked = async {
            self.send(b"PING\r\n").await?;
            loop {
                match self.next_op().await? {
                    Op::Pong => return Ok::<(), Broken>(()),
                    Op::Err(text) => return Err(Broken::Said(text)),
                    _ => {}
                }
            }
        };
        asked.await.is_ok()
    }
}

/// What a server must be able to do.
fn check_version(info: &Info, options: &NatsOptions) -> Result<(), Error> {
    let mut parts = info.version.split(['.', '-']).map(str::parse::<u32>);
    let found = (parts.next(), parts.next());
    let new_enough = matches!(found, (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= VERSION_MIN);
    if new_enough && info.headers {
        return Ok(());
    }
    let (major, minor) = VERSION_MIN;
    Err(fault(
        "RC-EVT-040",
        format!(
            "the NATS server at {options} is version `{}`; the bus needs {major}.{minor} or later",
            info.version
        ),
        None,
    ))
}

/// The payload of CONNECT.
async fn login(login: &Login, info: &Info) -> Result<serde_json::Value, Error> {
    let mut connect = json!({
        "verbose": false,
        "pedantic": false,
        "name": "royalcrown",
        "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": 1,
        "headers": true,
        "no_responders": true,
    });
    let mut put = |name: &str, value: String| connect[name] = value.into();
    let nonce = info.nonce.as_deref().unwrap_or_default();
    match login {
        Login::Nobody => {}
        Login::User { name, password } => {
            put("user", name.clone());
            put("pass", password.clone());
        }
        Login::Token(token) => put("auth_token", token.clone()),
        Login::Credentials(path) => {
            let text = read(path).await?;
            let (token, key) = key::credentials(&text).ok_or_else(|| not_a_key(path))?;
            put("sig", key.sign(nonce));
            put("jwt", token);
        }
        Login::Seed(path) => {
            let text = read(path).await?;
            let key = key::UserKey::from_seed(&text).ok_or_else(|| not_a_key(path))?;
            put("sig", key.sign(nonce));
            put("nkey", key.public());
        }
    }
    Ok(connect)
}

async fn read(path: &std::path::Path) -> Result<String, Error> {
    let text = tokio::fs::read_to_string(path).await;
    text.map_err(|error| Error::Invalid(format!("failed to read {}: {error}", path.display()).into()))
}

fn not_a_key(path: &std::path::Path) -> Error {
    Error::Invalid(format!("{} holds no user's key of NATS", path.display()).into())
}

/// Connections to one server or cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) options: Arc<NatsOptions>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Client {
    pub(crate) fn new(options: NatsOptions) -> Self {
        Self {
            options: Arc::new(options),
            idle: Arc::default(),
        }
    }

    /// Runs `work` on a connection within the deadline. The connection is kept when it went well.
    pub(crate) async fn with<T, W>(&self, tried: &'static str, work: W) -> Result<T, Error>
    where
        T: Send,
        W: for<'c> FnOnce(&'c mut Connection) -> rc_events::BoxFuture<'c, Result<T, Broken>> + Send,
    {
        self.within(self.options.deadline, tried, work).await
    }

    /// As [`Self::with`], with another deadline.
    pub(crate) async fn within<T, W>(
        &self,
        deadline: Duration,
        tried: &'static str,
        work: W,
    ) -> Result<T, Error>
    where
        T: Send,
        W: for<'c> FnOnce(&'c mut Connection) -> rc_events::BoxFuture<'c, Result<T, Broken>> + Send,
    {
        let attempt = async {
            let mut connection = self.take().await?;
            let done = work(&mut connection).await?;
            self.give(connection);
            Ok(done)
        };
        let done = match tokio::time::timeout(deadline, attempt).await {
            Ok(done) => done,
            Err(_late) => Err(Broken::Late(deadline)),
        };
        done.map_err(|broken| {
            // The others go the same way: the next request starts with a fresh one.
            self.lock().clear();
            broken.into_error(tried, &self.options)
        })
    }

    async fn take(&self) -> Result<Connection, Broken> {
        loop {
            let Some(mut connection) = self.lock().pop() else {
                break;
            };
            if connection.lives().await {
                return Ok(connection);
            }
        }
        let mut hosts: Vec<&(String, u16)> = self.options.hosts.iter().collect();
        fastrand::shuffle(&mut hosts);
        let mut last = Broken::Closed;
        for (host, port) in hosts {
            match Connection::open(host, *port, &self.options).await {
                Ok(connection) => return Ok(connection),
                Err(broken) => last = broken,
            }
        }
        Err(last)
    }

    fn give(&self, mut connection: Connection) {
        connection.used = Instant::now();
        let mut idle = self.lock();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
