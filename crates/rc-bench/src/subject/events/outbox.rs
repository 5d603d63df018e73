//! An outbox on PostgreSQL, written as a service would, in a database of its own.

use std::time::Duration;

use rc_model::clock::monotonic_ns;
use rc_outbox::postgres::{Grants, install_sql};
use rc_test::{Database, Postgres};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use super::{Mover, PAYLOAD_BYTES};
use crate::failure::{Failure, Result};

/// Events in a transaction that fills, in one that is timed, and keys.
const TOGETHER: u64 = 500;
const LITTLE: u64 = 10;
const KEYS: u64 = 1_000;

/// What Debezium's EventRouter reads.
const THEIR_TABLE: &str = "CREATE TABLE outbox (
    id uuid PRIMARY KEY, aggregatetype text NOT NULL, aggregateid text NOT NULL, type text NOT NULL, payload text NOT NULL
)";

const THEIR_ROWS: &str = "INSERT INTO public.outbox
    SELECT gen_random_uuid(), 'orders', 'k-' || n % $3::bigint, 'bench.event', $4::text FROM generate_series($1::bigint, $2::bigint) AS n";

const OUR_ROWS: &str = "INSERT INTO rc_events.outbox
        (tenant, topic, key, kseq, id, fingerprint, type, schema, time_ms, payload)
    SELECT 'bench', 'orders', 'k-' || n % $3::bigint, n / $3 + 1, gen_random_uuid(), decode(md5(n::text), 'hex'), 'bench.event',
        1, extract(epoch FROM clock_timestamp()) * 1000, convert_to($4::text, 'UTF8') FROM generate_series($1::bigint, $2::bigint) AS n";

/// A database with an outbox, and a superuser's connection to it: row-level security costs nobody anything.
pub(super) struct Outbox {
    /// For the mover.
    pub(super) url: String,
    pub(super) database: Database,
    runtime: Runtime,
    client: Client,
    rows: &'static str,
}

/// A transaction that has a number and does not end while this lives.
pub(super) struct Open {
    _runtime: Runtime,
    _client: Client,
}

impl Outbox {
    pub(super) fn create(server: &Postgres, mover: Mover<'_>) -> Result<Self> {
        let database = server.fresh_database();
        let (runtime, client) = connect(&server.url("postgres", &database.name))?;
        let (setup, rows) = match mover {
            Mover::Ours => {
                let install = install_sql("rc_events", Grants::default());
                (
                    install.map_err(|error| Failure::new(error.to_string()))?,
                    OUR_ROWS,
                )
            }
            Mover::Debezium(_) => (THEIR_TABLE.to_owned(), THEIR_ROWS),
        };
        runtime.block_on(client.batch_execute(&setup))?;
        Ok(Self {
            url: server.url("postgres", &database.name),
            database,
            runtime,
            client,
            rows,
        })
    }

    /// Writes the events of these numbers as fast as it goes.
    pub(super) fn fill(&self, numbers: std::ops::Range<u64>) -> Result<()> {
        let end = numbers.end;
        for first in numbers.step_by(TOGETHER as usize) {
            self.insert(first, (first + TOGETHER).min(end), &payload(0, 0))?;
        }
        Ok(())
    }

    /// Appends events, so many a second, [`LITTLE`] a transaction; each says when it should have left. Their
    /// numbers follow that of one event that is there.
    pub(super) fn append(&self, count: u64, rate: f64) -> Result<()> {
        let start = monotonic_ns();
        for number in (1..=count).step_by(LITTLE as usize) {
            let due = start + (number as f64 / rate * 1e9) as u64;
            std::thread::sleep(Duration::from_nanos(due.saturating_sub(monotonic_ns())));
            // Late is late: the time that counts is the one at which it should have left.
            self.insert(number, (number + LITTLE).min(count + 1), &payload(number, due))?;
        }
        Ok(())
    }

    fn insert(&self, first: u64, end: u64, payload: &str) -> Result<()> {
        let (first, last) = (first.cast_signed(), end.cast_signed() - 1);
        let keys = KEYS.cast_signed();
        self.runtime
            .block_on(self.client.execute(self.rows, &[&first, &last, &keys, &payload]))?;
        Ok(())
    }

    /// Begins a transaction in this database and leaves it open.
    pub(super) fn open_transaction(&self) -> Result<Open> {
        let (runtime, client) = connect(&self.url)?;
        runtime.block_on(client.batch_execute("BEGIN; SELECT pg_current_xact_id()"))?;
        Ok(Open {
            _runtime: runtime,
            _client: client,
        })
    }

    /// Drops the database.
    pub(super) fn forget(self, server: &Postgres) {
        let name = &self.database.name;
        server.admin(&[
            &format!(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{name}'"
            ),
            &format!("DROP DATABASE {name} WITH (FORCE)"),
        ]);
    }
}

fn connect(url: &str) -> Result<(Runtime, Client)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls))?;
    runtime.spawn(connection);
    Ok((runtime, client))
}

/// An event as long as all others.
pub(super) fn payload(number: u64, sent_ns: u64) -> String {
    let mut text = format!("{{\"number\":{number},\"sent_ns\":{sent_ns},\"text\":\"");
    let fill = PAYLOAD_BYTES.saturating_sub(text.len() + 2);
    text.extend(std::iter::repeat_n('x', fill));
    text.push_str("\"}");
    text
}

/// When the event with this payload was sent. Debezium sends it as a string in a string.
pub(super) fn sent_ns(payload: &[u8]) -> Result<u64> {
    let text = String::from_utf8_lossy(payload);
    let digits = text.split_once("sent_ns").map_or("", |(_, rest)| rest);
    let digits = digits.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end]
        .parse()
        .map_err(|_wrong| Failure::new(format!("a message without its time: {text}")))
}
