//! Sockets of any kind, and the two buffers that every connection has.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};
use tokio_rustls::server::TlsStream;

/// A buffer's size while little is read.
const INBOX_BYTES_MIN: usize = 4 << 10;
/// A buffer's size once bodies flow: one read of this size costs about what its copy costs.
pub(crate) const INBOX_BYTES_MAX: usize = 64 << 10;
/// Bytes waiting to be written past which no more are taken in.
pub(crate) const OUTBOX_BYTES_HIGH: usize = 64 << 10;

/// A connected socket.
pub(crate) enum Io {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Io {
    /// Makes the coming close a reset instead of an orderly end.
    pub(crate) fn abort_on_close(&self) {
        let done = match self {
            Self::Tcp(io) => io.set_zero_linger(),
            Self::Tls(io) => io.get_ref().0.set_zero_linger(),
            Self::Unix(_) => Ok(()),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "a cut answer may look whole");
        }
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_read(cx, buf),
            Self::Unix(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_write(cx, data),
            Self::Unix(io) => Pin::new(io).poll_write(cx, data),
            Self::Tls(io) => Pin::new(io).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(io) => Pin::new(io).poll_shutdown(cx),
            Self::Unix(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

/// Bytes that were read and not yet understood. All memory is initialised, so no `unsafe` is needed.
pub(crate) struct Inbox {
    data: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            data: Vec::new(),
            start: 0,
            end: 0,
        }
    }

    pub(crate) fn filled(&self) -> &[u8] {
        &self.data[self.start..self.end]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end, "only filled bytes can be consumed");
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Gives memory back while the connection has nothing to say.
    pub(crate) fn rest(&mut self) {
        if self.is_empty() && self.data.len() > INBOX_BYTES_MIN {
            *self = Self::new();
        }
    }

    /// Reads once. The buffer grows up to `bytes_max`; a full buffer of that size is an error, so a caller
    /// whose grammar needs more than that in one piece must refuse first.
    pub(crate) fn poll_fill(
        &mut self,
        io: &mut Io,
        cx: &mut Context<'_>,
        bytes_max: usize,
    ) -> Poll<io::Result<usize>> {
        if self.end == self.data.len() {
            self.make_room(bytes_max)?;
        }
        let mut into = ReadBuf::new(&mut self.data[self.end..]);
        ready!(Pin::new(io).poll_read(cx, &mut into))?;
        let count = into.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }

    fn make_room(&mut self, bytes_max: usize) -> io::Result<()> {
        let held = self.end - self.start;
        if self.start > 0 {
            self.data.copy_within(self.start..self.end, 0);
            self.start = 0;
            self.end = held;
        }
        if held * 2 >= self.data.len() {
            let size = (self.data.len() * 2).clamp(INBOX_BYTES_MIN, bytes_max.max(INBOX_BYTES_MIN));
            if size > self.data.len() {
                self.data.resize(size, 0);
            }
        }
        if self.end == self.data.len() {
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "the buffer's bound is reached",
            ));
        }
        Ok(())
    }
}

/// Bytes that wait to be written.
#[derive(Default)]
pub(crate) struct Outbox {
    pub(crate) data: Vec<u8>,
    written: usize,
}

impl Outbox {
    pub(crate) fn waiting(&self) -> usize {
        self.data.len() - self.written
    }

    /// Writes until nothing waits.
    pub(crate) fn poll_flush(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.data.len() {
            let Poll::Ready(count) = Pin::new(&mut *io).poll_write(cx, &self.data[self.written..])? else {
                // What was written must not pile up while the other side is always a little behind.
                if self.written >= OUTBOX_BYTES_HIGH / 2 {
                    self.data.drain(..std::mem::take(&mut self.written));
                }
                return Poll::Pending;
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        self.data.clear();
        self.written = 0;
        Pin::new(io).poll_flush(cx)
    }

    /// Gives memory back while the connection has nothing to say.
    pub(crate) fn rest(&mut self) {
        if self.data.is_empty() && self.data.capacity() > INBOX_BYTES_MIN * 4 {
            self.data = Vec::new();
        }
    }
}

/// After a closing answer the gateway reads on for so long, because closing a socket with unread bytes
/// makes the kernel send a reset that can overtake the answer.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes that are thrown away while lingering.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// Closes so that the answer arrives: ends our side, then reads on for a moment.
pub(crate) async fn linger(io: &mut Io, timer: &mut Timer) {
    let until = Instant::now() + LINGER_TIMEOUT;
    let mut left = LINGER_BYTES_MAX;
    let mut unwanted = vec![0; INBOX_BYTES_MIN];
    poll_fn(|cx| {
        if Pin::new(&mut *io).poll_shutdown(cx).is_pending() {
            return timer.poll(until, cx);
        }
        loop {
            let mut into = ReadBuf::new(&mut unwanted);
            match Pin::new(&mut *io).poll_read(cx, &mut into) {
                Poll::Ready(Ok(())) => match left.checked_sub(into.filled().len()) {
                    Some(less) if less > 0 && less < left => left = less,
                    _ => return Poll::Ready(()),
                },
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return timer.poll(until, cx),
            }
        }
    })
    .await;
}

/// A socket whose first bytes were read already.
pub(crate) struct Rewound {
    pub(crate) first: Bytes,
    pub(crate) io: Io,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let count = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A timer for a deadline that moves with every request. Moving it further away costs nothing: the
/// timer fires at the old time, sees the new one, and is set again only then.
pub(crate) struct Timer {
    sleep: Pin<Box<Sleep>>,
    armed: Instant,
}

impl Timer {
    pub(crate) fn new() -> Self {
        let armed = Instant::now() + Duration::from_secs(60);
        Self {
            sleep: Box::pin(tokio::time::sleep_until(armed)),
            armed,
        }
    }

    /// Ready when `deadline` has passed.
    pub(crate) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if deadline < self.armed {
            self.arm(deadline);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if self.armed >= deadline || Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.arm(deadline);
        }
        Poll::Pending
    }

    fn arm(&mut self, at: Instant) {
        self.armed = at;
        self.sleep.as_mut().reset(at);
    }
}

/// An inbox that holds `bytes`, for tests of readers.
#[cfg(test)]
pub(crate) fn test_inbox(bytes: &[u8]) -> Inbox {
    Inbox {
        data: bytes.to_vec(),
        start: 0,
        end: bytes.len(),
    }
}
