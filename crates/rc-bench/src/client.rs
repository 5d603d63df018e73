//! One request and its answer, for what is not load: preparing, probing, asking how far something is.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::failure::{Failure, Result};
use crate::load::answer;

/// Longest wait for an answer; the platform itself answers within less.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A keep-alive connection that waits for each answer.
#[derive(Debug)]
pub(crate) struct Client<S = TcpStream> {
    socket: S,
    received: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Self {
            socket,
            received: Vec::new(),
        })
    }
}

impl Client<UnixStream> {
    pub(crate) fn connect_unix(path: &Path) -> Result<Self> {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(ANSWER_MAX))?;
        Ok(Self {
            socket,
            received: Vec::new(),
        })
    }
}

impl<S: Read + Write> Client<S> {
    /// Sends a whole request; the status and the body of its answer.
    pub(crate) fn call(&mut self, request: &[u8]) -> Result<(u16, Vec<u8>)> {
        /// Read at once.
        const BYTES: usize = 64 << 10;
        self.socket.write_all(request)?;
        self.received.clear();
        loop {
            let filled = self.received.len();
            self.received.resize(filled + BYTES, 0);
            let count = self.socket.read(&mut self.received[filled..])?;
            self.received.truncate(filled + count);
            if count == 0 {
                return Err(Failure::new("the connection was closed before the answer"));
            }
            let answer = answer::read(&self.received).map_err(|malformed| Failure::new(malformed.0))?;
            if let Some(answer) = answer {
                return Ok((answer.status, self.received[answer.body..answer.end].to_vec()));
            }
        }
    }
}
