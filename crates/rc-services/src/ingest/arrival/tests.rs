use std::convert::Infallible;
use std::sync::Arc;

use axum::response::IntoResponse as _;
use futures_util::{StreamExt as _, stream};
use rc_model::clock::ManualClock;
use rc_model::{Clock, TenantId, Timestamp};

use super::*;
use crate::ingest::admission::{Admission, Bounds};

fn queue() -> Admission {
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_ms(0)));
    Admission::new(Bounds::default(), clock as Arc<dyn Clock>)
}

fn admit(queue: &Admission, announced: Option<usize>) -> Permit {
    let first = first_step(announced);
    let tenant = TenantId::new("acme").unwrap();
    queue.admit(&tenant, first, announced.unwrap_or(first)).unwrap()
}

/// `count` pieces of `bytes`, one every `every`, and then silence.
fn drip(count: usize, bytes: usize, every: Duration) -> Body {
    let pieces = stream::iter(0..count).then(move |_| async move {
        tokio::time::sleep(every).await;
        Ok::<_, Infallible>(Bytes::from(vec![b' '; bytes]))
    });
    Body::from_stream(pieces.chain(stream::pending()))
}

async fn read(body: Body, announced: Option<usize>) -> (Result<usize, String>, Duration) {
    let queue = queue();
    let (mut body, mut permit) = (body, admit(&queue, announced));
    let start = Instant::now();
    let whole = collect(&mut body, announced, &mut permit, limits::BODY_TIMEOUT).await;
    let whole = whole.map(|whole| whole.len());
    (
        whole.map_err(|refused| refused.code().to_owned()),
        start.elapsed(),
    )
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_get_on_is_let_go() {
    let slow = Err(fault::BODY_SLOW.code.to_owned());
    let seconds = Duration::from_secs;
    let (answer, after) = read(drip(1, 1, Duration::ZERO), Some(8 << 20)).await;
    assert_eq!((answer, after), (slow.clone(), seconds(5)));
    let (answer, after) = read(drip(1_000, 100, seconds(1)), None).await;
    assert_eq!((answer, after), (slow.clone(), seconds(10)));
    let (answer, after) = read(drip(1_000, 2_000, seconds(1)), Some(8 << 20)).await;
    assert_eq!((answer, after), (slow, limits::BODY_TIMEOUT));
    let whole = stream::iter(0..20).then(|_| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, Infallible>(Bytes::from_static(&[b' '; 2_000]))
    });
    assert_eq!(read(Body::from_stream(whole), None).await.0, Ok(40_000));
}

#[tokio::test(start_paused = true)]
async fn idle_bodies_close_the_queue_for_nobody() {
    let queue = queue();
    let idle = (0..64).map(|_| {
        let (queue, announced) = (queue.clone(), Some(limits::BODY_BYTES_MAX));
        async move {
            let (mut body, mut permit) = (drip(1, 1, Duration::ZERO), admit(&queue, announced));
            collect(&mut body, announced, &mut permit, limits::BODY_TIMEOUT).await
        }
    });
    let idle = futures_util::future::join_all(idle);
    let look = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(queue.bytes(), 64 * STEP_BYTES);
        let other = TenantId::new("globex").unwrap();
        queue.admit(&other, STEP_BYTES, limits::BODY_BYTES_MAX).unwrap();
        // One more slow body of the same tenant is one too many.
        let (mut body, mut permit) = (drip(1, 1, Duration::ZERO), admit(&queue, None));
        let refused = collect(&mut body, None, &mut permit, limits::BODY_TIMEOUT).await;
        let response = refused.unwrap_err().into_response();
        assert_eq!(response.status().as_u16(), 429);
    };
    let (idle, ()) = tokio::join!(idle, look);
    assert!(idle.into_iter().all(|answer| answer.is_err()));
    assert_eq!(queue.bytes(), 0);
}

#[tokio::test]
async fn memory_follows_the_bytes_that_arrived() {
    for announced in [None, Some(3 << 20)] {
        let queue = queue();
        let mut permit = admit(&queue, announced);
        assert_eq!(queue.bytes(), STEP_BYTES);
        let seen = queue.clone();
        let pieces = stream::iter(0..96_usize).map(move |index| {
            let (arrived, held) = (index * (32 << 10), seen.bytes());
            assert!(held <= 2 * STEP_BYTES + arrived + arrived / 4, "{index}: {held}");
            assert!(held >= arrived, "{index}: {held}");
            Ok::<_, Infallible>(Bytes::from(vec![b' '; 32 << 10]))
        });
        let mut body = Body::from_stream(pieces);
        let whole = collect(&mut body, announced, &mut permit, limits::BODY_TIMEOUT).await;
        assert_eq!(whole.unwrap().len(), 3 << 20);
        if announced.is_some() {
            assert_eq!(queue.bytes(), 3 << 20);
        }
    }
}
