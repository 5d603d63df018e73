use super::*;
use rc_model::units::Span;

const SECOND: u64 = SECOND_NS;

fn policy() -> Policy {
    Policy::new(&CachePolicy {
        ttl: Span::from_millis(60_000),
        stale_while_revalidate: Some(Span::from_millis(30_000)),
        stale_if_error: Some(Span::from_millis(300_000)),
        vary: vec!["Accept".to_owned()],
        max: CachePolicy::default_max(),
    })
}

/// Age, freshness and both stale times in seconds, or what else may be done.
fn judged(status: u16, fields: &str, for_all: bool) -> String {
    match policy().judge(status, fields.as_bytes(), for_all) {
        Use::Keep(life, varies) => format!(
            "{} {} {} {}{}",
            life.age_ns / SECOND,
            life.fresh_ns / SECOND,
            life.while_revalidate_ns / SECOND,
            life.if_error_ns / SECOND,
            varies.iter().map(|name| format!(" {name}")).collect::<String>()
        ),
        Use::Share(_) => "share".to_owned(),
        Use::Alone => "alone".to_owned(),
    }
}

#[test]
fn the_service_can_shorten_and_forbid_and_never_lengthen() {
    let cases = [
        (200, "", "0 60 30 300"),
        (200, "Cache-Control: public, max-age=10\r\n", "0 10 30 300"),
        (200, "Cache-Control: max-age=600\r\n", "0 60 30 300"),
        (200, "Cache-Control: max-age=10, max-age=5\r\n", "0 5 30 300"),
        (
            200,
            "Cache-Control: max-age=10\r\ncache-control: s-maxage=20\r\n",
            "0 20 0 0",
        ),
        (
            200,
            "Cache-Control: s-maxage=20, stale-while-revalidate=5\r\n",
            "0 20 5 0",
        ),
        (
            200,
            "Cache-Control: stale-while-revalidate=600, stale-if-error=\"7\"\r\n",
            "0 60 30 7",
        ),
        (200, "Cache-Control: max-age=10, must-revalidate\r\n", "0 10 0 0"),
        (200, "Cache-Control: max-age=10, Proxy-Revalidate\r\n", "0 10 0 0"),
        (200, "Cache-Control: max-age=10\r\nAge: 4\r\n", "4 10 30 300"),
        (200, "Cache-Control: max-age=10\r\nAge: 99\r\n", "alone"),
        (200, "Cache-Control: max-age=0\r\n", "alone"),
        (
            200,
            "Cache-Control: max-age=0, stale-while-revalidate=9\r\n",
            "0 0 9 300",
        ),
        (200, "Cache-Control: max-age=0, must-revalidate\r\n", "alone"),
        (
            200,
            "Cache-Control: max-age=soon, stale-while-revalidate=0\r\n",
            "alone",
        ),
        (
            200,
            "Cache-Control: max-age=99999999999999999999999\r\n",
            "0 60 30 300",
        ),
        (200, "Cache-Control: no-store\r\n", "alone"),
        (200, "Cache-Control: ,, max-age=5 ,NO-Cache=\"a, b\"\r\n", "alone"),
        (200, "Cache-Control: x=\"no-store\", max-age=5\r\n", "0 5 30 300"),
        (200, "Expires: 0\r\n", "alone"),
        (200, "Expires: 0\r\nCache-Control: max-age=5\r\n", "0 5 30 300"),
        (200, "Set-Cookie: a=b\r\nCache-Control: max-age=5\r\n", "alone"),
        (
            200,
            "Vary: Accept, X-A\r\nVary: x-b\r\n",
            "0 60 30 300 accept x-a x-b",
        ),
        (200, "Vary: a, *\r\n", "alone"),
        (200, "Cache-Control: private\r\n", "0 60 30 300 x-rc-user"),
        (203, "", "0 60 30 300"),
        (301, "", "0 60 30 300"),
        (404, "", "share"),
        (404, "Cache-Control: max-age=5\r\n", "0 5 30 300"),
        (302, "Cache-Control: max-age=5\r\n", "0 5 30 300"),
        (500, "", "share"),
        (503, "Cache-Control: max-age=5\r\n", "share"),
        (503, "Cache-Control: no-store\r\n", "alone"),
        (206, "Cache-Control: max-age=5\r\n", "alone"),
        (304, "", "alone"),
        (401, "Cache-Control: max-age=5\r\n", "alone"),
        (403, "", "alone"),
    ];
    for (status, fields, want) in cases {
        assert_eq!(judged(status, fields, false), want, "{status} {fields}");
    }
    assert_eq!(judged(200, "Cache-Control: private\r\n", true), "alone");
    assert_eq!(judged(200, "", true), "0 60 30 300");
}

#[test]
fn an_answer_takes_a_part_of_its_routes_room() {
    let of = |max| {
        let policy = Policy::new(&CachePolicy {
            ttl: Span::from_millis(1),
            stale_while_revalidate: None,
            stale_if_error: None,
            vary: Vec::new(),
            max: rc_model::units::ByteSize::new(max),
        });
        policy.answer_bytes_max
    };
    assert_eq!((of(64 << 20), of(16 << 10)), (1 << 20, 2 << 10));
}
