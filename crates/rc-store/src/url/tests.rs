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
