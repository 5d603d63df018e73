//! The requests of JetStream that a bus needs.

use rc_events::Error;
use serde::Deserialize;
use serde_json::{Value, json};

use super::connection::{Broken, Client, Connection, fault};
use super::wire::Message;

/// No stream of this name.
const NO_STREAM: u32 = 10_059;

/// The stream does not end where the first message says.
pub(crate) const WRONG_LAST_SEQUENCE: [u32; 2] = [10_071, 10_164];

/// The stream holds as much as it may.
const FULL: [u32; 4] = [10_077, 10_047, 10_023, 10_002];

/// What an answer says when it says no.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    pub(crate) err_code: u32,
    pub(crate) description: String,
}

/// What a publish is answered.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PubAck {
    pub(crate) error: Option<ApiError>,
    pub(crate) seq: u64,
    pub(crate) count: u64,
}

/// What a stream says of itself; only what we go by.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamInfo {
    pub(crate) config: Value,
    pub(crate) created: String,
    pub(crate) state: StreamState,
}

/// Where a stream begins and ends.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamState {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) first_seq: i64,
    pub(crate) last_seq: i64,
}

/// An answer: what was asked for, or the server's reason.
pub(crate) type Answer<T> = Result<T, ApiError>;

/// Reads an answer of the API. `None`: nobody listens on that subject, so the account has no JetStream.
fn read<T: for<'de> Deserialize<'de> + Default>(message: &Message) -> Result<Answer<T>, Broken> {
    #[derive(Deserialize)]
    struct No {
        error: Option<ApiError>,
    }
    if let Some(code) = message.headers.status() {
        let description = message.headers.description().to_owned();
        return Ok(Err(ApiError {
            code,
            err_code: 0,
            description,
        }));
    }
    let odd = |error: serde_json::Error| Broken::Said(format!("an answer that is odd: {error}"));
    let no: No = serde_json::from_slice(&message.payload).map_err(odd)?;
    match no.error {
        Some(error) => Ok(Err(error)),
        None => Ok(Ok(serde_json::from_slice(&message.payload).map_err(odd)?)),
    }
}

impl ApiError {
    /// Whether the stream is not there.
    pub(crate) fn is_no_stream(&self) -> bool {
        self.err_code == NO_STREAM
    }

    /// Whether nobody answers for the subject: a publish to a stream that is gone, or no JetStream.
    pub(crate) fn is_nobody(&self) -> bool {
        self.code == 503 && self.err_code == 0
    }

    /// Whether nothing was found.
    pub(crate) fn is_nothing(&self) -> bool {
        self.code == 404
    }

    /// The error of what was `tried`.
    pub(crate) fn into_error(self, tried: &'static str, client: &Client) -> Error {
        let retry = Some(rc_events::bus::FULL_RETRY);
        if FULL.contains(&self.err_code) {
            return fault(
                "RC-EVT-044",
                format!(
                    "the bus at {} takes no more: {}",
                    client.options, self.description
                ),
                retry,
            );
        }
        Error::Unreachable {
            tried,
            why: format!(
                "the server says `{}` ({}) ({})",
                self.description, self.err_code, client.options
            )
            .into(),
        }
    }
}

impl Client {
    /// One request of the API.
    pub(crate) async fn api<T>(
        &self,
        tried: &'static str,
        verb: &str,
        body: &Value,
    ) -> Result<Answer<T>, Error>
    where
        T: for<'de> Deserialize<'de> + Default + Send,
    {
        let subject = format!("$JS.API.{verb}");
        let body = body.to_string();
        self.with(tried, move |connection| {
            Box::pin(async move { read(&connection.ask(&subject, b"", body.as_bytes()).await?) })
        })
        .await
    }

    /// What a stream says of itself; `None` when there is none of this name.
    pub(crate) async fn stream(&self, name: &str) -> Result<Option<StreamInfo>, Error> {
        let tried = "failed to ask for the stream";
        match self
            .api(tried, &format!("STREAM.INFO.{name}"), &json!({}))
            .await?
        {
            Ok(info) => Ok(Some(info)),
            Err(error) if error.is_no_stream() => Ok(None),
            Err(error) if error.is_nobody() => Err(fault(
                "RC-EVT-043",
                format!("{} has no JetStream for our account", self.options),
                None,
            )),
            Err(error) => Err(error.into_error(tried, self)),
        }
    }

    /// Publishes one message and waits until the stream has it.
    pub(crate) async fn put(
        &self,
        tried: &'static str,
        subject: String,
        headers: Vec<u8>,
        payload: Vec<u8>,
    ) -> Result<Answer<PubAck>, Error> {
        self.with(tried, move |connection| {
            Box::pin(async move { read(&connection.ask(&subject, &headers, &payload).await?) })
        })
        .await
    }

    /// One stored message; `None` when there is none.
    pub(crate) async fn get(
        &self,
        tried: &'static str,
        stream: &str,
        body: &Value,
    ) -> Result<Option<Message>, Error> {
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        let body = body.to_string();
        let message = self
            .with(tried, move |connection| {
                Box::pin(async move { connection.ask(&subject, b"", body.as_bytes()).await })
            })
            .await?;
        self.stored(tried, message)
    }

    fn stored(&self, tried: &'static str, message: Message) -> Result<Option<Message>, Error> {
        let Some(code) = message.headers.status() else {
            return Ok(Some(message));
        };
        let no = ApiError {
            code,
            err_code: 0,
            description: message.headers.description().to_owned(),
        };
        if no.is_nothing() {
            return Ok(None);
        }
        Err(no.into_error(tried, self))
    }

    /// Stored messages, as many as the request's limits allow.
    pub(crate) async fn get_many(
        &self,
        tried: &'static str,
        stream: &str,
        body: &Value,
    ) -> Result<Vec<Message>, Error> {
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        let body = body.to_string();
        let (messages, last) = self
            .with(tried, move |connection| {
                Box::pin(async move { collect(connection, &subject, body.as_bytes()).await })
            })
            .await?;
        // The end of a batch is a 204; anything else is as for one.
        if last.headers.status() != Some(204) {
            self.stored(tried, last)?;
        }
        Ok(messages)
    }
}

/// Asks, and takes answers until one with a status ends them.
async fn collect(
    connection: &mut Connection,
    subject: &str,
    body: &[u8],
) -> Result<(Vec<Message>, Message), Broken> {
    let mut messages = Vec::new();
    let reply = connection.address();
    let mut out = Vec::new();
    super::wire::put_message(&mut out, subject, Some(&reply), b"", body);
    connection.send(&out).await?;
    loop {
        let message = connection.answer(&[&reply]).await?;
        if message.headers.status().is_some() {
            return Ok((messages, message));
        }
        messages.push(message);
    }
}

/// Reads the answer of a publish whose message was taken off the connection.
pub(crate) fn ack(message: &Message) -> Result<Answer<PubAck>, Broken> {
    read(message)
}

/// Reads the answer of a question for a stream that was taken off the connection.
pub(crate) fn info(message: &Message) -> Result<Answer<StreamInfo>, Broken> {
    read(message)
}
