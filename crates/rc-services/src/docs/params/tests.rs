use super::*;

fn refused(raw: &str, part: &str) {
    let error = Params::parse(raw).expect_err(raw);
    assert!(error.contains(part), "{raw}: {error}");
}

#[test]
fn all_parameters_are_read() {
    let params = Params::parse(
        "q=big+%22cat%22%20%2B&limit=7&cursor=abc&filter=lang:en&filter=path:a:b%26&since=2026-01-02T03:04:05Z",
    )
    .unwrap();
    assert_eq!(params.query, "big \"cat\" +");
    assert_eq!(params.limit, Some(7));
    assert_eq!(params.cursor.as_deref(), Some("abc"));
    assert_eq!(
        params.filters,
        [
            ("lang".to_owned(), "en".to_owned()),
            ("path".to_owned(), "a:b&".to_owned())
        ]
    );
    assert_eq!(params.since, Timestamp::parse("2026-01-02T03:04:05Z"));
    assert_eq!(params.until, None);
}

#[test]
fn mistakes_are_named() {
    refused("", "`q` is missing");
    refused("limit=3", "`q` is missing");
    refused("q=a&q=b", "`q` is given twice");
    refused("q=a&limit=0", "`limit`");
    refused("q=a&limit=101", "`limit`");
    refused("q=a&limit=ten", "`limit`");
    refused("q=a&limt=3", "`limt` is not a parameter");
    refused("q=%ff", "`q` is not UTF-8");
    refused("q=%4", "broken escape");
    refused("q=%zz", "broken escape");
    refused("q=a&filter=lang", "`name:value`");
    refused("q=a&filter=:x", "`name:value`");
    refused("q=a&since=yesterday", "`since`");
    refused(
        &format!("q=a{}", "&filter=a:b".repeat(FILTERS_MAX + 1)),
        "filters",
    );
    refused(&"x".repeat(QUERY_STRING_BYTES_MAX + 1), "query string");
}
