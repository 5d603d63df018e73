use super::*;
use crate::ingest::body::Put;
use crate::ingest::fault::{self, Fault};

fn put(id: &str, content: u8) -> Item {
    Ok(Put {
        id: id.to_owned(),
        fingerprint: [content; 16],
        payload: Bytes::from(format!("{id}{content}")),
    })
}

fn write(work: Work) -> Write {
    Write {
        tenant: TenantId::new("acme").unwrap(),
        route: Route::Batch,
        key: Some("k".to_owned()),
        request_hash: [0; 32],
        work,
        quota: None,
        full: true,
        batch: Uuid::nil(),
        at: Timestamp::from_unix_ms(0),
        trace: TraceContext::start(|| 1),
    }
}

fn states(decision: &Decision) -> Vec<(Status, Option<u64>)> {
    decision
        .items
        .iter()
        .map(|item| (item.status, item.version))
        .collect()
}

fn effects(decision: &Decision) -> Vec<(&str, u64, &str)> {
    decision
        .effects
        .iter()
        .map(|effect| (effect.id.as_str(), effect.version, effect.event_type))
        .collect()
}

#[test]
fn an_id_given_twice_is_applied_in_order() {
    let mut known = HashMap::new();
    let items = vec![
        put("b", 1),
        put("a", 1),
        put("b", 2),
        put("b", 2),
        Err(Fault::body(fault::NUL, "x")),
        put("b", 1),
    ];
    let decision = decide(&write(Work::Put(items)), &mut known).unwrap();
    assert_eq!(
        states(&decision),
        [
            (Status::Accepted, Some(1)),
            (Status::Accepted, Some(1)),
            (Status::Accepted, Some(2)),
            (Status::Duplicate, Some(2)),
            (Status::Rejected, None),
            (Status::Accepted, Some(3)),
        ]
    );
    assert_eq!(
        effects(&decision),
        [
            ("b", 1, document::PUT),
            ("a", 1, document::PUT),
            ("b", 2, document::PUT),
            ("b", 3, document::PUT)
        ]
    );
    let changed: Vec<_> = decision
        .changed
        .iter()
        .map(|(id, c)| (id.as_str(), c.version))
        .collect();
    assert_eq!(changed, [("a", 1), ("b", 3)]);
    assert_eq!(decision.docs, [("a".to_owned(), 1), ("b".to_owned(), 3)]);
    assert_eq!(known["b"].version, 3);
}

#[test]
fn a_tombstone_keeps_the_version_and_equal_content_comes_back_as_new() {
    let mut known = HashMap::new();
    decide(&write(Work::Put(vec![put("a", 1)])), &mut known).unwrap();
    let deleted = decide(&write(Work::Delete("a".to_owned())), &mut known).unwrap();
    assert_eq!(effects(&deleted), [("a", 2, document::DELETED)]);
    assert!(known["a"].deleted);
    assert!(decide(&write(Work::Delete("a".to_owned())), &mut known).is_none());
    assert!(decide(&write(Work::Delete("never".to_owned())), &mut known).is_none());
    let again = decide(&write(Work::Put(vec![put("a", 1)])), &mut known).unwrap();
    assert_eq!(states(&again), [(Status::Accepted, Some(3))]);
}

/// Versions per document are 1, 2, 3, ... over any mix of requests, and replaying the effects gives the
/// state that was decided.
#[test]
fn versions_have_no_gaps_over_any_history() {
    for seed in 0..200_u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut random = |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % n
        };
        let mut known = HashMap::new();
        let mut replayed: HashMap<String, Current> = HashMap::new();
        let mut stored = 0;
        for _ in 0..20 {
            let id = |n: u64| format!("d{n}");
            let work = if random(5) == 0 {
                Work::Delete(id(random(4)))
            } else {
                let count = 1 + random(6);
                let items = (0..count)
                    .map(|_| put(&id(random(4)), u8::try_from(random(3)).unwrap() + 1))
                    .collect();
                Work::Put(items)
            };
            let Some(decision) = decide(&write(work), &mut known) else {
                continue;
            };
            for effect in &decision.effects {
                let last = replayed.get(&effect.id).map_or(0, |current| current.version);
                assert_eq!(effect.version, last + 1, "seed {seed}");
                let current = Current {
                    version: effect.version,
                    fingerprint: effect.fingerprint,
                    deleted: effect.event_type == document::DELETED,
                    bytes: match effect.event_type {
                        document::DELETED => 0,
                        _ => effect.payload.len() as u64,
                    },
                };
                replayed.insert(effect.id.clone(), current);
            }
            stored += decision.growth;
            let bytes: u64 = known.values().map(|current| current.bytes).sum();
            assert_eq!(stored, signed(bytes), "seed {seed}");
            for (id, current) in &decision.changed {
                assert_eq!(replayed[id], *current, "seed {seed}");
            }
        }
        for (id, current) in &known {
            assert_eq!(replayed[&**id], *current, "seed {seed}");
        }
    }
}
