//! Asking a service whether it can serve.

use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::spec::Probe;

/// Why a service is not ready, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotReady(pub String);

/// An answer that takes longer than this is none.
pub(crate) const PROBE_TIME_MAX: Duration = Duration::from_secs(2);
/// As much of an answer is read.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// As much of an answer is shown.
const SHOWN_CHARS_MAX: usize = 200;

/// Asks once, within [`PROBE_TIME_MAX`].
///
/// # Errors
/// [`NotReady`] with what was wrong.
pub async fn probe(probe: &Probe) -> Result<(), NotReady> {
    match tokio::time::timeout(PROBE_TIME_MAX, ask(probe)).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(NotReady(format!(
            "no answer within {} s to {probe}",
            PROBE_TIME_MAX.as_secs()
        ))),
    }
}

async fn ask(probe: &Probe) -> Result<(), NotReady> {
    let refused = |error: std::io::Error| NotReady(format!("{probe}: {}", plain(&error)));
    match probe {
        Probe::UnixHttp { socket, path } => {
            let stream = rc_serve::uds::connect(socket).await.map_err(refused)?;
            get(stream, path).await
        }
        Probe::TcpHttp { port, path } => get(connect(*port).await.map_err(refused)?, path).await,
        Probe::TcpOpen { port } => connect(*port).await.map(drop).map_err(refused),
    }
}

async fn connect(port: u16) -> std::io::Result<TcpStream> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await
}

/// The error without its number.
fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "nobody listens".to_owned(),
        std::io::ErrorKind::NotFound => "the socket does not exist".to_owned(),
        _ => error.to_string(),
    }
}

/// `GET path`; ready is 2xx. A client of a dozen lines, because a probe must work when nothing else does.
async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> Result<(), NotReady> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: rc-probe\r\nConnection: close\r\n\r\n"
    );
    let broken = |error: std::io::Error| NotReady(format!("GET {path}: {error}"));
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::new();
    let mut limited = stream.take(ANSWER_BYTES_MAX as u64);
    loop {
        let length = limited.read_buf(&mut answer).await.map_err(broken)?;
        if let Some(status) = status(&answer) {
            if (200..300).contains(&status) {
                return Ok(());
            }
            // The rest says why; a service that sends half of it is not ready either way.
            let _ = limited.read_to_end(&mut answer).await;
            return Err(NotReady(reason(status, &answer, path)));
        }
        if length == 0 {
            return Err(NotReady(format!("GET {path}: no HTTP answer")));
        }
    }
}

/// The status of an HTTP/1 answer, once its first line is there.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.get(..memchr::memchr(b'\n', answer)?)?;
    let text = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    text.get(2..5)?.parse().ok()
}

/// What a refusal says: the components that are down where the body lists them, else its first characters.
fn reason(status: u16, answer: &[u8], path: &str) -> String {
    let text = String::from_utf8_lossy(answer);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).trim();
    let object = body
        .find('{')
        .zip(body.rfind('}'))
        .and_then(|(start, end)| body.get(start..=end));
    let json: Option<serde_json::Value> = object.and_then(|object| serde_json::from_str(object).ok());
    if let Some(components) = json.as_ref().and_then(|json| json.get("components")?.as_object()) {
        let down: Vec<String> = components
            .iter()
            .filter_map(|(name, state)| down(name, state))
            .collect();
        if !down.is_empty() {
            return down.join("; ");
        }
    }
    let shown: String = body
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SHOWN_CHARS_MAX)
        .collect();
    format!("GET {path} answered {status} {shown}")
        .trim_end()
        .to_owned()
}

/// `store: cannot be reached` for a component that is not ready, whether it is told as a text or an object.
fn down(name: &str, state: &serde_json::Value) -> Option<String> {
    let field = |key: &str| state.get(key).and_then(serde_json::Value::as_str);
    let told = state.as_str().or_else(|| field("state"))?;
    if told == "ready" || told == "ok" {
        return None;
    }
    let reason = field("reason").unwrap_or_else(|| told.strip_prefix("down: ").unwrap_or(told));
    Some(format!("{name}: {reason}"))
}

#[cfg(test)]
mod tests;
