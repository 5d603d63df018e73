//! A second copy of a read whose answer takes long to begin, at another endpoint. The first answer counts.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rc_model::clock::monotonic_ns;
use tokio::time::Instant;

use super::attempt::Exchange;
use super::tries::Tries;
use super::{Downstream, Fail};
use crate::forward::Forward;
use crate::seats::Seat;
use crate::upstream::{Connection, ResponseHead};
use crate::worker::Chosen;

/// The copy, on its way.
struct Second<'a> {
    forward: &'a Forward,
    attempt: Option<u32>,
    chosen: Chosen,
    state: State,
    fields: Vec<u8>,
    sent_ns: u64,
    /// The service works on it, too.
    _seat: Seat<'a>,
}

enum State {
    Connecting(Pin<Box<dyn Future<Output = io::Result<Connection>>>>),
    Asked(Connection),
}

/// Waits for the head of an answer; from `due` on for that of a copy, too. When the copy is first, `exchange` and
/// `chosen` become the copy's.
pub(super) async fn race<'v, D: Downstream>(
    exchange: &mut Exchange<'_, 'v, D>,
    chosen: &mut Chosen,
    fields: &mut Vec<u8>,
    tries: &mut Tries<'v>,
    due: Instant,
) -> Result<ResponseHead, Fail> {
    let early = poll_fn(|cx| match exchange.poll_head(fields, cx) {
        Poll::Ready(head) => Poll::Ready(Some(head)),
        Poll::Pending => exchange.timer.poll(due, cx).map(|()| None),
    });
    if let Some(head) = early.await {
        return head;
    }
    let mut copy = exchange.place.another().and_then(|seat| {
        let other = tries.hedge(chosen)?;
        Some(Second::new(
            exchange.forward,
            tries.next(),
            other,
            seat,
            tries.random(),
        ))
    });
    let (head, won) = poll_fn(|cx| {
        if let Poll::Ready(head) = exchange.poll_head(fields, cx) {
            return Poll::Ready((head, None));
        }
        let Some(running) = &mut copy else {
            return Poll::Pending;
        };
        match ready!(running.poll_head(cx)) {
            Some(head) if head.status < 500 => Poll::Ready((Ok(head), copy.take())),
            // It failed, and the first may still be answered: that was polled above and wakes this task.
            _ => {
                copy = None;
                Poll::Pending
            }
        }
    })
    .await;
    if let Some(copy) = won
        && let State::Asked(connection) = copy.state
    {
        tries.hedge_won();
        exchange.connection = connection;
        exchange.sent_ns = copy.sent_ns;
        *fields = copy.fields;
        *chosen = copy.chosen;
    }
    head
}

impl<'a> Second<'a> {
    fn new(forward: &'a Forward, attempt: Option<u32>, chosen: Chosen, seat: Seat<'a>, random: u64) -> Self {
        let now = Instant::now();
        let state = match chosen.pool.checkout(now) {
            Some(mut connection) => {
                forward.write(now, attempt, &mut connection.outbox.data);
                State::Asked(connection)
            }
            None => {
                let pool = Rc::clone(&chosen.pool);
                State::Connecting(Box::pin(async move { pool.connect(random).await }))
            }
        };
        Self {
            forward,
            attempt,
            chosen,
            state,
            fields: Vec::with_capacity(512),
            sent_ns: monotonic_ns(),
            _seat: seat,
        }
    }

    /// Ready with nothing when it failed.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Option<ResponseHead>> {
        loop {
            match &mut self.state {
                State::Connecting(connecting) => match ready!(connecting.as_mut().poll(cx)) {
                    Ok(mut connection) => {
                        self.forward
                            .write(Instant::now(), self.attempt, &mut connection.outbox.data);
                        self.sent_ns = monotonic_ns();
                        self.state = State::Asked(connection);
                    }
                    Err(_) => return Poll::Ready(None),
                },
                State::Asked(connection) => {
                    let unsent = connection.outbox.waiting() > 0;
                    if unsent && matches!(connection.poll_flush(cx), Poll::Ready(Err(_))) {
                        return Poll::Ready(None);
                    }
                    let head = ready!(connection.poll_response(self.forward.is_head, &mut self.fields, cx));
                    return Poll::Ready(head.ok());
                }
            }
        }
    }
}
