//! What is shown of a statement holds no data, whatever the statement is.

use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(sql: &str, text: &str, name: &str) {
    let shape = Shape::of(sql);
    assert_eq!((&*shape.text, &*shape.name), (text, name), "{sql}");
    assert_eq!(&*Shape::of(text).text, text, "once more changes nothing: {sql}");
}

#[test]
fn literals_are_hidden_and_the_rest_stays() {
    for (sql, text, name) in [
        (
            "SELECT id FROM documents WHERE tenant = ?1 AND id = ?2",
            "SELECT id FROM documents WHERE tenant = ?1 AND id = ?2",
            "SELECT documents",
        ),
        (
            "SELECT 'it''s secret', 12.5e-3, x'ab'",
            "SELECT ?, ?, ?",
            "SELECT",
        ),
        (r"SELECT E'a\'b', 1 FROM t", "SELECT ?, ? FROM t", "SELECT t"),
        (
            "SELECT $$a'b$$, $tag$ $$ $tag$ , $1 FROM t",
            "SELECT ?, ? , $1 FROM t",
            "SELECT t",
        ),
        (
            "SELECT a FROM t -- it's me\n WHERE /* x /* y */ 'z' */ b",
            "SELECT a FROM t WHERE b",
            "SELECT t",
        ),
        (
            "SELECT a FROM t WHERE b IN (1, 'x', ?3) AND c IN ($1,$2)",
            "SELECT a FROM t WHERE b IN (?) AND c IN (?)",
            "SELECT t",
        ),
        (
            "SELECT a FROM t WHERE b IN (SELECT 1)",
            "SELECT a FROM t WHERE b IN (SELECT ?)",
            "SELECT t",
        ),
        ("SELECT 'never closed", "SELECT ?", "SELECT"),
        ("SELECT \"never closed", "SELECT ?", "SELECT"),
        ("SELECT $x$ never closed", "SELECT ?", "SELECT"),
        ("SELECT a /* never closed", "SELECT a", "SELECT"),
        ("SELECT 0xFF, .5, -3, docs2", "SELECT ?, ?, -?, docs2", "SELECT"),
        (
            "SELECT x::text, :name, @name, $name",
            "SELECT x::text, :name, @name, $name",
            "SELECT",
        ),
        ("", "", "SQL"),
        ("5", "?", "SQL"),
    ] {
        check(sql, text, name);
    }
}

#[test]
fn names_say_verb_and_table() {
    for (sql, name) in [
        (
            "INSERT INTO documents (tenant, id) VALUES (?1, ?2)",
            "INSERT documents",
        ),
        (
            r#"INSERT INTO "fts_{tenant}" (rowid, title) VALUES (?2, ?3)"#,
            "INSERT fts_{tenant}",
        ),
        (
            r#"SELECT rowid, -bm25("fts_{tenant}", 4.0) FROM "fts_{tenant}" WHERE 1"#,
            "SELECT fts_{tenant}",
        ),
        ("INSERT OR REPLACE INTO main.t VALUES (1)", "INSERT main.t"),
        (
            "DELETE FROM requests WHERE seq IN (SELECT seq FROM other)",
            "DELETE requests",
        ),
        ("UPDATE OR IGNORE bus_state SET tail = ?1", "UPDATE bus_state"),
        ("UPDATE ONLY t SET a = 1", "UPDATE t"),
        (
            "WITH x AS (SELECT 1 FROM hidden) INSERT INTO t SELECT * FROM x",
            "INSERT t",
        ),
        (
            "SELECT e.n FROM unnest($2::text[]) AS e JOIN consumer_keys k ON true",
            "SELECT consumer_keys",
        ),
        (
            "SELECT k.* FROM unnest($2::text[]) AS a (id) CROSS JOIN LATERAL (SELECT id FROM t WHERE id = a.id) AS k",
            "SELECT t",
        ),
        ("SELECT a FROM (SELECT 1) x", "SELECT"),
        (
            "CREATE TABLE IF NOT EXISTS schema_migrations (a TEXT)",
            "CREATE schema_migrations",
        ),
        (
            "CREATE VIRTUAL TABLE \"fts_{tenant}\" USING fts5 (a)",
            "CREATE fts_{tenant}",
        ),
        ("BEGIN IMMEDIATE", "BEGIN"),
        ("COMMIT", "COMMIT"),
        ("PRAGMA user_version = 7", "PRAGMA"),
        ("hello", "SQL"),
    ] {
        assert_eq!(&*Shape::of(sql).name, name, "{sql}");
    }
    let long = format!("SELECT a FROM {}", "t".repeat(300));
    assert_eq!(Shape::of(&long).name.len(), NAME_BYTES_MAX);
}

#[test]
fn a_long_text_is_cut_between_words() {
    let sql = format!("SELECT {} FROM t", "column_name, ".repeat(1_000));
    let shape = Shape::of(&sql);
    assert!(
        shape.text.len() <= TEXT_BYTES_MAX && shape.text.ends_with(", …"),
        "{}",
        shape.text
    );
    assert_eq!(*Shape::of(&shape.text).text, *shape.text);
    assert_eq!(&*shape.name, "SELECT t");
}

#[test]
fn shapes_are_worked_out_once_and_bounded_in_number() {
    let shapes = Shapes::default();
    let first = shapes.get("SELECT 1 FROM t");
    assert!(Arc::ptr_eq(&first, &shapes.get("SELECT 1 FROM t")));
    for at in 0..SHAPES_MAX * 2 {
        assert!(
            shapes
                .get(&format!("SELECT {at} FROM t"))
                .shape
                .text
                .contains("?")
        );
    }
    assert_eq!(shapes.known(), SHAPES_MAX);
    assert_eq!(
        &*shapes.get("SELECT 99999999 FROM t").shape.text,
        "SELECT ? FROM t"
    );
}

/// A literal that holds the secret, as somebody might write it into a statement.
fn literal() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("'SECRET'".to_owned()),
        Just("'it''s SECRET'".to_owned()),
        Just(r"E'\'SECRET'".to_owned()),
        Just("e'\\\\\\'SECRET'".to_owned()),
        Just("X'5EC4E7'".to_owned()),
        Just("$$ it's SECRET $$".to_owned()),
        Just("$a_1$SECRET $$ ' $a_1$".to_owned()),
        Just("/* SECRET /* ' */ SECRET */".to_owned()),
        Just("-- SECRET ' \n".to_owned()),
        Just("5042417".to_owned()),
        Just("5042417.5042417e+5042417".to_owned()),
        Just("0x5042417".to_owned()),
    ]
}

/// What stands around literals. Each closes what it opens.
fn frame() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(" SELECT ".to_owned()),
        Just(" , ".to_owned()),
        Just(" IN (".to_owned()),
        Just(") ".to_owned()),
        Just(" \"quoted name\" ".to_owned()),
        Just(" a.b = ?1 ".to_owned()),
        Just(" $1 ".to_owned()),
        Just(" e ".to_owned()),
        Just(" :name ".to_owned()),
        Just("::text ".to_owned()),
        Just("\n\t".to_owned()),
        Just(" größe ".to_owned()),
    ]
}

proptest! {
    #[test]
    fn no_literal_survives(parts in prop::collection::vec((frame(), literal()), 0..40)) {
        let sql: String = parts.into_iter().map(|(frame, literal)| format!("{frame} {literal} ")).collect();
        let shape = Shape::of(&sql);
        for secret in ["SECRET", "5042417", "5EC4E7"] {
            prop_assert!(!shape.text.contains(secret), "{sql} => {}", shape.text);
            prop_assert!(!shape.name.contains(secret), "{sql} => {}", shape.name);
        }
    }

    #[test]
    fn any_text_has_a_shape_and_the_shape_of_that_is_itself(sql in ".{0,400}") {
        let shape = Shape::of(&sql);
        prop_assert!(shape.text.len() <= TEXT_BYTES_MAX && shape.name.len() <= NAME_BYTES_MAX);
        prop_assert_eq!(&Shape::of(&shape.text).text, &shape.text, "{}", sql);
    }

    #[test]
    fn text_of_sql_characters_has_a_shape_that_lasts(sql in r#"[-a-eEiInN0-9 '"`$?:@/*.,()\\\n+{}…]{0,120}"#) {
        let shape = Shape::of(&sql);
        prop_assert_eq!(&Shape::of(&shape.text).text, &shape.text, "{}", sql);
    }
}
