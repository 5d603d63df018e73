//! What an HTTP/2 connection may cost besides its requests.
//!
//! Most kinds of frames carry nothing, and each of them makes work: pings and settings are answered, windows that grow
//! by one byte make frames of one byte, a stream that is taken back has already made a request (rapid reset,
//! CVE-2023-44487). Requests have limits of their own; all other frames are counted here, against a budget that fills
//! with time and with what the client is sent. Who uses it up is told to calm down, and the connection ends.
//!
//! The frames are followed in the bytes below the protocol's engine (`h2`), which bounds some of these kinds and not
//! others, and per connection rather than per time.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::connection::PREFACE;
use crate::io::{Rewound, Timer, linger};

/// What a rested budget holds.
const BUDGET_MAX: u32 = 4_000;
/// What comes back in a second.
const BUDGET_PER_SECOND: u32 = 400;
/// Bytes of answers that earn the client one more frame: it opens its windows as it takes them.
const BYTES_PER_EARNED: u32 = 1 << 10;
/// What a reset costs: the stream may have been at its service already.
const RESET_COST: u32 = 10;
/// What settings cost: they are answered, and change every stream.
const SETTINGS_COST: u32 = 4;

/// Kinds of frames (RFC 9113, section 6).
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const GOAWAY: u8 = 0x7;

const END_STREAM: u8 = 0x1;
const ENHANCE_YOUR_CALM: u8 = 0xb;
const FRAME_HEAD_BYTES: usize = 9;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    length: u32,
    kind: u8,
    flags: u8,
    stream: u32,
}

/// Finds the frames in a stream of bytes, however that is cut.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; FRAME_HEAD_BYTES],
    have: usize,
    /// Bytes that belong to no head.
    skip: usize,
}

impl Frames {
    /// Tells `each` about every frame whose head ends in `bytes`.
    fn follow(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let taken = bytes.len().min(FRAME_HEAD_BYTES - self.have);
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have < FRAME_HEAD_BYTES {
                return;
            }
            let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = self.head;
            let length = u32::from_be_bytes([0, l0, l1, l2]);
            (self.have, self.skip) = (0, length as usize);
            each(Frame {
                length,
                kind,
                flags,
                stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
            });
        }
    }

    fn is_between_frames(&self) -> bool {
        self.have == 0 && self.skip == 0
    }
}

/// What a frame from the client costs. Requests and pieces of bodies are free: they have limits of their own.
fn cost(frame: Frame) -> u32 {
    match frame.kind {
        HEADERS => 0,
        DATA if frame.length > 0 || frame.flags & END_STREAM != 0 => 0,
        RST_STREAM => RESET_COST,
        SETTINGS => SETTINGS_COST,
        _ => 1,
    }
}

/// What a client may still spend.
#[derive(Debug)]
struct Budget {
    left: u32,
    filled: Instant,
    /// Bytes sent that have not earned anything yet.
    sent: u32,
    used_up: bool,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            left: BUDGET_MAX,
            filled: now,
            sent: 0,
            used_up: false,
        }
    }

    /// Takes `cost`. The clock is asked only when it would make a difference.
    fn spend(&mut self, cost: u32, now: impl FnOnce() -> Instant) {
        if self.left < cost {
            let now = now();
            let rested = (now - self.filled).as_secs_f64() * f64::from(BUDGET_PER_SECOND);
            self.filled = now;
            self.earn(rested as u32);
        }
        match self.left.checked_sub(cost) {
            Some(left) => self.left = left,
            None => self.used_up = true,
        }
    }

    fn earn(&mut self, frames: u32) {
        self.left = self.left.saturating_add(frames).min(BUDGET_MAX);
    }

    fn sent(&mut self, bytes: u32) {
        self.sent = self.sent.saturating_add(bytes);
        self.earn(self.sent / BYTES_PER_EARNED);
        self.sent %= BYTES_PER_EARNED;
    }
}

/// A client's socket whose frames are counted.
pub(super) struct Wire {
    socket: Rewound,
    received: Frames,
    sent: Frames,
    budget: Budget,
    /// The latest stream that the client began.
    stream: u32,
}

/// The engine's handle on a [`Wire`].
pub(super) struct Metered(pub(super) Rc<RefCell<Wire>>);

impl Wire {
    pub(super) fn new(socket: Rewound) -> Self {
        Self {
            socket,
            received: Frames {
                skip: PREFACE.len(),
                ..Frames::default()
            },
            sent: Frames::default(),
            budget: Budget::new(Instant::now()),
            stream: 0,
        }
    }

    /// Whether the client sent more frames than its budget has.
    pub(super) fn is_flooded(&self) -> bool {
        self.budget.used_up
    }

    /// Ends a connection that broke, so that the client learns why.
    pub(super) async fn end(mut self, timer: &mut Timer) {
        if self.is_flooded() && self.sent.is_between_frames() {
            let stream = self.stream.to_be_bytes();
            let mut frame = vec![0, 0, 8, GOAWAY, 0, 0, 0, 0, 0];
            frame.extend_from_slice(&stream);
            frame.extend_from_slice(&[0, 0, 0, ENHANCE_YOUR_CALM]);
            // Once: it fits, or the client takes nothing anyway.
            std::future::poll_fn(|cx| {
                let _told = Pin::new(&mut self.socket).poll_write(cx, &frame);
                Poll::Ready(())
            })
            .await;
        }
        linger(&mut self.socket.io, timer).await;
    }
}

impl AsyncRead for Metered {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self.0.borrow_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut wire.socket).poll_read(cx, buf))?;
        let (budget, stream) = (&mut wire.budget, &mut wire.stream);
        wire.received.follow(&buf.filled()[before..], |frame| {
            if frame.kind == HEADERS {
                *stream = frame.stream.max(*stream);
            }
            budget.spend(cost(frame), Instant::now);
        });
        if budget.used_up {
            return Poll::Ready(Err(io::Error::other("too many frames that carry nothing")));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let wire = &mut *self.0.borrow_mut();
        let count = ready!(Pin::new(&mut wire.socket).poll_write(cx, data))?;
        let budget = &mut wire.budget;
        wire.sent.follow(&data[..count], |frame| match frame.kind {
            DATA => budget.sent(frame.length),
            HEADERS => budget.earn(1),
            _ => {}
        });
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
