use super::*;
use crate::spec::{Kind, Probe};

pub(crate) fn spec(id: &str, needs: &[&str]) -> ServiceSpec {
    let id = ServiceId::new(id).unwrap();
    ServiceSpec {
        program: "/bin/true".into(),
        args: Vec::new(),
        env: BTreeMap::new(),
        cwd: "/".into(),
        ready: Probe::TcpOpen { port: 1 },
        ready_timeout: Duration::from_secs(5),
        needs: needs.iter().map(|need| ServiceId::new(need).unwrap()).collect(),
        outlived_by: Vec::new(),
        drain: Duration::from_secs(1),
        log_file: format!("/tmp/{id}.log").into(),
        kind: Kind::Ours,
        address: String::new(),
        id,
    }
}

fn ids(after: &BTreeSet<ServiceId>) -> Vec<&str> {
    after.iter().map(ServiceId::as_str).collect()
}

#[test]
fn bad_sets_are_refused_with_names() {
    let twice = check(vec![spec("a", &[]), spec("a", &[])]).unwrap_err();
    assert_eq!(twice.to_string(), "service `a` is given twice");
    let unknown = check(vec![spec("a", &["b"])]).unwrap_err();
    assert_eq!(unknown.to_string(), "service `a` needs `b`, which does not exist");
    let circle = check(vec![spec("a", &["b"]), spec("b", &["c"]), spec("c", &["a"])]).unwrap_err();
    assert_eq!(
        circle.to_string(),
        "services need each other in a circle: a -> b -> c -> a"
    );
    let own = check(vec![spec("a", &["a"])]).unwrap_err();
    assert_eq!(own.to_string(), "services need each other in a circle: a -> a");
}

#[test]
fn a_service_stops_after_those_that_need_it_or_send_to_it() {
    let mut gateway = spec("gateway", &[]);
    gateway.outlived_by = ["docs", "ingest", "hello"]
        .map(|id| ServiceId::new(id).unwrap())
        .to_vec();
    // `hello` needs the gateway: what it needs wins over the gateway's wish to be outlived by it.
    let hello = spec("hello", &["gateway"]);
    let specs = check(vec![
        gateway,
        hello,
        spec("docs", &["ingest"]),
        spec("ingest", &[]),
    ])
    .unwrap();
    let after = stop_after(&specs);
    let of = |id: &str| ids(&after[&ServiceId::new(id).unwrap()]);
    assert_eq!(of("ingest"), ["docs", "gateway"]);
    assert_eq!(of("docs"), ["gateway"]);
    assert_eq!(of("gateway"), ["hello"]);
    assert!(of("hello").is_empty());
    // hello, gateway, docs, ingest: four in a row.
    assert_eq!(
        stop_bound(&specs, &after, Duration::from_secs(1)),
        Duration::from_secs(8)
    );
}

#[test]
fn services_that_outlive_each_other_do_not_wait_for_ever() {
    let (mut a, mut b) = (spec("a", &[]), spec("b", &[]));
    a.outlived_by = vec![b.id.clone()];
    b.outlived_by = vec![a.id.clone()];
    let after = stop_after(&check(vec![a, b]).unwrap());
    assert_eq!(after.values().map(BTreeSet::len).sum::<usize>(), 1);
}
