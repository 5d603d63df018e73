//! The bus in a stream: atomic batches, fenced by where the stream ends.

mod publish;
mod retain;
mod wait;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rc_events::bus::{
    Bus, BusConsumer, BusId, Cursor, Publish, ReadLimit, Retained, Retention, check_gapless, check_kept,
};
use rc_events::error::BUS_GONE;
use rc_events::event::{Event, Seq};
use rc_events::{BoxFuture, Error, faults};
use rc_model::Clock;
use serde_json::json;

use super::connection::{Client, fault};
use super::jetstream::{StreamInfo, StreamState};
use super::message::{self, AFTER, BATCH_SEQUENCE, CURSOR};
use super::state::{Bucket, BusState, ConsumerState, OriginState};
use super::url::NatsOptions;
use super::wire::token;

/// The bus in a stream of a NATS server. Cheap to clone.
#[derive(Clone)]
pub struct NatsBus {
    client: Client,
    state: Bucket,
    clock: Arc<dyn Clock>,
    /// Which bus this process found when it first looked. Never another: a stream that was deleted and
    /// made anew is found by asking again.
    known: Arc<tokio::sync::OnceCell<BusId>>,
    /// Where origins were after our own publishes.
    origins: Arc<Mutex<HashMap<String, publish::Believed>>>,
}

impl std::fmt::Debug for NatsBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsBus")
            .field("options", &self.client.options)
            .finish_non_exhaustive()
    }
}

/// Where an origin is, and where the stream ended when that was so.
#[derive(Debug, Clone)]
struct Place {
    cursor: Cursor,
    tail: Seq,
}

impl NatsBus {
    /// The bus that the options name. Nothing is asked yet: a server that is down is met by the first
    /// request, and tried again by the next.
    #[must_use]
    pub fn new(options: NatsOptions, clock: Arc<dyn Clock>) -> Self {
        let client = Client::new(options);
        Self {
            state: Bucket::new(client.clone()),
            client,
            clock,
            known: Arc::default(),
            origins: Arc::default(),
        }
    }

    fn name(&self) -> &str {
        self.client.options.stream()
    }

    /// The subject of a word to those who wait; outside of the stream.
    fn wake_subject(&self) -> String {
        format!("{}_wake", self.name())
    }

    /// Makes the stream anew after it was deleted.
    async fn anew(&self) -> Result<BusId, Error> {
        super::durability::check(&self.client.options).await?;
        if self.client.stream(self.name()).await?.is_some() {
            let what = format!(
                "the stream of {} is there: there is nothing to make anew",
                self.client.options
            );
            return Err(Error::Invalid(what.into()));
        }
        self.create().await
    }

    /// Checks server and stream once, and makes the stream if there never was one.
    async fn ready(&self) -> Result<&BusId, Error> {
        self.known
            .get_or_try_init(|| async {
                super::durability::check(&self.client.options).await?;
                match self.client.stream(self.name()).await? {
                    Some(info) => self.adopt(&info).await,
                    None if self.state.exists().await? => Err(self.gone().await),
                    None => self.create().await,
                }
            })
            .await
    }

    /// Makes the stream, and then the state beside it.
    async fn create(&self) -> Result<BusId, Error> {
        let options = &self.client.options;
        let id = format!("{:032x}", fastrand::u128(..));
        let config = json!({
            "name": self.name(),
            "description": "events of royalcrown",
            "subjects": [format!("{}.>", self.name())],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_bytes": options.max_bytes,
            "num_replicas": options.replicas,
            "allow_direct": true,
            "allow_atomic": true,
            "deny_delete": true,
            "metadata": {"rc-bus": id},
        });
        let tried = "failed to make the stream";
        let verb = format!("STREAM.CREATE.{}", self.name());
        match self.client.api::<StreamInfo>(tried, &verb, &config).await? {
            Ok(info) => self.adopt(&info).await,
            // Another process made it at the same time, with an id of its own.
            Err(error) => match self.client.stream(self.name()).await? {
                Some(info) => self.adopt(&info).await,
                None => Err(fault(
                    "RC-EVT-043",
                    format!(
                        "the stream `{}` cannot be made: {}",
                        self.name(),
                        error.description
                    ),
                    None,
                )),
            },
        }
    }

    /// Takes a stream that is there, if it keeps the promises of a bus.
    async fn adopt(&self, info: &StreamInfo) -> Result<BusId, Error> {
        let config = &info.config;
        for (setting, wanted) in [
            ("storage", json!("file")),
            ("retention", json!("limits")),
            ("discard", json!("new")),
            ("allow_atomic", json!(true)),
            ("allow_direct", json!(true)),
            ("max_age", json!(0)),
            ("max_msgs", json!(-1)),
            ("max_msgs_per_subject", json!(-1)),
        ] {
            let found = config.get(setting).unwrap_or(&serde_json::Value::Null);
            if *found != wanted {
                return Err(self.unfit(&format!("its `{setting}` is `{found}`, not `{wanted}`")));
            }
        }
        let Some(id) = config["metadata"]["rc-bus"].as_str() else {
            return Err(self.unfit("it was not made as a bus: its metadata has no `rc-bus`"));
        };
        self.state.create().await?;
        let kept = self.state.get::<BusState>("bus", "id").await?;
        if kept.is_none_or(|kept| kept.value.bus != id) {
            self.state.put("bus", "id", &json!({"bus": id}), None).await?;
        }
        Ok(BusId::new(id))
    }

    fn unfit(&self, why: &str) -> Error {
        fault(
            "RC-EVT-043",
            format!("the stream `{}` cannot carry the bus: {why}", self.name()),
            None,
        )
    }

    async fn gone(&self) -> Error {
        let was = match self.state.get::<BusState>("bus", "id").await {
            Ok(Some(kept)) => kept.value.bus,
            Ok(None) | Err(_) => "unknown".to_owned(),
        };
        fault(
            BUS_GONE,
            format!("the stream of {} is gone; it was bus {was}", self.client.options),
            None,
        )
    }

    async fn info(&self) -> Result<StreamInfo, Error> {
        self.ready().await?;
        match self.client.stream(self.name()).await? {
            Some(info) => Ok(info),
            None => Err(self.gone().await),
        }
    }

    async fn stream_state(&self) -> Result<StreamState, Error> {
        Ok(self.info().await?.state)
    }

    /// Which bus it is now; another one than at first when the stream was made anew.
    async fn bus_id(&self) -> Result<String, Error> {
        let info = self.info().await?;
        let id = info.config["metadata"]["rc-bus"].as_str();
        Ok(id.unwrap_or_default().to_owned())
    }

    /// Where the stream ends and where the origin is then. In this order: what comes between makes the
    /// publish from here fail.
    async fn look(&self, origin: &str) -> Result<Place, Error> {
        let tail = self.stream_state().await?.last_seq;
        let cursor = self.origin_cursor(origin).await?;
        Ok(Place { cursor, tail })
    }

    async fn origin_cursor(&self, origin: &str) -> Result<Cursor, Error> {
        match self.newest(origin).await? {
            Some((_, cursor)) => Ok(cursor),
            None => self.kept_cursor(origin).await,
        }
    }

    /// The newest event of an origin and the cursor that goes with it.
    async fn newest(&self, origin: &str) -> Result<Option<(Seq, Cursor)>, Error> {
        let tried = "failed to read the origin's cursor";
        let body = json!({"last_by_subj": format!("{}.{}.>", self.name(), token(origin))});
        let Some(last) = self.client.get(tried, self.name(), &body).await? else {
            return Ok(None);
        };
        let seq = message::sequence(&last)?;
        if let Some(cursor) = message::text(&last, CURSOR)? {
            return Ok(Some((seq, Cursor::new(cursor))));
        }
        if faults::mutated("bus.cursor_apart") {
            return Ok(None);
        }
        // A batch without its end: the server lost a part of what it had acknowledged. The origin was
        // where the batch began; consumers pass over what comes again.
        let number: i64 = message::number(&last, BATCH_SEQUENCE)?;
        let body = json!({"seq": seq - number + 1});
        let first = self.client.get(tried, self.name(), &body).await?;
        let after = first
            .map(|first| message::text(&first, AFTER))
            .transpose()?
            .flatten();
        let after = after.ok_or_else(|| {
            Error::Damaged(format!("the batch of message {seq} has neither a beginning nor an end").into())
        })?;
        tracing::warn!(
            origin,
            seq,
            "the bus ends inside a batch, whose events are published again"
        );
        Ok(Some((seq, Cursor::new(after))))
    }

    /// The cursor that was kept when the origin's last event was deleted.
    async fn kept_cursor(&self, origin: &str) -> Result<Cursor, Error> {
        let Some(kept) = self.state.get::<OriginState>("origin", origin).await? else {
            return Ok(Cursor::default());
        };
        if kept.value.bus == self.bus_id().await? {
            Ok(Cursor::new(kept.value.cursor))
        } else {
            Ok(Cursor::default())
        }
    }

    /// Notes that there is such an origin, so that retention keeps its cursor.
    async fn register(&self, origin: &str) -> Result<(), Error> {
        let known = self.state.get::<OriginState>("origin", origin).await?;
        let bus = self.bus_id().await?;
        if known.as_ref().is_some_and(|known| known.value.bus == bus) {
            return Ok(());
        }
        let revision = known.map_or(0, |known| known.revision);
        // Somebody else did it at the same time: as good.
        self.state
            .put("origin", origin, &json!({"bus": bus}), Some(revision))
            .await
            .map(drop)
    }

    async fn read_after(&self, after: Seq, limit: ReadLimit) -> Result<Vec<Event>, Error> {
        self.ready().await?;
        // The server's limit counts what is sent, ours what is kept in memory: about the same.
        let body = json!({
            "seq": after.saturating_add(1).max(1),
            "batch": limit.rows.clamp(1, rc_events::bus::BATCH_ROWS_MAX),
            "max_bytes": limit.bytes.clamp(1, rc_events::bus::BATCH_BYTES_MAX),
        });
        let tried = "failed to read the bus";
        let messages = match self.client.get_many(tried, self.name(), &body).await {
            Ok(messages) => messages,
            Err(error) => {
                // No answer from a stream that is not there looks like a server that does not answer.
                self.info().await?;
                return Err(error);
            }
        };
        let mut events: Vec<Event> = Vec::with_capacity(messages.len());
        let mut bytes = 0;
        for message in &messages {
            let event = message::event(message)?;
            bytes += event.bytes();
            if bytes > limit.bytes && !events.is_empty() {
                break;
            }
            events.push(event);
        }
        if events.first().is_none_or(|event| event.pos != after + 1) {
            let state = self.stream_state().await?;
            check_kept(after, state.first_seq, state.last_seq)?;
        }
        check_gapless(after, &events)?;
        Ok(events)
    }
}

impl Bus for NatsBus {
    fn id(&self) -> BoxFuture<'_, Result<BusId, Error>> {
        Box::pin(async move { Ok(BusId::new(self.bus_id().await?)) })
    }

    fn publish(&self, publish: Publish) -> BoxFuture<'_, Result<Seq, Error>> {
        Box::pin(self.append(publish))
    }

    fn cursor<'a>(&'a self, origin: &'a str) -> BoxFuture<'a, Result<Cursor, Error>> {
        Box::pin(async move {
            self.info().await?;
            self.origin_cursor(origin).await
        })
    }

    fn read(&self, after: Seq, limit: ReadLimit) -> BoxFuture<'_, Result<Vec<Event>, Error>> {
        Box::pin(self.read_after(after, limit))
    }

    fn tail(&self) -> BoxFuture<'_, Result<Seq, Error>> {
        Box::pin(async move { Ok(self.stream_state().await?.last_seq) })
    }

    fn wait(&self, after: Seq, timeout: Duration) -> BoxFuture<'_, Result<Seq, Error>> {
        Box::pin(self.wait_after(after, timeout))
    }

    fn progress<'a>(&'a self, consumer: &'a str, seq: Seq) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.note_progress(consumer, seq))
    }

    fn consumers(&self) -> BoxFuture<'_, Result<Vec<BusConsumer>, Error>> {
        Box::pin(async move {
            let bus = self.bus_id().await?;
            let kept = self.state.list::<ConsumerState>("consumer").await?;
            let of = |entry: super::state::Entry<ConsumerState>| BusConsumer {
                name: entry.name,
                seq: entry.value.seq,
                lost: entry.value.lost,
            };
            let ours = kept.into_iter().filter(|entry| entry.value.bus == bus);
            Ok(ours.map(of).collect())
        })
    }

    fn make_anew(&self) -> BoxFuture<'_, Result<BusId, Error>> {
        Box::pin(self.anew())
    }

    fn retain<'a>(&'a self, retention: &'a Retention) -> BoxFuture<'a, Result<Retained, Error>> {
        Box::pin(self.clean(retention))
    }
}

#[cfg(test)]
mod tests;
