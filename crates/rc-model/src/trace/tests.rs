use super::*;

const SPEC: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn the_specifications_example_round_trips() {
    let context = TraceContext::parse(SPEC.as_bytes()).expect("the specification's own example");
    assert_eq!(context.to_string(), SPEC);
    assert_eq!(&context.encode()[..], SPEC.as_bytes());
    assert_eq!(context.trace_id_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(context.sampled());
}

#[test]
fn invalid_headers_are_refused() {
    for bad in [
        "",
        "00",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
        "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
        "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x",
    ] {
        assert_eq!(TraceContext::parse(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn a_later_version_with_more_fields_is_read() {
    let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-holds";
    assert!(TraceContext::parse(later.as_bytes()).is_some());
}

#[test]
fn a_child_keeps_the_trace_and_changes_the_span() {
    let mut next = 7_u64;
    let mut random = || {
        next += 1;
        next
    };
    let root = TraceContext::start(&mut random);
    let child = root.child(&mut random);
    assert_eq!(root.trace_id(), child.trace_id());
    assert_ne!(root.span_id(), child.span_id());
}
