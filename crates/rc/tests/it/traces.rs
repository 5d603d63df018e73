//! Traces, end to end: every request's spans from the gateway to the document that can be found, as a
//! receiver sees them that reads OTLP with the official definitions, and as `rc trace` draws them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rc_runtime::procfs;
use rustix::process::Signal;
use serde_json::Value;

use crate::world::{Answer, World, eventually, told};

mod receiver;

use receiver::{Receiver, Span, python};

/// Texts that users send; none of them may stand in a span.
const CANARIES: [&str; 5] = [
    "canaryidentity",
    "canarytitle",
    "canarybody",
    "canaryquery",
    "canaryheader",
];

/// Requests of each kind, from threads that send them side by side.
const THREADS: usize = 6;
const SINGLES: usize = 15;
const BATCHES: usize = 4;
const READS: usize = 6;

/// What was asked, and what is known of its trace.
#[derive(Debug)]
struct Asked {
    /// `None` when the client's own request id hides it.
    trace_id: String,
    status: u16,
    /// Whether it stored something.
    stored: bool,
    /// The client's span, when the client sent one.
    parent: Option<String>,
}

fn sent(world: &World, head: &str, body: &[u8]) -> Answer {
    world.http(head, body)
}

/// The trace of a request to which the client gave no id: its request id.
fn trace_of(answer: &Answer) -> String {
    let id = answer.header("x-request-id").expect("every answer has one");
    assert_eq!(id.len(), 32, "{id}");
    id.to_owned()
}

/// A trace and a span that a client made up, as `traceparent` and in their parts.
fn context(number: usize, flags: &str) -> (String, String, String) {
    let trace = format!("{:032x}", 0xc11e_0000_0000_0000_u128 << 64 | number as u128);
    let span = format!("{:016x}", 0xc11e_0000_0000_0000_u64 | number as u64);
    (format!("00-{trace}-{span}-{flags}"), trace, span)
}

/// Requests of all kinds from one client.
fn client(world: &World, key: &str, thread: usize) -> (Vec<Asked>, Vec<String>) {
    let (mut asked, mut unsampled) = (Vec::new(), Vec::new());
    let auth = format!("Authorization: Bearer {key}\nx-canary: canaryheader");
    let json = "Content-Type: application/json";
    let document = |id: String| {
        format!(
            "{{\"id\":\"canaryidentity-{id}\",\"title\":\"canarytitle {id}\",\"text\":\"canarybody harbour {id}\"}}"
        )
    };
    let known = |answer: Answer, stored: bool| {
        let known = Asked {
            trace_id: trace_of(&answer),
            status: answer.status,
            stored,
            parent: None,
        };
        (answer, known)
    };
    for number in 0..SINGLES {
        let id = format!("{thread}-{number}");
        let head = format!("POST /ingest HTTP/1.1\n{auth}\n{json}\nIdempotency-Key: s-{id}");
        let (answer, known) = known(sent(world, &head, document(id).as_bytes()), true);
        assert_eq!(answer.status, 202, "{answer:?}");
        asked.push(known);
    }
    for number in 0..BATCHES {
        let items: Vec<String> = (0..5)
            .map(|item| document(format!("{thread}-{number}-{item}")))
            .collect();
        let body = format!("[{}]", items.join(","));
        let head =
            format!("POST /ingest/batch HTTP/1.1\n{auth}\n{json}\nIdempotency-Key: b-{thread}-{number}");
        let (answer, known) = known(sent(world, &head, body.as_bytes()), true);
        assert!(matches!(answer.status, 200 | 202 | 207), "{answer:?}");
        asked.push(known);
    }
    for number in 0..READS {
        for (path, status) in [
            (format!("/docs/canaryidentity-{thread}-{number}-absent"), 404),
            (format!("/search?q=canaryquery+harbour{number}"), 200),
        ] {
            let (answer, known) = known(sent(world, &format!("GET {path} HTTP/1.1\n{auth}"), b""), false);
            assert_eq!(answer.status, status, "{answer:?}");
            asked.push(known);
        }
    }
    // What is refused: by the gateway without a key, and by ingest for what the body says.
    let (answer, refused) = known(
        sent(
            world,
            "GET /docs/canaryidentity HTTP/1.1\nAuthorization: Bearer canaryheader",
            b"",
        ),
        false,
    );
    assert_eq!(answer.status, 401, "{answer:?}");
    asked.push(refused);
    let head = format!("POST /ingest HTTP/1.1\n{auth}\n{json}\nIdempotency-Key: r-{thread}");
    let (answer, refused) = known(sent(world, &head, b"{\"canarybody\": 1}"), false);
    assert_eq!(answer.status / 100, 4, "{answer:?}");
    asked.push(refused);
    // Clients that trace themselves: one that records, and one that does not.
    for (flags, number) in [("01", 2 * thread), ("00", 2 * thread + 1)] {
        let (header, trace_id, parent) = context(number + 1, flags);
        let head = format!(
            "POST /ingest HTTP/1.1\n{auth}\n{json}\nIdempotency-Key: c-{number}\ntraceparent: {header}"
        );
        let answer = sent(world, &head, document(format!("c-{number}")).as_bytes());
        assert_eq!(answer.status, 202, "{answer:?}");
        if flags == "00" {
            unsampled.push(trace_id);
        } else {
            asked.push(Asked {
                trace_id,
                status: 202,
                stored: true,
                parent: Some(parent),
            });
        }
    }
    (asked, unsampled)
}

/// Sends everything, waits until all of it can be found, and stops the platform.
fn exercise(world: &World, key: &str) -> (Vec<Asked>, Vec<String>) {
    let (mut asked, mut unsampled) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || client(world, key, thread)))
            .collect();
        for thread in threads {
            let (known, hidden) = thread.join().unwrap();
            asked.extend(known);
            unsampled.extend(hidden);
        }
    });
    let head = format!(
        "POST /ingest?wait=indexed&timeout=15s HTTP/1.1\nAuthorization: Bearer {key}\nContent-Type: application/json\nIdempotency-Key: last"
    );
    let answer = sent(world, &head, br#"{"id":"last","text":"canarybody last"}"#);
    assert_eq!(answer.status, 200, "{answer:?}");
    asked.push(Asked {
        trace_id: trace_of(&answer),
        status: 200,
        stored: true,
        parent: None,
    });
    assert!(asked.len() > 200, "{}", asked.len());
    (asked, unsampled)
}

/// The spans of one installation, by trace and by id.
struct Seen {
    by_id: HashMap<(String, String), Span>,
    by_trace: BTreeMap<String, Vec<Span>>,
}

impl Seen {
    fn of(spans: Vec<Span>) -> Self {
        let mut seen = Self {
            by_id: HashMap::new(),
            by_trace: BTreeMap::new(),
        };
        for span in spans {
            let place = (span.trace_id.clone(), span.span_id.clone());
            let before = seen.by_id.insert(place, span.clone());
            assert!(before.is_none(), "sent twice: {before:?}");
            seen.by_trace.entry(span.trace_id.clone()).or_default().push(span);
        }
        seen
    }

    fn parent(&self, span: &Span) -> Option<&Span> {
        let parent = span.parent.clone()?;
        self.by_id.get(&(span.trace_id.clone(), parent))
    }

    /// Whether `span` stands somewhere below `above`.
    fn is_below(&self, span: &Span, above: &Span) -> bool {
        let mut at = self.parent(span);
        while let Some(found) = at {
            if found.span_id == above.span_id {
                return true;
            }
            at = self.parent(found);
        }
        false
    }

    /// Statements of `service` below `above`, in its trace.
    fn statements(&self, above: &Span) -> usize {
        let spans = self.by_trace[&above.trace_id].iter();
        spans
            .filter(|span| span.attributes.contains_key("db.query.text") && self.is_below(span, above))
            .count()
    }

    /// Spans of other traces that link to `span`.
    fn linking<'a>(&'a self, span: &'a Span) -> impl Iterator<Item = &'a Span> {
        let link = (span.trace_id.clone(), span.span_id.clone());
        self.by_id
            .values()
            .filter(move |found| found.links.contains(&link))
    }
}

fn only<'a>(spans: &'a [Span], service: &str, kind: &str, what: &str) -> &'a Span {
    let found: Vec<&Span> = spans
        .iter()
        .filter(|span| span.service == service && span.kind == kind)
        .collect();
    assert_eq!(found.len(), 1, "{what}: {kind} of {service} in {spans:#?}");
    found[0]
}

/// One request's way: from the gateway to the statements of the projector.
fn check_stored(seen: &Seen, asked: &Asked) {
    let what = format!("{asked:?}");
    let spans = seen
        .by_trace
        .get(&asked.trace_id)
        .unwrap_or_else(|| panic!("no span of {what}"));
    let gateway = only(spans, "gateway", "SERVER", &what);
    assert_eq!(gateway.parent, asked.parent, "{what}");
    let ingest = only(spans, "ingest", "SERVER", &what);
    assert_eq!(
        seen.parent(ingest).map(|span| &span.span_id),
        Some(&gateway.span_id)
    );
    assert!(
        seen.statements(ingest) > 0,
        "no statement of ingest: {what} {spans:#?}"
    );
    let publish: Vec<&Span> = spans.iter().filter(|span| span.kind == "PRODUCER").collect();
    assert!(!publish.is_empty(), "nothing was published: {what} {spans:#?}");
    for publish in publish {
        assert!(seen.is_below(publish, ingest), "{what} {publish:?}");
    }
    let process: Vec<&Span> = spans.iter().filter(|span| span.kind == "CONSUMER").collect();
    assert!(!process.is_empty(), "nothing was processed: {what} {spans:#?}");
    for process in process {
        assert_eq!(process.service, "docs-api");
        assert!(seen.is_below(process, ingest), "{what} {process:?}");
        let own = seen.statements(process);
        let shared: usize = seen.linking(process).map(|batch| seen.statements(batch)).sum();
        assert!(own + shared > 0, "no statement of docs-api: {what} {process:?}");
    }
}

/// Everything that must hold of what the receiver got.
fn check(spans: Vec<Span>, asked: &[Asked], unsampled: &[String]) {
    let seen = Seen::of(spans);
    for asked in asked {
        let spans = seen
            .by_trace
            .get(&asked.trace_id)
            .unwrap_or_else(|| panic!("no span of {asked:?}"));
        let gateway = only(spans, "gateway", "SERVER", "the gateway's span");
        assert_eq!(
            gateway.attributes["http.response.status_code"],
            Value::from(asked.status),
            "{gateway:?}"
        );
        if asked.stored {
            check_stored(&seen, asked);
        }
    }
    let stored = asked.iter().filter(|asked| asked.stored).count();
    let batches = seen.by_id.values().filter(|span| !span.links.is_empty()).count();
    println!(
        "{} spans of {} requests; {stored} writes, each one trace to the projector, {batches} batches shared",
        seen.by_id.len(),
        asked.len()
    );
    let gateways = seen.by_id.values().filter(|span| span.service == "gateway");
    let traced: BTreeSet<&str> = asked.iter().map(|asked| asked.trace_id.as_str()).collect();
    let beside: Vec<&Span> = gateways
        .clone()
        .filter(|span| !traced.contains(span.trace_id.as_str()))
        .collect();
    assert_eq!(
        gateways.count(),
        asked.len() + beside.len(),
        "each request has one span"
    );
    for trace_id in unsampled {
        assert!(
            !seen.by_trace.contains_key(trace_id),
            "{trace_id} was not to be recorded"
        );
    }
    // Everything hangs together: a span without a parent begins its trace, and every other parent was sent,
    // but for the spans of clients.
    let clients: BTreeSet<&str> = asked.iter().filter_map(|asked| asked.parent.as_deref()).collect();
    for span in seen.by_id.values() {
        if let Some(parent) = &span.parent
            && !(span.service == "gateway" && clients.contains(parent.as_str()))
        {
            assert!(seen.parent(span).is_some(), "its parent is missing: {span:#?}");
        }
        for (trace_id, span_id) in &span.links {
            let linked = (trace_id.clone(), span_id.clone());
            assert!(seen.by_id.contains_key(&linked), "it links to nothing: {span:#?}");
        }
        assert!(span.name.len() < 64, "names are few and short: {span:?}");
        assert!(!span.name.contains(|c: char| c.is_ascii_digit()), "{span:?}");
    }
    let names: BTreeSet<&str> = seen.by_id.values().map(|span| span.name.as_str()).collect();
    assert!(names.len() < 80, "{names:?}");
}

/// What the client's key says about it: none of it may be seen.
fn secrets(key: &str) -> Vec<String> {
    let parts = key.split(['_', '.', '-']).filter(|part| part.len() >= 6);
    parts.chain([key]).map(str::to_owned).collect()
}

/// Neither what users wrote nor what they showed stands in what went out or in what is kept.
fn check_silent(world: &World, receiver: &Receiver, key: &str) {
    let mut hidden = secrets(key);
    hidden.extend(CANARIES.map(str::to_owned));
    let mut places: Vec<(String, Vec<u8>)> = receiver
        .bodies()
        .into_iter()
        .enumerate()
        .map(|(number, body)| (format!("request {number}"), body))
        .collect();
    for service in ["gateway", "ingest", "docs-api"] {
        let folder = world.path().join(".royalcrown/traces").join(service);
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            places.push((path.display().to_string(), fs_err::read(&path).unwrap()));
        }
    }
    assert!(places.len() > 4, "{}", places.len());
    for (place, bytes) in &places {
        for hidden in &hidden {
            let found = bytes
                .windows(hidden.len())
                .any(|window| window == hidden.as_bytes());
            assert!(!found, "`{hidden}` stands in {place}");
        }
    }
    for service in ["gateway", "ingest", "docs-api", "prov-ledger"] {
        let log = world.path().join(format!(".royalcrown/logs/{service}.log"));
        let log = fs_err::read_to_string(log).unwrap();
        for hidden in ["receivers3cret", "canarybody", "canarytitle", "canaryquery"] {
            assert!(!log.contains(hidden), "`{hidden}` stands in the log of {service}");
        }
    }
}

/// Losses would make the count of linked traces a lie; there were none.
fn check_metrics(world: &World) {
    for service in ["gateway", "ingest", "docs-api"] {
        let text = metrics(world, service);
        let dropped: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("rc_telemetry_spans_dropped_total{"))
            .collect();
        assert_eq!(dropped.len(), 5, "{service}: {text}");
        assert!(
            dropped.iter().all(|line| line.ends_with(" 0")),
            "{service}: {dropped:?}"
        );
        let families = official_metrics(&text);
        let has = |name: &str| families.iter().any(|family| family == name);
        assert!(has("rc_telemetry_spans_recorded"), "{families:?}");
        assert!(
            text.contains(" # {trace_id=\""),
            "{service} shows no exemplar: {text}"
        );
    }
}

fn metrics(world: &World, service: &str) -> String {
    let socket = world.path().join(format!(".royalcrown/run/{service}.sock"));
    let output = std::process::Command::new("curl")
        .args(["-sS", "--max-time", "10", "--unix-socket"])
        .arg(socket)
        .arg("http://localhost/metrics")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The names of the metrics, as Prometheus' own parser of OpenMetrics finds them.
fn official_metrics(text: &str) -> Vec<String> {
    const PROGRAM: &str = "\
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
print(json.dumps([family.name for family in text_string_to_metric_families(sys.stdin.read())]))";
    serde_json::from_slice(&python(PROGRAM, text.as_bytes())).unwrap()
}

/// The lines of an access log name the user, and not by the key's id; they all have a data version.
fn check_logs(world: &World, key: &str) {
    let mut versions = BTreeSet::new();
    for service in ["gateway", "ingest", "docs-api"] {
        let log = world.path().join(format!(".royalcrown/logs/{service}.log"));
        let text = fs_err::read_to_string(log).unwrap();
        let lines = text.lines().filter(|line| line.contains("\"target\":\"access\""));
        let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        let users: BTreeSet<&str> = lines.iter().filter_map(|line| line["user"].as_str()).collect();
        assert_eq!(users.len(), 1, "{service}: {users:?}");
        let user = users.into_iter().next().unwrap();
        assert!(
            user.len() == 16 && user.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{user}"
        );
        for secret in secrets(key) {
            assert!(!text.contains(&secret), "{service}: `{secret}`");
        }
        for line in &lines {
            for field in ["request_id", "trace_id", "data_version"] {
                assert!(line[field].is_string(), "{service} has no {field}: {line}");
            }
            let version = line["data_version"].as_str().unwrap();
            let (migration, digest) = version.split_once('+').unwrap();
            assert!(
                migration.parse::<u32>().unwrap() > 0 && digest.len() == 12,
                "{version}"
            );
            versions.insert(digest.to_owned());
        }
    }
    assert_eq!(versions.len(), 1, "one configuration was in force: {versions:?}");
}

#[test]
fn every_request_is_one_trace_from_the_gateway_to_the_projector() {
    let receiver = Receiver::start();
    let world = World::new();
    let settings = format!(
        "gateway:\n  listen: {}\ntelemetry:\n  otlp: {{endpoint: \"{}\"}}\n",
        world.address,
        receiver.url()
    );
    world.write("royalcrown.yaml", &settings);
    unlimited(&world);
    world.up();
    let key = world.key("acme");
    let (asked, unsampled) = exercise(&world, &key);
    check_metrics(&world);
    check_logs(&world, &key);
    world.ok(&["down"]);
    let spans = receiver.spans();
    check(spans, &asked, &unsampled);
    check_silent(&world, &receiver, &key);
}

/// Tenants whom no rate limits: these tests send as fast as they can.
fn unlimited(world: &World) {
    world.write(
        "tenants.yaml",
        "tenants:\n  acme: {tier: gold, demo: true, rps: {rate: 100000/s, burst: 100000}}\n",
    );
}

#[test]
fn live_every_request_is_one_trace_on_postgresql() {
    let server = rc_test::Postgres::start_own(true);
    let database = server.fresh_database();
    let receiver = Receiver::start();
    let world = World::new();
    let settings = format!(
        "gateway:\n  listen: {}\nstore:\n  url: \"{}\"\n",
        world.address, database.url
    );
    world.write("royalcrown.yaml", &settings);
    unlimited(&world);
    world.ok(&["migrate"]);
    let output = world
        .command(&["up", "--detach"])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url())
        .env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=receivers3cret")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", told(&output));
    let key = world.key("acme");
    let (asked, unsampled) = exercise(&world, &key);
    check_metrics(&world);
    check_logs(&world, &key);
    world.ok(&["down"]);
    let spans = receiver.spans();
    let systems: BTreeSet<&str> = spans
        .iter()
        .filter_map(|span| span.attributes.get("db.system.name")?.as_str())
        .collect();
    assert!(systems.contains("postgresql"), "{systems:?}");
    check(spans, &asked, &unsampled);
    check_silent(&world, &receiver, &key);
    assert!(
        receiver
            .heads()
            .iter()
            .all(|head| head.contains("api-key: receivers3cret"))
    );
}

#[test]
fn a_trace_is_drawn_while_the_platform_runs_and_after_everything_was_killed() {
    let world = World::new();
    world.up();
    let key = world.key("acme");
    let answer = world.post(
        "/ingest?wait=indexed&timeout=15s",
        &key,
        "k",
        r#"{"id":"one","text":"the harbour report"}"#,
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = trace_of(&answer);
    let whole = |text: &str| {
        let wanted = [
            "gateway",
            "ingest",
            "docs-api",
            "POST /ingest",
            "publish docs",
            "process docs",
        ];
        wanted.iter().all(|word| text.contains(word))
    };
    let drawn = eventually("the trace is whole", || {
        let text = world.rc(&["trace", &id]);
        let text = String::from_utf8(text.stdout).unwrap();
        whole(&text).then_some(text)
    });

    let status = world.json(&["status"]);
    let services = status["services"].as_array().unwrap().iter();
    let pids = services
        .chain([&status])
        .filter_map(|found| found["pid"].as_u64());
    for pid in pids.collect::<Vec<_>>() {
        if let Some(process) = procfs::process(u32::try_from(pid).unwrap()) {
            procfs::signal(&process, Signal::KILL);
        }
    }
    // With the first digits alone, and with what a client has in its own log.
    assert_eq!(world.ok(&["trace", &id[..12]]), drawn);
    assert_eq!(
        world.ok(&["trace", &format!("00-{id}-00f067aa0ba902b7-01")]),
        drawn
    );
    let listed = world.json(&["trace"]);
    let traces = listed["traces"].as_array().unwrap();
    assert_eq!(traces.last().unwrap()["id"], id.as_str(), "{listed}");
    assert_eq!(
        traces.last().unwrap()["services"].as_array().unwrap().len(),
        3,
        "{listed}"
    );
    let json = world.json(&["trace", &id]);
    let spans = json["spans"].as_array().unwrap();
    assert!(
        spans
            .iter()
            .any(|span| span["attributes"]["db.query.text"].is_string())
    );

    let missing = world.rc(&["trace", "ffffffffffffffff"]);
    assert_eq!(missing.status.code(), Some(1), "{}", told(&missing));
    assert!(told(&missing).contains("not sampled"), "{}", told(&missing));
    let malformed = world.rc(&["trace", "xyz"]);
    assert_eq!(malformed.status.code(), Some(2), "{}", told(&malformed));
}

#[test]
fn nothing_is_recorded_where_nobody_wants_it() {
    let world = World::new();
    world.write(
        "royalcrown.yaml",
        &format!(
            "gateway:\n  listen: {}\ntelemetry: {{traces: off}}\n",
            world.address
        ),
    );
    world.up();
    let key = world.key("acme");
    let answer = world.post(
        "/ingest?wait=indexed&timeout=15s",
        &key,
        "k",
        r#"{"id":"one","text":"x"}"#,
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!world.path().join(".royalcrown/traces").exists());
    assert!(world.ok(&["trace"]).contains("`telemetry.traces` is `off`"));

    // Half of them: the decision is the trace id's, so both kinds are there, and all services agree.
    world.ok(&["down"]);
    let settings = format!(
        "gateway:\n  listen: {}\ntelemetry: {{sample: 0.5}}\n",
        world.address
    );
    world.write("royalcrown.yaml", &settings);
    world.up();
    for _ in 0..40 {
        assert_eq!(world.get("/docs/one", &key).status, 200);
    }
    world.ok(&["down"]);
    let listed = world.json(&["trace", "-n", "1000"]);
    let kept = listed["traces"].as_array().unwrap();
    assert!((1..40).contains(&kept.len()), "{listed}");
    for trace in kept {
        let services = trace["services"].as_array().unwrap();
        assert!(services.iter().any(|name| name == "gateway"), "{trace}");
        assert!(services.iter().any(|name| name == "docs-api"), "{trace}");
    }
}

#[test]
fn lines_say_which_configuration_they_were_made_under() {
    let world = World::new();
    unlimited(&world);
    world.up();
    let key = world.key("acme");
    let version = || {
        assert_eq!(world.get("/docs/none", &key).status, 404);
        let log = fs_err::read_to_string(world.path().join(".royalcrown/logs/gateway.log")).unwrap();
        let line = log.lines().rfind(|line| line.contains("\"target\":\"access\""));
        let line: Value = serde_json::from_str(line?).ok()?;
        Some(line["data_version"].as_str()?.to_owned())
    };
    let before = eventually("the first line", version);
    world.write(
        "tenants.yaml",
        "tenants:\n  acme: {tier: gold, demo: true, rps: {rate: 90000/s, burst: 90000}}\n",
    );
    let after = eventually("a line under the new configuration", || {
        version().filter(|version| *version != before)
    });
    let migration = |version: &str| version.split_once('+').unwrap().0.to_owned();
    assert_eq!(migration(&before), migration(&after));
}
