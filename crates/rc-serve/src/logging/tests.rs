use super::*;
use std::io;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_json_line_carries_the_spans_fields_and_stays_one_line() {
    let sink = Sink::default();
    let writer = sink.clone();
    let version = DataVersion::default();
    version.set_migration(3);
    assert_eq!(version.text(), None);
    version.set_configuration(Digest::of(b"one"));
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .fmt_fields(JsonFields)
        .event_format(JsonLine {
            service: "probe",
            data_version: version.clone(),
        })
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        version.set_configuration(Digest::of(b"two"));
        let span = tracing::info_span!("request", request_id = "r-1", trace_id = %"abc", tenant = "acme");
        span.in_scope(|| {
            tracing::info!(
                status = 200_u16,
                took_ms = 1.25,
                note = "a \"quoted\"\nline",
                "request"
            )
        });
    });
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 1);
    let line: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["msg"], "request");
    assert_eq!(line["service"], "probe");
    assert_eq!(line["request_id"], "r-1");
    assert_eq!(line["trace_id"], "abc");
    assert_eq!(line["tenant"], "acme");
    // sha256 of `two`
    assert_eq!(line["data_version"], "3+3fc4ccfe7458");
    assert_eq!(line["status"], 200);
    assert_eq!(line["took_ms"], 1.25);
    assert_eq!(line["note"], "a \"quoted\"\nline");
}
