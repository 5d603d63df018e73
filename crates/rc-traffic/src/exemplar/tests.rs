use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;

#[test]
fn examples_stand_on_the_line_of_their_bucket() {
    let text = "# TYPE rc_traffic_request_duration_seconds histogram\n\
        rc_traffic_request_duration_seconds_sum{service=\"a\",route=\"/a\",tier=\"gold\"} 1.0\n\
        rc_traffic_request_duration_seconds_bucket{le=\"0.0005\",service=\"a\",route=\"/a\",tier=\"gold\"} 0\n\
        rc_traffic_request_duration_seconds_bucket{le=\"0.001\",service=\"a\",route=\"/a\",tier=\"gold\"} 3\n\
        rc_traffic_request_duration_seconds_bucket{le=\"0.0005\",service=\"b\",route=\"/b\",tier=\"gold\"} 7\n\
        # EOF\n";
    let exemplar = Exemplar {
        trace_id: 0xabc,
        took_ns: 750_000,
        at_ms: 1_795_255_200_123,
    };
    let known = HashMap::from([(labels("a", "/a", "gold"), vec![None, Some(exemplar)])]);
    let out = annotate(text, &known);
    let added = " # {trace_id=\"00000000000000000000000000000abc\"} 0.00075 1795255200.123";
    let line = |bound: &str, count: u8| {
        format!("_bucket{{le=\"{bound}\",service=\"a\",route=\"/a\",tier=\"gold\"}} {count}")
    };
    assert!(out.contains(&format!("{}{added}\n", line("0.001", 3))), "{out}");
    assert!(out.contains(&format!("{}\n", line("0.0005", 0))), "{out}");
    assert_eq!(out.replace(added, ""), text, "nothing else changed");
    assert_eq!(annotate("", &known), "");
}

#[test]
fn whoever_reads_never_sees_half_an_example() {
    let exemplars = Arc::new(Exemplars::default());
    assert_eq!(exemplars.get(3), None);
    let stop = Arc::new(AtomicBool::new(false));
    let of = |n: u64| Exemplar {
        trace_id: (u128::from(n) << 64) | u128::from(n),
        took_ns: n,
        at_ms: n,
    };
    let writer = {
        let (exemplars, stop) = (Arc::clone(&exemplars), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut n = 1;
            while !stop.load(Ordering::Relaxed) {
                exemplars.set(3, of(n));
                n += 1;
            }
            n - 1
        })
    };
    // On a busy machine the reader could be through before the writer begins.
    while exemplars.get(3).is_none() {
        std::thread::yield_now();
    }
    let mut seen = 0;
    for _ in 0..200_000 {
        if let Some(found) = exemplars.get(3) {
            assert_eq!(found, of(found.took_ns));
            assert!(found.took_ns >= seen, "time does not go back");
            seen = found.took_ns;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let last = writer.join().unwrap();
    assert_eq!(exemplars.get(3), Some(of(last)));
    assert_eq!(exemplars.get(4), None);
}
