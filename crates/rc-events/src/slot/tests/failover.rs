//! The server is lost, and a physical standby takes its place; and connections that want a password and TLS.

use super::*;
use crate::verify::verify;

/// A server of its own, and an outbox in it.
async fn own() -> (&'static rc_test::Postgres, Outbox) {
    let server: &'static rc_test::Postgres = Box::leak(Box::new(rc_test::Postgres::start_logical(true)));
    (server, Outbox::on(server).await)
}

impl Outbox {
    /// The same outbox as `server` has it.
    async fn moved_to(mut self, server: &'static rc_test::Postgres) -> Self {
        self.database.url = server.url(&self.database.name, &self.database.name);
        let options = PostgresOptions::new("rc-events-test", "ingest");
        self.db = Postgres::connect(&self.database.url, &options).unwrap();
        Self { server, ..self }
    }

    async fn in_step(&self) {
        let in_step =
            "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_flush_lsn()
            AND application_name = 'walreceiver')";
        rc_test::eventually(Duration::from_secs(60), "the standby follows", async || {
            self.server.ask(&self.database, in_step) == "t"
        })
        .await;
    }
}

#[tokio::test]
async fn live_slot_that_the_standby_does_not_have_is_made_anew_there() {
    let (server, mut outbox) = own().await;
    let world = World::sqlite().await;
    outbox.write(20).await;
    let standby: &'static rc_test::Postgres = Box::leak(Box::new(server.standby()));
    server.admin(&[
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
        "SELECT pg_reload_conf()",
    ]);
    outbox.in_step().await;
    let running = run(outbox.slot(), &world.bus, 7);
    outbox.write(20).await;
    outbox.check(&world.bus).await;
    running.end().await;
    // On both, and on no bus.
    outbox.write(20).await;
    server.kill();
    standby.promote();

    let mut outbox = outbox.moved_to(standby).await;
    let source = outbox.slot();
    let running = run(Arc::clone(&source) as Arc<dyn Source>, &world.bus, 7);
    outbox.write(20).await;
    outbox.check(&world.bus).await;
    running.end().await;
    assert_eq!(source.recoveries(), 1);
    standby.stop();
}

/// While the standby stands still no commit is acknowledged, and none may be published: it may never have been.
#[tokio::test]
async fn live_slot_a_commit_that_waits_for_its_standby_is_not_published() {
    let (server, mut outbox) = own().await;
    let world = World::sqlite().await;
    outbox.write(5).await;
    let standby = server.standby();
    server.admin(&[
        "ALTER SYSTEM SET synchronous_standby_names = '*'",
        "SELECT pg_reload_conf()",
    ]);
    outbox.in_step().await;
    let running = run(outbox.slot(), &world.bus, 7);
    outbox.write(5).await;
    outbox.check(&world.bus).await;
    standby.stop();
    let db = outbox.db.clone();
    let mut waits = tokio::task::JoinSet::new();
    waits.spawn(async move { write(&db, &["key-0".to_owned()], 1, false).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(world.bus.tail().await.unwrap(), 10);
    assert!(waits.try_join_next().is_none());
    standby.start_again();
    *outbox.expect.entry("key-0".to_owned()).or_default() += waits.join_next().await.unwrap().unwrap();
    outbox.check(&world.bus).await;
    running.end().await;
    server.stop();
}

#[tokio::test]
async fn live_commits_that_an_asynchronous_standby_never_had_are_said() {
    let (server, mut outbox) = own().await;
    let world = World::sqlite().await;
    let standby: &'static rc_test::Postgres = Box::leak(Box::new(server.standby()));
    let running = run(outbox.slot(), &world.bus, 1_000);
    outbox.write(20).await;
    outbox.check(&world.bus).await;
    outbox.in_step().await;
    standby.stop();
    outbox.write(10).await;
    outbox.check(&world.bus).await;
    running.end().await;
    server.kill();
    standby.start_again();
    standby.promote();

    let outbox = outbox.moved_to(standby).await;
    let at = world.bus.cursor("ingest").await.unwrap();
    let error = outbox.slot().fetch(&at, ReadLimit::default()).await.unwrap_err();
    assert_eq!(error.code(), "RC-EVT-033", "{error}");
    let report = verify(&*outbox.poll(), &*world.bus).await.unwrap();
    assert_eq!(report.phantom.count, 10, "{report:#?}");
    standby.stop();
}

#[tokio::test]
async fn live_slot_is_read_over_tls_by_who_proves_a_password() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (server, mut outbox) = own().await;
    let world = World::sqlite().await;
    outbox.write(10).await;
    server.add_file("server.crt", &made.cert.pem());
    server.add_file("server.key", &made.signing_key.serialize_pem());
    server.add_file(
        "pg_hba.conf",
        "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n",
    );
    server.admin(&[
        &format!("ALTER ROLE {} PASSWORD 'a:b@c'", outbox.database.name),
        "ALTER SYSTEM SET ssl = on",
    ]);
    server.stop();
    server.start_again();
    let root = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(root.path(), made.cert.pem()).unwrap();
    let url = |password: &str| {
        let (name, port) = (&outbox.database.name, server.address().port());
        let root = root.path().display().to_string().replace('/', "%2F");
        format!(
            "postgresql://{name}:{password}@localhost:{port}/{name}?sslmode=verify-full&sslrootcert={root}"
        )
    };
    let (right, wrong) = (url("a%3Ab%40c"), url("guessed"));

    let refused = Session::replicate(&PgAddress::parse(&wrong).unwrap()).await;
    assert_eq!(refused.err().map(|error| error.code()), Some("RC-EVT-030"));
    outbox.database.url = right;
    let options = PostgresOptions::new("rc-events-test", "ingest");
    outbox.db = Postgres::connect(&outbox.database.url, &options).unwrap();
    let running = run(outbox.slot(), &world.bus, 1_000);
    outbox.write(10).await;
    outbox.check(&world.bus).await;
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_replication USING (pid)";
    assert_eq!(server.ask(&outbox.database, encrypted), "t");
    running.end().await;
    server.stop();
}
