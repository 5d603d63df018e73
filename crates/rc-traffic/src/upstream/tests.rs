use super::*;
use proptest::prelude::*;

fn parse(text: &str, is_head: bool) -> Result<(ResponseHead, String), Malformed> {
    let mut fields = Vec::new();
    let head = parse_response(text.as_bytes(), is_head, &mut fields)?;
    Ok((head, String::from_utf8(fields).unwrap()))
}

#[test]
fn end_to_end_fields_go_on_and_the_hops_own_stay() {
    let text = "HTTP/1.1 200 OK\r\nContent-Type: a\r\nX-Own: b\r\nConnection: keep-alive, X-Hop\r\nX-Hop: c\r\nKeep-Alive: d\r\n\
                X-RC-Secret: e\r\nX-Request-Id: f\r\nRateLimit: g\r\nRateLimit-Policy: h\r\nUpgrade: i\r\nTrailer: j\r\n\
                Proxy-Connection: k\r\nContent-Length: 3\r\nSet-Cookie: l\r\nSet-Cookie: m\r\n\r\n";
    let (head, fields) = parse(text, false).unwrap();
    assert_eq!(
        fields,
        "Content-Type: a\r\nX-Own: b\r\nSet-Cookie: l\r\nSet-Cookie: m\r\n"
    );
    assert!(head.keep);
    assert_eq!(head.length, Length::Known(3));
}

#[test]
fn bodies_are_framed_by_status_method_and_fields() {
    let cases = [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
            false,
            Length::Known(3),
            Some(3),
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
            true,
            Length::Known(3),
            Some(0),
            true,
        ),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
            false,
            Length::Untold,
            Some(0),
            true,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
            false,
            Length::Known(3),
            Some(0),
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            false,
            Length::Unknown,
            None,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            true,
            Length::Untold,
            Some(0),
            true,
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", false, Length::Unknown, None, false),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            false,
            Length::Known(0),
            Some(0),
            false,
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n",
            false,
            Length::Known(3),
            Some(3),
            false,
        ),
        (
            "HTTP/1.1 500\r\nContent-Length: 0\r\n\r\n",
            false,
            Length::Known(0),
            Some(0),
            true,
        ),
    ];
    for (text, is_head, length, left, keep) in cases {
        let (head, _) = parse(text, is_head).unwrap();
        assert_eq!(
            (head.length, head.body.left(), head.keep),
            (length, left, keep),
            "{text}"
        );
    }
}

proptest! {
    /// Any bytes: an answer, never a panic, and no line end inside a field that goes on.
    #[test]
    fn hostile_responses_do_no_harm(status in "[ -~]{0,30}", lines in proptest::collection::vec("\\PC{0,30}", 0..6)) {
        let text = format!("HTTP/1.1 {status}\r\n{}\r\n\r\n", lines.join("\r\n"));
        if let Ok((_, fields)) = parse(&text, false) {
            for line in fields.split_terminator("\r\n") {
                prop_assert!(line.contains(':') && !line.contains(['\r', '\n', '\0']), "{line:?}");
            }
        }
    }
}
