//! As much of NATS as a bare publisher and a reader need, by hand: nothing is between the figures and the
//! server. One connection, which waits for each answer.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

use crate::failure::{Failure, Result};

/// Longest wait for the server.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Where answers and deliveries come back.
const INBOX: &str = "_INBOX.bench";
const DELIVERED: &str = "_INBOX.delivered";

/// The subscription of deliveries. They come under the subject that the message was published to.
const DELIVERIES: &str = "2";

/// What the relay says of an event in the headers of its message, as long as that: the same bytes to store.
const EVENT_HEADERS: &str = "ce-specversion: 1.0\r\nce-id: 0195c1a0-7b1e-7d60-8000-3f2a9c4b5d6e\r\n\
     ce-source: /bench/bench/orders\r\nce-type: bench.event\r\nce-subject: k-000\r\n\
     ce-time: 2026-11-21T17:00:00.000Z\r\nce-datacontenttype: application/json\r\n\
     rc-kseq: 1\r\nrc-fingerprint: 00112233445566778899aabbccddeeff\r\n";

/// A connection to a server.
pub(crate) struct Nats {
    out: TcpStream,
    lines: BufReader<TcpStream>,
    /// Requests so far; each answer comes to its own subject.
    asked: u64,
    /// What came while something else was awaited.
    early: HashMap<String, Vec<u8>>,
}

impl Nats {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let out = TcpStream::connect(address)?;
        out.set_nodelay(true)?;
        out.set_read_timeout(Some(ANSWER_MAX))?;
        let mut nats = Self {
            lines: BufReader::with_capacity(256 << 10, out.try_clone()?),
            out,
            asked: 0,
            early: HashMap::new(),
        };
        nats.line()?;
        let hello = json!({"verbose": false, "pedantic": false, "headers": true, "no_responders": true,
                           "lang": "rust", "version": "0", "protocol": 1});
        write!(nats.out, "CONNECT {hello}\r\nSUB {INBOX}.> 1\r\n")?;
        Ok(nats)
    }

    /// Asks JetStream's API; an answer that is an error is a failure.
    pub(crate) fn api(&mut self, verb: &str, body: &Value) -> Result<Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let reply = self.reply();
        write!(
            self.out,
            "PUB $JS.API.{verb} {reply} {}\r\n{body}\r\n",
            body.len()
        )?;
        let answer: Value = serde_json::from_slice(&self.await_answer(&reply)?)?;
        match answer.get("error") {
            Some(error) => Err(Failure::new(format!("JetStream refuses {verb}: {error}"))),
            None => Ok(answer),
        }
    }

    /// Makes a stream as the relay makes it, for everything below its name.
    pub(crate) fn create_stream(&mut self, name: &str) -> Result<()> {
        let config = json!({"name": name, "subjects": [format!("{name}.>")], "retention": "limits",
                            "storage": "file", "discard": "new", "allow_direct": true, "allow_atomic": true,
                            "deny_delete": true, "num_replicas": 1});
        self.api(&format!("STREAM.CREATE.{name}"), &config)?;
        Ok(())
    }

    /// How many messages a stream holds; 0 while there is none.
    pub(crate) fn messages(&mut self, stream: &str) -> u64 {
        let info = self.api(&format!("STREAM.INFO.{stream}"), &Value::Null);
        info.ok()
            .and_then(|info| info["state"]["messages"].as_u64())
            .unwrap_or(0)
    }

    /// The number of the last message that a stream ever had; 0 while there is none.
    pub(crate) fn last(&mut self, stream: &str) -> u64 {
        let info = self.api(&format!("STREAM.INFO.{stream}"), &Value::Null);
        info.ok()
            .and_then(|info| info["state"]["last_seq"].as_u64())
            .unwrap_or(0)
    }

    /// One atomic publish, acknowledged when all of it is stored.
    pub(crate) fn publish_batch(
        &mut self,
        subject: &str,
        id: &str,
        count: usize,
        payload: &str,
    ) -> Result<()> {
        let reply = self.reply();
        let mut out = String::with_capacity(count * (payload.len() + EVENT_HEADERS.len() + 200));
        for number in 1..=count {
            let last = number == count;
            let mut headers = format!(
                "NATS/1.0\r\nNats-Batch-Id: {id}\r\nNats-Batch-Sequence: {number}\r\n{EVENT_HEADERS}"
            );
            if last {
                headers.push_str("Nats-Batch-Commit: 1\r\n");
            }
            headers.push_str("\r\n");
            let reply = if last { reply.as_str() } else { "" };
            write!(
                out,
                "HPUB {subject} {reply} {} {}\r\n{headers}{payload}\r\n",
                headers.len(),
                headers.len() + payload.len()
            )
            .expect("writing to a string cannot fail");
        }
        self.out.write_all(out.as_bytes())?;
        self.acknowledged(&reply)
    }

    /// Publishes so many single messages, so many of them unacknowledged at a time.
    pub(crate) fn publish_singles(
        &mut self,
        subject: &str,
        count: usize,
        window: usize,
        payload: &str,
    ) -> Result<()> {
        let mut waiting = std::collections::VecDeque::<String>::new();
        let headers = format!("NATS/1.0\r\n{EVENT_HEADERS}\r\n");
        for _ in 0..count {
            if waiting.len() == window
                && let Some(reply) = waiting.pop_front()
            {
                self.acknowledged(&reply)?;
            }
            let reply = self.reply();
            write!(
                self.out,
                "HPUB {subject} {reply} {} {}\r\n{headers}{payload}\r\n",
                headers.len(),
                headers.len() + payload.len()
            )?;
            waiting.push_back(reply);
        }
        waiting.iter().try_for_each(|reply| self.acknowledged(reply))
    }

    /// Has everything that a stream gets from now on delivered here; read it by [`Self::delivered`].
    pub(crate) fn follow(&mut self, stream: &str) -> Result<()> {
        write!(self.out, "SUB {DELIVERED} {DELIVERIES}\r\n")?;
        let config = json!({"stream_name": stream, "config": {
            "deliver_subject": DELIVERED, "deliver_policy": "new", "ack_policy": "none",
        }});
        self.api(&format!("CONSUMER.CREATE.{stream}"), &config)?;
        Ok(())
    }

    /// The next message's payload.
    pub(crate) fn delivered(&mut self) -> Result<Vec<u8>> {
        self.await_answer(DELIVERED)
    }

    fn reply(&mut self) -> String {
        self.asked += 1;
        format!("{INBOX}.{}", self.asked)
    }

    fn acknowledged(&mut self, reply: &str) -> Result<()> {
        let answer: Value = serde_json::from_slice(&self.await_answer(reply)?)?;
        match answer.get("error") {
            Some(error) => Err(Failure::new(format!("JetStream refuses a publish: {error}"))),
            None => Ok(()),
        }
    }

    /// The payload of the next message to `subject`.
    fn await_answer(&mut self, subject: &str) -> Result<Vec<u8>> {
        if let Some(payload) = self.early.remove(subject) {
            return Ok(payload);
        }
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words[..] {
                ["PING"] => self.out.write_all(b"PONG\r\n")?,
                ["MSG", to, sid, .., bytes] => {
                    let to = if sid == DELIVERIES { DELIVERED } else { to };
                    let payload = self.payload(0, bytes)?;
                    if to == subject {
                        return Ok(payload);
                    }
                    self.early.insert(to.to_owned(), payload);
                }
                ["HMSG", to, sid, .., headers, bytes] => {
                    let to = if sid == DELIVERIES { DELIVERED } else { to };
                    let headers = headers.parse().unwrap_or(0);
                    let payload = self.payload(headers, bytes)?;
                    if to == subject {
                        return Ok(payload);
                    }
                    self.early.insert(to.to_owned(), payload);
                }
                ["PONG" | "+OK" | "INFO", ..] => {}
                _ => return Err(Failure::new(format!("NATS says {line}"))),
            }
        }
    }

    fn payload(&mut self, headers: usize, bytes: &str) -> Result<Vec<u8>> {
        let bytes: usize = bytes
            .parse()
            .map_err(|_wrong| Failure::new(format!("NATS announces {bytes} bytes")))?;
        let mut all = vec![0; bytes + 2];
        self.lines.read_exact(&mut all)?;
        all.truncate(bytes);
        Ok(all.split_off(headers.min(bytes)))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.lines.read_line(&mut line)? == 0 {
            return Err(Failure::new("NATS closed the connection"));
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}
