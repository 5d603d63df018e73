use super::*;
use crate::otlp::tests::{context, span};
use crate::ring::{BLOCK_HEAD_BYTES, Ring, RingConfig};
use rc_model::telemetry::Span;

const ZERO: u64 = 1_763_700_000_000_000_000;

/// Writes spans of a service as its process would.
fn keep(folder: &Path, service: &str, spans: &[Span<'_>]) {
    let mut block = vec![0; BLOCK_HEAD_BYTES];
    for span in spans {
        otlp::encode(span, &mut block);
    }
    let mut ring = Ring::new(RingConfig {
        folder: folder.join(service),
        keep_bytes: 0,
    });
    ring.append(&mut block).unwrap();
}

fn at<'a>(span: Span<'a>, ms: u64, parent: u64) -> Span<'a> {
    Span {
        began_unix_ns: ZERO + ms * 1_000_000,
        parent: (parent != 0).then_some(parent),
        ..span
    }
}

/// Two requests whose documents were applied in one batch.
fn world() -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    keep(
        folder,
        "gateway",
        &[
            at(span(0xa1, 1, "POST /ingest"), 0, 0xfff),
            at(span(0xb2, 11, "POST /ingest"), 1, 0),
        ],
    );
    keep(
        folder,
        "ingest",
        &[
            at(span(0xa1, 2, "POST /ingest"), 1, 1),
            at(span(0xa1, 3, "publish docs"), 4, 2),
            at(span(0xb2, 12, "POST /ingest"), 2, 11),
            at(span(0xb2, 13, "publish docs"), 4, 12),
        ],
    );
    let links = [context(0xa1, 4)];
    keep(
        folder,
        "docs-api",
        &[
            at(span(0xa1, 4, "process docs"), 6, 3),
            // This one links to the batch, which has no room for a link to it.
            Span {
                links: &[context(0xc3, 20)],
                ..at(span(0xb2, 14, "process docs"), 6, 13)
            },
            Span {
                links: &links,
                ..at(span(0xc3, 20, "process batch"), 6, 0)
            },
            Span {
                error: Some("RC-STO-001"),
                ..at(span(0xc3, 21, "sqlite write docs.apply"), 7, 20)
            },
        ],
    );
    scratch
}

fn prefix(text: &str) -> IdPrefix {
    IdPrefix::parse(text).unwrap()
}

#[test]
fn a_trace_is_put_together_from_all_services_and_the_batches_that_it_was_in() {
    let world = world();
    let reader = Reader::new(world.path());
    let found = reader.find(prefix("4bf92f3577b34da600000000000000a1")).unwrap();
    let Found::One(trace) = found else {
        panic!("{found:?}");
    };
    let names: Vec<(&str, u64)> = trace
        .spans
        .iter()
        .map(|kept| (&*kept.service, kept.span.span_id))
        .collect();
    assert_eq!(
        names,
        [("gateway", 1), ("ingest", 2), ("ingest", 3), ("docs-api", 4)]
    );
    let roots: Vec<u64> = trace.roots().iter().map(|kept| kept.span.span_id).collect();
    assert_eq!(roots, [1], "its parent is the client's span");
    assert_eq!(trace.children(2).count(), 1);
    let batch: Vec<(u64, u64)> = trace
        .linking(4)
        .map(|(batch, kept)| {
            (
                batch.children(kept.span.span_id).count() as u64,
                kept.span.span_id,
            )
        })
        .collect();
    assert_eq!(batch, [(1, 20)]);
    assert_eq!(trace.linking(3).count(), 0);
    let Found::One(other) = reader.find(prefix("4bf92f3577b34da600000000000000b2")).unwrap() else {
        panic!("its id is whole");
    };
    let batch: Vec<u64> = other.linking(14).map(|(_, kept)| kept.span.span_id).collect();
    assert_eq!(batch, [20], "the link may stand on either side");
}

#[test]
fn a_prefix_of_several_lists_them_and_of_none_says_how_far_back_it_goes() {
    let world = world();
    let reader = Reader::new(world.path());
    let Found::Many(many) = reader.find(prefix("4bf92f35")).unwrap() else {
        panic!("three traces begin with these digits");
    };
    assert_eq!(many.len(), 3);
    assert_eq!(many[0].id & 0xff, 0xa1);
    let found = reader.find(prefix("ffff")).unwrap();
    assert_eq!(
        found,
        Found::None {
            oldest_unix_ns: Some(ZERO)
        }
    );
    let nowhere = Reader::new(&world.path().join("nowhere"));
    let found = nowhere.find(prefix("ffff")).unwrap();
    assert_eq!(found, Found::None { oldest_unix_ns: None });
    assert!(nowhere.recent(5).unwrap().is_empty());
}

#[test]
fn the_list_has_requests_and_not_the_batches_between_them() {
    let world = world();
    let recent = Reader::new(world.path()).recent(10).unwrap();
    let got: Vec<(u128, &str, usize, usize)> = recent
        .iter()
        .map(|trace| {
            (
                trace.id & 0xff,
                trace.name.as_str(),
                trace.services.len(),
                trace.spans,
            )
        })
        .collect();
    assert_eq!(got, [(0xa1, "POST /ingest", 3, 4), (0xb2, "POST /ingest", 3, 4)]);
    assert_eq!(recent[0].took_ns, 1_500_000);
    assert_eq!(recent[0].whole_ns, 7_500_000);
    assert_eq!(&*recent[0].services[0], "gateway");
    let failed = Reader::new(world.path()).failed(10).unwrap();
    assert_eq!(failed, [], "the batch failed, and it is none of these");
    let newest = Reader::new(world.path()).recent(1).unwrap();
    assert_eq!(newest[0].id & 0xff, 0xb2);
}

#[test]
fn files_that_others_put_there_and_damage_do_not_matter() {
    let world = world();
    let folder = world.path();
    fs_err::write(folder.join("notes.txt"), "mine").unwrap();
    fs_err::write(folder.join("gateway/000099.spans"), "not a segment").unwrap();
    fs_err::write(folder.join("gateway/odd.spans"), "").unwrap();
    let torn = folder.join("gateway/000001.spans");
    let mut bytes = fs_err::read(&torn).unwrap();
    bytes.extend_from_slice(&[0xf5, b'R', b'C', b'b', 0xff]);
    fs_err::write(&torn, bytes).unwrap();
    assert_eq!(Reader::new(folder).recent(10).unwrap().len(), 2);
}

#[test]
fn ids_are_hex_and_long_enough() {
    for text in [
        "",
        "4bf",
        "4bf9 ",
        "xyz1",
        "+4bf",
        "4bf92f3577b34da6a3ce929d0e0e47361",
    ] {
        let usable = text.trim().len() == 4 && text != "+4bf";
        assert_eq!(
            IdPrefix::parse(text).is_ok(),
            usable && text.trim().bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{text}"
        );
    }
    let whole = prefix("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!(whole, prefix("4BF92F3577B34DA6A3CE929D0E0E4736"));
    assert!(whole.matches(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736));
    assert!(!whole.matches(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4737));
}
