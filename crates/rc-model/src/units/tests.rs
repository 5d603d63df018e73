use super::*;

#[test]
fn rates_read_and_print() {
    for (text, count, secs, shown) in [
        ("500/s", 500, 1, "500/s"),
        ("30/min", 30, 60, "30/min"),
        ("1000/h", 1000, 3600, "1000/h"),
        ("7", 7, 1, "7/s"),
    ] {
        let rate = Rate::parse(text).unwrap();
        assert_eq!((rate.count(), rate.period().as_secs()), (count, secs), "{text}");
        assert_eq!(rate.to_string(), shown);
    }
    assert_eq!(Rate::parse("500/s").unwrap().interval_ns(), 2_000_000);
    for bad in ["", "/s", "x/s", "5/fortnight", "-1/s", "1.5/s"] {
        assert!(matches!(Rate::parse(bad), Err(UnitError::Syntax { .. })), "{bad}");
    }
    assert!(matches!(Rate::parse("0/s"), Err(UnitError::Range { .. })));
}

#[test]
fn sizes_need_a_unit() {
    assert_eq!(ByteSize::parse("4MiB").unwrap().bytes(), 4 << 20);
    assert_eq!(ByteSize::parse("10 MB").unwrap().bytes(), 10_000_000);
    assert_eq!(ByteSize::parse("1024KiB").unwrap().to_string(), "1MiB");
    assert_eq!(ByteSize::parse("1500B").unwrap().to_string(), "1500B");
    for bad in ["", "4", "MiB", "4XiB", "-4MiB", "4.5MiB"] {
        assert!(ByteSize::parse(bad).is_err(), "{bad}");
    }
    assert!(matches!(
        ByteSize::parse("99999999TiB"),
        Err(UnitError::Range { .. })
    ));
}

#[test]
fn spans_need_a_unit() {
    assert_eq!(
        Span::parse("250ms").unwrap().duration(),
        Duration::from_millis(250)
    );
    assert_eq!(Span::parse("10min").unwrap().to_string(), "10min");
    assert_eq!(Span::parse("90s").unwrap().to_string(), "90s");
    for bad in ["", "5", "s", "5 weeks", "-5s"] {
        assert!(Span::parse(bad).is_err(), "{bad}");
    }
    assert!(matches!(Span::parse("99999d"), Err(UnitError::Range { .. })));
}

#[test]
fn shares_need_their_sign_and_are_at_most_all() {
    for (text, percent) in [("0%", 0), ("20%", 20), ("100 %", 100)] {
        assert_eq!(Percent::parse(text).unwrap().percent(), percent, "{text}");
    }
    assert_eq!(Percent::new(20).to_string(), "20%");
    for bad in ["", "20", "%", "-1%", "1.5%", "20%%"] {
        assert!(
            matches!(Percent::parse(bad), Err(UnitError::Syntax { .. })),
            "{bad}"
        );
    }
    assert!(matches!(Percent::parse("101%"), Err(UnitError::Range { .. })));
}

#[test]
fn a_bare_number_is_a_rate_but_not_a_size() {
    assert_eq!(
        serde_json::from_str::<Rate>("500").unwrap(),
        Rate::per_second(500)
    );
    assert!(serde_json::from_str::<ByteSize>("500").is_err());
    assert!(serde_json::from_str::<Span>("500").is_err());
}
