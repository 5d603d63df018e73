use super::*;

#[test]
fn spans_and_sizes_read_well() {
    let texts = [0, 59, 60, 3_599, 3_600, 90_000, 200_000].map(|seconds| span(Duration::from_secs(seconds)));
    assert_eq!(texts, ["0s", "59s", "1min", "59min", "1h 0min", "1d 1h", "2d 7h"]);
    assert_eq!(mebibytes(0), "0.0 MiB");
    assert_eq!(mebibytes(3 * 1024 * 1024 / 2), "1.5 MiB");
}

#[test]
fn the_table_is_aligned() {
    let line = |text: &str| -> ServiceLine { serde_json::from_str(text).unwrap() };
    let service = line(
        r#"{"service":"api","state":"crash-looped","tier":"gold","pid":null,"restarts":4,"since":"2026-11-21T10:00:00.000Z",
           "uptime_s":null,"ready_after_ms":null,"address":"http://127.0.0.1:4000","memory_bytes":null,
           "reason":"ended with exit status 1","last_exit":null,"last_lines":[]}"#,
    );
    let text = table(&[service], false);
    assert_eq!(
        text,
        "SERVICE  STATE         TIER  PID  RESTARTS  UPTIME  MEMORY  ADDRESS\n\
         api      crash-looped  gold  -    4         -       -       http://127.0.0.1:4000\n"
    );
}
