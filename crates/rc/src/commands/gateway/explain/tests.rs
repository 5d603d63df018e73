use std::path::Path;

use rc_model::gateway::GatewayModel;

use super::*;

const FILE: &str = "identity: {header: loopback}
services:
  web:
    endpoints: [http://127.0.0.1:9000]
    routes:
      - path: /
      - path: /api
        timeout: 2s
        concurrency: {max: 64}
tiers:
  basic:
    rps: {rate: 5/s}
    timeout: 9s
tenants:
  acme:
    tier: basic
    concurrency:
      max: 8
  hooli: {tier: gold}
";

fn told() -> Told {
    Told::alone(GatewayModel::from_text(Path::new("gateway.yaml"), FILE).unwrap())
}

/// `step limit value | source | level`, one a line.
fn explain(tenant: Option<&str>, levels: Option<&Levels>) -> Vec<String> {
    let told = told();
    let tenant = tenant.map(|tenant| TenantId::new(tenant).unwrap());
    let case = Case {
        told: &told,
        tenant: tenant.as_ref().map(|tenant| known(&told, tenant).unwrap()),
        service: "web",
        route: &told.routes[1].1,
        levels,
    };
    let rows = rows(&case).into_iter().filter(|row| row.step != "connection");
    rows.map(|row| {
        format!(
            "{} {} {} | {} | {}",
            row.step,
            row.limit,
            row.value,
            row.source,
            row.level.unwrap_or_default()
        )
    })
    .collect()
}

#[test]
fn every_value_says_where_it_comes_from() {
    let rows = explain(Some("acme"), None);
    for expected in [
        "identity anonymous.per_source.rate 20/s | built in | ",
        "rate rps.rate 5/s | gateway.yaml:12 (tier `basic`) | ",
        "rate rps.burst 5 | default, as gateway.yaml:12 does not say it (tier `basic`) | ",
        "time timeout 9s | gateway.yaml:13 (tier `basic`) | ",
        "time route.timeout 2s | gateway.yaml:8 | ",
        "seat route.concurrency.max 64 | gateway.yaml:9 | ",
        "seat route.concurrency.min 4 | default, as gateway.yaml:7 does not say it | ",
        "seat concurrency.max 8 | gateway.yaml:18 (its own) | ",
        "seat concurrency.share 0 | default, as gateway.yaml:17 does not say it (its own) | ",
        "queue weight 1 | default, as gateway.yaml:11 does not say it (tier `basic`) | ",
    ] {
        assert!(
            rows.iter().any(|row| row == expected),
            "{expected} in\n{}",
            rows.join("\n")
        );
    }
    let hooli = explain(Some("hooli"), None);
    assert!(
        hooli.contains(&"rate rps.rate 2000/s | built in (tier `gold`) | ".to_owned()),
        "{hooli:?}"
    );
}

#[test]
fn limits_come_in_the_order_in_which_they_are_looked_at() {
    let steps = |rows: Vec<String>| {
        let mut steps: Vec<String> = rows
            .iter()
            .filter_map(|row| Some(row.split(' ').next()?.to_owned()))
            .collect();
        steps.dedup();
        steps
    };
    assert_eq!(
        steps(explain(Some("acme"), None)),
        [
            "identity", "rate", "route", "size", "time", "seat", "queue", "health", "retry"
        ],
        "nothing is left over: a new limit has its line in ORDER"
    );
    assert_eq!(
        steps(explain(None, None)),
        ["identity", "route", "size", "time", "seat", "health", "retry"]
    );
}

#[test]
fn levels_stand_beside_the_limit_that_they_fill() {
    let rate = |left| RateLevel {
        left,
        burst: 5,
        full_in_ms: 400,
        credits: 0,
    };
    let levels = Levels {
        version: 3,
        tenant: None,
        rate: rate(2),
        unproved: rate(5),
        routes: vec![RouteLevel {
            service: "web".to_owned(),
            path: "/api".to_owned(),
            in_flight: 7,
            waiting: 1,
            seats_in_use: 30,
            seats_limit: 32,
            seats_waiting: 4,
            least_ms: 2.0,
            latest_ms: 3.0,
        }],
    };
    let rows = explain(Some("acme"), Some(&levels)).join("\n");
    for expected in [
        "| 2 of 5 left",
        "| 7 in flight",
        "| 30 of 32 seats in use, 4 waiting",
        "| 1 waiting",
        "| with wrong keys: 5 of 5 left",
    ] {
        assert!(rows.contains(expected), "{expected} in\n{rows}");
    }
}
