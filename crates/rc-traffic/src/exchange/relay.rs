//! Carries an answer that has begun to the client.

use std::future::poll_fn;
use std::task::{Context, Poll};

use tokio::time::Instant;

use super::attempt::Exchange;
use super::{Downstream, Fail, Fate, flush};
use crate::access::Ticket;
use crate::io::OUTBOX_BYTES_HIGH;
use crate::span;
use crate::upstream::{Pool, ResponseHead};
use crate::wire::{Body, Step};
use crate::worker::Worker;

/// Why an answer is cut in which no byte moved for the stall timeout.
const NO_PROGRESS: &str = "no progress";
/// Why an answer is cut whose client does not want the rest.
const CLIENT_LEFT: &str = "the client left";

impl<D: Downstream> Exchange<'_, '_, D> {
    pub(super) async fn relay(
        mut self,
        worker: &Worker,
        pool: &Pool,
        mut head: ResponseHead,
        fields: &[u8],
        ticket: &mut Ticket,
    ) -> Fate {
        if self.place.seat().is_none() {
            // It answered before it had the whole request; what is left of that needs no seat.
            self.place.done();
        }
        let bodyless = head.body.is_done() && (self.forward.is_head || matches!(head.status, 204 | 304));
        self.client.start(head.status, fields, head.length, bodyless);
        let stall = worker.shared.config.limits.stall_timeout;
        let mut limit = None;
        let whole = poll_fn(|cx| {
            let before = ticket.bytes_out + self.body_bytes;
            let waiting = self.client.waiting();
            if let Poll::Ready(done) = self.poll_relay(&mut head, &mut ticket.bytes_out, cx) {
                return Poll::Ready(done);
            }
            if before != ticket.bytes_out + self.body_bytes || waiting != self.client.waiting() {
                limit = None;
            }
            let until = *limit.get_or_insert_with(|| Instant::now() + stall);
            self.timer.poll(until, cx).map(|()| Err(NO_PROGRESS))
        });
        if let Err(reason) = whole.await {
            let trace_id = ticket.trace.trace_id_hex();
            tracing::debug!(reason, trace_id, "the answer was cut");
            ticket.error = Some(if reason == CLIENT_LEFT {
                span::GONE
            } else {
                span::CUT
            });
            // The client gets what came, and sees that it is not the whole. One that took nothing for so long
            // is not waited for again.
            if reason != NO_PROGRESS {
                flush(self.client, self.timer, stall).await;
            }
            return Fate::Cut;
        }
        ticket.bytes_in = self.body_bytes;
        // The service is done with: neither its seat nor its connection need wait for a slow client.
        self.place.done();
        let (client, timer) = (self.client, self.timer);
        if head.keep && self.sent_all && self.connection.outbox.waiting() == 0 {
            pool.checkin(self.connection, Instant::now());
        }
        client.finish();
        flush(client, timer, stall).await
    }

    /// Moves response body until its end.
    fn poll_relay(
        &mut self,
        head: &mut ResponseHead,
        bytes_out: &mut u64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), &'static str>> {
        let mut full = false;
        loop {
            if self.client.waiting() >= OUTBOX_BYTES_HIGH {
                match self.client.poll_flush(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(CLIENT_LEFT)),
                    // Room again, for a part: whoever leaves without asking the service is not woken by it.
                    Poll::Pending if self.client.waiting() < OUTBOX_BYTES_HIGH => {}
                    Poll::Pending => {
                        full = true;
                        // What is missing now is the client's doing, and a seat is for the service's work.
                        self.place.done();
                        break;
                    }
                }
            }
            match head.body.next(&mut self.connection.inbox) {
                Ok(Step::Data(count)) => {
                    self.client.push(&self.connection.inbox.filled()[..count]);
                    head.body.take(&mut self.connection.inbox, count);
                    *bytes_out += count as u64;
                }
                Ok(Step::End) => return Poll::Ready(Ok(())),
                Ok(Step::More) => match self.connection.poll_fill(cx) {
                    Poll::Ready(Ok(0)) if matches!(head.body, Body::UntilClose) => {
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err("the service closed early")),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(Err("the service's connection broke")),
                    Poll::Pending => break,
                },
                Err(malformed) => return Poll::Ready(Err(malformed.0)),
            }
        }
        // The service has no more for the moment, or the client is slow: hand over what there is, take
        // request body that is still coming, and see whether anybody is there.
        let flushes = !full && self.client.waiting() > 0;
        if flushes && matches!(self.client.poll_flush(cx), Poll::Ready(Err(_))) {
            return Poll::Ready(Err(CLIENT_LEFT));
        }
        match self.poll_send(cx) {
            Ok(()) => {}
            Err(Fail::BodyTooLarge) => return Poll::Ready(Err("the request body is too large")),
            Err(_) => return Poll::Ready(Err("the request body broke")),
        }
        if !self.sending && self.client.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(CLIENT_LEFT));
        }
        Poll::Pending
    }
}
