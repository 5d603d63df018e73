use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rc_model::ServiceId;
use rc_runtime::{BoxFuture, Kind, NotReady, Probe, StartError};

use super::*;

/// Builds that end as told, or never.
#[derive(Default)]
struct Fake {
    ends: BTreeMap<&'static str, Cause>,
    /// What was started and asked to end, in order.
    seen: Arc<Mutex<Vec<String>>>,
}

struct FakeBuild {
    id: ServiceId,
    cause: Option<Cause>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Target for Fake {
    fn start<'a>(&'a self, spec: &'a ServiceSpec) -> BoxFuture<'a, Result<Box<dyn Instance>, StartError>> {
        self.seen.lock().unwrap().push(format!("start {}", spec.id));
        let build = FakeBuild {
            id: spec.id.clone(),
            cause: self.ends.get(spec.id.as_str()).cloned(),
            seen: Arc::clone(&self.seen),
        };
        Box::pin(async { Ok(Box::new(build) as Box<dyn Instance>) })
    }

    fn probe<'a>(&'a self, _: &'a ServiceSpec) -> BoxFuture<'a, Result<(), NotReady>> {
        Box::pin(async { Ok(()) })
    }

    fn note(&self, _: &ServiceSpec, _: &'static str, _: &str) {}

    fn last_lines(&self, _: &ServiceId) -> Vec<String> {
        vec!["error: expected `;`\u{1b}[2J".to_owned()]
    }

    fn forget(&self, _: &ServiceId) {}
}

impl Instance for FakeBuild {
    fn pid(&self) -> Option<u32> {
        None
    }

    fn ended(&mut self) -> BoxFuture<'_, Cause> {
        Box::pin(async {
            match self.cause.clone() {
                Some(cause) => cause,
                None => std::future::pending().await,
            }
        })
    }

    fn terminate(&mut self) {
        self.seen.lock().unwrap().push(format!("end {}", self.id));
        self.cause = Some(Cause::Signal(15));
    }

    fn kill(&mut self) {}
}

#[derive(Default)]
struct Shown(Vec<String>);

impl Show for Shown {
    fn show(&mut self, event: &Event) {
        if let Event::Note { text } | Event::Warning { text } = event {
            self.0.push(text.clone());
        }
    }
}

fn build(id: &str) -> ServiceSpec {
    ServiceSpec {
        id: ServiceId::new(id).unwrap(),
        program: PathBuf::from("/p/tools/build"),
        args: vec!["all".into()],
        env: BTreeMap::new(),
        cwd: "/p".into(),
        ready: Probe::TcpOpen { port: 0 },
        ready_timeout: Duration::ZERO,
        needs: Vec::new(),
        outlived_by: Vec::new(),
        drain: Duration::ZERO,
        log_file: "/p/log".into(),
        kind: Kind::Guarded,
        address: String::new(),
    }
}

#[tokio::test]
async fn builds_run_in_turn() {
    let fake = Fake {
        ends: BTreeMap::from([("a", Cause::Status(0)), ("b", Cause::Status(0))]),
        ..Fake::default()
    };
    let mut shown = Shown::default();
    let built = run(
        &fake,
        &[build("a"), build("b")],
        std::future::pending(),
        &mut shown,
    )
    .await;
    assert_eq!(built.unwrap(), Built::All);
    assert_eq!(*fake.seen.lock().unwrap(), ["start a", "start b"]);
    assert!(
        shown.0[0].contains("building a: tools/build all"),
        "{:?}",
        shown.0
    );
}

#[tokio::test]
async fn a_build_that_fails_is_told_with_its_last_lines_and_stops_the_others() {
    let fake = Fake {
        ends: BTreeMap::from([("a", Cause::Status(101)), ("b", Cause::Status(0))]),
        ..Fake::default()
    };
    let mut shown = Shown::default();
    let fault = run(
        &fake,
        &[build("a"), build("b")],
        std::future::pending(),
        &mut shown,
    )
    .await
    .unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the build of `a` ended with exit status 101: tools/build all"
    );
    let told = shown.0.join("\n");
    assert!(
        told.contains("expected `;`") && !told.contains('\u{1b}'),
        "{told}"
    );
    assert_eq!(*fake.seen.lock().unwrap(), ["start a"]);
}

#[tokio::test]
async fn an_interrupted_build_is_ended() {
    let fake = Fake::default();
    let built = run(&fake, &[build("a")], async {}, &mut Shown::default()).await;
    assert_eq!(built.unwrap(), Built::Stopped);
    assert_eq!(*fake.seen.lock().unwrap(), ["start a", "end a"]);
}
