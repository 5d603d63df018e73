//! One connection to the receiver, kept open between requests.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rc_serve::tls::{self, TlsError};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::OtlpConfig;
use crate::endpoint::Endpoint;
use crate::otlp::{self, PartialSuccess};

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The media type of a binary request and of its answer.
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// What became of a request.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Taken, perhaps in part.
    Taken(PartialSuccess),
    /// It will never be taken.
    Refused(String),
    /// It may be taken later; the receiver may have said when.
    Later { why: String, after: Option<Duration> },
}

/// A connection that is made when it is needed.
pub(super) struct Channel {
    endpoint: Endpoint,
    timeout: Duration,
    /// What every request carries.
    headers: HeaderMap,
    tls: Option<TlsConnector>,
    open: Option<Open>,
}

struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the connection's bytes; it ends with this value.
    _driver: JoinSet<()>,
}

/// Why an exchange gave no answer.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("no connection: {0}")]
    Connect(#[from] io::Error),
    #[error("the exchange broke: {0}")]
    Exchange(#[from] hyper::Error),
    #[error("the answer cannot be read: {0}")]
    Answer(Box<dyn std::error::Error + Send + Sync>),
}

impl Channel {
    pub(super) fn new(config: OtlpConfig, version: &str) -> Result<Self, TlsError> {
        let tls = if config.endpoint.https {
            Some(TlsConnector::from(tls::client_config(
                config.ca.as_deref(),
                &[b"http/1.1"],
            )?))
        } else {
            None
        };
        let mut headers = HeaderMap::new();
        let text = |text: &str| HeaderValue::from_str(text).expect("authorities and versions are ASCII");
        headers.extend(config.headers.0);
        headers.insert(header::HOST, text(config.endpoint.authority.as_str()));
        headers.insert(header::CONTENT_TYPE, PROTOBUF);
        headers.insert(header::USER_AGENT, text(&format!("royalcrown/{version}")));
        Ok(Self {
            endpoint: config.endpoint,
            timeout: config.timeout,
            headers,
            tls,
            open: None,
        })
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Posts `body` once. A connection that the receiver closed while it was idle is no attempt.
    pub(super) async fn post(&mut self, body: Bytes) -> Outcome {
        let later = |why: String| Outcome::Later { why, after: None };
        let reused = self.open.as_ref().is_some_and(|open| !open.sender.is_closed());
        let mut answer = tokio::time::timeout(self.timeout, self.exchange(body.clone())).await;
        if reused && matches!(answer, Ok(Err(Broken::Exchange(_)))) {
            answer = tokio::time::timeout(self.timeout, self.exchange(body)).await;
        }
        let (status, headers, body) = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                self.open = None;
                return later(error.to_string());
            }
            Err(_elapsed) => {
                // An answer to this request must not be taken for one to the next.
                self.open = None;
                return later(format!("no answer within {} ms", self.timeout.as_millis()));
            }
        };
        match status {
            // Whatever stands in the answer, the receiver said that it took the spans.
            status if status.is_success() => Outcome::Taken(otlp::decode_response(&body).unwrap_or_default()),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Outcome::Later {
                why: format!("the receiver answered {status}"),
                after: retry_after(&headers),
            },
            status => Outcome::Refused(format!("the receiver answered {status}")),
        }
    }

    async fn exchange(&mut self, body: Bytes) -> Result<(StatusCode, HeaderMap, Bytes), Broken> {
        let mut request = Request::post(&self.endpoint.path)
            .body(Full::new(body))
            .expect("the path was part of a URL");
        *request.headers_mut() = self.headers.clone();
        let mut open = match self.open.take().filter(|open| !open.sender.is_closed()) {
            Some(open) => open,
            None => self.connect().await?,
        };
        open.sender.ready().await?;
        let response = open.sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX);
        let body = body.collect().await.map_err(Broken::Answer)?.to_bytes();
        self.open = Some(open);
        Ok((head.status, head.headers, body))
    }

    async fn connect(&self) -> Result<Open, Broken> {
        let stream = TcpStream::connect((self.endpoint.host.as_str(), self.endpoint.port)).await?;
        stream.set_nodelay(true)?;
        let mut driver = JoinSet::new();
        let sender = match &self.tls {
            Some(tls) => {
                let name = ServerName::try_from(self.endpoint.host.clone())
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                let stream = tls.connect(name, stream).await?;
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                driver.spawn(async move {
                    // Whoever waits for an answer hears of the failure.
                    let _ = connection.await;
                });
                sender
            }
            None => {
                let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
                driver.spawn(async move {
                    // As above.
                    let _ = connection.await;
                });
                sender
            }
        };
        Ok(Open {
            sender,
            _driver: driver,
        })
    }
}

/// `Retry-After` in seconds; the form with a date is taken as not said.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}
