//! Frames of PostgreSQL's protocol over a byte stream: a tag, a length, a body.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use rc_store::ByteStream;
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::poll_read_buf;

use crate::Error;

/// Largest frame: one row as text, with room for what the protocol adds.
pub(super) const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Read at a time.
const READ_BYTES: usize = 64 * 1024;

/// How long the server may take to accept what we send.
const SEND_TIME_MAX: Duration = Duration::from_secs(10);

/// A connection that speaks in frames.
pub(super) struct Wire {
    io: Box<dyn ByteStream>,
    inbox: BytesMut,
    pub(super) outbox: BytesMut,
}

/// One message of the server.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) tag: u8,
    pub(super) body: Bytes,
}

impl Wire {
    pub(super) fn new(io: Box<dyn ByteStream>) -> Self {
        Self {
            io,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
        }
    }

    /// Sends what is in the outbox.
    pub(super) async fn send(&mut self) -> Result<(), Error> {
        let write = async {
            self.io.write_all(&self.outbox).await?;
            self.io.flush().await
        };
        let sent = tokio::time::timeout(SEND_TIME_MAX, write).await;
        self.outbox.clear();
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(ended(&error.to_string())),
            Err(_) => Err(ended("the server takes nothing")),
        }
    }

    /// A frame that has arrived whole.
    pub(super) fn take(&mut self) -> Result<Option<Frame>, Error> {
        let Some(head) = self.inbox.first_chunk::<5>() else {
            return Ok(None);
        };
        let [tag, length @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if !(4..=FRAME_BYTES_MAX).contains(&length) {
            return Err(Error::stream(format!(
                "a message of {length} bytes; at most {FRAME_BYTES_MAX} are taken"
            )));
        }
        if self.inbox.len() < 1 + length {
            return Ok(None);
        }
        let mut body = self.inbox.split_to(1 + length).freeze();
        body.advance(5);
        Ok(Some(Frame { tag, body }))
    }

    /// Reads what has arrived, without waiting. Whether there was anything.
    pub(super) async fn read_now(&mut self) -> Result<bool, Error> {
        poll_fn(|cx| Poll::Ready(self.poll_read(cx))).await
    }

    /// Waits until something arrives, at most `wait`. Whether something did. Nothing is lost when the
    /// future is dropped.
    pub(super) async fn read(&mut self, wait: Duration) -> Result<bool, Error> {
        let arrived = poll_fn(|cx| match self.poll_read(cx) {
            Ok(false) => Poll::Pending,
            other => Poll::Ready(other),
        });
        tokio::time::timeout(wait, arrived).await.unwrap_or(Ok(false))
    }

    /// The next frame, waited for.
    pub(super) async fn frame(&mut self, limit: Duration) -> Result<Frame, Error> {
        let until = tokio::time::Instant::now() + limit;
        loop {
            if let Some(frame) = self.take()? {
                return Ok(frame);
            }
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() {
                return Err(ended("no answer in time"));
            }
            self.read(left).await?;
        }
    }

    /// Reads once into the inbox; `false`: nothing has arrived, and `cx` will be woken.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<bool, Error> {
        self.inbox.reserve(READ_BYTES);
        match poll_read_buf(Pin::new(&mut *self.io), cx, &mut self.inbox) {
            Poll::Pending => Ok(false),
            Poll::Ready(Ok(0)) => Err(ended("the server closed the connection")),
            Poll::Ready(Ok(_)) => Ok(true),
            Poll::Ready(Err(error)) => Err(ended(&error.to_string())),
        }
    }
}

pub(super) fn ended(why: &str) -> Error {
    Error::Unreachable {
        tried: "the replication connection failed",
        why: why.into(),
    }
}
