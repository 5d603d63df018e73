//! How a body arrives: memory is taken as bytes come, and a sender that does not get on is let go.
//!
//! What a client announces in `Content-Length` takes nothing: else a few connections that announce much and
//! send one byte would close the queue for everybody.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout, timeout_at};

use super::admission::Permit;
use super::receive::Refused;
use super::{fault, limits};

/// The first memory for a body, and the least by which it grows.
const STEP_BYTES: usize = 64 << 10;

/// How much of a refused body is read so that its client gets the answer.
const DISCARD_BYTES_MAX: usize = 2 * limits::BODY_BYTES_MAX;

/// How long that may take.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);

/// What is taken of the queue before the first byte.
pub(crate) fn first_step(announced: Option<usize>) -> usize {
    announced.unwrap_or(STEP_BYTES).min(STEP_BYTES)
}

/// Reads the whole of `body` within `limit`; `permit` holds [`first_step`] and grows with it.
///
/// # Errors
/// When it is too large, too slow, cut off, or when the queue has no room for it.
pub(crate) async fn collect(
    body: &mut Body,
    announced: Option<usize>,
    permit: &mut Permit,
    limit: Duration,
) -> Result<Bytes, Refused> {
    let mut reserved = first_step(announced);
    let mut whole = Vec::with_capacity(reserved);
    let mut pace = Pace::start(limit);
    while let Some(frame) = pace.next(body, whole.len(), permit).await? {
        let Ok(data) = frame else {
            return Err(Refused::kind(
                fault::BODY_CUT,
                "the connection broke inside the body",
            ));
        };
        let bytes = whole.len() + data.len();
        if bytes > limits::BODY_BYTES_MAX {
            return Err(too_large());
        }
        if bytes > reserved {
            // A quarter of what is there, so that a large body is not copied at every step.
            let room = bytes + STEP_BYTES.max(bytes / 4);
            reserved = announced.map_or(room, |announced| room.min(announced.max(bytes)));
            permit.resize(reserved)?;
            whole.reserve_exact(reserved - whole.len());
        }
        whole.extend_from_slice(&data);
    }
    Ok(Bytes::from(whole))
}

/// The refusal of a body over [`limits::BODY_BYTES_MAX`].
pub(crate) fn too_large() -> Refused {
    let max = limits::BODY_BYTES_MAX;
    Refused::kind(
        fault::BODY_TOO_LARGE,
        format!("a body has at most {max} bytes; send several batches"),
    )
}

fn too_slow(detail: String) -> Refused {
    Refused::kind(fault::BODY_SLOW, detail)
}

/// Watches that a body gets on.
struct Pace {
    limit: Duration,
    end: Instant,
    /// From when on the body is a slow one; none when it is.
    slow_from: Option<Instant>,
    /// The current window's end, and what there was at its start.
    window_end: Instant,
    window_bytes: usize,
}

impl Pace {
    fn start(limit: Duration) -> Self {
        let now = Instant::now();
        Self {
            limit,
            end: now + limit,
            slow_from: Some(now + limits::BODY_SLOW_AFTER),
            window_end: now + limits::BODY_PACE_WINDOW,
            window_bytes: 0,
        }
    }

    /// The next piece, when `bytes` are there; none at the end.
    async fn next(
        &mut self,
        body: &mut Body,
        bytes: usize,
        permit: &mut Permit,
    ) -> Result<Option<Result<Bytes, axum::Error>>, Refused> {
        let pause_end = Instant::now() + limits::BODY_PAUSE_MAX;
        loop {
            let wake = pause_end.min(self.end).min(self.window_end);
            let wake = self.slow_from.map_or(wake, |from| wake.min(from));
            // A sender whose frames are always there never lets the timer fire: the clock is asked too.
            let frame = timeout_at(wake, body.frame()).await;
            let now = Instant::now();
            if self.slow_from.is_some_and(|from| now >= from) && !matches!(frame, Ok(None)) {
                permit.slow()?;
                self.slow_from = None;
            }
            if now >= self.window_end && !matches!(frame, Ok(None)) {
                if bytes - self.window_bytes < limits::BODY_PACE_BYTES_MIN {
                    let (least, window) = (limits::BODY_PACE_BYTES_MIN, limits::BODY_PACE_WINDOW.as_secs());
                    return Err(too_slow(format!("less than {least} bytes arrived in {window} s")));
                }
                self.window_bytes = bytes;
                self.window_end = now + limits::BODY_PACE_WINDOW;
            }
            if let Ok(frame) = frame {
                // Trailers hold no data.
                return Ok(frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default())));
            }
            if now >= self.end {
                let ms = self.limit.as_millis();
                return Err(too_slow(format!("the body did not arrive within {ms} ms")));
            }
            if now >= pause_end {
                let pause = limits::BODY_PAUSE_MAX.as_secs();
                return Err(too_slow(format!("no byte arrived for {pause} s")));
            }
        }
    }
}

/// Reads what is left of a refused request's body and forgets it: a connection that is closed while its
/// client still sends takes the answer with it.
pub(crate) async fn discard(headers: &HeaderMap, body: &mut Body) {
    if headers.contains_key(header::EXPECT) {
        // The client asked before it sends, and the refusal is the answer.
        return;
    }
    let rest = async {
        let mut left = DISCARD_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            if bytes > left {
                return;
            }
            left -= bytes;
        }
    };
    // Whoever is slower does not get an answer, and loses nothing by it.
    let _ = timeout(DISCARD_TIME_MAX, rest).await;
}

#[cfg(test)]
mod tests;
