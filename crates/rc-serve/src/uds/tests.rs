use super::*;

async fn round_trip(path: &Path) {
    let listener = bind(path).unwrap();
    let mode = fs_err::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let app = axum::Router::new().route("/hello", axum::routing::get(|| async { "hello" }));
    let server = async { axum::serve(listener, app).await.unwrap() };
    let request = http::Request::get("/hello").body(Bytes::new()).unwrap();
    tokio::select! {
        () = server => panic!("the server ended"),
        answer = call(path, request, Duration::from_secs(5)) => {
            assert_eq!(answer.unwrap().into_body(), "hello");
        }
    }
}

#[tokio::test]
async fn a_call_reaches_a_socket_at_a_short_and_at_a_long_path() {
    let dir = tempfile::tempdir().unwrap();
    round_trip(&dir.path().join("a.sock")).await;
    let deep = dir.path().join("x".repeat(120));
    fs_err::create_dir_all(&deep).unwrap();
    round_trip(&deep.join("a.sock")).await;
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    drop(bind(&path).unwrap());
    let live = bind(&path).unwrap();
    assert_eq!(bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    drop(live);
}

#[tokio::test]
async fn a_call_to_nobody_says_so_and_a_silent_server_meets_the_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.sock");
    let get = || http::Request::get("/").body(Bytes::new()).unwrap();
    let error = call(&path, get(), Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, CallError::Connect { .. }), "{error}");
    let _silent = bind(&path).unwrap();
    let error = call(&path, get(), Duration::from_millis(30)).await.unwrap_err();
    assert!(matches!(error, CallError::Deadline { .. }), "{error}");
}
