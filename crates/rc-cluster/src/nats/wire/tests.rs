use proptest::prelude::*;

use super::*;

fn all(bytes: &[u8]) -> Result<Vec<Op>, NotNats> {
    let mut input = BytesMut::from(bytes);
    let mut ops = Vec::new();
    while let Some(op) = parse(&mut input)? {
        ops.push(op);
    }
    Ok(ops)
}

#[test]
fn a_server_is_understood() {
    let said = b"INFO {\"version\":\"2.15.2\",\"max_payload\":1048576,\"new\":[1]}\r\nPING\r\n+OK\r\n\
        -ERR 'Authorization Violation'\r\nMSG a.b 1 5\r\nhello\r\nMSG a 1 re.ply 0\r\n\r\n\
        HMSG a.b 1 28 30\r\nNATS/1.0\r\nce-id: a b\r\nX:\r\n\r\n{}\r\nHMSG in 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\npong\r\n";
    let ops = all(said).unwrap();
    assert_eq!(ops.len(), 9);
    assert!(matches!(&ops[0], Op::Info(info) if info.version == "2.15.2" && info.max_payload == 1 << 20));
    assert!(matches!(&ops[3], Op::Err(text) if text == "Authorization Violation"));
    assert!(matches!(&ops[4], Op::Message(message) if &message.payload[..] == b"hello"));
    let Op::Message(with_headers) = &ops[6] else {
        panic!("{:?}", ops[6]);
    };
    assert_eq!(with_headers.headers.get("ce-id"), Some("a b"));
    assert_eq!(with_headers.headers.get("X"), Some(""));
    assert_eq!(with_headers.headers.status(), None);
    assert_eq!(&with_headers.payload[..], b"{}");
    assert!(matches!(&ops[7], Op::Message(message) if message.headers.status() == Some(503)));
    assert!(matches!(ops[8], Op::Pong));
}

#[test]
fn what_is_not_the_protocol_is_refused() {
    for said in [
        &b"HTTP/1.1 200 OK\r\n"[..],
        b"MSG a\r\n",
        b"MSG a 1 -5\r\n",
        b"MSG a 1 99999999999999999999\r\n",
        b"MSG a 1 999999999\r\n",
        b"MSG a 1 2\r\nhello\r\n",
        b"HMSG a 1 9 3\r\nabc\r\n",
        b"INFO {\r\n",
        b"\xff\xfe\r\n",
    ] {
        assert!(all(said).is_err(), "{}", String::from_utf8_lossy(said));
    }
    let endless = vec![b'a'; LINE_BYTES_MAX + 1];
    assert!(all(&endless).is_err());
}

proptest! {
    #[test]
    fn a_message_in_pieces_is_the_message(
        value in "\\PC{0,40}", payload in prop::collection::vec(any::<u8>(), 0..200), cut in 1..50_usize,
    ) {
        let mut block = HeaderBlock::new();
        block.put("ce-subject", &value);
        let headers = block.finish();
        let mut out = Vec::new();
        put_message(&mut out, "a.b", Some("re"), &headers, &payload);
        // What we publish is what a server delivers, but for the verb and the subscription.
        let text = out.splice(..b"HPUB a.b re".len(), *b"HMSG a.b 1 re").collect::<Vec<u8>>();
        prop_assert_eq!(text, b"HPUB a.b re");
        let mut input = BytesMut::new();
        let mut found = None;
        for piece in out.chunks(cut) {
            prop_assert!(found.is_none());
            input.extend_from_slice(piece);
            found = parse(&mut input).unwrap();
        }
        let Some(Op::Message(message)) = found else { panic!("{found:?}") };
        prop_assert_eq!(&message.payload[..], &payload[..]);
        prop_assert_eq!(unpercent(message.headers.get("ce-subject").unwrap()), Some(value));
        prop_assert!(input.is_empty());
    }

    #[test]
    fn any_text_has_a_token_of_its_own(text in "\\PC{0,40}", other in "\\PC{0,40}") {
        let made = token(&text);
        prop_assert!(!made.is_empty());
        prop_assert!(made.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=".contains(&b)));
        prop_assert_eq!(untoken(&made), Some(text.clone()));
        prop_assert_eq!(token(&other) == made, other == text);
    }

    #[test]
    fn hostile_bytes_are_refused_or_wait(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _either = all(&bytes);
    }
}
