//! The decoder against PostgreSQL's own `test_decoding`, over the same changes.

use std::fmt::Write as _;

use super::*;
use crate::replication::pgoutput::{self, Message, Old, Relation, Tuple};
use crate::replication::{Item, pgoutput::Value as Raw, text};

/// Random changes of a table of many types; the texts are hostile.
fn dml(rng: &mut fastrand::Rng) -> String {
    const TEXTS: [&str; 8] = [
        "",
        "plain",
        "o''clock",
        "\u{1F600} ünï",
        "back\\slash",
        "tab\ttwo\nlines",
        "NULL",
        "{\"a\"}",
    ];
    let mut value = |kind: u8| -> String {
        if rng.u8(..6) == 0 {
            return "NULL".to_owned();
        }
        match kind {
            0 => format!("'{}'", TEXTS[rng.usize(..TEXTS.len())]),
            1 => format!(
                "repeat('{}', {})",
                TEXTS[rng.usize(1..TEXTS.len())],
                rng.u16(1..4_000)
            ),
            2 => format!("{}.{:03}", rng.i64(..), rng.u8(..)),
            3 => ["true", "false"][rng.usize(..2)].to_owned(),
            4 => ["'NaN'", "'-Infinity'", "1e300", "-0.5"][rng.usize(..4)].to_owned(),
            5 => format!("'{{\"a\": [{}, null, \"x''y\"]}}'", rng.i16(..)),
            6 => format!("decode('{:08x}', 'hex')", rng.u32(..)),
            7 => format!("timestamptz '2026-11-21 10:00:00.{:03}+05:30'", rng.u16(..1_000)),
            _ => format!("'{{{},NULL,{}}}'", rng.i32(..), rng.i32(..)),
        }
    };
    let values: Vec<String> = (0..9).map(&mut value).collect();
    let id = rng.u8(..30);
    let columns = ["t", "long", "n", "b", "f", "j", "d", "z", "l"];
    match rng.u8(..10) {
        0..5 => format!(
            "INSERT INTO mixed VALUES ({id}, {}) ON CONFLICT DO NOTHING;",
            values.join(", ")
        ),
        5..8 => {
            let at = rng.usize(..columns.len());
            format!(
                "UPDATE mixed SET {} = {} WHERE id = {id};",
                columns[at], values[at]
            )
        }
        8 => format!("DELETE FROM mixed WHERE id = {id};"),
        _ => format!(
            "UPDATE mixed SET id = id + 100 WHERE id = {id} AND NOT EXISTS (SELECT FROM mixed WHERE id = {id} + 100);"
        ),
    }
}

/// As `test_decoding` writes a row.
fn written(relation: &Relation, tuple: &Tuple, names: &HashMap<u32, String>, skip_nulls: bool) -> String {
    let mut out = String::new();
    for (column, value) in relation.columns.iter().zip(tuple) {
        if skip_nulls && *value == Raw::Null {
            continue;
        }
        write!(out, " {}[{}]:", column.name, names[&column.type_oid]).unwrap();
        match value {
            Raw::Null => out += "null",
            Raw::Unchanged => out += "unchanged-toast-datum",
            Raw::Text(bytes) => {
                let text = std::str::from_utf8(bytes).unwrap();
                match column.type_oid {
                    16 => out += if text == "t" { "true" } else { "false" },
                    23 | 701 | 1700 => out += text,
                    _ => write!(out, "'{}'", text.replace('\'', "''")).unwrap(),
                }
            }
            Raw::Binary(_) => panic!("text was asked for"),
        }
    }
    out
}

#[tokio::test]
async fn live_decoder_agrees_with_test_decoding() {
    for identity in ["DEFAULT", "FULL"] {
        let mut shop = Shop::new(&format!(
            "CREATE TABLE mixed (id int PRIMARY KEY, t text, long text, n numeric, b bool, f float8, j jsonb,
                d bytea, z timestamptz, l int[]);
             ALTER TABLE mixed ALTER long SET STORAGE EXTERNAL; ALTER TABLE mixed REPLICA IDENTITY {identity};
             CREATE PUBLICATION diff FOR TABLE mixed;",
        ))
        .await;
        let (ours, theirs) = (
            format!("{}_a", shop.database.name),
            format!("{}_b", shop.database.name),
        );
        for (slot, plugin) in [(&ours, "pgoutput"), (&theirs, "test_decoding")] {
            shop.run(&format!(
                "SELECT pg_create_logical_replication_slot('{slot}', '{plugin}')"
            ))
            .await;
        }
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..150 {
            let mut sql = String::from("BEGIN;");
            for _ in 0..rng.u8(1..6) {
                sql += &dml(&mut rng);
            }
            shop.run(&(sql + if rng.u8(..8) == 0 { "ROLLBACK" } else { "COMMIT" }))
                .await;
        }
        let types = shop
            .session
            .query("test", "SELECT oid, format_type(oid, NULL) FROM pg_type")
            .await
            .unwrap();
        let names: HashMap<u32, String> = types
            .rows
            .iter()
            .map(|row| {
                (
                    text(row, 0).unwrap().parse().unwrap(),
                    text(row, 1).unwrap().to_owned(),
                )
            })
            .collect();
        let peek = format!(
            "SELECT data FROM pg_logical_slot_peek_changes('{theirs}', NULL, NULL, 'include-xids', '0')"
        );
        let answer = shop.session.query("test", &peek).await.unwrap();
        let expect: Vec<String> = answer
            .rows
            .iter()
            .map(|row| text(row, 0).unwrap().to_owned())
            .collect();
        assert!(expect.len() > 300, "{}", expect.len());

        let address = PgAddress::parse(&shop.database.url).unwrap();
        let session = Session::replicate(&address).await.unwrap();
        let mut stream = session.stream(&ours, Lsn(0), "diff", false).await.unwrap();
        let (mut got, mut relations): (Vec<String>, HashMap<u32, Relation>) = (Vec::new(), HashMap::new());
        let until = Instant::now() + Duration::from_secs(20);
        while got.len() < expect.len() {
            assert!(Instant::now() < until, "{} of {} lines", got.len(), expect.len());
            let bytes = match stream.next().await.unwrap() {
                Some(Item::Data { bytes, .. }) => bytes,
                Some(Item::Reached(_)) => continue,
                None => {
                    stream.wait(Duration::from_millis(50)).await.unwrap();
                    continue;
                }
            };
            let row = |number: &u32, verb: &str, rest: String| {
                format!("table public.{}: {verb}:{rest}", relations[number].table)
            };
            let whole = |number: &u32, tuple: &Tuple| written(&relations[number], tuple, &names, false);
            let before = |number: &u32, old: &Old| match old {
                Old::Key(tuple) | Old::Row(tuple) => written(&relations[number], tuple, &names, true),
            };
            match pgoutput::decode(bytes).unwrap() {
                Message::Begin(_) => got.push("BEGIN".to_owned()),
                Message::Commit { .. } => got.push("COMMIT".to_owned()),
                Message::Relation(relation) => drop(relations.insert(relation.id, relation)),
                Message::Insert { table, new } => got.push(row(&table, "INSERT", whole(&table, &new))),
                Message::Update { table, old, new } => {
                    let old = old.map_or_else(String::new, |old| {
                        format!(" old-key:{} new-tuple:", before(&table, &old))
                    });
                    got.push(row(&table, "UPDATE", old + &whole(&table, &new)));
                }
                Message::Delete { table, old } => got.push(row(&table, "DELETE", before(&table, &old))),
                other => panic!("{other:?}"),
            }
        }
        // Transactions without changes of the table are lines of theirs only.
        let expect: Vec<&String> = without_empty(&expect);
        let got: Vec<&String> = without_empty(&got);
        for (got, expect) in got.iter().zip(&expect) {
            assert_eq!(got, expect, "{identity}");
        }
        assert_eq!(got.len(), expect.len());
        drop(stream);
    }
}

fn without_empty(lines: &[String]) -> Vec<&String> {
    let mut kept: Vec<&String> = Vec::new();
    for line in lines {
        if line == "COMMIT" && kept.last().is_some_and(|last| *last == "BEGIN") {
            kept.pop();
        } else {
            kept.push(line);
        }
    }
    kept
}
