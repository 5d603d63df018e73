use super::*;

#[test]
fn json_lines_become_readable_and_others_become_json() {
    let own = r#"{"ts":"2026-11-21T10:00:00.123Z","level":"warn","service":"ingest","msg":"slow","took_ms":7,"target":"x"}"#;
    let line = Line::parse(own);
    assert_eq!(shown(&line, false), "10:00:00.123 WARN  slow took_ms=7");
    assert_eq!(as_json("ingest", &line), own);
    let line = Line::parse("2026-11-21T10:00:00.123Z hello \u{1b}[2J\"you\"");
    assert_eq!(shown(&line, false), "10:00:00.123 hello \u{fffd}[2J\"you\"");
    let json = as_json("hello", &line);
    assert!(
        json.starts_with(r#"{"ts":"2026-11-21T10:00:00.123Z","service":"hello","msg":"hello "#),
        "{json}"
    );
    serde_json::from_str::<Value>(&json).unwrap();
}

#[test]
fn a_line_without_a_time_stays_behind_the_one_before_it() {
    let mut entries = Vec::new();
    let lines = [
        "2026-11-21T10:00:02.000Z panicked",
        "  at main.rs",
        "2026-11-21T10:00:03.000Z bye",
    ];
    extend(&mut entries, 0, lines.map(str::to_owned).to_vec());
    extend(&mut entries, 1, vec!["2026-11-21T10:00:02.500Z other".to_owned()]);
    entries.sort_by_key(|entry| entry.at);
    let order: Vec<&str> = entries
        .iter()
        .map(|entry| entry.raw.rsplit(' ').next().unwrap())
        .collect();
    assert_eq!(order, ["panicked", "main.rs", "other", "bye"]);
}
