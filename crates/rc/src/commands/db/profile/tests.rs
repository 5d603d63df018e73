use super::*;

fn line(name: &str, text: &str, total_ms: f64, p95_ms: f64) -> StatementLine {
    StatementLine {
        service: "docs-api".to_owned(),
        store: "store".to_owned(),
        kind: "postgresql".to_owned(),
        name: name.to_owned(),
        text: text.to_owned(),
        calls: 12,
        rows: 120,
        errors: 0,
        total_ms,
        p50_ms: 1.25,
        p95_ms,
        max_ms: 136.2,
        plan: Vec::new(),
    }
}

fn statements() -> Vec<StatementLine> {
    let mut failed = line("INSERT search", "INSERT INTO search\n VALUES ($1)", 900.0, 80.0);
    failed.errors = 1;
    failed.plan = vec!["Insert on search".to_owned(), "  ->  Result".to_owned()];
    vec![
        line("SELECT search", "SELECT 1 FROM search", 240.0, 104.6),
        failed,
    ]
}

#[test]
fn a_person_reads_the_most_expensive_first() {
    let mut found = statements();
    sort(&mut found, By::Total);
    insta::assert_snapshot!(render(&found, false), @r"
    SERVICE   STORE               CALLS          ROWS  TOTAL   P50      P95      MAX     STATEMENT
    docs-api  store (postgresql)  12 (1 failed)  120   900 ms  1.25 ms  80.0 ms  136 ms  INSERT search
        INSERT INTO search VALUES ($1)
          Insert on search
            ->  Result
    docs-api  store (postgresql)  12             120   240 ms  1.25 ms  105 ms   136 ms  SELECT search
    ");
    sort(&mut found, By::P95);
    assert_eq!(found[0].name, "SELECT search");
    assert_eq!(render(&[], false), "no statement has run yet");
}

#[test]
fn a_page_has_the_plan_below_its_statement() {
    insta::assert_snapshot!(markdown(&statements()), @r"
    | service | store | calls | rows | total | p50 | p95 | max | statement |
    |---|---|---:|---:|---:|---:|---:|---:|---|
    | docs-api | store (postgresql) | 12 | 120 | 240 ms | 1.25 ms | 105 ms | 136 ms | SELECT search |
    | docs-api | store (postgresql) | 12 (1 failed) | 120 | 900 ms | 1.25 ms | 80.0 ms | 136 ms | INSERT search |

    #### 1. SELECT search, docs-api

    ```sql
    SELECT 1 FROM search
    ```

    #### 2. INSERT search, docs-api

    ```sql
    INSERT INTO search VALUES ($1)
    ```

    ```text
    Insert on search
      ->  Result
    ```
    ");
}

#[test]
fn the_shape_for_programs() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&statements()[0]).unwrap(), @r#"
    {
      "service": "docs-api",
      "store": "store",
      "kind": "postgresql",
      "name": "SELECT search",
      "text": "SELECT 1 FROM search",
      "calls": 12,
      "rows": 120,
      "errors": 0,
      "total_ms": 240.0,
      "p50_ms": 1.25,
      "p95_ms": 104.6,
      "max_ms": 136.2,
      "plan": []
    }
    "#);
}
