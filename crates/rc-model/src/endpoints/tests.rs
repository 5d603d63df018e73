use super::*;

#[test]
fn the_file_reads_back_what_was_written() {
    let text = r#"{"services":{"hello":{"tcp":"127.0.0.1:4000"},"ingest":{"unix":"/run/ingest.sock"}}}"#;
    let endpoints: Endpoints = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&endpoints).unwrap(), text);
    let shown: Vec<String> = endpoints.services.values().map(ToString::to_string).collect();
    assert_eq!(shown, ["http://127.0.0.1:4000", "unix:/run/ingest.sock"]);
}
