//! One transaction, shown in the trace of each request that is in it.

use rc_test::spans::Recorder;

use super::*;

#[tokio::test]
async fn shared_work_stands_in_every_trace() {
    let recorder = Recorder::new();
    let scopes = [recorder.scope(), recorder.scope()];
    let mut shares = Vec::new();
    for scope in &scopes {
        shares.push(scope.enter(|| Share::here("ingest.store")).unwrap());
    }
    let tape = Tape::new();
    tape.record(async {
        let below = Scope::current().unwrap();
        let outer = below.begin(SpanKind::Client, random);
        let inner = outer.scope().begin(SpanKind::Client, random);
        inner.finish("inner", Some("RC-STO-004"), &[("n", Value::Int(7))]);
        outer.finish("outer", None, &[]);
    })
    .await;
    assert_eq!(
        recorder.take().len(),
        0,
        "nothing is told before it is known how it ended"
    );
    for share in shares {
        share.finish(&tape, 2, None);
    }
    let spans = recorder.take();
    assert_eq!(spans.len(), 6);
    for scope in &scopes {
        let of = |name: &str| {
            spans
                .iter()
                .find(|span| span.name == name && span.context.trace_id() == scope.context().trace_id())
                .unwrap_or_else(|| panic!("`{name}` is missing in {spans:#?}"))
        };
        let (share, outer, inner) = (of("postgresql write ingest.store"), of("outer"), of("inner"));
        assert_eq!(share.parent, Some(scope.context().span_id()));
        assert_eq!(outer.parent, Some(share.context.span_id()));
        assert_eq!(inner.parent, Some(outer.context.span_id()));
        assert_eq!(inner.error.as_deref(), Some("RC-STO-004"));
        assert_eq!(inner.attribute("n"), Some("7"));
        assert_eq!(share.attribute("rc.group_jobs"), Some("2"));
    }
    let mut ids: Vec<u64> = spans.iter().map(|span| span.context.span_id()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 6, "every span has an id of its own");
}

#[tokio::test]
async fn a_tape_is_bounded_and_a_share_that_is_dropped_says_so() {
    let recorder = Recorder::new();
    let share = recorder.scope().enter(|| Share::here("ingest.store"));
    let tape = Tape::new();
    tape.record(async {
        let below = Scope::current().unwrap();
        for _ in 0..TAPE_SPANS_MAX + 5 {
            below
                .begin(SpanKind::Client, random)
                .finish("statement", None, &[]);
        }
    })
    .await;
    share.unwrap().finish(&tape, 1, None);
    let spans = recorder.take();
    assert_eq!(spans.len(), TAPE_SPANS_MAX + 1);
    assert_eq!(spans.last().unwrap().attribute("rc.spans_beyond"), Some("5"));

    drop(recorder.scope().enter(|| Share::here("ingest.store")));
    let spans = recorder.take();
    assert_eq!(spans[0].error.as_deref(), Some(CANCELLED));
    assert!(Share::here("ingest.store").is_none(), "nobody traces this thread");
}
