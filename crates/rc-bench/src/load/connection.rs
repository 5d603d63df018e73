//! One keep-alive connection with at most one request on it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::AsFd;

use rustix::event::epoll;

use super::answer;
use super::transport::{Stream, Transport};
use crate::failure::{Failure, Result};

/// What is read at once; the answers of the bench's requests are shorter.
const READ_BYTES: usize = 64 << 10;

/// What has happened on a connection.
pub(super) enum Progress {
    /// More is to come.
    Waiting,
    /// The other side closed it between two requests.
    Closed,
    /// The other side closed it before the answer was complete.
    Cut,
    /// The answer is complete; its body is that range of what was received.
    Answered { status: u16, body: Range<usize> },
}

pub(super) struct Connection {
    target: SocketAddr,
    transport: Transport,
    socket: Stream,
    request: Vec<u8>,
    written: usize,
    /// Whether epoll is asked for room to write.
    waits_for_room: bool,
    pub(super) received: Vec<u8>,
    filled: usize,
    busy: bool,
    closes: bool,
    /// The other side does not take what is written any more.
    broken: bool,
    /// Of the request that is on its way.
    pub(super) class: usize,
    pub(super) intended: u64,
    /// When its last answer was complete.
    pub(super) free_since: u64,
}

impl Connection {
    pub(super) fn open(target: SocketAddr, transport: &Transport) -> Result<Self> {
        Ok(Self {
            target,
            transport: transport.clone(),
            socket: transport.connect(target)?,
            request: Vec::new(),
            written: 0,
            waits_for_room: false,
            received: vec![0; READ_BYTES],
            filled: 0,
            busy: false,
            closes: false,
            broken: false,
            class: 0,
            intended: 0,
            free_since: 0,
        })
    }

    pub(super) fn watch(&self, epoll: impl AsFd, data: u64) -> Result<()> {
        let data = epoll::EventData::new_u64(data);
        Ok(epoll::add(epoll, self.socket.tcp(), data, epoll::EventFlags::IN)?)
    }

    /// Takes a request, leaves the last one's memory in its place, and writes what there is room for.
    pub(super) fn send(
        &mut self,
        request: &mut Vec<u8>,
        intended: u64,
        epoll: impl AsFd,
        data: u64,
    ) -> Result<()> {
        std::mem::swap(&mut self.request, request);
        self.written = 0;
        self.filled = 0;
        self.busy = true;
        self.intended = intended;
        self.write(epoll, data)
    }

    /// Writes and reads without waiting.
    pub(super) fn advance(&mut self, epoll: impl AsFd, data: u64) -> Result<Progress> {
        if self.written < self.request.len() {
            self.write(epoll, data)?;
        }
        // Also while it is being written: an answer may come early.
        self.read()
    }

    /// Makes the connection ready for the next request; one that was closed is opened again.
    pub(super) fn finish(&mut self, now: u64, epoll: impl AsFd, data: u64) -> Result<()> {
        self.busy = false;
        self.free_since = now;
        self.filled = 0;
        if self.closes || self.written < self.request.len() {
            self.reopen(epoll, data)?;
        }
        Ok(())
    }

    /// A new socket in the place of the old one, which leaves epoll by being closed.
    pub(super) fn reopen(&mut self, epoll: impl AsFd, data: u64) -> Result<()> {
        self.socket = self.transport.connect(self.target)?;
        self.busy = false;
        self.filled = 0;
        self.closes = false;
        self.broken = false;
        self.waits_for_room = false;
        self.watch(epoll, data)
    }

    fn write(&mut self, epoll: impl AsFd, data: u64) -> Result<()> {
        while self.written < self.request.len() && !self.broken {
            match self.socket.write(&self.request[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Reading tells whether an answer came before that.
                Err(error) if is_cut(&error) => self.broken = true,
                Err(error) => return Err(Failure::new(format!("a request cannot be written: {error}"))),
            }
        }
        let wants_room = self.written < self.request.len() && !self.broken;
        if wants_room != self.waits_for_room {
            let mut flags = epoll::EventFlags::IN;
            flags.set(epoll::EventFlags::OUT, wants_room);
            epoll::modify(epoll, self.socket.tcp(), epoll::EventData::new_u64(data), flags)?;
            self.waits_for_room = wants_room;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<Progress> {
        if self.filled == self.received.len() {
            self.received.resize(self.filled * 2, 0);
        }
        let count = match self.socket.read(&mut self.received[self.filled..]) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(Progress::Waiting);
            }
            Err(error) if is_cut(&error) => 0,
            Err(error) => return Err(Failure::new(format!("an answer cannot be read: {error}"))),
        };
        if count == 0 && !self.busy {
            return Ok(Progress::Closed);
        }
        if count == 0 {
            return Ok(Progress::Cut);
        }
        if !self.busy {
            return Err(Failure::new("an answer came that nobody asked for"));
        }
        self.filled += count;
        let answer = answer::read(&self.received[..self.filled])
            .map_err(|malformed| Failure::new(format!("an answer cannot be read: {}", malformed.0)))?;
        let Some(answer) = answer else {
            return Ok(Progress::Waiting);
        };
        self.closes = answer.closes;
        Ok(Progress::Answered {
            status: answer.status,
            body: answer.body..answer.end,
        })
    }
}

/// Whether the other side is gone.
fn is_cut(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
    )
}
