//! What a connection is made of: TCP, or TLS over it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::failure::{Failure, Result};

/// Longest wait for a connection to be accepted, and for a handshake.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How connections are made.
#[derive(Debug, Clone)]
pub(crate) enum Transport {
    Tcp,
    /// To somebody who shows the certificate that this trusts; every handshake is a full one.
    Tls(Arc<ClientConfig>),
}

/// An open connection.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Transport {
    /// TLS with that one certificate.
    pub(crate) fn tls(certificate: CertificateDer<'static>) -> Result<Self> {
        let failed = |error: rustls::Error| Failure::new(format!("TLS: {error}"));
        let mut roots = RootCertStore::empty();
        roots.add(certificate).map_err(failed)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self::Tls(Arc::new(config)))
    }

    /// Connects, waits for the handshake, and has nothing wait from then on.
    pub(crate) fn connect(&self, target: SocketAddr) -> Result<Stream> {
        let failed = |error: std::io::Error| Failure::new(format!("no connection to {target}: {error}"));
        let mut tcp = TcpStream::connect_timeout(&target, CONNECT_MAX).map_err(failed)?;
        tcp.set_nodelay(true)?;
        let Self::Tls(config) = self else {
            tcp.set_nonblocking(true)?;
            return Ok(Stream::Tcp(tcp));
        };
        tcp.set_read_timeout(Some(CONNECT_MAX))?;
        let name = ServerName::try_from("localhost").expect("a name of letters");
        let mut session = ClientConnection::new(Arc::clone(config), name)
            .map_err(|error| Failure::new(format!("TLS: {error}")))?;
        while session.is_handshaking() {
            session.complete_io(&mut tcp).map_err(failed)?;
        }
        tcp.set_nonblocking(true)?;
        Ok(Stream::Tls(Box::new(StreamOwned::new(session, tcp))))
    }
}

impl Stream {
    /// The socket, for epoll.
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(session) => &session.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(buffer),
            Self::Tls(session) => session.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.write(bytes),
            Self::Tls(session) => session.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.flush(),
            Self::Tls(session) => session.flush(),
        }
    }
}
