//! Against FTS5's own function, and at the bound.

use rusqlite::Connection;

use super::{RARITY_ROWS_MAX, register};

fn table(rows: impl Iterator<Item = (String, String)>) -> Connection {
    let conn = Connection::open_in_memory().unwrap();
    conn.execute_batch("CREATE VIRTUAL TABLE t USING fts5 (title, body, content='')")
        .unwrap();
    conn.execute_batch("BEGIN").unwrap();
    for (number, (title, body)) in (1_i64..).zip(rows) {
        conn.execute(
            "INSERT INTO t (rowid, title, body) VALUES (?1, ?2, ?3)",
            (number, title, body),
        )
        .unwrap();
    }
    conn.execute_batch("COMMIT").unwrap();
    register(&conn).unwrap();
    conn
}

fn scores(conn: &Connection, function: &str, query: &str) -> Vec<(i64, f64)> {
    let sql = format!("SELECT rowid, {function}(t, 4.0, 1.0) FROM t WHERE t MATCH ?1 ORDER BY rowid");
    let mut select = conn.prepare(&sql).unwrap();
    let rows = select.query_map([query], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// Words of decreasing frequency, by a rule that repeats.
fn mixed(number: usize) -> (String, String) {
    let word = |step: usize| format!("w{}", (number * 7 + step * step * 13) % (1 + step % 11));
    let body: Vec<String> = (0..5 + number % 20).map(word).collect();
    (word(number % 5 + 3), body.join(" "))
}

#[test]
fn rows_are_in_the_order_of_bm25_where_that_knows_rarity() {
    let conn = table((0..400).map(mixed));
    // Words that most rows have are worth nothing to `bm25`, whatever their number: it orders by less.
    for query in [
        "w5",
        "w7",
        "\"w1 w0\"",
        "w5 AND w9",
        "w8 OR w9",
        "title : w3",
        "w7*",
    ] {
        let order = |function: &str, sign: f64| {
            let mut rows = scores(&conn, function, query);
            rows.sort_by(|a, b| (b.1 * sign).total_cmp(&(a.1 * sign)).then(a.0.cmp(&b.0)));
            rows
        };
        let (ours, theirs) = (order("rank", 1.0), order("bm25", -1.0));
        assert!(!ours.is_empty(), "{query}");
        assert_eq!(ours.len(), theirs.len(), "{query}");
        assert!(ours.iter().all(|(_, score)| *score > 0.0), "{query}");
        if !query.contains(" AND ") && !query.contains(" OR ") {
            // One phrase: the scores differ by one factor, so the order is the same but for rounding.
            let factor = ours[0].1 / -theirs[0].1;
            let mut theirs = theirs.clone();
            theirs.sort_by_key(|row| row.0);
            for (row, score) in scores(&conn, "rank", query) {
                let at = theirs.binary_search_by_key(&row, |row| row.0).unwrap();
                let expect = -theirs[at].1 * factor;
                assert!((score - expect).abs() < 1e-9 * expect, "{query} {row}");
            }
        }
    }
}

#[test]
fn the_rarer_word_weighs_more_and_the_title_most() {
    let rows = (0..100).map(|n| match n {
        0 => ("x".to_owned(), "rare common".to_owned()),
        1 => ("x".to_owned(), "common common".to_owned()),
        2 => ("rare".to_owned(), "x common".to_owned()),
        n if n % 2 == 0 => ("x".to_owned(), "common other".to_owned()),
        _ => ("x".to_owned(), "other other".to_owned()),
    });
    let conn = table(rows);
    let found: std::collections::BTreeMap<i64, f64> =
        scores(&conn, "rank", "rare OR common").into_iter().collect();
    assert!(found[&3] > found[&1], "{found:?}");
    assert!(found[&1] > found[&2], "{found:?}");
    assert!(found[&2] > found[&5], "{found:?}");
}

#[test]
fn words_in_more_rows_than_are_counted_weigh_alike() {
    let rows = i64::from(RARITY_ROWS_MAX) + 1_000;
    let conn = table((0..rows).map(|n| {
        let body = if n < rows - 500 { "all most" } else { "all few" };
        (String::new(), body.to_owned())
    }));
    let score = |query: &str| scores(&conn, "rank", query)[0].1;
    let (all, most, few) = (
        score("all OR nothing"),
        score("most OR nothing"),
        score("few OR nothing"),
    );
    assert!((all - most).abs() < 1e-9, "{all} {most}");
    assert!(few > 10.0 * all, "{few} {all}");
}

#[test]
fn a_query_without_a_match_and_a_call_outside_a_query_do_no_harm() {
    let conn = table((0..10).map(mixed));
    assert!(scores(&conn, "rank", "nowhere OR nothing").is_empty());
    let outside = conn.query_row("SELECT rank(1)", [], |_| Ok(()));
    assert!(outside.is_err());
    let scan = conn.query_row("SELECT rank(t) FROM t", [], |row| row.get::<_, f64>(0));
    assert!(scan.is_ok_and(|score| score == 0.0));
}
