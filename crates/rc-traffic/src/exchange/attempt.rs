//! One try of a request on one connection, up to the head of the answer.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use rc_model::clock::monotonic_ns;
use tokio::time::Instant;

use super::{Broken, Downstream, Fail, push_chunk};
use crate::forward::Forward;
use crate::io::{OUTBOX_BYTES_HIGH, Timer};
use crate::request::Framing;
use crate::retry::Kept;
use crate::upstream::{Connection, Pool, ResponseHead};
use crate::waiting::Place;
use crate::wire::Step;

pub(super) struct Exchange<'a, 'v, D> {
    pub(super) client: &'a mut D,
    pub(super) connection: Connection,
    pub(super) forward: &'a Forward,
    pub(super) timer: &'a mut Timer,
    /// Request body is still being taken from the client.
    pub(super) sending: bool,
    /// The whole request is in the connection's hands; else it cannot be used again.
    pub(super) sent_all: bool,
    /// When the request was whole, or begun.
    pub(super) sent_ns: u64,
    pub(super) body_bytes: u64,
    pub(super) place: &'a mut Place<'v>,
    /// What was read of the body, for another try.
    pub(super) kept: &'a mut Kept,
    /// How long such requests take at most until their answer begins, if that is known.
    pub(super) usual: Option<Duration>,
    /// When waiting for the answer to begin ends.
    pub(super) limit: Instant,
}

impl<D: Downstream> Exchange<'_, '_, D> {
    /// Puts the head and what was read of the body already into the connection's hands.
    pub(super) fn begin(&mut self, now: Instant, attempt: Option<u32>) {
        let out = &mut self.connection.outbox.data;
        self.forward.write(now, attempt, out);
        self.body_bytes = self.kept.bytes.len() as u64;
        match self.forward.framing {
            Framing::Unknown => push_chunk(out, &self.kept.bytes),
            Framing::None | Framing::Length(_) => out.extend_from_slice(&self.kept.bytes),
        }
        if self.kept.ended {
            self.end_sending(|| now);
        } else {
            self.client.want_body();
            self.sending = true;
        }
    }

    /// The whole request is in the connection's hands, and the service's time begins.
    fn end_sending(&mut self, now: impl FnOnce() -> Instant) {
        if self.forward.framing == Framing::Unknown {
            self.connection.outbox.data.extend_from_slice(b"0\r\n\r\n");
        }
        self.sending = false;
        self.sent_all = true;
        if let Some(limit) = self.usual.and_then(|usual| now().checked_add(usual)) {
            self.limit = limit.min(self.forward.deadline);
        }
    }

    /// Moves request body towards the service as far as both sides allow.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Fail> {
        loop {
            // Whether the client's socket was asked and had nothing: only then it wakes this task.
            let mut dry = false;
            while self.sending && self.connection.outbox.waiting() < OUTBOX_BYTES_HIGH {
                match self.client.poll_body(cx) {
                    Poll::Ready(Ok(true)) if !self.is_last_chunk() => self.take_chunk()?,
                    Poll::Ready(Ok(more)) => match self.place.poll(cx) {
                        Poll::Ready(Ok(())) if more => self.take_chunk()?,
                        Poll::Ready(Ok(())) => self.end_body()?,
                        Poll::Ready(Err(refusal)) => return Err(Fail::Refused(refusal)),
                        // The end of the body waits here for its turn.
                        Poll::Pending => {
                            dry = true;
                            break;
                        }
                    },
                    Poll::Ready(Err(broken)) => return Err(Fail::Client(broken)),
                    Poll::Pending => {
                        dry = true;
                        break;
                    }
                }
            }
            if self.connection.outbox.waiting() == 0 {
                return Ok(());
            }
            match self.connection.poll_flush(cx) {
                // The outbox was full and is empty: the client was not asked yet in this round.
                Poll::Ready(Ok(())) if self.sending && !dry => {}
                Poll::Ready(Ok(())) | Poll::Pending => return Ok(()),
                // The service may have answered before it closed: stop sending, read on.
                Poll::Ready(Err(_)) => {
                    self.connection.outbox = Default::default();
                    self.sending = false;
                    self.sent_all = false;
                    return Ok(());
                }
            }
        }
    }

    /// Whether the piece that the client has sent is the end of a body of known length.
    fn is_last_chunk(&self) -> bool {
        let with_it = self.body_bytes + self.client.chunk().len() as u64;
        matches!(self.forward.framing, Framing::Length(length) if with_it >= length)
    }

    fn take_chunk(&mut self) -> Result<(), Fail> {
        let chunk = self.client.chunk();
        let count = chunk.len();
        self.body_bytes += count as u64;
        if self.body_bytes > self.forward.body_max {
            return Err(Fail::BodyTooLarge);
        }
        self.kept.push(chunk);
        let out = &mut self.connection.outbox.data;
        match self.forward.framing {
            Framing::Unknown => push_chunk(out, chunk),
            Framing::None | Framing::Length(_) => out.extend_from_slice(chunk),
        }
        self.client.consume(count);
        Ok(())
    }

    fn end_body(&mut self) -> Result<(), Fail> {
        if matches!(self.forward.framing, Framing::Length(length) if length != self.body_bytes) {
            return Err(Fail::Client(Broken::Malformed(
                "the body is not as long as announced",
            )));
        }
        self.kept.ended = true;
        self.end_sending(Instant::now);
        self.sent_ns = monotonic_ns();
        Ok(())
    }

    pub(super) fn poll_head(
        &mut self,
        fields: &mut Vec<u8>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Fail>> {
        // `100 Continue` may wait here.
        if self.client.waiting() > 0 && matches!(self.client.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(Err(Fail::Client(Broken::Gone)));
        }
        if let Err(fail) = self.poll_send(cx) {
            return Poll::Ready(Err(fail));
        }
        match self.connection.poll_response(self.forward.is_head, fields, cx) {
            Poll::Ready(Ok(head)) => return Poll::Ready(Ok(head)),
            Poll::Ready(Err(malformed)) => return Poll::Ready(Err(Fail::Upstream(malformed.0))),
            Poll::Pending => {}
        }
        if (!self.sending || self.place.waits()) && self.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Fail::Client(Broken::Gone)));
        }
        ready!(self.timer.poll(self.limit, cx));
        Poll::Ready(Err(match self.place.late() {
            Some(refusal) => Fail::Refused(refusal),
            None if self.limit < self.forward.deadline => Fail::Slow,
            None => Fail::Deadline,
        }))
    }

    /// Whether the request can be sent a second time.
    pub(super) fn can_repeat(&self) -> bool {
        self.forward.framing == Framing::None || self.kept.is_on()
    }

    /// Does without an answer whose head has come. When the rest of it has come, too, the connection is kept.
    pub(super) fn discard(mut self, pool: &Pool, mut head: ResponseHead) {
        loop {
            match head.body.next(&mut self.connection.inbox) {
                Ok(Step::Data(count)) => head.body.take(&mut self.connection.inbox, count),
                Ok(Step::End) => break,
                Ok(Step::More) | Err(_) => return,
            }
        }
        if head.keep && self.sent_all && self.connection.outbox.waiting() == 0 {
            pool.checkin(self.connection, Instant::now());
        }
    }
}
