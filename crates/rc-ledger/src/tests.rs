//! What the tests of this crate share: entries, keys and a clock.

use std::sync::Arc;

use rc_model::clock::ManualClock;
use rc_model::{Clock, Timestamp};
use uuid::Uuid;

use crate::{Actor, Entry, Outcome, Reason, Resource, Signer, Source};

pub(crate) const ORIGIN: &str = "royalcrown.test/prov-ledger";

/// 2026-11-21T10:00:00Z
pub(crate) const START_MS: u64 = 1_795_255_200_000;

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(Timestamp::from_unix_ms(START_MS as i64)))
}

pub(crate) fn signer() -> Signer {
    Signer::generate(ORIGIN).unwrap()
}

pub(crate) fn entry(source: &str, seq: u64) -> Entry {
    let id = u128::from(START_MS + seq) << 80 | 7 << 76 | 2 << 62 | u128::from(seq);
    Entry {
        id: Uuid::from_u128(id),
        at_ms: START_MS + seq,
        source: Source {
            id: source.to_owned(),
            seq,
        },
        actor: Actor {
            kind: "os-user".to_owned(),
            id: "1000".to_owned(),
        },
        action: "key.create".to_owned(),
        resource: Resource {
            kind: "api-key".to_owned(),
            id: format!("k{seq}"),
            tenant: Some("acme".to_owned()),
        },
        reason: Reason {
            code: "operator-request".to_owned(),
            text: None,
        },
        outcome: Outcome::Done,
        before: None,
        after: None,
        trace_id: None,
        detail: None,
    }
}

/// Encoded entries `from..=to` of one source.
pub(crate) fn entries(from: u64, to: u64) -> Vec<Vec<u8>> {
    (from..=to)
        .map(|seq| entry("test/1", seq).encode().unwrap())
        .collect()
}
