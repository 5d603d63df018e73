//! Waiting: a publisher's word after its commit wakes at once, and a look now and then needs none.

use std::time::Duration;

use rc_events::Error;
use rc_events::event::Seq;
use tokio::time::Instant;

use super::super::connection::{Broken, Connection};
use super::super::jetstream;
use super::NatsBus;

/// How often a waiter looks by itself: a publisher that died between its commit and its word is found so.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl NatsBus {
    pub(super) async fn wait_after(&self, after: Seq, timeout: Duration) -> Result<Seq, Error> {
        let until = Instant::now() + timeout;
        let mut tail = self.stream_state().await?.last_seq;
        while tail <= after && Instant::now() < until {
            let limit = until.saturating_duration_since(Instant::now()).min(LOOK_EVERY);
            let deadline = limit + self.client.options.deadline;
            let bus = self.clone();
            let subject = self.wake_subject();
            let heard = self.client.within(deadline, "failed to wait", move |connection| {
                Box::pin(async move { bus.listen(connection, &subject, after, limit).await })
            });
            heard.await?;
            tail = self.stream_state().await?.last_seq;
        }
        Ok(tail)
    }

    /// Subscribes, looks, and then listens until somebody publishes or the time is over.
    async fn listen(
        &self,
        connection: &mut Connection,
        subject: &str,
        after: Seq,
        limit: Duration,
    ) -> Result<(), Broken> {
        let subscribe = format!("SUB {subject} 2\r\n");
        connection.send(subscribe.as_bytes()).await?;
        let info = format!("$JS.API.STREAM.INFO.{}", self.name());
        // The answer also says that the subscription stands.
        let answer = connection.ask(&info, b"", b"").await?;
        let there = jetstream::info(&answer)?.is_ok_and(|info| info.state.last_seq > after);
        if !there {
            let heard = tokio::time::timeout(limit, connection.heard(subject)).await;
            if let Ok(Err(broken)) = heard {
                return Err(broken);
            }
        }
        connection.send(b"UNSUB 2\r\n").await
    }
}
