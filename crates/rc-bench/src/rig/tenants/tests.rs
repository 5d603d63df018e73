use super::{ByZipf, InTurn, Tenants, key};
use crate::load::Requests;

fn sent(requests: &mut impl Requests, count: usize) -> Vec<String> {
    let one = |_| {
        let mut out = Vec::new();
        requests.next(&mut out);
        String::from_utf8(out).unwrap()
    };
    (0..count).map(one).collect()
}

#[test]
fn keys_have_the_form_that_the_gateway_reads() {
    let key = key(42);
    let (id, secret) = key.strip_prefix("rck_").unwrap().split_once('_').unwrap();
    assert_eq!((id.len(), secret.len()), (12, 32));
    assert!(id.ends_with("42") && secret.ends_with("42"));
}

#[test]
fn tenants_are_found_by_name_and_by_kind() {
    let mut tenants = Tenants::default();
    tenants.push("noisy", "silver", 5_000);
    tenants.push_many("victim", 2, "silver", 1_000);
    assert_eq!(tenants.keys("victim-"), [key(1), key(2)]);
    assert_eq!(tenants.key("noisy").unwrap(), key(0));
    assert!(tenants.key("nobody").is_err());
    assert!(
        tenants
            .yaml()
            .contains("  victim-1: {tier: silver, rps: {rate: 1000/s, burst: 1000}}\n")
    );
}

#[test]
fn turns_go_around() {
    let keys = [key(0), key(1)];
    let requests = sent(&mut InTurn::new(&keys, "/echo"), 3);
    assert_eq!(requests[0], requests[2]);
    assert!(requests[1].starts_with("GET /echo HTTP/1.1\r\n") && requests[1].contains(&keys[1]));
}

#[test]
fn the_second_of_zipf_asks_half_as_often_as_the_first() {
    let keys: Vec<String> = (0..1_000).map(key).collect();
    let requests = sent(&mut ByZipf::new(&keys, "/echo", 7), 100_000);
    let of = |key: &str| requests.iter().filter(|request| request.contains(key)).count() as f64;
    let (first, second) = (of(&keys[0]), of(&keys[1]));
    assert!((0.45..0.55).contains(&(second / first)), "{first} and {second}");
    // 1 / H(1000)
    assert!((0.125..0.142).contains(&(first / 100_000.0)), "{first}");
}
