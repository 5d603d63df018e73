use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::*;

#[derive(Debug, Default)]
struct Kept(Mutex<Vec<(String, u64, Option<u64>)>>);

impl TelemetrySink for Kept {
    fn span(&self, span: &Span<'_>) {
        self.0
            .lock()
            .unwrap()
            .push((span.name.to_owned(), span.context.span_id(), span.parent));
    }
}

fn scope(sink: &Arc<Kept>) -> Scope {
    let sink: Arc<dyn TelemetrySink> = Arc::<Kept>::clone(sink);
    Scope::new(TraceContext::start(|| 7), &sink).unwrap()
}

#[test]
fn a_trace_that_nobody_records_has_no_scope() {
    let sink: Arc<dyn TelemetrySink> = Arc::new(Kept::default());
    let unsampled = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    assert!(Scope::new(TraceContext::parse(unsampled).unwrap(), &sink).is_none());
}

#[test]
fn a_span_hangs_below_the_scope_it_was_begun_in() {
    let sink = Arc::new(Kept::default());
    let scope = scope(&sink);
    scope.enter(|| {
        let span = Scope::current().unwrap().begin(SpanKind::Client, || 9);
        span.finish("select", None, &[]);
    });
    assert!(Scope::current().is_none(), "the scope ends with its work");
    assert_eq!(*sink.0.lock().unwrap(), [("select".to_owned(), 9, Some(7))]);
}

#[test]
fn a_panic_leaves_no_scope_behind() {
    let scope = scope(&Arc::new(Kept::default()));
    let work = std::panic::AssertUnwindSafe(|| scope.enter(|| panic!("as planned")));
    assert!(std::panic::catch_unwind(work).is_err());
    assert!(Scope::current().is_none());
}

#[test]
fn a_future_keeps_its_scope_between_polls_and_lends_it_to_nobody() {
    let scope = scope(&Arc::new(Kept::default()));
    let mut polls = 0;
    let work = std::future::poll_fn(|_| {
        assert!(Scope::current().is_some());
        polls += 1;
        if polls == 2 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    let mut run = std::pin::pin!(scope.run(work));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(run.as_mut().poll(&mut cx).is_pending());
    assert!(
        Scope::current().is_none(),
        "between polls the thread does other work"
    );
    assert!(run.as_mut().poll(&mut cx).is_ready());
}
