use super::*;

fn table(routes: &[(&str, &[Method])]) -> RouteTable {
    let mut table = RouteTable::default();
    for (index, (path, methods)) in routes.iter().enumerate() {
        table.insert(path, methods, index).unwrap();
    }
    table
}

#[test]
fn the_longest_prefix_at_a_segment_border_wins() {
    let table = table(&[
        ("/docs", &[Method::Get, Method::Head]),
        ("/docs", &[Method::Delete]),
        ("/docs/special/deep", &[]),
        ("/ingest/", &[Method::Post]),
    ]);
    let check = |path: &str, method, expect| assert_eq!(table.find(path, method), Ok(expect), "{path}");
    check("/docs", Method::Get, Found::Route(0));
    check("/docs/", Method::Get, Found::Route(0));
    check("/docs/7", Method::Get, Found::Route(0));
    check("/docs/7/a/b/c/d", Method::Get, Found::Route(0));
    check("/docs/7", Method::Delete, Found::Route(1));
    check("/docs/special", Method::Get, Found::Route(0));
    check("/docs/special/deep", Method::Put, Found::Route(2));
    check("/docs/special/deep/er", Method::Get, Found::Route(2));
    check("/docs/special/deeper", Method::Get, Found::Route(0));
    check("/docs2", Method::Get, Found::Nothing);
    check("/doc", Method::Get, Found::Nothing);
    check("/", Method::Get, Found::Nothing);
    check("/ingest", Method::Post, Found::Route(3));
    check("/ingest/batch", Method::Post, Found::Route(3));
    check("/ingest", Method::Get, Found::OtherMethods("POST"));
    check("/docs/7", Method::Post, Found::OtherMethods("GET, HEAD, DELETE"));
}

#[test]
fn the_root_takes_what_nobody_else_takes() {
    let table = table(&[("/", &[]), ("/docs", &[Method::Get])]);
    assert_eq!(table.find("/", Method::Get), Ok(Found::Route(0)));
    assert_eq!(table.find("/any/thing", Method::Get), Ok(Found::Route(0)));
    assert_eq!(table.find("/docs/1", Method::Get), Ok(Found::Route(1)));
    assert_eq!(
        table.find("/docs/1", Method::Post),
        Ok(Found::OtherMethods("GET"))
    );
}

#[test]
fn paths_that_two_programs_could_read_differently_are_refused() {
    let table = table(&[("/docs", &[]), ("/admin", &[]), ("/", &[])]);
    for bad in [
        "",
        "docs",
        "*",
        "//docs",
        "/docs//7",
        "/docs/.",
        "/docs/..",
        "/docs/../admin",
        "/docs/./7",
        "/./docs",
        "/docs/%2e%2e/admin",
        "/docs/%2E%2E/admin",
        "/docs/.%2e/admin",
        "/docs/%2e",
        "/docs/..;/admin",
        "/docs/..;x=1/admin",
        "/docs/..%2fadmin",
        "/docs/..%2Fadmin",
        "/docs/%2e%2e%2fadmin",
        "/docs/..%5cadmin",
        "/docs/%2e%2e%5cadmin",
        "/docs%2f7",
        "/docs%2F..%2Fadmin",
        "/%64ocs/7",
        "/adm%69n",
        "/docs/%00",
        "/docs/%0d%0aX:1",
        "/docs/%7f",
        "/docs/%",
        "/docs/%2",
        "/docs/%zz",
        "/docs/%u002e",
        "/docs/a b",
        "/docs/a\\b",
        "/docs\\..\\admin",
        "/docs/\u{1}",
        "/docs/é",
        "/docs/<x>",
        "/docs/a\"b",
        "/docs/{x}",
        "/docs/a|b",
        "/docs/a^b",
        "/docs/a`b",
        "/docs/a#b",
        "/docs/%ff",
        "/docs/%c0%ae%c0%ae/admin",
    ] {
        assert!(table.find(bad, Method::Get).is_err(), "{bad}");
    }
    for good in [
        "/docs/a%2Fb",
        "/docs/a%20b",
        "/docs/%C3%A9",
        "/docs/a.b",
        "/docs/.hidden",
        "/docs/...",
        "/docs/a..b",
        "/docs/%252e%252e",
        "/docs/a:b@c,d;e=f",
        "/docs/~x",
        "/docs/%5Cx",
        "/docs/a%2F%2Fb",
    ] {
        assert_eq!(table.find(good, Method::Get), Ok(Found::Route(0)), "{good}");
    }
}

#[test]
fn one_method_of_one_path_has_one_owner() {
    let mut table = table(&[("/docs", &[Method::Get])]);
    assert_eq!(
        table.insert("/docs/", &[Method::Get], 1),
        Err(TableError::Twice("GET"))
    );
    for bad in ["docs", "", "/a//b", "/a/../b", "/a%2f", "/a b"] {
        assert_eq!(table.insert(bad, &[], 1), Err(TableError::BadPath), "{bad}");
    }
}

#[test]
fn methods_are_known_by_their_exact_names() {
    assert_eq!(method(b"GET"), Some(Method::Get));
    for unknown in [&b"get"[..], b"TRACE", b"CONNECT", b"PRI", b"GETS", b""] {
        assert_eq!(method(unknown), None);
    }
    for index in 0..METHOD_COUNT {
        assert_eq!(
            method(method_name(index).as_bytes()).map(method_index),
            Some(index)
        );
    }
}
