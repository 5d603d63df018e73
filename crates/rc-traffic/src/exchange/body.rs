//! What every answer and every body needs, whoever gives or reads it.

use std::future::poll_fn;
use std::task::Poll;

use tokio::time::Instant;

use super::{Broken, Downstream, Fate};
use crate::answer::{BODY_TOO_LARGE, DEADLINE, MALFORMED_BODY, Refusal};
use crate::io::Timer;

/// Writes what waits; a client that takes nothing for `stall` is cut.
pub(crate) async fn flush<D: Downstream>(
    client: &mut D,
    timer: &mut Timer,
    stall: std::time::Duration,
) -> Fate {
    let mut waiting = usize::MAX;
    let mut limit = None;
    poll_fn(|cx| match client.poll_flush(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Fate::Done),
        Poll::Ready(Err(_)) => Poll::Ready(Fate::Cut),
        Poll::Pending => {
            if client.waiting() < waiting {
                waiting = client.waiting();
                limit = None;
            }
            let until = *limit.get_or_insert_with(|| Instant::now() + stall);
            timer.poll(until, cx).map(|()| Fate::Cut)
        }
    })
    .await
}

/// Reads a whole request body of at most `bytes_max`, for requests that the gateway answers itself.
pub(crate) async fn collect<D: Downstream>(
    client: &mut D,
    bytes_max: u64,
    deadline: Instant,
    timer: &mut Timer,
) -> Result<Vec<u8>, Fate> {
    let mut body = Vec::new();
    client.want_body();
    poll_fn(|cx| {
        loop {
            if client.poll_flush(cx).is_pending() {
                break;
            }
            match client.poll_body(cx) {
                Poll::Ready(Ok(true)) => {
                    let count = client.chunk().len();
                    if (body.len() + count) as u64 > bytes_max {
                        return Poll::Ready(Err(Fate::Refuse(Refusal::new(&BODY_TOO_LARGE))));
                    }
                    body.extend_from_slice(client.chunk());
                    client.consume(count);
                }
                Poll::Ready(Ok(false)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(Broken::Gone)) => return Poll::Ready(Err(Fate::Cut)),
                Poll::Ready(Err(Broken::Malformed(detail))) => {
                    let refusal = Refusal::because(&MALFORMED_BODY, detail).closing();
                    return Poll::Ready(Err(Fate::Refuse(refusal)));
                }
                Poll::Pending => break,
            }
        }
        timer
            .poll(deadline, cx)
            .map(|()| Err(Fate::Refuse(Refusal::new(&DEADLINE))))
    })
    .await?;
    Ok(body)
}

/// Appends one chunk of the chunked coding.
pub(crate) fn push_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return; // An empty chunk would be the end.
    }
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (usize::BITS - data.len().leading_zeros()).div_ceil(4);
    for at in (0..digits).rev() {
        out.push(DIGITS[data.len() >> (at * 4) & 0xf]);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}
