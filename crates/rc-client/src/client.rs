//! The public API, call by call.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use rc_model::Timestamp;
use serde::de::DeserializeOwned;

use crate::call::{Answer, Engine, Raw, RawRequest};
use crate::config::{Config, IdempotencyKey};
use crate::error::Error;
use crate::wire::{BatchAnswer, BatchStatus, Document, SearchAnswer, StoredDocument};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A client of one platform as one identity. Cheap to clone; clones share connections, pacing and budget.
#[derive(Clone)]
pub struct Client {
    engine: Arc<Engine>,
}

/// What a write may ask for.
#[derive(Debug, Clone, Default)]
pub struct IngestOptions {
    /// Answer when the documents can be found, waiting at most this long.
    pub wait_indexed: Option<Duration>,
    /// List all items, not only those that were not accepted.
    pub detail_full: bool,
}

/// A search.
#[derive(Debug, Clone, Default)]
pub struct SearchQuery {
    /// Words, `"phrases"`, `prefix*`, `OR`, `-word`.
    pub text: String,
    /// Hits a page, 1 to 100.
    pub limit: Option<u32>,
    /// Where the page starts: `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Attributes that hits must have, name and value.
    pub filters: Vec<(String, String)>,
    /// Only documents from this moment on.
    pub since: Option<Timestamp>,
    /// Only documents before this moment.
    pub until: Option<Timestamp>,
}

/// What a read of one document found.
#[derive(Debug, Clone, PartialEq)]
pub enum Fetched {
    /// The document and its entity tag.
    Found {
        document: Box<StoredDocument>,
        etag: Option<String>,
    },
    /// It is still the one that the given entity tag names.
    NotModified,
    /// There is none.
    Absent,
}

impl Client {
    /// A client; it connects when it is first used.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Config`] when identity, endpoint and certificates do not fit together.
    pub fn new(config: Config) -> Result<Self, Error> {
        Ok(Self {
            engine: Engine::new(config)?,
        })
    }

    /// Stores one document.
    ///
    /// # Errors
    /// Any [`Error`]; a refused document is one with its problem.
    pub async fn ingest_one(
        &self,
        document: &Document,
        key: &IdempotencyKey,
        options: &IngestOptions,
    ) -> Result<Answer<BatchAnswer>, Error> {
        let body = serde_json::to_vec(document)
            .map_err(|error| Error::config("the document cannot be written as JSON").because(error))?;
        parse(
            self.write(Method::POST, "/ingest", JSON, Bytes::from(body), key, options)
                .await?,
        )
    }

    /// Stores a batch of documents, one JSON object a line. Some may be refused while others are stored:
    /// look at [`BatchAnswer::rejected`].
    ///
    /// # Errors
    /// Any [`Error`]; then the same bytes may be sent again with the same key.
    pub async fn ingest_batch(
        &self,
        ndjson: Bytes,
        key: &IdempotencyKey,
        options: &IngestOptions,
    ) -> Result<Answer<BatchAnswer>, Error> {
        parse(
            self.write(Method::POST, "/ingest/batch", NDJSON, ndjson, key, options)
                .await?,
        )
    }

    /// Deletes a document. Deleting one that is not there is no error of this client; the answer says so.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn delete_doc(&self, id: &str, key: &IdempotencyKey) -> Result<Answer<Raw>, Error> {
        let target = format!("/docs/{}", encode(id));
        self.write(
            Method::DELETE,
            &target,
            JSON,
            Bytes::new(),
            key,
            &IngestOptions::default(),
        )
        .await
    }

    /// How far a batch has come.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn batch_status(&self, batch: &str) -> Result<Answer<BatchStatus>, Error> {
        parse(
            self.raw(&get(
                format!("/ingest/batches/{}", encode(batch)),
                "ingest-status",
            ))
            .await?,
        )
    }

    /// Reads one document; with `etag`, only when it has changed.
    ///
    /// # Errors
    /// Any [`Error`] but 404, which is [`Fetched::Absent`].
    pub async fn get_doc(&self, id: &str, etag: Option<&str>) -> Result<Answer<Fetched>, Error> {
        let mut request = get(format!("/docs/{}", encode(id)), "docs");
        if let Some(etag) = etag {
            let value = HeaderValue::from_str(etag)
                .map_err(|error| Error::config("that is no entity tag").because(error))?;
            request.headers.push((header::IF_NONE_MATCH, value));
        }
        let answer = match self.raw(&request).await {
            Ok(answer) => answer,
            Err(error) if error.status() == Some(404) => {
                return Ok(Answer {
                    value: Fetched::Absent,
                    meta: crate::Meta {
                        attempts: error.attempts(),
                        ..crate::Meta::default()
                    },
                });
            }
            Err(error) => return Err(error),
        };
        if answer.value.status == StatusCode::NOT_MODIFIED {
            return Ok(Answer {
                value: Fetched::NotModified,
                meta: answer.meta,
            });
        }
        let etag = answer
            .value
            .headers
            .get(header::ETAG)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let parsed: Answer<StoredDocument> = parse(answer)?;
        Ok(Answer {
            value: Fetched::Found {
                document: Box::new(parsed.value),
                etag,
            },
            meta: parsed.meta,
        })
    }

    /// Finds documents, the best first.
    ///
    /// # Errors
    /// Any [`Error`]; a query that cannot be understood is one with its problem.
    pub async fn search(&self, query: &SearchQuery) -> Result<Answer<SearchAnswer>, Error> {
        let mut target = format!("/search?q={}", encode(&query.text));
        let mut add = |name: &str, value: &str| {
            target.push('&');
            target.push_str(name);
            target.push('=');
            target.push_str(&encode(value));
        };
        if let Some(limit) = query.limit {
            add("limit", &limit.to_string());
        }
        for (name, value) in &query.filters {
            add("filter", &format!("{name}:{value}"));
        }
        for (name, moment) in [("since", query.since), ("until", query.until)] {
            if let Some(moment) = moment {
                add(name, &moment.to_string());
            }
        }
        if let Some(cursor) = &query.cursor {
            add("cursor", cursor);
        }
        parse(self.raw(&get(target, "search")).await?)
    }

    /// Any request, with the same pacing, retries and deadline as the others.
    ///
    /// # Errors
    /// Any [`Error`]; statuses other than 2xx and 304 are errors.
    pub async fn raw(&self, request: &RawRequest) -> Result<Answer<Raw>, Error> {
        self.engine.call(request).await
    }

    async fn write(
        &self,
        method: Method,
        path: &str,
        kind: HeaderValue,
        body: Bytes,
        key: &IdempotencyKey,
        options: &IngestOptions,
    ) -> Result<Answer<Raw>, Error> {
        let mut query = Vec::new();
        if let Some(wait) = options.wait_indexed {
            query.push(format!("wait=indexed&timeout={}ms", wait.as_millis()));
        }
        if options.detail_full {
            query.push("detail=full".to_owned());
        }
        let target = if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{}", query.join("&"))
        };
        let key = HeaderValue::from_str(key.as_str()).expect("an idempotency key is visible ASCII");
        let mut headers = vec![(IDEMPOTENCY_KEY, key)];
        if !body.is_empty() {
            headers.push((header::CONTENT_TYPE, kind));
        }
        self.raw(&RawRequest {
            method,
            target,
            resource: "ingest",
            headers,
            body,
            idempotent: true,
            deadline: None,
        })
        .await
    }
}

fn get(target: String, resource: &'static str) -> RawRequest {
    RawRequest {
        method: Method::GET,
        target,
        resource,
        headers: Vec::new(),
        body: Bytes::new(),
        idempotent: true,
        deadline: None,
    }
}

fn parse<T: DeserializeOwned>(answer: Answer<Raw>) -> Result<Answer<T>, Error> {
    let value = serde_json::from_slice(&answer.value.body).map_err(|error| {
        Error::malformed("the answer is not what the API promises")
            .because(error)
            .attempts_made(answer.meta.attempts)
    })?;
    Ok(Answer {
        value,
        meta: answer.meta,
    })
}

/// Percent-encodes everything but RFC 3986's unreserved characters. A text of dots only would be taken for
/// a folder, so its dots are encoded too.
fn encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let only_dots = text.bytes().all(|byte| byte == b'.');
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'~')
            || (byte == b'.' && !only_dots);
        if plain {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

#[cfg(test)]
mod tests;
