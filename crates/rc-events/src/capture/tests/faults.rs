//! What a capture refuses, what it says when it lost something, and how large it grows.

use super::*;

#[tokio::test]
async fn live_capture_refuses_tables_that_it_cannot_keep_in_order() {
    let world = World::sqlite().await;
    let shop = Shop::new(
        "CREATE TABLE no_key (a int);
         CREATE TABLE nothing (a int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
         CREATE TABLE later (a int PRIMARY KEY DEFERRABLE);
         CREATE TABLE owned (a int PRIMARY KEY, tenant text);
         CREATE VIEW seen AS SELECT * FROM owned;",
    )
    .await;
    for (table, column) in [
        ("no_key", None),
        ("nothing", None),
        ("later", None),
        ("seen", None),
        ("missing", None),
        ("owned", Some("tenant")),
        ("owned", Some("nobody")),
    ] {
        let options = CaptureOptions {
            tenant_column: column.map(str::to_owned),
            ..shop.options(&[table])
        };
        let mut running = run(shop.source(options), &world.bus, 1_000);
        running.fails_with("RC-EVT-034").await;
        let (_, said) = running.status.borrow().error.clone().unwrap();
        println!("{said}");
        running.end().await;
    }
    assert!("".parse::<TableName>().is_err() && "a.".parse::<TableName>().is_err());
}

#[tokio::test]
async fn live_capture_rows_go_to_the_tenant_of_their_column() {
    let world = World::sqlite().await;
    let mut shop = Shop::new("CREATE TABLE owned (a int, tenant text, PRIMARY KEY (tenant, a))").await;
    let options = CaptureOptions {
        tenant_column: Some("tenant".to_owned()),
        ..shop.options(&["owned"])
    };
    shop.run("INSERT INTO owned VALUES (1, 'beta'), (2, 'Not A Tenant')")
        .await;
    let source = shop.source(options);
    let running = run(Arc::clone(&source), &world.bus, 1_000);
    running.follows(&source).await;
    shop.run("UPDATE owned SET tenant = 'gamma' WHERE a = 1; DELETE FROM owned WHERE a = 1")
        .await;
    rc_test::eventually(Duration::from_secs(20), "all is captured", async || {
        changes(&world.bus).await.len() >= 5
    })
    .await;
    running.end().await;
    for event in read_all(&world.bus)
        .await
        .iter()
        .filter(|event| event.key.starts_with('['))
    {
        let expect = ["beta", "gamma"]
            .into_iter()
            .find(|name| event.key.contains(name))
            .unwrap_or("acme");
        assert_eq!(event.tenant.as_str(), expect, "{event:?}");
    }
}

#[tokio::test]
async fn live_capture_says_that_its_slot_is_gone_and_starts_anew_when_told_to() {
    let (mut shop, world) = (Shop::new(COUNTERS).await, World::sqlite().await);
    shop.run("INSERT INTO counters VALUES (1, 1, 'a')").await;
    let running = run(shop.source(shop.options(&["counters"])), &world.bus, 1_000);
    check(&mut shop, &world.bus, "counters", &running).await;
    running.end().await;
    let source = shop.source(shop.options(&["counters"]));
    let name = source.health().await.unwrap().pop().unwrap().name;
    shop.server
        .admin(&[&format!("SELECT pg_drop_replication_slot('{name}')")]);
    shop.run("DELETE FROM counters; INSERT INTO counters VALUES (2, 1, 'b')")
        .await;

    let mut running = run(source, &world.bus, 1_000);
    running.fails_with("RC-EVT-032").await;
    running.end().await;

    let before = read_all(&world.bus).await.len();
    let anew = CaptureOptions {
        resnapshot: true,
        ..shop.options(&["counters"])
    };
    let running = run(shop.source(anew), &world.bus, 1_000);
    rc_test::eventually(Duration::from_secs(20), "it is read anew", async || {
        read_all(&world.bus).await.len() >= before + 3
    })
    .await;
    shop.run("UPDATE counters SET n = 5").await;
    rc_test::eventually(Duration::from_secs(20), "it follows", async || {
        read_all(&world.bus).await.len() >= before + 4
    })
    .await;
    running.end().await;
    let events = read_all(&world.bus).await;
    let kinds: Vec<&str> = events[before..].iter().map(|event| &*event.event_type).collect();
    assert_eq!(
        kinds,
        [
            "rc.cdc.resync.v1",
            "rc.cdc.schema.v1",
            "rc.cdc.insert.v1",
            "rc.cdc.update.v1"
        ]
    );
    assert!(
        events[before..]
            .iter()
            .all(|event| event.kseq > events[before - 1].kseq)
    );
}

#[tokio::test]
async fn live_capture_a_slot_that_somebody_moved_is_a_gap() {
    let (mut shop, world) = (Shop::new(COUNTERS).await, World::sqlite().await);
    let running = run(shop.source(shop.options(&["counters"])), &world.bus, 1_000);
    shop.run("INSERT INTO counters VALUES (1, 1, 'a')").await;
    check(&mut shop, &world.bus, "counters", &running).await;
    running.end().await;
    shop.run("INSERT INTO counters VALUES (2, 1, 'b')").await;
    let source = shop.source(shop.options(&["counters"]));
    let name = source.health().await.unwrap().pop().unwrap().name;
    let advance = format!("SELECT pg_replication_slot_advance('{name}', pg_current_wal_insert_lsn())");
    let _ = shop.server.ask(&shop.database, &advance);
    let mut running = run(source, &world.bus, 1_000);
    running.fails_with("RC-EVT-032").await;
    running.end().await;
}

#[tokio::test]
async fn live_capture_of_quiet_tables_lets_the_wal_of_others_go() {
    let (mut shop, world) = (Shop::new(COUNTERS).await, World::sqlite().await);
    shop.run("CREATE TABLE noise (pad text)").await;
    let options = CaptureOptions {
        idle_wal_bytes_max: 1_000_000,
        ..shop.options(&["counters"])
    };
    let source = shop.source(options);
    let running = run(Arc::clone(&source), &world.bus, 1_000);
    shop.run("INSERT INTO counters VALUES (1, 1, 'a')").await;
    check(&mut shop, &world.bus, "counters", &running).await;
    let before = source.health().await.unwrap()[0].confirmed.unwrap();
    for _ in 0..5 {
        shop.run("INSERT INTO noise SELECT repeat('x', 500) FROM generate_series(1, 4000)")
            .await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    rc_test::eventually(Duration::from_secs(20), "the slot moves on", async || {
        source.health().await.unwrap()[0].confirmed.unwrap().0 > before.0 + 8_000_000
    })
    .await;
    running.end().await;
    let events = read_all(&world.bus).await;
    let beats = events
        .iter()
        .filter(|event| event.event_type == "rc.cdc.heartbeat.v1")
        .count();
    // One for each idle megabyte at most, whoever on this server wrote it.
    let end = shop
        .rows("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS end")
        .await;
    let written = end[0]["end"].as_f64().unwrap() - before.0 as f64;
    assert!(
        beats >= 1 && (beats as f64) <= 1.0 + written / 1e6,
        "{beats} for {written} bytes"
    );
    // And the slot is not ahead of the bus.
    let running = run(source, &world.bus, 1_000);
    shop.run("UPDATE counters SET n = 2").await;
    check(&mut shop, &world.bus, "counters", &running).await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn live_capture_survives_a_killed_walsender_and_a_restart_of_the_server() {
    let server: &'static rc_test::Postgres = Box::leak(Box::new(rc_test::Postgres::start_logical(false)));
    let (mut shop, world) = (Shop::on(server, COUNTERS).await, World::sqlite().await);
    shop.run("INSERT INTO counters SELECT n, 0, 'old' FROM generate_series(0, 399) n")
        .await;
    let running = run(shop.source(shop.options(&["counters"])), &world.bus, 20);
    for seed in 1..4 {
        let writer = churn(shop.database.clone(), seed, 40);
        let kill = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            server.admin(&["SELECT pg_terminate_backend(pid) FROM pg_stat_replication"]);
        };
        tokio::join!(writer, kill);
        check(&mut shop, &world.bus, "counters", &running).await;
    }
    server.stop();
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.start_again();
    shop.session = Session::ask(&PgAddress::parse(&shop.database.url).unwrap())
        .await
        .unwrap();
    shop.run("SET search_path = public; UPDATE counters SET n = n + 1")
        .await;
    check(&mut shop, &world.bus, "counters", &running).await;
    running.end().await;
    server.stop();
}

#[tokio::test]
async fn live_capture_a_row_that_is_too_large_names_what_it_leaves_out() {
    let (mut shop, world) = (Shop::new(COUNTERS).await, World::sqlite().await);
    let running = run(shop.source(shop.options(&["counters"])), &world.bus, 1_000);
    shop.run("INSERT INTO counters VALUES (1, 7, repeat('x', 2000000))")
        .await;
    rc_test::eventually(Duration::from_secs(20), "it is captured", async || {
        !changes(&world.bus).await.is_empty()
    })
    .await;
    running.end().await;
    let got = changes(&world.bus).await;
    assert_eq!(got[0].1["after"], json!({"id": 1, "n": 7}));
    assert_eq!(got[0].1["omitted"], json!(["pad"]));
}

/// Resident memory of this process in bytes.
fn resident() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn slow_live_capture_of_a_large_transaction_is_cut_resumed_inside_and_stays_small() {
    // `RC_CAPTURE_ROWS=1000000` for a figure.
    #[expect(clippy::disallowed_methods, reason = "a test that can be made larger by hand")]
    let rows: u64 = std::env::var("RC_CAPTURE_ROWS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100_000);
    let (mut shop, world) = (Shop::new(COUNTERS).await, World::sqlite().await);
    let source = || shop.source(shop.options(&["counters"]));
    let running = run(source(), &world.bus, 1_000);
    rc_test::eventually(Duration::from_secs(20), "it follows", async || {
        world.bus.tail().await.unwrap() > 0
    })
    .await;
    running.end().await;
    let (first, second) = (source(), source());
    shop.run(&format!(
        "INSERT INTO counters SELECT n, 1, repeat('x', 200) FROM generate_series(1, {rows}) n"
    ))
    .await;
    let before = resident();
    let started_ns = rc_model::clock::monotonic_ns();
    let mut most = 0;
    // Cut once in the middle of the transaction.
    let running = run(first, &world.bus, 1_000);
    while world.bus.tail().await.unwrap().cast_unsigned() < rows / 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        most = most.max(resident());
    }
    drop(running);
    let running = run(second, &world.bus, 1_000);
    while world.bus.tail().await.unwrap().cast_unsigned() < rows + 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        most = most.max(resident());
    }
    running.end().await;
    let took = Duration::from_nanos(rc_model::clock::monotonic_ns() - started_ns);
    let grown = most.saturating_sub(before) / 1_048_576;
    println!("{rows} rows in one transaction: {took:?}, {grown} MiB more than before");
    assert!(grown < 100, "{grown} MiB");
    let (mut after, mut last, mut count) = (0, 0, 0);
    loop {
        let events = world.bus.read(after, ReadLimit::default()).await.unwrap();
        let Some(end) = events.last() else { break };
        after = end.pos;
        for event in events.iter().filter(|event| event.key.starts_with('[')) {
            count += 1;
            let id = payload(event)["after"]["id"].as_u64().unwrap();
            assert_eq!(id, last + 1);
            last = id;
        }
    }
    assert_eq!(count, rows);
}

/// The stream speaks of the key by its old name, the table has it under the new one.
#[tokio::test]
async fn live_capture_resumes_a_reading_after_its_key_column_was_renamed() {
    let mut shop = Shop::new("CREATE TABLE counters (id int PRIMARY KEY, n int)").await;
    shop.run("INSERT INTO counters SELECT n, 0 FROM generate_series(1, 6) n")
        .await;
    let mut cursor = Cursor::default();
    let first = shop.source(shop.options(&["counters"]));
    let mut got = Vec::new();
    while got.is_empty() {
        got = fetch_rows(&first, &mut cursor).await;
    }
    // It dies with two rows read: the change of one of them is news, that of a later one will be read.
    drop(first);
    shop.run("UPDATE counters SET n = 9 WHERE id IN (1, 5)").await;
    shop.run("ALTER TABLE counters RENAME COLUMN id TO number").await;
    let second = shop.source(shop.options(&["counters"]));
    rc_test::eventually(Duration::from_secs(60), "all is captured", async || {
        got.extend(fetch_rows(&second, &mut cursor).await);
        got.len() >= 7
    })
    .await;
    let told: Vec<(&str, &Value)> = got
        .iter()
        .map(|(kind, payload)| (kind.as_str(), &payload["after"]))
        .collect();
    let inserted = "rc.cdc.insert.v1";
    assert_eq!(
        told,
        [
            (inserted, &json!({"id": 1, "n": 0})),
            (inserted, &json!({"id": 2, "n": 0})),
            (inserted, &json!({"number": 3, "n": 0})),
            (inserted, &json!({"number": 4, "n": 0})),
            (inserted, &json!({"number": 5, "n": 9})),
            (inserted, &json!({"number": 6, "n": 0})),
            ("rc.cdc.update.v1", &json!({"id": 1, "n": 9})),
        ]
    );
}

/// With whole rows the WAL flags no key, and the catalogue knows only its latest name.
#[tokio::test]
async fn live_capture_that_is_behind_a_rename_of_its_key_reads_what_was_before() {
    let mut shop = Shop::new(COUNTERS).await;
    shop.run("INSERT INTO counters VALUES (1, 0, 'a')").await;
    let mut cursor = Cursor::default();
    let first = shop.source(shop.options(&["counters"]));
    let mut got = Vec::new();
    while got.is_empty() {
        got = fetch_rows(&first, &mut cursor).await;
    }
    // It dies in the middle of a transaction with both names.
    shop.run("UPDATE counters SET n = 1").await;
    shop.run("BEGIN; UPDATE counters SET n = 2; UPDATE counters SET n = 3; ALTER TABLE counters RENAME COLUMN id TO number; UPDATE counters SET n = 4; UPDATE counters SET n = 5; COMMIT")
        .await;
    shop.run("UPDATE counters SET n = 6").await;
    let mut source = first;
    rc_test::eventually(Duration::from_secs(60), "all is captured", async || {
        got.extend(fetch_rows(&source, &mut cursor).await);
        source = shop.source(shop.options(&["counters"]));
        got.len() >= 7
    })
    .await;
    let names: Vec<(u64, bool)> = got
        .iter()
        .map(|(_, payload)| {
            let after = &payload["after"];
            (
                after["n"].as_u64().unwrap(),
                after["number"] == 1 && after["id"] == Value::Null,
            )
        })
        .collect();
    assert_eq!(
        names,
        [
            (0, false),
            (1, false),
            (2, false),
            (3, false),
            (4, true),
            (5, true),
            (6, true)
        ]
    );
}

/// The changes of rows that come after `cursor`, two at a time.
async fn fetch_rows(source: &CaptureSource, cursor: &mut Cursor) -> Vec<(String, Value)> {
    let limit = ReadLimit {
        rows: 2,
        ..ReadLimit::default()
    };
    let fetched = source.fetch(cursor, limit).await.unwrap();
    *cursor = fetched.cursor;
    let events = fetched.records.iter().map(|record| &record.event);
    events
        .filter(|event| event.key.starts_with('['))
        .map(|event| {
            let payload = serde_json::from_slice(&event.payload).unwrap();
            (event.event_type.to_string(), payload)
        })
        .collect()
}
