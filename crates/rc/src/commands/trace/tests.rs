use std::sync::Arc;

use rc_model::telemetry::SpanKind;
use rc_observe::{AttributeValue, Kept, Link, Record, Trace};

use super::*;

const LOOK: Look = Look {
    width: 100,
    color: false,
};

/// A moment in nanoseconds since the Unix epoch.
const ZERO: u64 = 1_763_726_400_000_000_000;

/// A span from `at` to `at + took` microseconds.
fn kept(service: &str, id: u64, parent: u64, name: &str, at: u64, took: u64) -> Kept {
    Kept {
        service: Arc::from(service),
        span: Record {
            trace_id: 0x4bf9,
            span_id: id,
            parent: (parent != 0).then_some(parent),
            kind: SpanKind::Internal,
            name: name.to_owned(),
            began_unix_ns: ZERO + at * 1_000,
            ended_unix_ns: ZERO + (at + took) * 1_000,
            error: None,
            attributes: Vec::new(),
            links: Vec::new(),
        },
    }
}

fn with(mut kept: Kept, attributes: &[(&str, AttributeValue)]) -> Kept {
    let owned = |(name, value): &(&str, AttributeValue)| ((*name).to_owned(), value.clone());
    kept.span.attributes = attributes.iter().map(owned).collect();
    kept
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::Str(text.to_owned())
}

/// What one document's way looks like.
fn ingest() -> Trace {
    let status = |code| ("http.response.status_code", AttributeValue::Int(code));
    let statement = (
        "db.query.text",
        text("INSERT INTO documents (tenant, id, version, title, text)\n VALUES (?, ?, ?, ?, ?)"),
    );
    let mut batch = kept("docs-api", 20, 0, "process batch", 13_800, 9_000);
    batch.span.trace_id = 0x9f00;
    batch.span.links = vec![Link {
        trace_id: 0x4bf9,
        span_id: 7,
    }];
    batch.span.attributes = vec![("rc.traces".to_owned(), AttributeValue::Int(12))];
    let mut write = kept("docs-api", 21, 20, "sqlite write docs.apply", 14_000, 8_000);
    write.span.trace_id = 0x9f00;
    let linked = Trace {
        id: 0x9f00,
        spans: vec![batch, write],
        linked: Vec::new(),
    };
    Trace {
        id: 0x4bf9,
        spans: vec![
            with(
                kept("gateway", 1, 0xabc, "POST /ingest", 0, 12_400),
                &[
                    status(202),
                    ("rc.tenant", text("acme")),
                    ("rc.tier", text("gold")),
                ],
            ),
            with(kept("ingest", 2, 1, "POST /ingest", 400, 11_700), &[status(202)]),
            with(
                kept("ingest", 3, 2, "sqlite write ingest.store", 900, 10_800),
                &[("rc.queue_ms", AttributeValue::Float(0.42))],
            ),
            with(
                kept("ingest", 4, 3, "INSERT documents", 2_100, 300),
                &[("db.operation.batch.size", AttributeValue::Int(3)), statement],
            ),
            with(
                kept("ingest", 6, 2, "publish docs", 12_600, 600),
                &[("messaging.batch.message_count", AttributeValue::Int(3))],
            ),
            with(
                kept("docs-api", 7, 6, "process docs", 14_000, 8_900),
                &[("messaging.batch.message_count", AttributeValue::Int(3))],
            ),
        ],
        linked: vec![linked],
    }
}

#[test]
fn a_request_is_drawn_with_everything_that_it_caused() {
    insta::assert_snapshot!(draw::trace(&ingest(), &LOOK), @r"
    trace 00000000000000000000000000004bf9
    2025-11-21T12:00:00.000Z  6 spans of gateway, ingest, docs-api
    answered after 12.40 ms, all done after 22.90 ms

                                                                     at ms took ms  0           22.90 ms
    gateway   POST /ingest  202 · acme/gold                          0.000  12.400  ██████████▊
    ingest    └─ POST /ingest  202                                   0.400  11.700  ██████████▌
    ingest       ├─ sqlite write ingest.store  queued 0.42 ms        0.900  10.800  ██████████▏
    ingest       │  └─ INSERT documents  ×3 · (tenant, id, versio…   2.100   0.300   █
    ingest       └─ publish docs  3 messages                        12.600   0.600             ▌
    docs-api        └─ process docs  3 messages                     14.000   8.900              ████████
    docs-api           └─⇢ process batch  for 12 traces             13.800   9.000              ███████▉
    docs-api              └─ sqlite write docs.apply                14.000   8.000              ███████▏
    ");
}

#[test]
fn the_picture_fits_every_width_and_is_the_same_with_colours() {
    let trace = ingest();
    for width in [WIDTH_MIN, 80, 100, 137, WIDTH_MAX] {
        let plain = draw::trace(&trace, &Look { width, color: false });
        for line in plain.lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        let painted = draw::trace(&trace, &Look { width, color: true });
        let mut bare = String::new();
        let mut rest = painted.as_str();
        while let Some((before, code)) = rest.split_once("\u{1b}[") {
            bare.push_str(before);
            rest = code.split_once('m').unwrap().1;
        }
        bare.push_str(rest);
        let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
        assert_eq!(trimmed(&bare), trimmed(&plain), "{width}");
    }
}

#[test]
fn errors_stand_beside_names_and_nothing_steers_the_terminal() {
    let mut first = kept("gateway", 1, 0, "GET /docs/{id}", 0, 5_000_000);
    first.span.error = Some("RC-STO-002\u{1b}[31m".to_owned());
    let trace = Trace {
        id: 7,
        spans: vec![first],
        linked: Vec::new(),
    };
    let drawn = draw::trace(&trace, &LOOK);
    assert!(drawn.contains("GET /docs/{id} ✗ RC-STO-002"), "{drawn}");
    assert!(!drawn.contains('\u{1b}'), "{drawn:?}");
    assert!(drawn.contains("took 5.00 s"), "{drawn}");
}

#[test]
fn odd_traces_are_drawn_too() {
    // Parents in a circle, one that is its own parent, and one whose parent was not kept.
    let circle = Trace {
        id: 1,
        spans: vec![
            kept("a", 1, 9, "lost its parent", 0, 10),
            kept("a", 2, 3, "one", 1, 1),
            kept("a", 3, 2, "other", 1, 1),
            kept("a", 4, 4, "itself", 1, 1),
        ],
        linked: Vec::new(),
    };
    let drawn = draw::trace(&circle, &LOOK);
    assert!(drawn.contains("lost its parent"), "{drawn}");
    assert!(drawn.contains("and 3 more spans"), "{drawn}");
    // A chain deeper than any picture, and more spans than any.
    let deep: Vec<Kept> = (1..=2_000)
        .map(|id| kept("a", id, id - 1, "deeper", id, 1))
        .collect();
    let wide: Vec<Kept> = (1..=2_000)
        .map(|id| kept("a", id, u64::from(id > 1), "wider", id, 1))
        .collect();
    for spans in [deep, wide] {
        let trace = Trace {
            id: 1,
            spans,
            linked: Vec::new(),
        };
        let drawn = draw::trace(&trace, &LOOK);
        assert!(drawn.lines().count() < 510);
        assert!(drawn.contains("more spans"));
    }
    assert_eq!(
        draw::trace(
            &Trace {
                id: 1,
                spans: Vec::new(),
                linked: Vec::new()
            },
            &LOOK
        ),
        ""
    );
}

#[test]
fn times_have_the_digits_that_help() {
    for (ns, expect) in [
        (0, "0.00 ms"),
        (412_300, "0.41 ms"),
        (12_400_000, "12.40 ms"),
        (123_456_000, "123.46 ms"),
        (9_876_000_000, "9.88 s"),
        (61_200_000_000, "61.20 s"),
    ] {
        assert_eq!(draw::time(ns), expect);
    }
}

#[test]
fn recent_traces_stand_in_lines() {
    let summary = |id: u128, name: &str, error: Option<&str>| rc_observe::Summary {
        id: id << 96,
        name: name.to_owned(),
        services: vec![Arc::from("gateway"), Arc::from("ingest")],
        spans: 9,
        began_unix_ns: ZERO,
        took_ns: 12_400_000,
        whole_ns: 30_000_000,
        error: error.map(str::to_owned),
    };
    let traces = [
        summary(0x4bf9_2f35, "POST /ingest", None),
        summary(0x77aa_0001, "GET /docs/{id}", Some("RC-STO-002")),
    ];
    let now = rc_model::Timestamp::from_unix_ms(i64::try_from(ZERO / 1_000_000).unwrap() + 95_000);
    insta::assert_snapshot!(list::table(&traces, now, &LOOK), @r"
    TRACE          AGE      TOOK  SPANS  SERVICES         REQUEST
    4bf92f350000  1min  12.40 ms      9  gateway, ingest  POST /ingest
    77aa00010000  1min  12.40 ms      9  gateway, ingest  GET /docs/{id} ✗ RC-STO-002
    ");
}
