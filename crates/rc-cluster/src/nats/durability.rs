//! Whether what the server acknowledges is on disk. Clients of NATS are not told; the server's own report
//! over HTTP says it.

use std::time::Duration;

use rc_events::Error;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::connection::fault;
use super::url::{Durability, NatsOptions};

/// Longest report that is read; that of a large server has some ten KiB.
const REPORT_BYTES_MAX: u64 = 4 << 20;

/// What the report says about the disk.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Report {
    server_id: String,
    jetstream: JetStream,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct JetStream {
    config: Config,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    /// Nanoseconds.
    sync_interval: u64,
    sync_always: bool,
}

/// Refuses a server that may lose what it acknowledges, unless the options accept that.
pub(crate) async fn check(options: &NatsOptions) -> Result<(), Error> {
    let refuse = |what: String| Err(fault("RC-EVT-042", what, None));
    match options.durability {
        Durability::Always => return Ok(()),
        Durability::ServerDefault => {
            tracing::warn!(
                code = "RC-EVT-042",
                bus = %options,
                "the bus may lose what it acknowledges when the power fails; its URL accepts that"
            );
            return Ok(());
        }
        Durability::Checked => {}
    }
    let Some((host, port)) = &options.monitor else {
        return refuse(format!(
            "nobody knows whether {options} syncs before it acknowledges; let the URL say \
             `?monitor=HOST:8222`, or `?durability=always` if you know that it does"
        ));
    };
    let asked = tokio::time::timeout(options.deadline, report(host, *port)).await;
    let late = |_late| std::io::Error::from(std::io::ErrorKind::TimedOut);
    let report = asked
        .map_err(late)
        .flatten()
        .map_err(|error| Error::Unreachable {
            tried: "failed to read the server's report",
            why: format!("{error} (http://{host}:{port}/varz)").into(),
        })?;
    if report.jetstream.config.sync_always {
        tracing::debug!(
            server = report.server_id,
            "the server syncs before it acknowledges"
        );
        return Ok(());
    }
    let every = Duration::from_nanos(report.jetstream.config.sync_interval);
    refuse(format!(
        "the server at {host}:{port} syncs every {every:?}, so it may lose what it acknowledges; set \
         `sync_interval: always` there"
    ))
}

/// `GET /varz`. The end of the connection is the end of the answer.
async fn report(host: &str, port: u16) -> std::io::Result<Report> {
    let odd = |what| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let mut stream = TcpStream::connect((host, port)).await?;
    stream
        .write_all(format!("GET /varz HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes())
        .await?;
    let mut answer = Vec::new();
    stream.take(REPORT_BYTES_MAX).read_to_end(&mut answer).await?;
    let body = memchr::memmem::find(&answer, b"\r\n\r\n").map(|at| &answer[at + 4..]);
    if !answer.starts_with(b"HTTP/1.") || answer.get(9..12) != Some(b"200") {
        return Err(odd("the answer is not the report of a NATS server"));
    }
    serde_json::from_slice(body.unwrap_or_default()).map_err(|_not_json| odd("the report cannot be read"))
}
