//! A bare connection to the server that a URL names, for protocols that the pool's client does not speak.

use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::config::Host;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect as _};

use super::{CONNECT_TIME_MAX, config, tls};
use crate::error::UNAVAILABLE_RETRY;
use crate::{Error, ErrorKind};

const PORT: u16 = 5_432;

/// Asks for TLS: length and code of the protocol's `SSLRequest`.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Bytes in both directions, encrypted when the URL asks for it.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for T {}

/// A server, and who we are there. Its `Debug` shows no password.
#[derive(Clone)]
pub struct PgAddress {
    hosts: Vec<(Host, u16)>,
    trusted: Option<PathBuf>,
    user: String,
    password: Option<Vec<u8>>,
    database: String,
}

impl std::fmt::Debug for PgAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PgAddress")
            .field("hosts", &self.hosts)
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl PgAddress {
    /// Reads a URL by the pool's rules.
    ///
    /// # Errors
    /// [`ErrorKind::Url`] when it is not one, or names no user.
    pub fn parse(url: &str) -> Result<Self, Error> {
        let target = config::config_of(url)?;
        let config = &target.config;
        let ports = config.get_ports();
        let port = |index: usize| {
            ports
                .get(index)
                .or_else(|| ports.first())
                .copied()
                .unwrap_or(PORT)
        };
        let hosts = if config.get_hosts().is_empty() {
            let addresses = config.get_hostaddrs().iter();
            addresses.map(|address| Host::Tcp(address.to_string())).collect()
        } else {
            config.get_hosts().to_vec()
        };
        let user = config
            .get_user()
            .ok_or_else(|| Error::new(ErrorKind::Url, "the store URL names no user"))?;
        Ok(Self {
            hosts: hosts
                .into_iter()
                .enumerate()
                .map(|(index, host)| (host, port(index)))
                .collect(),
            trusted: target.trusted,
            user: user.to_owned(),
            password: config.get_password().map(<[u8]>::to_vec),
            database: config.get_dbname().unwrap_or(user).to_owned(),
        })
    }

    /// The role.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The role's password, if the URL has one.
    #[must_use]
    pub fn password(&self) -> Option<&[u8]> {
        self.password.as_deref()
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Connects to the first host that answers, before any message of the protocol's own.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when none does within [`CONNECT_TIME_MAX`].
    pub async fn dial(&self) -> Result<Box<dyn ByteStream>, Error> {
        let mut last = unavailable("the store URL names no host".to_owned());
        for (host, port) in &self.hosts {
            match tokio::time::timeout(CONNECT_TIME_MAX, self.dial_one(host, *port)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = unavailable(format!("no answer from {}:{port}", name(host))),
            }
        }
        Err(last)
    }

    async fn dial_one(&self, host: &Host, port: u16) -> Result<Box<dyn ByteStream>, Error> {
        let failed = |error: std::io::Error| {
            unavailable(format!("failed to connect to {}:{port}: {error}", name(host)))
        };
        let host = match host {
            Host::Unix(folder) => {
                let path = folder.join(format!(".s.PGSQL.{port}"));
                return Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?));
            }
            Host::Tcp(host) => host,
        };
        let mut stream = TcpStream::connect((host.as_str(), port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let Some(root) = &self.trusted else {
            return Ok(Box::new(stream));
        };
        let mut tls = tls::Tls::trusting(root)?;
        stream.write_all(&SSL_REQUEST).await.map_err(failed)?;
        if stream.read_u8().await.map_err(failed)? != b'S' {
            return Err(Error::new(
                ErrorKind::Url,
                "the server does not offer TLS, and `sslmode` asks for it",
            ));
        }
        let connect =
            <tls::Tls as MakeTlsConnect<TcpStream>>::make_tls_connect(&mut tls, host).map_err(|error| {
                Error::caused(ErrorKind::Url, "no certificate can bear the host's name", error)
            })?;
        Ok(Box::new(connect.connect(stream).await.map_err(failed)?))
    }
}

fn name(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(folder) => folder.display().to_string(),
    }
}

fn unavailable(what: String) -> Error {
    Error::new(
        ErrorKind::Unavailable {
            retry_after: UNAVAILABLE_RETRY,
        },
        what,
    )
}
