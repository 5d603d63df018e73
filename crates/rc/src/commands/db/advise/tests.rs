use rc_services::statements::LookedAt;

use super::*;

fn all() -> AllAdvice {
    let unused = AdviceLine {
        service: "ingest".to_owned(),
        store: "store".to_owned(),
        kind: "unused_index".to_owned(),
        table: "orders".to_owned(),
        index: Some("orders_by_state".to_owned()),
        because: "no scan has used it since the server's statistics began".to_owned(),
        statement: None,
        plan: Vec::new(),
        ddl: Some("DROP INDEX CONCURRENTLY ingest.orders_by_state".to_owned()),
        bytes: Some(5 << 20),
        writes: 812,
    };
    let missing = AdviceLine {
        kind: "missing_index".to_owned(),
        index: None,
        because: "3 runs, p95 12.40 ms: the plan reads all of about 20000 rows".to_owned(),
        statement: Some("SELECT 1 FROM orders\n WHERE customer = $1".to_owned()),
        plan: vec!["Seq Scan on orders".to_owned()],
        ddl: Some("CREATE INDEX CONCURRENTLY orders_by_customer ON ingest.orders (customer)".to_owned()),
        ..unused.clone()
    };
    AllAdvice {
        advice: vec![missing, unused],
        looked_at: vec![LookedAt {
            service: "ingest".to_owned(),
            store: "store".to_owned(),
            kind: "postgresql".to_owned(),
            statements: 14,
            indexes: 9,
            sources: vec!["pg_stat_user_indexes".to_owned()],
        }],
    }
}

#[test]
fn a_person_reads_what_why_and_what_to_run() {
    insta::assert_snapshot!(render(&all(), false), @r"
    missing index on orders (ingest store): 3 runs, p95 12.40 ms: the plan reads all of about 20000 rows
      SELECT 1 FROM orders WHERE customer = $1
        Seq Scan on orders
      would take about 5120 KiB, and each of 812 writes pays for it
      CREATE INDEX CONCURRENTLY orders_by_customer ON ingest.orders (customer);

    unused index orders_by_state on orders (ingest store): no scan has used it since the server's statistics began
      takes 5120 KiB, and each of 812 writes pays for it
      DROP INDEX CONCURRENTLY ingest.orders_by_state;

    looked at ingest store (postgresql): 14 statements, 9 indexes, pg_stat_user_indexes
    ");
    let nothing = AllAdvice {
        advice: Vec::new(),
        ..all()
    };
    assert!(render(&nothing, false).starts_with("no index is missing and none is unused\n"));
}

#[test]
fn the_shape_for_programs() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&all().advice[1]).unwrap(), @r#"
    {
      "service": "ingest",
      "store": "store",
      "kind": "unused_index",
      "table": "orders",
      "index": "orders_by_state",
      "because": "no scan has used it since the server's statistics began",
      "statement": null,
      "plan": [],
      "ddl": "DROP INDEX CONCURRENTLY ingest.orders_by_state",
      "bytes": 5242880,
      "writes": 812
    }
    "#);
}
