//! A receiver of OTLP over HTTP that keeps what it gets, and the official definitions that read it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde_json::Value;

/// One span as the official definitions read it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Span {
    pub(super) service: String,
    pub(super) trace_id: String,
    pub(super) span_id: String,
    pub(super) parent: Option<String>,
    pub(super) name: String,
    /// `SERVER`, `CLIENT` and so on.
    pub(super) kind: String,
    pub(super) attributes: BTreeMap<String, Value>,
    /// Trace and span.
    pub(super) links: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
struct Got {
    head: String,
    body: Vec<u8>,
}

/// Listens until the test ends.
pub(super) struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let got = Arc::<Mutex<Vec<Got>>>::default();
        let record = Arc::clone(&got);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let record = Arc::clone(&record);
                std::thread::spawn(move || serve(stream.unwrap(), &record));
            }
        });
        Self { address, got }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.got
            .lock()
            .unwrap()
            .iter()
            .map(|got| got.head.clone())
            .collect()
    }

    pub(super) fn bodies(&self) -> Vec<Vec<u8>> {
        self.got
            .lock()
            .unwrap()
            .iter()
            .map(|got| got.body.clone())
            .collect()
    }

    /// Every span that was received.
    pub(super) fn spans(&self) -> Vec<Span> {
        for head in self.heads() {
            assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
            assert!(head.contains("content-type: application/x-protobuf"), "{head}");
        }
        official(&self.bodies())
    }
}

/// Answers each request of one connection with an empty message, which means that all was taken.
fn serve(stream: TcpStream, record: &Mutex<Vec<Got>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.read_line(&mut head) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .and_then(|length| length.parse().ok())
            .unwrap_or_else(|| panic!("no length: {head}"));
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        record.lock().unwrap().push(Got { head, body });
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        if reader.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}

/// Reads requests with OpenTelemetry's own definitions; a field that these do not know is a failure.
fn official(bodies: &[Vec<u8>]) -> Vec<Span> {
    const PROGRAM: &str = "\
import json, struct, sys
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
def known(message):
    assert len(UnknownFieldSet(message)) == 0, message
    for field, value in message.ListFields():
        for item in value if hasattr(value, 'add') else [value]:
            if isinstance(item, Message):
                known(item)
def plain(value):
    return getattr(value, value.WhichOneof('value'))
data, at = sys.stdin.buffer.read(), 0
while at < len(data):
    (size,) = struct.unpack_from('<I', data, at)
    request = ExportTraceServiceRequest.FromString(data[at + 4:at + 4 + size])
    at += 4 + size
    known(request)
    for of in request.resource_spans:
        resource = {pair.key: plain(pair.value) for pair in of.resource.attributes}
        assert resource['service.version'] and resource['service.instance.id'] and resource['service.namespace']
        for scope in of.scope_spans:
            assert scope.scope.name == 'royalcrown'
            for span in scope.spans:
                assert len(span.trace_id) == 16 and len(span.span_id) == 8 and span.flags & 255 == 1
                assert span.end_time_unix_nano >= span.start_time_unix_nano > 1_700_000_000_000_000_000
                keys = [pair.key for pair in span.attributes]
                assert len(keys) == len(set(keys)) and span.name, span
                print(json.dumps({
                    'service': resource['service.name'],
                    'trace_id': span.trace_id.hex(),
                    'span_id': span.span_id.hex(),
                    'parent': span.parent_span_id.hex() or None,
                    'name': span.name,
                    'kind': span.SpanKind.Name(span.kind).removeprefix('SPAN_KIND_'),
                    'attributes': {pair.key: plain(pair.value) for pair in span.attributes},
                    'links': [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                }))";
    let mut input = Vec::new();
    for body in bodies {
        input.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        input.extend_from_slice(body);
    }
    let output = String::from_utf8(python(PROGRAM, &input)).unwrap();
    output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Runs a program in the environment that `cargo xtask setup` made, and gives what it printed.
#[expect(
    clippy::disallowed_methods,
    reason = "a test finds its tools where `setup` put them"
)]
pub(super) fn python(program: &str, input: &[u8]) -> Vec<u8> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .expect("a cache folder");
    let tool = fs_err::canonicalize(cache.join("royalcrown/tools/bin/schemathesis"))
        .expect("`make test` installs the tools");
    let mut child = Command::new(tool.with_file_name("python3"))
        .args(["-c", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // The program's own failure says more than a pipe that it closed.
    assert!(output.status.success(), "the official definitions refuse it");
    writer.join().unwrap().unwrap();
    output.stdout
}
