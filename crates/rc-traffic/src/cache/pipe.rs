//! The way of an answer from a fetch to the one request that may have it. Both are on one thread.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::access::Ticket;
use crate::exchange::{self, Broken, Downstream, Fate};
use crate::io::{OUTBOX_BYTES_HIGH, Timer};
use crate::span;
use crate::upstream::Length;
use crate::worker::Worker;

/// The fetch's end. Dropped, it is the end of an answer that is not whole.
pub(super) struct Writer(Rc<Pipe>);

/// The request's end. Dropped, it tells the fetch that nobody is there.
pub(super) struct Reader(Rc<Pipe>);

/// How an answer begins.
pub(super) struct Head {
    pub(super) status: u16,
    /// Whole header lines.
    pub(super) fields: Vec<u8>,
    pub(super) length: Length,
}

/// How an answer ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    Cut,
}

#[derive(Default)]
struct Pipe {
    inner: RefCell<Inner>,
    upstream_ns: Cell<Option<u64>>,
}

#[derive(Default)]
struct Inner {
    head: Option<Head>,
    piece: Vec<u8>,
    end: Option<End>,
    /// Nobody reads.
    abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Both ends of a pipe.
pub(super) fn new() -> (Writer, Reader) {
    let pipe = Rc::new(Pipe::default());
    (Writer(Rc::clone(&pipe)), Reader(pipe))
}

impl Writer {
    pub(super) fn begin(&self, head: Head, piece: Vec<u8>) {
        let mut inner = self.0.inner.borrow_mut();
        inner.head = Some(head);
        inner.piece = piece;
    }

    pub(super) fn push(&self, data: &[u8]) {
        let mut inner = self.0.inner.borrow_mut();
        inner.piece.extend_from_slice(data);
        wake(&mut inner.reader);
    }

    /// The first word counts.
    pub(super) fn end(&self, end: End) {
        let mut inner = self.0.inner.borrow_mut();
        if inner.end.is_none() {
            inner.end = Some(end);
            wake(&mut inner.reader);
        }
    }

    /// How long the service took to begin.
    pub(super) fn answered_after(&self, upstream_ns: Option<u64>) {
        self.0.upstream_ns.set(upstream_ns);
    }

    /// Bytes that were not read yet.
    pub(super) fn waiting(&self) -> usize {
        self.0.inner.borrow().piece.len()
    }

    /// Ready when all was read.
    pub(super) fn poll_taken(&self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let mut inner = self.0.inner.borrow_mut();
        if inner.abandoned {
            return Poll::Ready(Err(Broken::Gone));
        }
        if inner.piece.is_empty() {
            return Poll::Ready(Ok(()));
        }
        inner.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when nobody reads.
    pub(super) fn poll_abandoned(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.0.inner.borrow_mut();
        if inner.abandoned {
            return Poll::Ready(());
        }
        inner.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end(End::Cut);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut inner = self.0.inner.borrow_mut();
        inner.abandoned = true;
        inner.piece = Vec::new();
        wake(&mut inner.writer);
    }
}

/// What a reader finds.
enum Read {
    Piece(Vec<u8>),
    End(End),
}

impl Reader {
    /// How long the service took to begin, once that is known.
    pub(super) fn upstream_ns(&self) -> Option<u64> {
        self.0.upstream_ns.get()
    }

    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Read> {
        let mut inner = self.0.inner.borrow_mut();
        if !inner.piece.is_empty() {
            let piece = std::mem::take(&mut inner.piece);
            wake(&mut inner.writer);
            return Poll::Ready(Read::Piece(piece));
        }
        if let Some(end) = inner.end {
            return Poll::Ready(Read::End(end));
        }
        inner.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether the fetch gave up.
    fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.0.inner.borrow_mut();
        if inner.end == Some(End::Cut) {
            return Poll::Ready(());
        }
        inner.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Gives what comes to `client`.
    pub(super) async fn relay<D: Downstream>(
        self,
        worker: &Worker,
        client: &mut D,
        is_head: bool,
        ticket: &mut Ticket,
        timer: &mut Timer,
    ) -> Fate {
        let stall = worker.shared.config.limits.stall_timeout;
        let Some(Head {
            status,
            mut fields,
            length,
        }) = self.0.inner.borrow_mut().head.take()
        else {
            return Fate::Cut; // A fetch begins the pipe before it says that the answer goes there.
        };
        ticket.write_fields(&mut fields);
        ticket.answered(status);
        client.start(status, &fields, length, is_head || matches!(status, 204 | 304));
        let end = poll_fn(|cx| {
            loop {
                if is_head {
                    return Poll::Ready(End::Whole);
                }
                if client.waiting() >= OUTBOX_BYTES_HIGH {
                    match client.poll_flush(cx) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => return Poll::Ready(End::Cut),
                        // A fetch whose pipe stands still for the stall timeout gives up.
                        Poll::Pending => return self.poll_cut(cx).map(|()| End::Cut),
                    }
                }
                match self.poll_read(cx) {
                    Poll::Ready(Read::Piece(piece)) => {
                        ticket.bytes_out += piece.len() as u64;
                        client.push(&piece);
                    }
                    Poll::Ready(Read::End(end)) => return Poll::Ready(end),
                    Poll::Pending => break,
                }
            }
            if client.waiting() > 0 && matches!(client.poll_flush(cx), Poll::Ready(Err(_))) {
                return Poll::Ready(End::Cut);
            }
            client.poll_gone(cx).map(|()| End::Cut)
        })
        .await;
        match end {
            End::Whole => {
                client.finish();
                exchange::flush(client, timer, stall).await
            }
            End::Cut => {
                ticket.error = Some(span::CUT);
                exchange::flush(client, timer, stall).await;
                Fate::Cut
            }
        }
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
