//! What is kept: consumers' progress, and one bounded step of deleting.

use rc_events::Error;
use rc_events::bus::{RETAIN_ROWS_MAX, Retained, Retention};
use rc_events::event::Seq;
use rc_model::Timestamp;
use serde_json::json;

use super::super::jetstream::{StreamInfo, StreamState};
use super::super::message;
use super::super::state::{ConsumerState, OriginState};
use super::NatsBus;

impl NatsBus {
    pub(super) async fn note_progress(&self, consumer: &str, seq: Seq) -> Result<(), Error> {
        let bus = self.bus_id().await?;
        let kept = self.state.get::<ConsumerState>("consumer", consumer).await?;
        let same = |kept: &ConsumerState| kept.bus == bus && kept.seq == seq;
        if kept.is_some_and(|kept| same(&kept.value)) {
            return Ok(());
        }
        let state = json!({"bus": bus, "seq": seq});
        self.state.put("consumer", consumer, &state, None).await?;
        Ok(())
    }

    pub(super) async fn clean(&self, retention: &Retention) -> Result<Retained, Error> {
        let bus = self.bus_id().await?;
        let state = self.stream_state().await?;
        let (slowest, lost) = self.slowest(&bus, &state, retention).await?;
        let old = self.older_than(&state, retention).await?;
        let surplus = over(&state, retention.bytes_max);
        let step = state.first_seq.saturating_add(rows_max()).saturating_sub(1);
        let upto = old.max(surplus).min(slowest).min(state.last_seq).min(step);
        let deleted = usize::try_from(upto - state.first_seq + 1).unwrap_or(0);
        if deleted > 0 {
            self.keep_cursors(&bus, upto).await?;
            self.purge(upto).await?;
        }
        Ok(Retained {
            deleted,
            more: deleted == RETAIN_ROWS_MAX,
            lost,
        })
    }

    /// How far the slowest consumer is that is still waited for, after those that are too far behind were
    /// marked lost.
    async fn slowest(
        &self,
        bus: &str,
        state: &StreamState,
        retention: &Retention,
    ) -> Result<(Seq, Vec<String>), Error> {
        let lag_max = i64::try_from(retention.consumer_lag_max).unwrap_or(i64::MAX);
        let waited_for = state.last_seq.saturating_sub(lag_max);
        let mut slowest = Seq::MAX;
        let mut lost = Vec::new();
        for entry in self.state.list::<ConsumerState>("consumer").await? {
            let (name, kept) = (entry.name, entry.value);
            if kept.bus != bus || kept.lost {
                continue;
            }
            if kept.seq < waited_for {
                let value = json!({"bus": bus, "seq": kept.seq, "lost": true});
                // One that moved meanwhile is looked at again by the next step.
                if self
                    .state
                    .put("consumer", &name, &value, Some(entry.revision))
                    .await?
                {
                    lost.push(name);
                    continue;
                }
            }
            slowest = slowest.min(kept.seq);
        }
        Ok((slowest, lost))
    }

    /// The newest event that is old enough to go; 0 for none. By the server's clock, which stamped them.
    async fn older_than(&self, state: &StreamState, retention: &Retention) -> Result<Seq, Error> {
        if state.messages == 0 {
            return Ok(0);
        }
        let keep_ms = i64::try_from(retention.keep.as_millis()).unwrap_or(i64::MAX);
        let young_ms = self.clock.now().unix_ms().saturating_sub(keep_ms);
        let young = Timestamp::from_unix_ms(young_ms).to_string();
        let body = json!({"start_time": young, "batch": 1});
        let tried = "failed to look for old events";
        let messages = self.client.get_many(tried, self.name(), &body).await?;
        match messages.first() {
            Some(first_young) => Ok(message::sequence(first_young)? - 1),
            None => Ok(state.last_seq),
        }
    }

    /// Cursors of origins whose newest event is about to go.
    async fn keep_cursors(&self, bus: &str, upto: Seq) -> Result<(), Error> {
        for entry in self.state.list::<OriginState>("origin").await? {
            let Some((seq, cursor)) = self.newest(&entry.name).await? else {
                continue;
            };
            if seq <= upto {
                let value = json!({"bus": bus, "cursor": cursor.as_str(), "seq": seq});
                self.state.put("origin", &entry.name, &value, None).await?;
            }
        }
        Ok(())
    }

    async fn purge(&self, upto: Seq) -> Result<(), Error> {
        let tried = "failed to delete old events";
        let verb = format!("STREAM.PURGE.{}", self.name());
        let body = json!({"seq": upto + 1});
        match self.client.api::<StreamInfo>(tried, &verb, &body).await? {
            Ok(_purged) => Ok(()),
            Err(error) => Err(error.into_error(tried, &self.client)),
        }
    }
}

/// The newest event that has to go for the rest to fit, taking all for equally large; 0 for none. The next
/// step sees what that left.
fn over(state: &StreamState, bytes_max: u64) -> Seq {
    let Some(surplus) = state.bytes.checked_sub(bytes_max).filter(|&surplus| surplus > 0) else {
        return 0;
    };
    let each = (state.bytes / state.messages.max(1)).max(1);
    let count = i64::try_from(surplus.div_ceil(each)).unwrap_or(i64::MAX);
    state.first_seq.saturating_add(count).saturating_sub(1)
}

fn rows_max() -> i64 {
    i64::try_from(RETAIN_ROWS_MAX).unwrap_or(i64::MAX)
}
