use super::render;
use crate::bench::{Figure, Machine, Results, Subject, Unit};

fn figures(group: &str, proxy: &str, latencies: [f64; 3]) -> Vec<Figure> {
    let labels = ["p50", "p99", "p99.9"].into_iter().zip(latencies);
    let figure = |(label, latency)| Figure {
        group: group.to_owned(),
        ..Figure::new(
            &format!("victims, {label}, {proxy}"),
            Unit::Milliseconds,
            None,
            vec![latency],
        )
    };
    labels.map(figure).collect()
}

fn results(figures: Vec<Figure>) -> Results {
    Results {
        subject: Subject::Gateway,
        method: String::new(),
        command: String::new(),
        commit: "0123456789".to_owned(),
        machine: Machine {
            cores: 2,
            memory_gib: 24,
            processor: "a processor".to_owned(),
            kernel: "6.1".to_owned(),
        },
        figures,
        summary: serde_json::Map::new(),
    }
}

#[test]
fn every_scenario_has_its_idle_and_every_proxy() {
    let all = [
        figures("idle", "gateway", [0.2, 0.4, 0.9]),
        figures("idle", "nginx", [0.2, 0.5, 1.0]),
        figures("C: one has <256> in flight", "gateway", [28.0, 40.0, 44.0]),
        figures(
            "C: one has <256> in flight",
            "nginx with `limit_conn 64`",
            [54.0, 65.0, 70.0],
        ),
    ];
    let svg = render(&results(all.concat())).unwrap();
    assert_eq!(svg.matches("<circle").count(), 3, "idle, gateway, nginx\n{svg}");
    for expect in [
        ">C: one has &lt;256&gt; in flight</text>",
        ">idle</text>",
        ">0.40 ms</text>",
        ">40.0 ms</text>",
        ">nginx with limit_conn 64</text>",
        ">0.1 ms</text>",
        ">100 ms</text>",
    ] {
        assert!(svg.contains(expect), "{expect}\n{svg}");
    }
}

#[test]
fn results_without_isolation_have_no_picture() {
    let other = Figure::new("CPU a request", Unit::Microseconds, None, vec![9.0]);
    assert!(render(&results(vec![other])).is_none());
}
