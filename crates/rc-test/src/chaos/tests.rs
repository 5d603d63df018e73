use super::*;

/// A server that gives back what it gets.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawn("echo", move || {
        for stream in listener.incoming().flatten() {
            spawn("echo-one", move || {
                let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
    });
    address
}

fn ask(stream: &mut TcpStream) -> std::io::Result<[u8; 4]> {
    stream.set_read_timeout(Some(Duration::from_millis(300)))?;
    stream.write_all(b"ping")?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

#[test]
fn the_weather_is_what_it_says() {
    let proxy = Proxy::tcp(echo());
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    assert_eq!(&ask(&mut stream).unwrap(), b"ping");

    proxy.set(Weather::Slow(Duration::from_millis(60)));
    let start = tokio::time::Instant::now();
    assert_eq!(&ask(&mut stream).unwrap(), b"ping");
    assert!(
        start.elapsed() >= Duration::from_millis(120),
        "{:?}",
        start.elapsed()
    );

    proxy.set(Weather::Silent);
    assert!(ask(&mut stream).is_err(), "nothing passes");
    proxy.set(Weather::Clear);
    let mut late = [0; 4];
    stream.read_exact(&mut late).unwrap();
    assert_eq!(&late, b"ping", "it arrives when the cable is back");

    assert_eq!(proxy.cut(), 1);
    assert!(ask(&mut stream).is_err());
    proxy.set(Weather::Refusing);
    let refused = TcpStream::connect(proxy.address()).and_then(|mut stream| ask(&mut stream));
    assert!(refused.is_err());
    proxy.set(Weather::Clear);
    let mut again = TcpStream::connect(proxy.address()).unwrap();
    assert_eq!(&ask(&mut again).unwrap(), b"ping");
}

#[test]
fn half_closed_connections_stay_half_closed_and_sockets_of_files_work() {
    let folder = tempfile::tempdir().unwrap();
    let (at, target) = (folder.path().join("a"), folder.path().join("b"));
    let listener = UnixListener::bind(&target).unwrap();
    spawn("server", move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(&all).unwrap();
    });
    let proxy = Proxy::unix(&at, &target);
    let mut stream = UnixStream::connect(&at).unwrap();
    stream.write_all(b"half").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "half");
    drop(proxy);
    assert!(UnixStream::connect(&at).is_err());
}
