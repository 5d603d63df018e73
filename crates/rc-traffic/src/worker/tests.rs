use super::http_date;

#[test]
fn dates_are_written_as_http_wants_them() {
    for (second, text) in [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (1_795_255_200, "Sat, 21 Nov 2026 10:00:00 GMT"),
        (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
    ] {
        assert_eq!(std::str::from_utf8(&http_date(second)).unwrap(), text);
    }
}
