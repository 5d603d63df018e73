//! Unix sockets between our own processes: only their owner can open them.
//!
//! A socket address holds 107 bytes of path on Linux. A longer path is reached through its folder's
//! descriptor, `/proc/self/fd/N/name`, so that a project may live anywhere.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};

/// `sun_path` of `sockaddr_un` on Linux holds 108 bytes with the closing NUL (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Largest answer that [`call`] takes.
pub const CALL_RESPONSE_BYTES_MAX: usize = 16 << 20;

/// The user at the other end of a connection, by the kernel's word; `None` where it gives none. A handler finds
/// it in the request's extensions as `ConnectInfo<CallerUid>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerUid(pub Option<u32>);

impl Connected<IncomingStream<'_, UnixListener>> for CallerUid {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().ok().map(|peer| peer.uid()))
    }
}

/// Why a call to one of our own sockets failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody listens: the process is not running or not yet there.
    #[error("nobody answers at {path}")]
    Connect {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The deadline passed.
    #[error("no answer from {path} within {} ms", deadline.as_millis())]
    Deadline { path: PathBuf, deadline: Duration },
    /// The exchange broke.
    #[error("the exchange with {path} broke: {reason}")]
    Exchange { path: PathBuf, reason: String },
}

/// Listens at `path`, for the owner only (mode 0600). A stale socket file is replaced.
///
/// # Errors
/// When the folder does not exist, or the address is taken by a live listener.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let short = ShortPath::new(path)?;
    if std::os::unix::net::UnixStream::connect(&short.path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("somebody already listens at {}", path.display()),
        ));
    }
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&short.path)?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Connects to the listener at `path`.
///
/// # Errors
/// When nobody listens there.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    let short = ShortPath::new(path)?;
    UnixStream::connect(&short.path).await
}

/// Sends one request to the HTTP/1.1 server at `path` and reads the whole answer.
///
/// # Errors
/// When nobody listens, the deadline passes, or the answer is broken or larger than
/// [`CALL_RESPONSE_BYTES_MAX`].
pub async fn call(
    path: &Path,
    request: http::Request<Bytes>,
    deadline: Duration,
) -> Result<http::Response<Bytes>, CallError> {
    match tokio::time::timeout(deadline, exchange(path, request)).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(CallError::Deadline {
            path: path.to_owned(),
            deadline,
        }),
    }
}

async fn exchange(
    path: &Path,
    mut request: http::Request<Bytes>,
) -> Result<http::Response<Bytes>, CallError> {
    let broke = |reason: String| CallError::Exchange {
        path: path.to_owned(),
        reason,
    };
    let stream = connect(path).await.map_err(|source| CallError::Connect {
        path: path.to_owned(),
        source,
    })?;
    if !request.headers().contains_key(http::header::HOST) {
        request
            .headers_mut()
            .insert(http::header::HOST, http::HeaderValue::from_static("localhost"));
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broke(error.to_string()))?;
    let answer = async {
        let response = sender
            .send_request(request.map(Full::new))
            .await
            .map_err(|error| error.to_string())?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, CALL_RESPONSE_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        Ok::<_, String>(http::Response::from_parts(head, body.to_bytes()))
    };
    tokio::pin!(answer);
    // The connection makes progress only while it is polled; it ends with the answer.
    tokio::select! {
        answer = &mut answer => answer.map_err(broke),
        ended = connection => match ended {
            Ok(()) => answer.await.map_err(broke),
            Err(error) => Err(broke(error.to_string())),
        },
    }
}

/// A path that fits a socket address, and what keeps it valid.
struct ShortPath {
    path: PathBuf,
    _folder: Option<OwnedFd>,
}

impl ShortPath {
    fn new(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(Self {
                path: path.to_owned(),
                _folder: None,
            });
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a socket needs a folder and a name",
            ));
        };
        let folder = rustix::fs::open(
            folder,
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok(Self {
            path,
            _folder: Some(folder),
        })
    }
}

#[cfg(test)]
mod tests;
