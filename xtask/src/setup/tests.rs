use super::go_version;

#[test]
fn go_versions_are_read_from_the_line_that_go_prints() {
    for (line, expect) in [
        ("go version go1.26.8 linux/amd64", Some((1, 26))),
        ("go version go1.24rc1 linux/arm64", Some((1, 24))),
        ("go version devel", None),
        ("", None),
    ] {
        assert_eq!(go_version(line), expect, "{line}");
    }
}
