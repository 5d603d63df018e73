use super::*;

async fn answered(answer: &'static [u8]) -> Result<(), NotReady> {
    let (ours, mut theirs) = tokio::io::duplex(64 << 10);
    let serve = async move {
        let mut request = vec![0; 1024];
        let length = theirs.read(&mut request).await.unwrap();
        assert!(request[..length].starts_with(b"GET /ready HTTP/1.1\r\n"));
        theirs.write_all(answer).await.unwrap();
    };
    tokio::join!(get(ours, "/ready"), serve).0
}

#[tokio::test]
async fn answers_become_reasons() {
    assert_eq!(answered(b"HTTP/1.1 204 No Content\r\n\r\n").await, Ok(()));
    assert_eq!(answered(b"HTTP/1.0 200 OK\r\n\r\n").await, Ok(()));
    for (answer, expected) in [
        (&b"HTTP/1.1 404 Not Found\r\n\r\nno\n"[..], "GET /ready answered 404 no"),
        (b"", "GET /ready: no HTTP answer"),
        (b"SSH-2.0-OpenSSH\r\n", "GET /ready: no HTTP answer"),
        (
            b"HTTP/1.1 503 X\r\nA: b\r\n\r\n{\"state\":\"down\",\"components\":{\"bus\":{\"state\":\"ready\"},\"store\":{\"state\":\"down\",\"reason\":\"cannot be reached\"}}}",
            "store: cannot be reached",
        ),
        (b"HTTP/1.1 503 X\r\n\r\n{\"components\":{\"store\":\"down: disk full\",\"bus\":\"ready\"}}", "store: disk full"),
    ] {
        assert_eq!(answered(answer).await.unwrap_err().0, expected);
    }
}

#[tokio::test]
async fn a_closed_port_is_not_ready() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = probe(&Probe::TcpOpen { port: free }).await.unwrap_err();
    assert_eq!(error.0, format!("a connection to port {free}: nobody listens"));
}
