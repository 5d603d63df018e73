use super::*;

#[test]
fn names_follow_the_grammar_of_services() {
    for name in [
        "orders",
        "a",
        "mail-out",
        "7up",
        "fn",
        "class",
        "await",
        "tokio",
        "test",
        &"x".repeat(63),
    ] {
        assert_eq!(service_name(name).unwrap().as_str(), name);
    }
}

#[test]
fn hostile_names_are_refused_with_the_rule_and_an_example() {
    let long = "x".repeat(300);
    for name in [
        "",
        " ",
        "..",
        "../x",
        "a/b",
        "/etc",
        "-rf",
        "x-",
        "a b",
        "A",
        "a_b",
        "a.b",
        "a\nb",
        "a\0b",
        "$(x)",
        "{{name}}",
        "or\u{442}ers",
        "\u{ff4f}rders",
        "o\u{301}",
        &long,
    ] {
        let fault = service_name(name).unwrap_err();
        let help = miette::Diagnostic::help(&fault).unwrap().to_string();
        assert!(
            help.contains("`a` to `z`") && help.contains("orders"),
            "{name:?}: {help}"
        );
        assert_eq!(
            miette::Diagnostic::code(&fault).unwrap().to_string(),
            "RC-INI-001"
        );
        assert!(fault.to_string().len() < 300, "{name:?}");
    }
    for name in ["gateway", "ingest", "docs-api", "prov-ledger", "rc-up"] {
        let fault = service_name(name).unwrap_err();
        assert!(fault.to_string().contains("Royalcrown's own"), "{fault}");
    }
}

#[test]
fn oncall_is_one_short_line() {
    assert!(oncall("#oncall-core").is_ok());
    for text in ["", "a\nb", "\u{7}", &"x".repeat(101)] {
        assert!(oncall(text).is_err(), "{text:?}");
    }
}
