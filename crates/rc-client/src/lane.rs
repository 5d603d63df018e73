//! One connection, used for one call after the other.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::config::Endpoint;

/// Response heads beyond this are refused: ours are below 2 KiB.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Response header fields beyond this are refused.
const HEADERS_MAX: usize = 128;

/// `sockaddr_un` holds 108 bytes with the closing zero.
const UNIX_PATH_BYTES_MAX: usize = 107;

/// An open connection.
pub(crate) struct Lane {
    pub(crate) sender: SendRequest<Full<Bytes>>,
    /// Whether a call has already been answered on it: then the server may have closed it meanwhile.
    pub(crate) used: bool,
    /// Drives the connection; dropping the lane ends it.
    _driver: JoinSet<()>,
}

impl Lane {
    /// Connects within `timeout`. An error means that nothing was sent.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        tls: Option<&TlsConnector>,
        timeout: Duration,
    ) -> io::Result<Self> {
        tokio::time::timeout(timeout, Self::connect(endpoint, tls))
            .await
            .unwrap_or_else(|_| {
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no connection within {timeout:?}"),
                ))
            })
    }

    async fn connect(endpoint: &Endpoint, tls: Option<&TlsConnector>) -> io::Result<Self> {
        match endpoint {
            Endpoint::Unix(path) => Self::handshake(connect_unix(path).await?).await,
            Endpoint::Tcp { host, port, .. } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                let Some(tls) = tls else {
                    return Self::handshake(stream).await;
                };
                let name = ServerName::try_from(host.clone())
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                Self::handshake(tls.connect(name, stream).await?).await
            }
        }
    }

    async fn handshake<S>(stream: S) -> io::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // What breaks here also reaches the call that is under way, which reports it.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            used: false,
            _driver: driver,
        })
    }

    /// Whether the next call can go out on it.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

/// Connects to a socket whose path may be longer than a socket address holds.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() <= UNIX_PATH_BYTES_MAX {
        return UnixStream::connect(path).await;
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path does not name a socket",
        ));
    };
    // The kernel resolves the folder through our open handle, which keeps the address short.
    let folder = fs_err::File::open(folder)?;
    let short = Path::new("/proc/self/fd")
        .join(folder.as_raw_fd().to_string())
        .join(name);
    UnixStream::connect(short).await
}
