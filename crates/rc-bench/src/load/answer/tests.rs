use super::{Answer, Malformed, read};

const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1";

const CHUNKED: &[u8] =
    b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n";

#[test]
fn an_answer_ends_where_its_length_says() {
    let whole = PLAIN.len() - 8;
    let answer = read(PLAIN).unwrap().unwrap();
    assert_eq!((answer.status, answer.end, answer.closes), (200, whole, false));
    assert_eq!(&PLAIN[answer.body..answer.end], b"hello");
}

#[test]
fn chunks_are_followed_to_the_last_one() {
    let answer = read(CHUNKED).unwrap().unwrap();
    assert_eq!(
        answer,
        Answer {
            status: 202,
            body: answer.body,
            end: CHUNKED.len(),
            closes: true
        }
    );
}

#[test]
fn a_part_is_not_an_answer_wherever_it_is_cut() {
    for cut in 0..PLAIN.len() - 8 {
        assert_eq!(read(&PLAIN[..cut]), Ok(None), "{cut}");
    }
    for cut in 0..CHUNKED.len() {
        assert_eq!(read(&CHUNKED[..cut]), Ok(None), "{cut}");
    }
}

#[test]
fn bodies_that_statuses_forbid_are_not_waited_for() {
    let bytes = b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n";
    assert_eq!(read(bytes).unwrap().unwrap().end, bytes.len());
}

#[test]
fn what_cannot_be_followed_is_an_error_and_not_a_wait() {
    for bytes in [
        &b"HTTP/1.0 200 OK\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        assert!(matches!(read(bytes), Err(Malformed(_))), "{bytes:?}");
    }
}
