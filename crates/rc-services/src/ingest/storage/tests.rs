use super::*;
use bytes::Bytes;
use http::HeaderValue;
use rc_model::{Timestamp, TraceContext};
use uuid::Uuid;

use crate::ingest::body::{Item, Put};
use crate::ingest::decide::{Route, Work};

fn write(limit: u64, work: Work) -> Write {
    Write {
        tenant: TenantId::new("acme").unwrap(),
        route: Route::Batch,
        key: Some("k".to_owned()),
        request_hash: [0; 32],
        work,
        quota: Some(Quota { limit, shadow: false }),
        full: true,
        batch: Uuid::nil(),
        at: Timestamp::from_unix_ms(0),
        trace: TraceContext::start(|| 1),
    }
}

fn put(id: &str, bytes: usize) -> Item {
    let mut fingerprint = [1; 16];
    fingerprint[..8].copy_from_slice(&bytes.to_le_bytes());
    Ok(Put {
        id: id.to_owned(),
        fingerprint,
        payload: Bytes::from(vec![b'x'; bytes]),
    })
}

#[test]
fn the_limit_is_read_as_the_gateway_writes_it() {
    let read = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(STORAGE_HEADER, HeaderValue::from_str(text).unwrap());
        Quota::read(&headers).map(|quota| (quota.limit, quota.shadow))
    };
    assert_eq!(read("2147483648"), Some((2_147_483_648, false)));
    assert_eq!(read("10;shadow"), Some((10, true)));
    for none in ["", "ten", "-1", "10;off", ";shadow"] {
        assert_eq!(read(none), None, "{none}");
    }
    assert_eq!(Quota::read(&HeaderMap::new()), None);
}

/// Over any history of one transaction: the limit holds after every write that grew, a refusal changes nothing, and what is
/// reserved is what the documents are.
#[test]
fn used_and_reserved_never_pass_the_limit() {
    for seed in 0..300_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut random = |n: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % n as u64).unwrap()
        };
        let mut known = HashMap::new();
        let mut ledger = Ledger::default();
        for _ in 0..40 {
            let limit = [200, 500, 1_000][random(3)];
            let id = |n: usize| format!("d{n}");
            let work = match random(4) {
                0 => Work::Delete(id(random(6))),
                _ => Work::Put(
                    (0..=random(4))
                        .map(|_| put(&id(random(6)), random(200)))
                        .collect(),
                ),
            };
            let before = (known.clone(), ledger);
            let outcome = decide_within(&write(limit, work), &mut known, &mut ledger);
            let stored: u64 = known.values().map(|current: &Current| current.bytes).sum();
            assert_eq!(ledger.taken(), stored, "seed {seed}");
            match outcome {
                Ok(Some(decision)) => {
                    assert!(decision.growth <= 0 || stored <= limit, "seed {seed}");
                }
                Ok(None) => assert_eq!((known.clone(), ledger), before, "seed {seed}"),
                Err(over) => {
                    assert!(over.taken + over.growth > limit, "seed {seed}");
                    assert_eq!((known.clone(), ledger), before, "seed {seed}");
                }
            }
        }
    }
}

#[test]
fn what_is_under_way_is_counted_until_it_ends() {
    let (all, acme) = (Reservations::default(), TenantId::new("acme").unwrap());
    let first = all.hold(&acme, 10);
    let second = all.hold(&acme, 5);
    assert_eq!(all.of(&acme), 15);
    drop(first);
    assert_eq!(all.of(&acme), 5);
    drop(second);
    assert_eq!(all.of(&acme), 0);
    assert!(all.lock().is_empty());
}
