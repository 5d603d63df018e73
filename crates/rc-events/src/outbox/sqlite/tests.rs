//! How a SQLite log loses its old rows: three ways measured (ADR 0013), and the one that is used shown to keep the
//! file from growing.

use std::path::Path;
use std::time::Duration;

use rc_model::Timestamp;
use rusqlite::{Connection, params};

use super::*;
use crate::relay::tests::Outbox;

const ROWS: i64 = 60_000;
const SEGMENT_ROWS: i64 = 10_000;
/// Rows of a commit, and of a chunk of a DELETE.
const BATCH: i64 = 500;

/// What one way cost.
#[derive(Debug)]
struct Cost {
    append: Duration,
    retain: Duration,
    /// The longest that a writer had to wait for one step of retention.
    stall: Duration,
    peak_mb: f64,
}

fn now() -> Duration {
    Duration::from_nanos(rc_model::clock::monotonic_ns())
}

fn open(path: &Path) -> Connection {
    let conn = Connection::open(path).unwrap();
    for (name, value) in [
        ("journal_mode", "wal"),
        ("synchronous", "full"),
        ("journal_size_limit", "16777216"),
    ] {
        conn.pragma_update(None, name, value).unwrap();
    }
    conn.pragma_update(None, "wal_autocheckpoint", 2_000).unwrap();
    conn
}

fn create(conn: &Connection, table: &str) {
    conn.execute_batch(&format!(
        "CREATE TABLE {table} (pos INTEGER PRIMARY KEY, tenant TEXT, topic TEXT, key TEXT, kseq INTEGER, id BLOB,
            time_ms INTEGER, payload BLOB) STRICT"
    ))
    .unwrap();
}

fn append(conn: &mut Connection, table: &str, first: i64) {
    let payload = vec![b'7'; 600];
    let tx = conn.transaction().unwrap();
    let sql = format!("INSERT INTO {table} VALUES (?1, 'acme', 'docs', ?2, ?1, ?3, ?1, ?4)");
    let mut insert = tx.prepare_cached(&sql).unwrap();
    for pos in first..first + BATCH {
        let key = format!("key-{}", pos % 1_000);
        insert
            .execute(params![pos, key, &[7_u8; 16][..], payload])
            .unwrap();
    }
    drop(insert);
    tx.commit().unwrap();
}

/// Runs one way: append all rows, and after each batch let `retain` take what is older than two segments.
fn measure(folder: &Path, way: impl Fn(&mut Connection, i64, &mut Vec<Duration>)) -> Cost {
    let mut conn = open(&folder.join("log.db"));
    let (mut append_time, mut steps, mut peak) = (Duration::ZERO, Vec::new(), 0_u64);
    for first in (1..=ROWS).step_by(usize::try_from(BATCH).unwrap()) {
        let began = now();
        way(&mut conn, first, &mut steps);
        append_time += now().saturating_sub(began);
        let sizes = fs_err::read_dir(folder).unwrap();
        peak = peak.max(sizes.map(|entry| entry.unwrap().metadata().unwrap().len()).sum());
    }
    let retain: Duration = steps.iter().sum();
    Cost {
        append: append_time.saturating_sub(retain),
        retain,
        stall: steps.iter().max().copied().unwrap_or_default(),
        peak_mb: peak as f64 / 1_000_000.0,
    }
}

fn timed(steps: &mut Vec<Duration>, step: impl FnOnce()) {
    let began = now();
    step();
    steps.push(now().saturating_sub(began));
}

fn chunks(folder: &Path) -> Cost {
    create(&open(&folder.join("log.db")), "log");
    measure(folder, |conn, first, steps| {
        append(conn, "log", first);
        let upto = first - 2 * SEGMENT_ROWS;
        timed(steps, || {
            conn.execute("DELETE FROM log WHERE pos < ?1", [upto]).unwrap();
        });
    })
}

fn segments(folder: &Path) -> Cost {
    measure(folder, |conn, first, steps| {
        let segment = first / SEGMENT_ROWS;
        if first % SEGMENT_ROWS == 1 {
            create(conn, &format!("log_{segment}"));
        }
        append(conn, &format!("log_{segment}"), first);
        if first % SEGMENT_ROWS == 1 && segment >= 3 {
            timed(steps, || {
                conn.execute_batch(&format!("DROP TABLE log_{}", segment - 3))
                    .unwrap();
            });
        }
    })
}

fn files(folder: &Path) -> Cost {
    measure(folder, |conn, first, steps| {
        let segment = first / SEGMENT_ROWS;
        if first % SEGMENT_ROWS == 1 {
            if segment > 0 {
                conn.execute_batch("DETACH seg").unwrap();
            }
            let path = folder.join(format!("seg-{segment}.db"));
            drop(open(&path));
            conn.execute("ATTACH ?1 AS seg", [path.to_str().unwrap()])
                .unwrap();
            conn.pragma_update(Some("seg"), "synchronous", "full").unwrap();
            create(conn, "seg.log");
        }
        append(conn, "seg.log", first);
        if first % SEGMENT_ROWS == 1 && segment >= 3 {
            timed(steps, || {
                for end in ["", "-wal", "-shm"] {
                    // A file that was detached cleanly has no WAL left.
                    let _ = fs_err::remove_file(folder.join(format!("seg-{}.db{end}", segment - 3)));
                }
            });
        }
    })
}

#[test]
fn slow_three_ways_to_lose_old_rows_are_measured() {
    for (name, way) in [
        ("chunks", chunks as fn(&Path) -> Cost),
        ("segments", segments),
        ("files", files),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let cost = way(folder.path());
        println!(
            "{name:9} append {:6.0} rows/s, retention {:5.0} ms in all, {:6.1} ms the longest, {:5.1} MB at most",
            ROWS as f64 / cost.append.as_secs_f64(),
            cost.retain.as_secs_f64() * 1_000.0,
            cost.stall.as_secs_f64() * 1_000.0,
            cost.peak_mb,
        );
        // All rows are 42 MB; two to three segments are kept.
        assert!(cost.peak_mb < 45.0, "{name}: {cost:?}");
    }
}

#[tokio::test]
async fn the_file_of_an_outbox_under_retention_does_not_grow() {
    let outbox = Outbox::new().await;
    let source = outbox.source();
    let pages = async || {
        let read = outbox.db.read("pages", |conn| {
            Ok(
                conn.query_row("SELECT page_count FROM pragma_page_count", [], |row| {
                    row.get::<_, i64>(0)
                })?,
            )
        });
        read.await.unwrap()
    };
    let mut sizes = Vec::new();
    for round in 0..10_u64 {
        let first = round * 2_000 + 1;
        for start in (first..first + 2_000).step_by(500) {
            let events = (start..start + 500).map(|kseq| {
                let mut event = crate::event::tests::event("acme", "a", kseq);
                event.payload = bytes::Bytes::from(vec![b'7'; 600]);
                event
            });
            outbox.append(events.collect()).await;
        }
        // The round before was relayed and has aged.
        let relayed = Cursor::new((first - 1).to_string());
        let future = Timestamp::from_unix_ms(i64::MAX);
        while source.prune(&relayed, future, Duration::ZERO).await.unwrap().more {}
        sizes.push(pages().await);
    }
    assert!(sizes[9] <= sizes[2], "{sizes:?}");
}
