use super::*;
use proptest::prelude::*;

use crate::io::test_inbox;

fn decode(input: &[u8], piece: usize) -> Result<(Vec<u8>, usize), Malformed> {
    let mut body = Body::Chunked(Chunked::default());
    let (mut inbox, mut out, mut fed) = (test_inbox(b""), Vec::new(), 0);
    loop {
        match body.next(&mut inbox)? {
            Step::Data(count) => {
                out.extend_from_slice(&inbox.filled()[..count]);
                body.take(&mut inbox, count);
            }
            Step::End => return Ok((out, fed - inbox.filled().len())),
            Step::More if fed == input.len() => return Err(Malformed("truncated")),
            Step::More => {
                let next = &input[fed..(fed + piece).min(input.len())];
                fed += next.len();
                inbox = test_inbox(&[inbox.filled(), next].concat());
            }
        }
    }
}

#[test]
fn chunks_are_decoded_however_they_arrive() {
    let input = b"5\r\nhello\r\n0001;a=b;c=\"d e\"\r\n \r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nGET /next";
    for piece in 1..input.len() {
        let (body, used) = decode(input, piece).unwrap();
        assert_eq!(body, b"hello 0123456789");
        assert_eq!(&input[used..], b"GET /next");
    }
}

#[test]
fn chunk_tricks_are_refused() {
    for bad in [
        &b"5\nhello\r\n0\r\n\r\n"[..],
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        b"5;\x00\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5 ;a\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b";a\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"0\r\n Folded: x\r\n\r\n",
        b"0\r\nNo colon\r\n\r\n",
        b"0\r\nBad Name: x\r\n\r\n",
        b"0\r\n: x\r\n\r\n",
        b"0\r\nX: a\x00b\r\n\r\n",
        b"0\r\nX: a\n\r\n",
        b"0\r\n\n",
    ] {
        for piece in [1, 3, bad.len()] {
            assert!(decode(bad, piece).is_err(), "{}", bad.escape_ascii());
        }
    }
    assert!(decode(&[b"5;".as_slice(), &[b'a'; 600], b"\r\n"].concat(), 64).is_err());
    let extended = [b"1;".as_slice(), &[b'a'; 400], b"\r\nx\r\n"].concat();
    let end = b"0\r\n\r\n".as_slice();
    assert!(decode(&[&extended.repeat(30), end].concat(), 4_096).is_ok());
    assert!(decode(&[&extended.repeat(50), end].concat(), 4_096).is_err());
    let trailers = b"X: 1\r\n".repeat(2_000);
    assert!(decode(&[b"0\r\n".as_slice(), &trailers, b"\r\n"].concat(), 640).is_err());
}

#[test]
fn heads_end_at_an_empty_line_and_lines_end_in_crlf() {
    let mut at = 0;
    assert_eq!(
        head_end(b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest", &mut at),
        Ok(Some(24))
    );
    let mut at = 0;
    assert_eq!(head_end(b"GET / HTTP/1.1\r\nA: b\r\n", &mut at), Ok(None));
    assert_eq!(at, 22, "scanning goes on where it stopped");
    for bad in [
        &b"GET / HTTP/1.1\nA: b\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nA: b\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n\n",
        b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        b"GET / HTTP/1.1\r\n\tA: b\r\n\r\n",
    ] {
        let mut at = 0;
        assert!(head_end(bad, &mut at).is_err(), "{}", bad.escape_ascii());
    }
}

#[test]
fn content_length_is_digits_only() {
    assert_eq!(content_length(b"0"), Some(0));
    assert_eq!(content_length(b"0042"), Some(42));
    for bad in [
        "",
        "+1",
        "-1",
        " 1",
        "1 ",
        "1,1",
        "0x1",
        "1.0",
        "١",
        "99999999999999999999",
        "1e3",
    ] {
        assert_eq!(content_length(bad.as_bytes()), None, "{bad}");
    }
}

proptest! {
    /// What is accepted never depends on how it was cut into reads.
    #[test]
    fn cutting_changes_nothing(input in "[0-9a-fA-F]{1,2}\r\n[ -~\r\n;]{0,40}(0\r\n)?\r\n", piece in 1_usize..20) {
        let whole = decode(input.as_bytes(), input.len());
        let cut = decode(input.as_bytes(), piece);
        prop_assert_eq!(whole.ok(), cut.ok());
    }

    /// What is encoded in chunks comes back.
    #[test]
    fn chunks_round_trip(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 0..10), piece in 1_usize..400) {
        let mut input = Vec::new();
        for part in &parts {
            input.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
            input.extend_from_slice(part);
            input.extend_from_slice(b"\r\n");
        }
        input.extend_from_slice(b"0\r\n\r\n");
        let (body, used) = decode(&input, piece).unwrap();
        prop_assert_eq!(body, parts.concat());
        prop_assert_eq!(used, input.len());
    }

    /// Any bytes at all: an answer, never a panic.
    #[test]
    fn hostile_bytes_do_no_harm(input in proptest::collection::vec(any::<u8>(), 0..200), piece in 1_usize..50) {
        let _ = decode(&input, piece);
        let _ = head_end(&input, &mut 0);
    }
}
