use super::*;

#[test]
fn only_files_of_the_log_are_served() {
    for good in ["checkpoint", "tile/0/000", "tile/entries/x001/234.p/17"] {
        assert!(is_of_the_log(good), "{good}");
    }
    for bad in [
        "",
        "lock",
        "wal/000",
        "../key",
        "tile/../../key",
        "tile/..",
        "/etc/passwd",
        "tile/%2e%2e",
        "checkpoint/",
        "tile//0",
        "tile/0\0",
    ] {
        assert!(!is_of_the_log(bad), "{bad}");
    }
}
