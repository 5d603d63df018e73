use proptest::strategy::Strategy as _;

use super::*;

#[test]
fn the_scheme_chooses_the_store() {
    assert_eq!(StoreUrl::parse("sqlite:").unwrap(), StoreUrl::Sqlite);
    assert_eq!(StoreUrl::parse("sqlite://").unwrap(), StoreUrl::Sqlite);
    for url in ["postgres://u@h/db", "postgresql://u:p@h:5433/db?sslmode=disable"] {
        assert_eq!(StoreUrl::parse(url).unwrap(), StoreUrl::Postgres(url.to_owned()));
    }
}

#[test]
fn bad_urls_are_refused_with_the_code_of_urls() {
    let long = format!("postgres://h/{}", "x".repeat(URL_BYTES_MAX));
    for url in [
        "",
        "mysql://h/db",
        "sqlite:///tmp/x.db",
        "postgres://u:p@h:notaport/db",
        "postgres://u@h/db?no_such_option=1",
        "postgres://u@h/db?sslmode=verify-full",
        "postgres://u@h/db?sslmode=require",
        "postgres://u@h/db?sslmode=disable&sslrootcert=/x",
        "postgres://u@h/db?sslmode=verify-ca&sslrootcert=/x",
        &long,
    ] {
        let error = StoreUrl::parse(url).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Url, "{url}");
    }
}

#[test]
fn a_password_never_shows() {
    for url in [
        "postgres://bob:s3cret@h:5432/db",
        "postgres://bob:s3@cret@h/db?application_name=x",
        "postgres://bob@h/db?password=s3cret&connect_timeout=3",
    ] {
        let store = StoreUrl::Postgres(url.to_owned());
        let shown = format!("{store:?} {store}");
        assert!(!shown.contains("cret"), "{shown}");
        assert!(shown.contains("bob"), "{shown}");
    }
    for url in [
        "postgres://bob:s3cret@h:bad/db",
        "postgres://bob:s3cret@h/db?sslmode=maybe",
    ] {
        let error = StoreUrl::parse(url).unwrap_err();
        assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
    }
}

/// Pieces of which URLs are made, right and wrong ones.
fn url() -> impl proptest::strategy::Strategy<Value = String> {
    use proptest::sample::select;
    let user = select(vec![
        "", "u@", "u:p@", "u:p%40x@", "u%FF@", "u:p@q@", ":@", "u:p/x@",
    ]);
    let host = select(vec![
        "h", "h:5432", "h:", "h:x", "h:99999", "[::1]", "[::1]:5", "[::1", "[::1]x", "", "a,b:1", "a,",
        "%2Ftmp", "%FF", "h:1:2", ":5",
    ]);
    let path = select(vec!["", "/", "/db", "/d%20b", "/%FF", "/a/b"]);
    let option = select(vec![
        "sslmode=disable",
        "sslmode=verify-full",
        "sslmode=x",
        "sslrootcert=/x",
        "connect_timeout=3",
        "connect_timeout=x",
        "connect_timeout=-1",
        "keepalives=1",
        "keepalives_retries=9999999999",
        "application_name=x%FF",
        "port=1,,2",
        "port=x",
        "host=h",
        "host=",
        "hostaddr=1.2.3.4",
        "hostaddr=h",
        "no_such=1",
        "x",
        "=",
        "",
        "password=p",
        "target_session_attrs=any",
        "target_session_attrs=x",
        "load_balance_hosts=random",
        "channel_binding=require",
        "sslnegotiation=direct",
        "options=-c%20a",
        "dbname=x",
        "user=u",
        "us%65r=u",
        "a=b?c=d",
    ]);
    let options = proptest::collection::vec(option, 0..3);
    let mark = select(vec!["?", "", "#"]);
    (user, host, path, mark, options).prop_map(|(user, host, path, mark, options)| {
        let mark = if options.is_empty() { "" } else { mark };
        format!("postgres://{user}{host}{path}{mark}{}", options.join("&"))
    })
}

proptest::proptest! {
    /// What the check of the project's files lets through, services take: they read the same text later, and a line
    /// in a file must not end a platform.
    #[test]
    fn the_check_of_files_lets_nothing_through_that_a_store_refuses(url in url()) {
        use rc_model::workspace::{Model, Sources};
        let project = format!("store:\n  url: '{url}'\n");
        if Model::read(&Sources::from_texts(Some(&project), None, None)).is_ok() {
            let parsed = StoreUrl::parse(&url);
            proptest::prop_assert!(parsed.is_ok(), "{url}: {parsed:?}");
        }
    }
}

#[test]
fn the_check_of_files_names_the_place_of_a_bad_url_and_takes_good_ones() {
    use rc_model::workspace::{Model, Sources};
    let read = |url: &str| {
        let project = format!("name: x\nstore:\n  url: '{url}'\n");
        Model::read(&Sources::from_texts(Some(&project), None, None))
    };
    for url in [
        "postgresql://u:s3cret@127.0.0.1:notaport/db",
        "postgresql://u:s3cret@[::1/db",
        "postgresql://u:s3cret@h/db?no_such_option=s3cret",
        "postgresql://u:s3cret@h/db?connect_timeout=s3cret",
        "postgresql://u:s3cret@h/db?sslmode=verify-full",
        "postgresql://u:s3cret@h/db?&host=h",
        "postgresql://u:s3cret@h/db?&",
    ] {
        let problems = read(url).unwrap_err();
        let problem = &problems[0];
        assert_eq!((problem.line, problem.column), (3, 3), "{problem}");
        assert!(!problem.to_string().contains("s3cret"), "{problem}");
    }
    for url in [
        "sqlite:",
        "postgres://localhost",
        "postgres://u:p%40x@h:5432/db?application_name=x&connect_timeout=5&sslmode=disable",
        "postgres://u@[::1]:5432/db?sslmode=verify-full&sslrootcert=/etc/ca.pem",
        "postgres:///db?host=/var/run/postgresql",
        "postgres://a:1,b:2/db?target_session_attrs=read-write",
        "postgres://a/db?application_name=x&",
    ] {
        assert!(read(url).is_ok(), "{url}: {:?}", read(url).unwrap_err());
        StoreUrl::parse(url).unwrap();
    }
}
