use proptest::prelude::*;

use super::*;
use crate::tests::entry as sample;

fn commitment() -> impl Strategy<Value = Commitment> {
    (any::<[u8; 32]>(), any::<u64>()).prop_map(|(sha256, size)| Commitment { sha256, size })
}

prop_compose! {
    fn entry()(
        (id, at_ms, seq, outcome) in (any::<u128>(), 0..AT_MS_END, 1..u64::MAX, 0..3_u8),
        (source, actor, resource_id) in ("[!-~]{1,40}", "[!-~]{1,40}", "[!-~]{1,256}"),
        tenant in proptest::option::of("[!-~]{1,20}"),
        (action, kind, code) in (
            "[a-z][a-z0-9_-]{0,9}(\\.[a-z][a-z0-9_-]{0,9}){0,3}", "[a-z][a-z0-9-]{0,20}", "[a-z]{1,9}"
        ),
        before in any::<Option<[u8; 32]>>(),
        after in any::<Option<[u8; 32]>>(),
        trace_id in any::<Option<u128>>(),
        text in proptest::option::of(commitment()),
        detail in proptest::option::of(commitment()),
    ) -> Entry {
        Entry {
            id: Uuid::from_u128((id & !(0xf << 76) & !(3 << 62)) | 7 << 76 | 2 << 62),
            at_ms,
            source: Source { id: source, seq },
            actor: Actor { kind: kind.clone(), id: actor },
            action,
            resource: Resource { kind, id: resource_id, tenant },
            reason: Reason { code, text },
            outcome: [Outcome::Done, Outcome::Refused, Outcome::Failed][usize::from(outcome)],
            before,
            after,
            trace_id,
            detail,
        }
    }
}

proptest! {
    #[test]
    fn entries_come_back_as_they_were(entry in entry()) {
        let bytes = entry.encode().unwrap();
        prop_assert_eq!(Entry::decode(&bytes).unwrap(), entry);
    }

    #[test]
    fn what_is_taken_is_canonical(entry in entry(), at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = entry.encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        if let Ok(taken) = Entry::decode(&bytes) {
            prop_assert_eq!(taken.encode().unwrap(), bytes);
        }
    }

    #[test]
    fn any_bytes_are_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(taken) = Entry::decode(&bytes) {
            prop_assert_eq!(taken.encode().unwrap(), bytes);
        }
    }
}

#[test]
fn the_bytes_of_version_1_do_not_change() {
    let mut entry = sample("docs-api/1", 300);
    entry.after = Some([0xaa; 32]);
    entry.reason.text = Some(Commitment {
        sha256: [0xbb; 32],
        size: 24,
    });
    let bytes = entry.encode().unwrap();
    assert_eq!(
        data_encoding::HEXLOWER.encode(&bytes),
        concat!(
            "aa",
            "0001",
            "0150",
            "01a1fd8c6a2c70008000000000000",
            "12c",
            "021b000001a1fd8c6a2c",
            "03826a646f63732d6170692f3119012c",
            "0482676f732d757365726431303030",
            "056a6b65792e637265617465",
            "06a300676170692d6b657901646b333030026461636d65",
            "07a200706f70657261746f722d726571756573740182",
            "5820bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
            "1818",
            "0800",
            "0a5820aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        )
    );
    assert_eq!(Entry::decode(&bytes).unwrap(), entry);
}

#[test]
fn cut_off_or_longer_is_refused() {
    let bytes = sample("s/1", 1).encode().unwrap();
    for len in 0..bytes.len() {
        assert!(Entry::decode(&bytes[..len]).is_err(), "{len}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(Entry::decode(&longer).is_err());
}

#[test]
fn other_versions_are_refused_by_name() {
    let mut bytes = sample("s/1", 1).encode().unwrap();
    bytes[2] = 2;
    let error = Entry::decode(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "malformed entry: version 2 is not known");
}

#[test]
fn sentences_and_people_do_not_fit() {
    let check = |change: fn(&mut Entry)| {
        let mut entry = sample("s/1", 1);
        change(&mut entry);
        assert_eq!(entry.encode().unwrap_err().code(), "RC-LED-009", "{entry:?}");
    };
    check(|entry| entry.action = "Key.create".to_owned());
    check(|entry| entry.action = "key..create".to_owned());
    check(|entry| entry.action = String::new());
    check(|entry| entry.action = "a".repeat(65));
    check(|entry| entry.action = "key.2fa".to_owned());
    check(|entry| entry.reason.code = "because I say so".to_owned());
    check(|entry| entry.actor.id = "Ada Lovelace".to_owned());
    check(|entry| entry.actor.id = "zoë".to_owned());
    check(|entry| entry.resource.id = "x".repeat(257));
    check(|entry| entry.resource.tenant = Some(String::new()));
    check(|entry| entry.source.id = "line\nbreak".to_owned());
    check(|entry| entry.source.seq = 0);
    check(|entry| entry.at_ms = AT_MS_END);
    check(|entry| entry.id = Uuid::nil());
}

#[test]
fn a_commitment_opens_with_its_salt_and_bytes_only() {
    let salt = Commitment::salt().unwrap();
    let commitment = Commitment::new(&salt, b"rotated after an incident");
    assert!(commitment.opens(&salt, b"rotated after an incident"));
    assert!(!commitment.opens(&salt, b"rotated after an accident"));
    assert!(!commitment.opens(&[0; 32], b"rotated after an incident"));
    assert_ne!(salt, Commitment::salt().unwrap());
}
