//! Publishing: one atomic batch, if the stream ends where it should.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use rc_events::bus::{Cursor, Publish, check_batch};
use rc_events::error::{Fenced, Refused};
use rc_events::event::Seq;
use rc_events::letters::CLASS_REFUSED;
use rc_events::{Error, faults};
use serde_json::json;
use tokio::time::Instant;

use super::super::connection::{Broken, Connection};
use super::super::jetstream::{self, Answer, PubAck, WRONG_LAST_SEQUENCE};
use super::super::message::{self, InBatch};
use super::super::wire;
use super::{NatsBus, Place};

/// How often a publish starts again because another origin's batch came first.
const RACES_MAX: u32 = 64;

/// Longest pause between two such attempts.
const RACE_PAUSE_MAX: Duration = Duration::from_millis(50);

/// How long what we know about the stream's end is believed without asking. It saves two questions a
/// batch; the server checks it all the same.
const BELIEVED_FOR: Duration = Duration::from_secs(2);

/// How much is written at once: the server reads one piece while we encode the next.
const PIECE_BYTES: usize = 64 << 10;

/// More than the headers of an event ever come to, its cursors apart.
const HEADERS_BYTES: usize = 8 << 10;

/// Where an origin was after our own last publish.
#[derive(Debug)]
pub(super) struct Believed {
    place: Place,
    since: Instant,
}

impl NatsBus {
    pub(super) async fn append(&self, publish: Publish) -> Result<Seq, Error> {
        check_batch(&publish)?;
        self.ready().await?;
        let mut place = match self.believed(&publish) {
            Some(place) => place,
            None => self.look(&publish.origin).await?,
        };
        if publish.expected == Cursor::default() {
            self.register(&publish.origin).await?;
        }
        let publish = Arc::new(publish);
        for attempt in 1..=RACES_MAX {
            if place.cursor != publish.expected && !faults::mutated("nats.skip_expected") {
                return Err(Error::Fenced(Box::new(Fenced {
                    origin: publish.origin.clone(),
                    expected: publish.expected.clone(),
                    actual: place.cursor,
                })));
            }
            self.forget(&publish.origin);
            match self.commit(&publish, place.tail).await? {
                Ok(ack) => return self.committed(&publish, &ack).await,
                Err(error) if WRONG_LAST_SEQUENCE.contains(&error.err_code) => {}
                Err(error) if error.is_nobody() => return Err(self.gone().await),
                Err(error) => return Err(error.into_error("failed to publish", &self.client)),
            }
            // Another origin's batch came first, or another relay of this one: the cursor says which.
            if attempt > 1 {
                tokio::time::sleep(RACE_PAUSE_MAX.mul_f64(fastrand::f64())).await;
            }
            place = self.look(&publish.origin).await?;
        }
        Err(Error::Unreachable {
            tried: "failed to publish",
            why: format!("others published first {RACES_MAX} times").into(),
        })
    }

    /// One atomic batch, if the stream ends at `tail`.
    async fn commit(&self, publish: &Arc<Publish>, tail: Seq) -> Result<Answer<PubAck>, Error> {
        let stream = self.name().to_owned();
        let publish = Arc::clone(publish);
        let tried = "failed to publish";
        let answer = self
            .client
            .with(tried, move |connection| {
                Box::pin(async move { send_batch(connection, &stream, &publish, tail).await })
            })
            .await?;
        faults::point("nats.after_ack");
        Ok(answer)
    }

    async fn committed(&self, publish: &Publish, ack: &PubAck) -> Result<Seq, Error> {
        let tail = i64::try_from(ack.seq)
            .map_err(|_odd| Error::Damaged(format!("the stream says that it ends at {}", ack.seq).into()))?;
        if faults::mutated("bus.cursor_apart") {
            let bus = self.bus_id().await?;
            let state = json!({"bus": bus, "cursor": publish.cursor.as_str(), "seq": tail});
            self.state.put("origin", &publish.origin, &state, None).await?;
        }
        let place = Place {
            cursor: publish.cursor.clone(),
            tail,
        };
        let believed = Believed {
            place,
            since: Instant::now(),
        };
        self.lock().insert(publish.origin.clone(), believed);
        self.wake().await;
        Ok(tail)
    }

    /// Tells those who wait. They look by themselves when this is lost.
    async fn wake(&self) {
        let subject = self.wake_subject();
        let told = self.client.with("failed to tell", move |connection| {
            Box::pin(async move {
                let mut out = Vec::new();
                wire::put_message(&mut out, &subject, None, b"", b"");
                connection.send(&out).await
            })
        });
        if let Err(error) = told.await {
            tracing::debug!(%error, "those who wait for the bus were not told");
        }
    }

    fn believed(&self, publish: &Publish) -> Option<Place> {
        let origins = self.lock();
        let believed = origins.get(&publish.origin)?;
        let fits = believed.place.cursor == publish.expected && believed.since.elapsed() < BELIEVED_FOR;
        fits.then(|| believed.place.clone())
    }

    /// While a publish is under way nothing is known.
    fn forget(&self, origin: &str) {
        self.lock().remove(origin);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Believed>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a batch and waits for the answer to its last message: the only one that means that it is stored.
async fn send_batch(
    connection: &mut Connection,
    stream: &str,
    publish: &Publish,
    tail: Seq,
) -> Result<Answer<PubAck>, Broken> {
    let id = format!("{:032x}", fastrand::u128(..));
    let (first, last) = (connection.address(), connection.address());
    let count = publish.records.len();
    let headers = |index: usize| {
        let tail = (!faults::mutated("nats.skip_expected")).then_some(tail);
        let apart = faults::mutated("bus.cursor_apart");
        let batch = InBatch {
            id: &id,
            number: index + 1,
            first: (index == 0).then_some((tail, &publish.expected)),
            last: (index + 1 == count).then_some((&publish.cursor, apart)),
        };
        message::headers(&publish.origin, &publish.records[index], &batch)
    };
    check_sizes(publish, connection.info.max_payload, headers)?;
    let mut out = Vec::with_capacity(2 * PIECE_BYTES);
    for (index, record) in publish.records.iter().enumerate() {
        let reply = match index {
            _ if index + 1 == count => Some(&*last),
            0 => Some(&*first),
            _ => None,
        };
        if index + 1 == count {
            // By itself, so that a test can end the process before it.
            connection.send(&out).await?;
            out.clear();
            faults::point("nats.before_commit");
        }
        let subject = message::subject(stream, &publish.origin, &record.event);
        wire::put_message(&mut out, &subject, reply, &headers(index), &record.event.payload);
        if out.len() >= PIECE_BYTES {
            connection.send(&out).await?;
            out.clear();
        }
    }
    connection.send(&out).await?;
    faults::point("nats.after_commit");
    let mut refused = None;
    loop {
        let answer = connection.answer(&[&first, &last]).await?;
        if answer.subject == last {
            let ack = jetstream::ack(&answer)?;
            // Why the first message was refused says more than that the batch is incomplete.
            return Ok(match (ack, refused) {
                (Err(_incomplete), Some(first)) => Err(first),
                (ack, _) => ack,
            });
        }
        if faults::mutated("nats.ack_before_commit") {
            let seq = u64::try_from(tail).unwrap_or_default() + u64::try_from(count).unwrap_or_default();
            return Ok(Ok(PubAck {
                seq,
                ..PubAck::default()
            }));
        }
        // Empty when the first message was taken.
        if !answer.payload.is_empty() || answer.headers.status().is_some() {
            refused = jetstream::ack(&answer)?.err();
        }
    }
}

/// Refuses an event that the server will never take, before anything is sent: a batch that is begun and
/// not ended holds a place in the server until its time is over.
fn check_sizes(publish: &Publish, room: usize, headers: impl Fn(usize) -> Vec<u8>) -> Result<(), Broken> {
    let cursors = publish.expected.as_str().len() + publish.cursor.as_str().len();
    for (index, record) in publish.records.iter().enumerate() {
        let payload = record.event.payload.len();
        if payload + 3 * cursors + HEADERS_BYTES <= room {
            continue;
        }
        let size = payload + headers(index).len();
        if size > room {
            return Err(Broken::For(Error::Refused(Box::new(Refused {
                index,
                place: format!("{} {}", record.event.place(), record.event.kseq),
                class: CLASS_REFUSED,
                code: "RC-EVT-010",
                why: format!("it has {size} bytes with its headers, and the server takes {room}"),
            }))));
        }
    }
    Ok(())
}
