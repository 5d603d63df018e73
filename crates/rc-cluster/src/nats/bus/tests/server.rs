//! Which servers and streams may carry the bus, and who may log in.

use std::io::Write as _;

use rc_model::clock::SystemClock;

use super::*;

fn bus(url: &str) -> NatsBus {
    NatsBus::new(NatsOptions::parse(url).unwrap(), SystemClock::shared())
}

async fn code(bus: &NatsBus) -> Option<&'static str> {
    bus.tail().await.err().map(|error| error.code())
}

#[tokio::test]
async fn live_a_server_that_may_lose_what_it_acknowledges_is_refused() {
    let server = Nats::start_own(Sync::Default, "");
    let (address, monitor) = (server.address(), server.monitor());
    for (options, expect) in [
        (format!("?monitor={monitor}"), Some("RC-EVT-042")),
        (String::new(), Some("RC-EVT-042")),
        ("?monitor=127.0.0.1:1".to_owned(), Some("RC-EVT-012")),
        // Not a report of a server.
        (format!("?monitor={address}&deadline_ms=500"), Some("RC-EVT-012")),
        ("?durability=always".to_owned(), None),
        ("?durability=server-default".to_owned(), None),
    ] {
        assert_eq!(
            code(&bus(&format!("nats://{address}/orders{options}"))).await,
            expect,
            "{options}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_too_old_is_refused() {
    let old = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = old.local_addr().unwrap();
    let speaking = std::thread::spawn(move || {
        let (mut client, _) = old.accept().unwrap();
        let info = br#"INFO {"version":"2.12.9","headers":true,"max_payload":1048576,"jetstream":true}"#;
        client.write_all(info).unwrap();
        client.write_all(b"\r\n").unwrap();
    });
    let bus = bus(&format!("nats://{address}?durability=always"));
    let error = bus.tail().await.unwrap_err();
    assert_eq!(error.code(), "RC-EVT-040");
    assert!(error.to_string().contains("2.12.9"), "{error}");
    speaking.join().unwrap();
}

#[tokio::test]
async fn live_a_stream_that_is_no_bus_is_refused_with_the_setting() {
    let world = World::shared().await;
    let bus = world.process();
    let good = json!({
        "name": bus.name(), "subjects": [format!("{}.>", bus.name())], "storage": "file", "discard": "new",
        "allow_direct": true, "allow_atomic": true, "metadata": {"rc-bus": "x"}
    });
    for (setting, value) in [
        ("storage", json!("memory")),
        ("discard", json!("old")),
        ("allow_atomic", json!(false)),
        ("max_age", json!(3_600_000_000_000_u64)),
        ("metadata", json!({})),
    ] {
        let mut config = good.clone();
        config[setting] = value;
        let made: Answer<StreamInfo> = {
            let verb = format!("STREAM.CREATE.{}", bus.name());
            bus.client.api("create", &verb, &config).await.unwrap()
        };
        made.unwrap();
        let error = world.process().tail().await.unwrap_err();
        assert_eq!(error.code(), "RC-EVT-043");
        assert!(error.to_string().contains(setting), "{error}");
        let verb = format!("STREAM.DELETE.{}", bus.name());
        let deleted: Answer<StreamInfo> = bus.client.api("delete", &verb, &json!({})).await.unwrap();
        deleted.unwrap();
    }
}

#[tokio::test]
async fn live_users_log_in_by_password_token_or_key() {
    let folder = tempfile::tempdir().unwrap();
    let seed = folder.path().join("user.nk");
    fs_err::write(
        &seed,
        "SUABZ4W7XQANX452P6J5C7JN3ZUZZAP7CORBZ7CUP2PSLHKLYDRJA4RH4Q\n",
    )
    .unwrap();
    let users = "authorization { users: [ {user: \"bob\", password: \"p@ss:w\"}, \
                 {nkey: \"UBU4DASIQEWKJD3UR2CQK3H7ZI4B64QBQJWIGTNZUXG5PUMBMEA2LAJK\"} ] }";
    let server = Nats::start_own(Sync::Always, users);
    let at = server.address();
    let nkey = format!("nats://{at}/orders?durability=always&nkey={}", seed.display());
    for (url, expect) in [
        (
            format!("nats://bob:p%40ss%3Aw@{at}/orders?durability=always"),
            None,
        ),
        (nkey, None),
        (
            format!("nats://bob:wrong@{at}/orders?durability=always"),
            Some("RC-EVT-045"),
        ),
        (
            format!("nats://{at}/orders?durability=always"),
            Some("RC-EVT-045"),
        ),
        (
            format!("nats://{at}/orders?durability=always&nkey=/nowhere"),
            Some("RC-EVT-003"),
        ),
    ] {
        assert_eq!(code(&bus(&url)).await, expect, "{url}");
    }
    let server = Nats::start_own(Sync::Always, "authorization { token: \"t0ken\" }");
    let at = server.address();
    assert_eq!(
        code(&bus(&format!("nats://t0ken@{at}/orders?durability=always"))).await,
        None
    );
}

#[tokio::test]
async fn live_a_server_that_wants_tls_gets_it_and_must_be_known() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs_err::write(&cert, made.cert.pem()).unwrap();
    fs_err::write(&key, made.signing_key.serialize_pem()).unwrap();
    let settings = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\" }}",
        cert.display(),
        key.display()
    );
    let server = Nats::start_own(Sync::Always, &settings);
    let at = format!("localhost:{}/orders?durability=always", server.address().port());
    let known = format!("&ca={}", cert.display());
    assert_eq!(code(&bus(&format!("nats://{at}{known}"))).await, None);
    assert_eq!(code(&bus(&format!("tls://{at}{known}"))).await, None);
    // The system's authorities do not know it.
    assert!(code(&bus(&format!("tls://{at}"))).await.is_some());
}

#[tokio::test]
async fn live_three_replicas_outlive_the_loss_of_each_in_turn() {
    let servers = Nats::start_cluster(3);
    let at: Vec<String> = servers
        .iter()
        .map(|server| server.address().to_string())
        .collect();
    let url = format!(
        "nats://{}/orders?replicas=3&durability=always&max_bytes=100000000",
        at.join(",")
    );
    let bus = bus(&url);
    rc_test::eventually(
        Duration::from_secs(90),
        "the servers have found each other",
        async || bus.tail().await.is_ok(),
    )
    .await;
    let mut upto = 0;
    for server in &servers {
        upto += 20;
        relay(&bus, upto, 7).await;
        server.kill();
        upto += 20;
        relay(&bus, upto, 7).await;
        server.start_again();
    }
    assert_exact(&bus, upto).await;
    let info = bus.info().await.unwrap();
    assert_eq!(info.config["num_replicas"], 3);
}
