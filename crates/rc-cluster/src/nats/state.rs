//! What the bus keeps beside its stream: which bus it is, how far consumers are, and cursors of origins
//! whose events have all been deleted. A bucket of the key-value store, so that `nats kv` shows it.

use rc_events::Error;
use serde::Deserialize;
use serde_json::{Value, json};

use super::connection::{Client, fault};
use super::jetstream::StreamInfo;
use super::message;
use super::wire::{HeaderBlock, token, untoken};

/// Which bus the stream is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct BusState {
    pub(crate) bus: String,
}

/// How far a consumer is.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConsumerState {
    pub(crate) bus: String,
    pub(crate) seq: i64,
    pub(crate) lost: bool,
}

/// Where an origin was when its newest event, which is number `seq`, was still there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OriginState {
    pub(crate) bus: String,
    pub(crate) cursor: String,
    pub(crate) seq: i64,
}

/// A value and the number of its write.
#[derive(Debug, Clone)]
pub(crate) struct Entry<T> {
    /// The part of the key behind its kind.
    pub(crate) name: String,
    pub(crate) value: T,
    pub(crate) revision: i64,
}

/// The bucket of one bus.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    client: Client,
    name: String,
}

impl Bucket {
    pub(crate) fn new(client: Client) -> Self {
        let name = format!("{}_state", client.options.stream());
        Self { client, name }
    }

    fn stream(&self) -> String {
        format!("KV_{}", self.name)
    }

    /// The subject of `kind` and `name`; the name is any text.
    fn subject(&self, kind: &str, name: &str) -> String {
        format!("$KV.{}.{kind}.{}", self.name, token(name))
    }

    /// Whether it is there.
    pub(crate) async fn exists(&self) -> Result<bool, Error> {
        Ok(self.client.stream(&self.stream()).await?.is_some())
    }

    /// Makes it, if it is not there.
    pub(crate) async fn create(&self) -> Result<(), Error> {
        let config = json!({
            "name": self.stream(),
            "subjects": [format!("$KV.{}.>", self.name)],
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "max_msgs_per_subject": 1,
            "num_replicas": self.client.options.replicas,
            "allow_rollup_hdrs": true,
            "allow_direct": true,
            "deny_delete": true,
        });
        let tried = "failed to make the bus's state";
        let verb = format!("STREAM.CREATE.{}", self.stream());
        match self.client.api::<StreamInfo>(tried, &verb, &config).await? {
            Ok(_made) => Ok(()),
            Err(error) => Err(fault(
                "RC-EVT-043",
                format!(
                    "the stream `{}` cannot be made: {}",
                    self.stream(),
                    error.description
                ),
                None,
            )),
        }
    }

    /// Makes it anew if it is the reason of the failure that it is gone: what it says is a help to retention,
    /// and the bus goes on without.
    async fn revive(&self, error: Error) -> Result<(), Error> {
        if self.exists().await? {
            return Err(error);
        }
        tracing::warn!(
            bucket = self.name,
            "the bus's state is gone and is made anew: consumers register again"
        );
        self.create().await
    }

    /// One value.
    pub(crate) async fn get<T>(&self, kind: &str, name: &str) -> Result<Option<Entry<T>>, Error>
    where
        T: for<'de> Deserialize<'de>,
    {
        let body = json!({"last_by_subj": self.subject(kind, name)});
        let tried = "failed to read the bus's state";
        let message = match self.client.get(tried, &self.stream(), &body).await {
            Ok(message) => message,
            Err(error) => {
                self.revive(error).await?;
                None
            }
        };
        let entry = message.as_ref().map(|message| self.entry(message)).transpose()?;
        Ok(entry.flatten())
    }

    /// All values of a kind, sorted by name.
    pub(crate) async fn list<T>(&self, kind: &str) -> Result<Vec<Entry<T>>, Error>
    where
        T: for<'de> Deserialize<'de>,
    {
        let body = json!({"multi_last": [format!("$KV.{}.{kind}.*", self.name)]});
        let tried = "failed to read the bus's state";
        let messages = match self.client.get_many(tried, &self.stream(), &body).await {
            Ok(messages) => messages,
            Err(error) => {
                self.revive(error).await?;
                Vec::new()
            }
        };
        let mut entries = Vec::with_capacity(messages.len());
        for message in &messages {
            entries.extend(self.entry(message)?);
        }
        entries.sort_by(|a: &Entry<T>, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// `None` for a value that somebody deleted with `nats kv`.
    fn entry<T>(&self, message: &super::wire::Message) -> Result<Option<Entry<T>>, Error>
    where
        T: for<'de> Deserialize<'de>,
    {
        if message.headers.get("KV-Operation").is_some() {
            return Ok(None);
        }
        let subject = message.headers.get("Nats-Subject").unwrap_or_default();
        let damaged = || Error::Damaged(format!("the bus's state has an odd value at `{subject}`").into());
        let name = subject.rsplit('.').next().and_then(untoken).ok_or_else(damaged)?;
        let value = serde_json::from_slice(&message.payload).map_err(|_odd| damaged())?;
        Ok(Some(Entry {
            name,
            value,
            revision: message::sequence(message)?,
        }))
    }

    /// Writes a value; with `revision` only if that is still the newest write of the key (0: none yet).
    /// Returns whether it was written.
    pub(crate) async fn put(
        &self,
        kind: &str,
        name: &str,
        value: &Value,
        revision: Option<i64>,
    ) -> Result<bool, Error> {
        let mut headers = HeaderBlock::new();
        if let Some(revision) = revision {
            headers.put("Nats-Expected-Last-Subject-Sequence", &revision.to_string());
        }
        let tried = "failed to write the bus's state";
        let (subject, headers) = (self.subject(kind, name), headers.finish());
        let value = value.to_string();
        let put = || {
            self.client
                .put(tried, subject.clone(), headers.clone(), value.clone().into())
        };
        let mut answer = put().await?;
        if let Err(nobody) = answer.as_ref()
            && nobody.is_nobody()
        {
            self.revive(nobody.clone().into_error(tried, &self.client))
                .await?;
            answer = put().await?;
        }
        match answer {
            Ok(_ack) => Ok(true),
            Err(error) if super::jetstream::WRONG_LAST_SEQUENCE.contains(&error.err_code) => Ok(false),
            Err(error) => Err(error.into_error(tried, &self.client)),
        }
    }
}
