use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rc_client::{Client, Config, Endpoint, Identity};
use rc_model::{Clock as _, SystemClock, TenantId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::commands::ingest::batch::Batcher;
use crate::commands::ingest::journal::{Circumstances, Start};
use crate::commands::ingest::read::Gauge;

/// Decides the status and body for a request's key and lines.
type Answering = dyn FnMut(&str, &[String]) -> (u16, String) + Send;

/// A platform that answers by a function of the test's.
struct Fake {
    client: Client,
    folder: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

impl Fake {
    fn start(answer: impl FnMut(&str, &[String]) -> (u16, String) + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let answer: Arc<Mutex<Box<Answering>>> = Arc::new(Mutex::new(Box::new(answer)));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(converse(stream, Arc::clone(&answer)));
            }
        });
        let mut config = Config::new(
            Endpoint::Unix(path),
            Identity::Tenant(TenantId::new("acme").unwrap()),
        );
        config.backoff.base = Duration::from_millis(5);
        config.backoff.attempts_max = 2;
        Self {
            client: Client::new(config).unwrap(),
            folder,
            _tasks: tasks,
        }
    }

    fn journal(&self) -> Journal {
        let run = Circumstances {
            sources: Some("same"),
            alone: Some("same"),
            before: Some("same"),
            fresh: false,
            now: SystemClock.now(),
        };
        Journal::open(self.folder.path(), &["x".to_owned()], run)
    }

    async fn send(&self, batches: Vec<Batch>) -> Sent {
        let (out, taken) = mpsc::channel(100);
        for batch in batches {
            out.try_send(batch).unwrap();
        }
        drop(out);
        let progress = Progress::new(false, None, Arc::new(Gauge::default()));
        send(&self.client, taken, self.journal(), 8, &progress).await
    }
}

async fn converse(mut stream: UnixStream, answer: Arc<Mutex<Box<Answering>>>) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(buffer[..end].to_vec())
            .unwrap()
            .to_ascii_lowercase();
        let field = |name: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
                .unwrap_or_default()
                .to_owned()
        };
        let length: usize = field("content-length:").parse().unwrap();
        while buffer.len() < end + length {
            stream.read_buf(&mut buffer).await.unwrap();
        }
        let lines: Vec<String> = String::from_utf8(buffer[end..end + length].to_vec())
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        buffer.drain(..end + length);
        let (status, body) = (answer.lock().unwrap())(&field("idempotency-key:"), &lines);
        let text = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn batch(lines: &[&str]) -> Batch {
    let mut batcher = Batcher::default();
    for line in lines {
        batcher.push(line.as_bytes(), format!("from:{line}"));
    }
    batcher.take().unwrap()
}

fn accepted(count: usize, items: &str) -> (u16, String) {
    (
        202,
        format!(r#"{{"batch":"b","accepted":{count},"duplicates":0,"rejected":0,"items":[{items}]}}"#),
    )
}

fn refused(status: u16) -> (u16, String) {
    (
        status,
        format!(r#"{{"type":"x","title":"no","status":{status},"code":"RC-X-001","retry_after_ms":10}}"#),
    )
}

#[tokio::test]
async fn all_batches_are_stored_once_whatever_their_order() {
    let seen = Arc::new(Mutex::new(BTreeMap::<String, u32>::new()));
    let shared = Arc::clone(&seen);
    let mut count = 0;
    let fake = Fake::start(move |_, lines| {
        count += 1;
        if count % 5 == 0 {
            return refused(503);
        }
        for line in lines {
            *shared.lock().unwrap().entry(line.clone()).or_default() += 1;
        }
        accepted(lines.len(), "")
    });
    let names: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let sent = fake.send(names.iter().map(|name| batch(&[name])).collect()).await;
    assert!(matches!(sent.end, End::Complete));
    assert_eq!((sent.accepted, seen.lock().unwrap().len()), (40, 40));
    assert!(seen.lock().unwrap().values().all(|times| *times == 1));
    assert_eq!(
        fake.journal().start(),
        Start::Beginning,
        "a complete run leaves no journal"
    );
}

#[tokio::test]
async fn a_refused_document_is_told_with_its_origin_and_one_refused_for_now_is_sent_again_alone() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&calls);
    let fake = Fake::start(move |key, lines| {
        let mut calls = shared.lock().unwrap();
        calls.push((key.to_owned(), lines.to_vec()));
        if calls.len() == 1 {
            let bad =
                r#"{"index":0,"status":"rejected","code":"RC-ING-005","pointer":"/text","detail":"no text"}"#;
            let busy = r#"{"index":2,"status":"rejected","detail":"busy","retryable":true}"#;
            return accepted(1, &format!("{bad},{busy}"));
        }
        accepted(lines.len(), "")
    });
    let sent = fake.send(vec![batch(&["a", "b", "c"])]).await;
    assert_eq!((sent.accepted, sent.rejects.count), (2, 1));
    let reject = &sent.rejects.listed[0];
    assert_eq!(
        (
            reject.source.as_str(),
            reject.pointer.as_deref(),
            reject.code.as_deref()
        ),
        ("from:a", Some("/text"), Some("RC-ING-005"))
    );
    let calls = calls.lock().unwrap();
    assert_eq!(calls[1].1, ["c"]);
    assert_ne!(calls[0].0, calls[1].0, "other bytes have another key");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_sent_in_halves() {
    let fake = Fake::start(|_, lines| {
        if lines.len() > 2 {
            refused(413)
        } else {
            accepted(lines.len(), "")
        }
    });
    let sent = fake.send(vec![batch(&["a", "b", "c", "d", "e"])]).await;
    assert!(matches!(sent.end, End::Complete));
    assert_eq!(sent.accepted, 5);
}

#[tokio::test]
async fn a_single_document_that_is_too_large_is_one_reject_and_the_others_are_stored() {
    let fake = Fake::start(|_, lines| {
        if lines.iter().any(|line| line == "big") {
            refused(413)
        } else {
            accepted(lines.len(), "")
        }
    });
    let sent = fake.send(vec![batch(&["a", "big", "c"]), batch(&["d"])]).await;
    assert!(matches!(sent.end, End::Complete));
    assert_eq!((sent.accepted, sent.rejects.count), (3, 1));
    let reject = &sent.rejects.listed[0];
    assert_eq!(
        (reject.source.as_str(), reject.code.as_deref()),
        ("from:big", Some("RC-X-001"))
    );
}

#[tokio::test]
async fn a_continued_run_waits_for_what_was_stored_before_and_tells_what_was_refused_then() {
    let mut count = 0;
    let fake = Fake::start(move |_, lines| {
        count += 1;
        let (status, body) = match lines[0].as_str() {
            "bad" if count < 4 => refused(401),
            "half" => accepted(1, r#"{"index":1,"status":"rejected","detail":"no text"}"#),
            _ => accepted(0, ""),
        };
        (status, body.replace("\"b\"", &format!("\"b{count}\"")))
    });
    let after = |lines: &[&str]| {
        let mut batch = batch(lines);
        batch.after_all = true;
        batch
    };
    let batches = || vec![batch(&["a"]), after(&["half", "x"]), after(&["bad"])];
    let first = fake.send(batches()).await;
    assert!(matches!(first.end, End::Refused(_)));
    assert_eq!(first.rejects.count, 1);
    let second = fake.send(batches()).await;
    assert!(matches!(second.end, End::Complete));
    assert_eq!(second.rejects.count, 1, "what was refused is told again");
    assert_eq!(
        second.awaited,
        ["b4", "b5"],
        "b4 was stored after b2; b5 stored nothing new and stands for no other"
    );
    assert_eq!(first.awaited, ["b2"], "b2 was stored after b1");
}

#[tokio::test]
async fn an_interrupted_run_goes_on_where_it_was() {
    let keys = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&keys);
    let fake = Fake::start(move |key, lines| {
        shared.lock().unwrap().push((key.to_owned(), lines.join(" ")));
        if lines[0] == "bad" {
            refused(401)
        } else {
            accepted(lines.len(), "")
        }
    });
    let mut last = batch(&["bad"]);
    last.after_all = true;
    let sent = fake
        .send(vec![batch(&["a", "b"]), batch(&["c"]), last.clone()])
        .await;
    assert!(matches!(sent.end, End::Refused(_)));
    assert_eq!(fake.journal().start(), Start::Resumed);
    let sent = fake.send(vec![batch(&["a", "b"]), batch(&["c"]), last]).await;
    assert_eq!((sent.accepted, sent.before), (0, 3));
    assert_eq!(
        sent.awaited,
        ["b", "b"],
        "`--wait` waits for what was stored before"
    );
    let keys = keys.lock().unwrap();
    assert_eq!(keys.len(), 4, "only the refused batch went out again: {keys:?}");
    assert_eq!(keys[2], keys[3], "under the same key");
}

#[tokio::test]
async fn the_same_bytes_later_in_a_run_are_another_write() {
    let keys = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&keys);
    let fake = Fake::start(move |key, lines| {
        shared.lock().unwrap().push((lines.join(" "), key.to_owned()));
        accepted(lines.len(), "")
    });
    let again = |name| {
        let mut again = batch(&[name]);
        again.after_all = true;
        again
    };
    fake.send(vec![batch(&["x=1"]), again("x=2"), again("x=1")]).await;
    let keys = keys.lock().unwrap();
    let order: Vec<&str> = keys.iter().map(|(line, _)| line.as_str()).collect();
    assert_eq!(order, ["x=1", "x=2", "x=1"]);
    assert_ne!(keys[0].1, keys[2].1);
}
