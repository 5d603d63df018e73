use std::path::PathBuf;
use std::time::Duration;

use rc_runtime::{Kind, Probe};
use tokio::sync::mpsc;

use super::super::Note;
use super::*;

/// Runs nothing: instances end as the test says.
struct Fake(Mutex<Vec<Result<Cause, &'static str>>>);

struct FakeInstance(Option<Cause>);

impl Target for Fake {
    fn start<'a>(&'a self, _: &'a ServiceSpec) -> BoxFuture<'a, Result<Box<dyn Instance>, StartError>> {
        let next = self.0.lock().unwrap().remove(0);
        Box::pin(async move {
            let cause = next.map_err(|error| StartError(error.to_owned()))?;
            Ok(Box::new(FakeInstance(Some(cause))) as Box<dyn Instance>)
        })
    }

    fn probe<'a>(&'a self, _: &'a ServiceSpec) -> BoxFuture<'a, Result<(), NotReady>> {
        Box::pin(async { Ok(()) })
    }

    fn note(&self, _: &ServiceSpec, _: &'static str, _: &str) {}

    fn last_lines(&self, _: &ServiceId) -> Vec<String> {
        Vec::new()
    }

    fn forget(&self, _: &ServiceId) {}
}

impl Instance for FakeInstance {
    fn pid(&self) -> Option<u32> {
        Some(42)
    }

    fn ended(&mut self) -> BoxFuture<'_, Cause> {
        Box::pin(async move {
            // Dropped here, the end must not count as told.
            tokio::task::yield_now().await;
            self.0.clone().unwrap()
        })
    }

    fn terminate(&mut self) {}

    fn kill(&mut self) {}
}

fn spec() -> ServiceSpec {
    ServiceSpec {
        id: ServiceId::new("web").unwrap(),
        program: PathBuf::new(),
        args: Vec::new(),
        env: BTreeMap::new(),
        cwd: PathBuf::new(),
        ready: Probe::TcpOpen { port: 1 },
        ready_timeout: Duration::ZERO,
        needs: Vec::new(),
        outlived_by: Vec::new(),
        drain: Duration::ZERO,
        log_file: PathBuf::new(),
        kind: Kind::Ours,
        address: String::new(),
    }
}

fn told(notes: &mut mpsc::Receiver<Note>) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut told = Vec::new();
    while let Ok(note) = notes.try_recv() {
        let act = note.act;
        told.push((act.action.as_str(), act.reason.code, act.outcome.as_str()));
    }
    told
}

#[tokio::test]
async fn every_start_and_every_end_is_told_once_with_its_reason() {
    let (queue, mut notes) = mpsc::channel(16);
    let target = Watched::new(
        Fake(Mutex::new(vec![
            Ok(Cause::Signal(9)),
            Ok(Cause::Status(0)),
            Err("no such file"),
        ])),
        Facts(queue),
    );
    let spec = spec();
    let mut first = target.start(&spec).await.unwrap();
    // The supervisor waits for several things at once: a wait that is dropped tells nothing.
    {
        let mut ended = first.ended();
        let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(ended.as_mut().poll(cx).is_pending()));
        assert!(poll.await);
    }
    assert_eq!(told(&mut notes), [("service.start", "catalog", "done")]);
    first.ended().await;
    first.ended().await;
    assert_eq!(told(&mut notes), [("service.crash", "ended", "failed")]);

    let mut second = target.start(&spec).await.unwrap();
    second.terminate();
    second.ended().await;
    assert_eq!(
        told(&mut notes),
        [
            ("service.start", "crashed", "done"),
            ("service.stop", "asked", "done")
        ]
    );
    assert!(target.start(&spec).await.is_err());
    assert_eq!(told(&mut notes), [("service.start", "changed", "failed")]);
}
