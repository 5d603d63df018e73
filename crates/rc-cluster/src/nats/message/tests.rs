use bytes::BytesMut;
use proptest::prelude::*;

use super::super::wire::{self, Op};
use super::*;

/// What a server makes of a message: the same headers, and its own behind them.
fn delivered(headers: &[u8], payload: &[u8], seq: i64) -> Message {
    let mut headers = headers[..headers.len() - 2].to_vec();
    headers.extend_from_slice(format!("Nats-Sequence: {seq}\r\n\r\n").as_bytes());
    let mut out = Vec::new();
    wire::put_message(&mut out, "in 1", None, &headers, payload);
    out[..4].copy_from_slice(b"HMSG");
    // `HPUB` begins as `HMSG` does but for its verb.
    match wire::parse(&mut BytesMut::from(&out[..])).unwrap() {
        Some(Op::Message(message)) => message,
        other => panic!("{other:?}"),
    }
}

fn in_batch(cursor: &Cursor) -> InBatch<'_> {
    InBatch {
        id: "b",
        number: 1,
        first: Some((Some(7), cursor)),
        last: Some((cursor, false)),
    }
}

prop_compose! {
    fn any_event()(
        id in any::<[u8; 16]>(), fingerprint in any::<[u8; 16]>(),
        topic in "\\PC{1,20}", key in "[^\0]{1,40}", kind in "\\PC{1,20}",
        kseq in 1..u64::MAX, schema in any::<u16>(), time in any::<i64>(),
        increasing in any::<bool>(), traced in prop::option::of((1..u128::MAX, 1..u64::MAX)),
        payload in prop::collection::vec(any::<u8>(), 0..100),
    ) -> NewEvent {
        NewEvent {
            id: Uuid::from_bytes(id),
            tenant: TenantId::new("acme-1").unwrap(),
            topic: topic.into(),
            key,
            kseq,
            numbering: if increasing { Numbering::Increasing } else { Numbering::Consecutive },
            event_type: kind.into(),
            schema,
            time: Timestamp::from_unix_ms(time),
            fingerprint,
            trace: traced.and_then(|(trace, span)| {
                TraceContext::parse(format!("00-{trace:032x}-{span:016x}-01").as_bytes())
            }),
            payload: payload.into(),
        }
    }
}

proptest! {
    #[test]
    fn an_event_comes_back_bit_by_bit(event in any_event(), pos in any::<i64>(), seq in 1..i64::MAX, at in "\\PC{0,30}") {
        let record = Record { origin_pos: pos, event };
        let cursor = Cursor::new(at);
        let headers = headers("billing", &record, &in_batch(&cursor));
        let message = delivered(&headers, &record.event.payload, seq);
        let event = super::event(&message).unwrap();
        prop_assert_eq!(event.pos, seq);
        prop_assert_eq!(event.event, record.event);
        prop_assert_eq!(text(&message, CURSOR).unwrap(), Some(cursor.as_str().to_owned()));
        prop_assert_eq!(number::<i64>(&message, "Rc-Pos").unwrap(), pos);
    }

    #[test]
    fn subjects_hold_no_text_of_others(event in any_event(), origin in "\\PC{0,20}") {
        let subject = subject("orders", &origin, &event);
        prop_assert_eq!(subject.split('.').count(), 5);
        prop_assert!(subject.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=.".contains(&b)), "{}", subject);
        prop_assert!(subject.split('.').all(|part| !part.is_empty()));
    }
}

#[test]
fn a_message_of_somebody_else_is_damage_and_not_an_event() {
    let record = Record {
        origin_pos: 1,
        event: rc_events::contract::event("acme", "k", 1),
    };
    let whole = headers("ingest", &record, &in_batch(&Cursor::new("1")));
    let whole = String::from_utf8(whole).unwrap();
    assert!(event(&delivered(whole.as_bytes(), b"{}", 5)).is_ok());
    for (name, value) in [
        ("ce-id", "1"),
        ("ce-time", "yesterday"),
        ("ce-tenantid", "A B"),
        ("ce-sequence", "-1"),
        ("ce-subject", "%zz"),
        ("Rc-Fingerprint", "07"),
        ("Rc-Schema", "70000"),
    ] {
        let broken: String = whole
            .split_inclusive("\r\n")
            .map(|line| match line.starts_with(&format!("{name}:")) {
                true => format!("{name}: {value}\r\n"),
                false => line.to_owned(),
            })
            .collect();
        let error = event(&delivered(broken.as_bytes(), b"{}", 5)).unwrap_err();
        assert_eq!(error.code(), "RC-EVT-008", "{name}");
    }
}
