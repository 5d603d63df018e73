use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};

use super::*;
use crate::resource::Resource;

/// `traceparent` of the W3C's own example.
pub(crate) fn context(low: u64, span_id: u64) -> TraceContext {
    let text = format!("00-4bf92f3577b34da6{low:016x}-{span_id:016x}-01");
    TraceContext::parse(text.as_bytes()).unwrap()
}

/// A span of the trace with these low bits.
pub(crate) fn span<'a>(low: u64, span_id: u64, name: &'a str) -> Span<'a> {
    Span {
        context: context(low, span_id),
        parent: None,
        kind: SpanKind::Server,
        name,
        began_unix_ns: 1_763_700_000_000_000_000,
        took_ns: 1_500_000,
        error: None,
        attributes: &[],
        links: &[],
    }
}

const ATTRIBUTES: [Attribute<'static>; 6] = [
    ("http.request.method", Value::Str("POST")),
    ("http.response.status_code", Value::Int(503)),
    ("rc.queue_ms", Value::Float(0.25)),
    ("rc.flag", Value::Bool(true)),
    ("rc.negative", Value::Int(-7)),
    ("rc.text", Value::Str("größe")),
];

fn encoded(span: &Span<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    encode(span, &mut out);
    out
}

fn decoded(block: &[u8]) -> Record {
    let mut found = spans(block);
    let record = Record::decode(found.next().unwrap()).unwrap();
    assert_eq!(found.next(), None);
    record
}

#[test]
fn a_span_comes_back_whole() {
    let links = [context(1, 2), context(3, 4)];
    let span = Span {
        parent: Some(0x00f0_67aa_0ba9_02b7),
        error: Some("RC-STO-001"),
        attributes: &ATTRIBUTES,
        links: &links,
        ..span(9, 7, "POST /ingest")
    };
    let block = encoded(&span);
    assert!(block.len() < 400, "{} bytes", block.len());
    let record = decoded(&block);
    assert_eq!(record.trace_id, span.context.trace_id());
    assert_eq!((record.span_id, record.parent), (7, Some(0x00f0_67aa_0ba9_02b7)));
    assert_eq!(
        (record.kind, record.name.as_str()),
        (SpanKind::Server, "POST /ingest")
    );
    assert_eq!(record.took_ns(), 1_500_000);
    assert_eq!(record.error.as_deref(), Some("RC-STO-001"));
    assert_eq!(record.attribute("rc.negative"), Some(&AttributeValue::Int(-7)));
    assert_eq!(
        record.attribute("rc.queue_ms"),
        Some(&AttributeValue::Float(0.25))
    );
    assert_eq!(record.attribute("rc.flag"), Some(&AttributeValue::Bool(true)));
    assert_eq!(
        record.attribute("rc.text"),
        Some(&AttributeValue::Str("größe".to_owned()))
    );
    assert_eq!(record.links.len(), 2);
    assert_eq!(
        links_of(spans(&block).next().unwrap()).collect::<Vec<_>>(),
        record.links
    );
    assert_eq!(trace_id_of(spans(&block).next().unwrap()), Some(record.trace_id));
}

#[test]
fn what_is_too_much_is_cut_and_counted() {
    let long = "ü".repeat(TEXT_BYTES_MAX);
    let attributes = [("a", Value::Str(&long)); ATTRIBUTES_MAX + 3];
    let links = [context(1, 1); LINKS_MAX + 5];
    let record = decoded(&encoded(&Span {
        attributes: &attributes,
        links: &links,
        error: Some(&long),
        ..span(1, 1, &long)
    }));
    assert_eq!(record.attributes.len(), ATTRIBUTES_MAX);
    assert_eq!(record.links.len(), LINKS_MAX);
    assert_eq!(record.name.len(), TEXT_BYTES_MAX);
    assert_eq!(record.error.unwrap().len(), TEXT_BYTES_MAX);
}

#[test]
fn damaged_spans_are_refused_or_read_and_nothing_panics() {
    let block = encoded(&Span {
        attributes: &ATTRIBUTES,
        links: &[context(1, 2)],
        error: Some("why"),
        ..span(5, 6, "x")
    });
    let whole = spans(&block).next().unwrap();
    for cut in 0..whole.len() {
        let _ = Record::decode(&whole[..cut]);
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.to_vec();
            damaged[at] ^= 1 << bit;
            let _ = Record::decode(&damaged);
            let _ = links_of(&damaged).count();
        }
    }
    assert!(Record::decode(b"").is_err(), "a span has ids");
}

#[test]
fn an_answer_says_what_was_not_taken() {
    assert_eq!(decode_response(b"").unwrap(), PartialSuccess::default());
    // partial_success { rejected_spans: 3, error_message: "no" }
    let body = [0x0a, 0x06, 0x08, 0x03, 0x12, 0x02, b'n', b'o'];
    let partial = decode_response(&body).unwrap();
    assert_eq!((partial.rejected, partial.message.as_str()), (3, "no"));
    assert!(decode_response(&[0x0a, 0x7f]).is_err());
}

/// The interpreter that `cargo xtask setup` made, with OpenTelemetry's own definitions in it.
#[expect(
    clippy::disallowed_methods,
    reason = "a test finds its tools where `setup` put them"
)]
fn python() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .expect("a cache folder");
    let tool = cache.join("royalcrown/tools/bin/schemathesis");
    let real = fs_err::canonicalize(&tool).expect("`make test` installs the tools");
    real.with_file_name("python3")
}

/// The request as the official definitions read it.
fn official(request: &[u8]) -> Json {
    const PROGRAM: &str = "\
import sys
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest as Request
def known(message):
    assert len(UnknownFieldSet(message)) == 0, message
    for field, value in message.ListFields():
        for item in value if hasattr(value, 'append') or hasattr(value, 'add') else [value]:
            if isinstance(item, Message):
                known(item)
request = Request()
request.ParseFromString(sys.stdin.buffer.read())
known(request)
print(MessageToJson(request))";
    let mut child = Command::new(python())
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(request).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_official_definitions_read_what_we_write() {
    let links = [context(1, 2)];
    let mut block = encoded(&Span {
        parent: Some(0x00f0_67aa_0ba9_02b7),
        error: Some("RC-STO-001"),
        attributes: &ATTRIBUTES,
        links: &links,
        ..span(9, 7, "POST /ingest")
    });
    let many = [("a", Value::Int(1)); ATTRIBUTES_MAX + 3];
    encode(
        &Span {
            kind: SpanKind::Consumer,
            attributes: &many,
            links: &[context(1, 1); LINKS_MAX + 5],
            ..span(9, 8, "process docs")
        },
        &mut block,
    );
    let resource = Resource {
        service: "ingest".to_owned(),
        version: "0.1.0".to_owned(),
        namespace: Some("shop".to_owned()),
        region: Some("eu-1".to_owned()),
    };
    let mut request = request_head(
        &resource.encode(),
        &encode_scope("royalcrown", "0.1.0"),
        block.len(),
    );
    request.extend_from_slice(&block);
    let read = official(&request);
    let resource = &read["resourceSpans"][0]["resource"]["attributes"];
    let value = |name: &str| {
        let found = resource
            .as_array()
            .unwrap()
            .iter()
            .find(|pair| pair["key"] == name);
        found.map(|pair| pair["value"].clone())
    };
    assert_eq!(value("service.name").unwrap(), json!({"stringValue": "ingest"}));
    assert_eq!(
        value("service.namespace").unwrap(),
        json!({"stringValue": "shop"})
    );
    assert_eq!(value("cloud.region").unwrap(), json!({"stringValue": "eu-1"}));
    assert!(value("service.instance.id").is_some());
    let scope = &read["resourceSpans"][0]["scopeSpans"][0];
    assert_eq!(scope["scope"], json!({"name": "royalcrown", "version": "0.1.0"}));
    assert_eq!(
        scope["spans"][0],
        json!({
            "traceId": "S/kvNXezTaYAAAAAAAAACQ==",
            "spanId": "AAAAAAAAAAc=",
            "parentSpanId": "APBnqgupArc=",
            "flags": 1,
            "name": "POST /ingest",
            "kind": "SPAN_KIND_SERVER",
            "startTimeUnixNano": "1763700000000000000",
            "endTimeUnixNano": "1763700000001500000",
            "attributes": [
                {"key": "http.request.method", "value": {"stringValue": "POST"}},
                {"key": "http.response.status_code", "value": {"intValue": "503"}},
                {"key": "rc.queue_ms", "value": {"doubleValue": 0.25}},
                {"key": "rc.flag", "value": {"boolValue": true}},
                {"key": "rc.negative", "value": {"intValue": "-7"}},
                {"key": "rc.text", "value": {"stringValue": "größe"}},
            ],
            "links": [{"traceId": "S/kvNXezTaYAAAAAAAAAAQ==", "spanId": "AAAAAAAAAAI="}],
            "status": {"message": "RC-STO-001", "code": "STATUS_CODE_ERROR"},
        })
    );
    let second = &scope["spans"][1];
    assert_eq!(second["kind"], "SPAN_KIND_CONSUMER");
    assert_eq!(
        (&second["droppedAttributesCount"], &second["droppedLinksCount"]),
        (&json!(3), &json!(5))
    );
    assert_eq!(second["parentSpanId"], Json::Null);
}

proptest::proptest! {
    /// The length that is written in front is the length of what follows, whatever the span holds.
    #[test]
    fn any_span_comes_back(
        name in ".{0,40}", text in ".{0,300}", number in proptest::num::i64::ANY,
        began in 0_u64..1 << 62, took in 0_u64..1 << 40, links in 0_usize..4,
    ) {
        let attributes = [("t", Value::Str(&text)), ("n", Value::Int(number))];
        let links = vec![context(3, 4); links];
        let record = decoded(&encoded(&Span {
            began_unix_ns: began,
            took_ns: took,
            attributes: &attributes,
            links: &links,
            ..span(2, 3, &name)
        }));
        proptest::prop_assert_eq!(&record.name, &name);
        proptest::prop_assert_eq!(record.took_ns(), took);
        proptest::prop_assert_eq!(record.attribute("n"), Some(&AttributeValue::Int(number)));
        proptest::prop_assert_eq!(record.links.len(), links.len());
    }
}
