//! The service behind both proxies: it answers every request with the same 128 bytes, at once.
//!
//! One thread, one epoll; it understands requests without a body and nothing else.

use std::io::{ErrorKind, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

use memchr::memmem;
use rustix::event::epoll;

use crate::failure::Result;

/// Bytes of the answer's body.
pub(crate) const BODY_BYTES: usize = 128;

/// Most bytes of one request's head.
const REQUEST_BYTES_MAX: usize = 8 << 10;

/// The listener's event; connections have their descriptor.
const LISTENER: u64 = u64::MAX;

/// The whole answer.
fn answer() -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY_BYTES}\r\n\r\n")
            .into_bytes();
    answer.extend((0..BODY_BYTES).map(|at| b'a' + (at % 26) as u8));
    answer
}

struct Client {
    socket: TcpStream,
    received: Vec<u8>,
    filled: usize,
}

/// Serves on a port of the loopback address until the process is ended.
pub(crate) fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        &listener,
        epoll::EventData::new_u64(LISTENER),
        epoll::EventFlags::IN,
    )?;
    let answer = answer();
    let mut clients: Vec<Option<Client>> = Vec::new();
    loop {
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); 128];
        let events = match epoll::wait(&epoll, &mut space[..], None) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for event in events {
            let number = event.data.u64();
            if number == LISTENER {
                accept(&listener, &epoll, &mut clients)?;
                continue;
            }
            let place = usize::try_from(number).expect("descriptors are small numbers");
            let open = clients
                .get_mut(place)
                .and_then(Option::as_mut)
                .is_some_and(|client| client.serve(&answer));
            if !open {
                clients[place] = None;
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &rustix::fd::OwnedFd,
    clients: &mut Vec<Option<Client>>,
) -> Result<()> {
    loop {
        let socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let place = usize::try_from(socket.as_raw_fd()).expect("an open descriptor is not negative");
        epoll::add(
            epoll,
            &socket,
            epoll::EventData::new_u64(place as u64),
            epoll::EventFlags::IN,
        )?;
        if clients.len() <= place {
            clients.resize_with(place + 1, || None);
        }
        clients[place] = Some(Client {
            socket,
            received: vec![0; REQUEST_BYTES_MAX],
            filled: 0,
        });
    }
}

impl Client {
    /// Reads once and answers every complete request; `false` when the connection is over.
    fn serve(&mut self, answer: &[u8]) -> bool {
        match self.socket.read(&mut self.received[self.filled..]) {
            Ok(0) => return false,
            Ok(count) => self.filled += count,
            Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
        let mut from = 0;
        while let Some(end) = memmem::find(&self.received[from..self.filled], b"\r\n\r\n") {
            from += end + 4;
            // The socket's buffer holds hundreds of these answers, and a client waits for each.
            if self.socket.write_all(answer).is_err() {
                return false;
            }
        }
        self.received.copy_within(from..self.filled, 0);
        self.filled -= from;
        self.filled < self.received.len()
    }
}
