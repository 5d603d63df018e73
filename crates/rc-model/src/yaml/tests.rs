use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn source(text: &str) -> Arc<SourceFile> {
    Arc::new(SourceFile::new("x.yaml", text))
}

fn read(text: &str) -> serde_json::Value {
    let source = source(text);
    match parse(&source) {
        Ok(node) => node.to_json(),
        Err(problems) => panic!("{text:?}: {}", problems[0]),
    }
}

/// `line:column message` of everything that is wrong.
fn wrong(text: &str) -> Vec<String> {
    let problems = parse(&source(text)).expect_err(text);
    let told = problems.iter().map(|problem| {
        assert!(
            !problem.message.is_empty() && problem.code.starts_with("RC-CFG-"),
            "{problem}"
        );
        assert!(
            !problem.message.contains("not YAML"),
            "the parser's own words: {problem}"
        );
        format!("{}:{} {}", problem.line, problem.column, problem.message)
    });
    told.collect()
}

#[test]
fn scalars_follow_the_core_schema() {
    for (text, expected) in [
        ("no", json!("no")),
        ("NO", json!("NO")),
        ("yes", json!("yes")),
        ("on", json!("on")),
        ("off", json!("off")),
        ("y", json!("y")),
        ("true", json!(true)),
        ("False", json!(false)),
        ("~", json!(null)),
        ("null", json!(null)),
        ("nULL", json!("nULL")),
        ("12", json!(12)),
        ("-12", json!(-12)),
        ("+12", json!(12)),
        ("012", json!(12)),
        ("0o14", json!(12)),
        ("0x1F", json!(31)),
        ("0b11", json!("0b11")),
        ("1_000", json!("1_000")),
        ("12:30:45", json!("12:30:45")),
        ("2024-01-01", json!("2024-01-01")),
        ("1.5", json!(1.5)),
        (".5", json!(0.5)),
        ("1e3", json!(1000.0)),
        ("1.", json!(1.0)),
        (".", json!(".")),
        ("e3", json!("e3")),
        ("1e", json!("1e")),
        ("-", json!([null])),
        ("+", json!("+")),
        ("0x", json!("0x")),
        ("'12'", json!("12")),
        ("\"true\"", json!("true")),
        ("!!str 12", json!("12")),
        ("! 12", json!("12")),
        ("!!float 12", json!(12.0)),
        ("18446744073709551615", json!(u64::MAX)),
        ("|\n  a\n  b\n", json!("a\nb\n")),
        (">-\n  a\n  b\n", json!("a b")),
        ("\"\\u00e9\\x41\\n\"", json!("éA\n")),
    ] {
        assert_eq!(read(text), expected, "{text:?}");
    }
}

#[test]
fn documents_are_read() {
    for (text, expected) in [
        ("", json!(null)),
        ("# only a remark\n", json!(null)),
        ("---\n", json!(null)),
        ("--- \na: 1\n...\n", json!({"a": 1})),
        ("\u{feff}a: 1", json!({"a": 1})),
        (
            "a: 1\r\nb:\r\n  - x\r\n  - y\r\n",
            json!({"a": 1, "b": ["x", "y"]}),
        ),
        ("80: x\ntrue: y\n", json!({"80": "x", "true": "y"})),
        (
            "{a: {b: [1, 2, {c: d}]}}",
            json!({"a": {"b": [1, 2, {"c": "d"}]}}),
        ),
        ("a: &x {b: 1}\nc: *x\n", json!({"a": {"b": 1}, "c": {"b": 1}})),
        ("a: &x 1\nb: &x 2\nc: *x\n", json!({"a": 1, "b": 2, "c": 2})),
        ("? a\n: 1\n", json!({"a": 1})),
        ("a: !!map {b: !!seq [1]}", json!({"a": {"b": [1]}})),
    ] {
        assert_eq!(read(text), expected, "{text:?}");
    }
}

#[test]
fn every_key_and_value_knows_its_place() {
    let text = "é: ü\r\nlist:\r\n  - 'x y'   # remark\r\n  - {日: 本, z: |\r\n      }\r\n";
    let text = &text[..text.find("  - {").unwrap()];
    let source = source(text);
    let root = parse(&source).unwrap();
    let first = &root.entries()[0];
    assert_eq!(
        (source.slice(first.key_span), source.slice(first.value.span)),
        ("é", "ü")
    );
    let list = root.get("list").unwrap();
    assert_eq!(source.slice(list.items()[0].span), "'x y'");
    assert_eq!(source.position(list.items()[0].span.start).column, 5);
    let long = format!("{}: 1\nb: [é, x]\n", "ä".repeat(300));
    let source = self::source(&long);
    let root = parse(&source).unwrap();
    assert_eq!(source.slice(root.entries()[0].key_span).chars().count(), 300);
    assert_eq!(source.slice(root.get("b").unwrap().items()[1].span), "x");
    assert_eq!(source.slice(root.get("b").unwrap().span), "[é, x]");
}

#[test]
fn broken_yaml_is_told_where_and_how() {
    for (text, expected) in [
        ("a: 1\n\tb: 2\n", "2:1 a tab stands where only spaces may"),
        ("a: 1\r\n\tb: 2\r\n", "2:1 a tab stands where only spaces may"),
        ("a: b: c\n", "1:5 a second `: ` on the same line"),
        ("a: 1\n b: 2\n", "2:2 this key is indented deeper than it may be"),
        (
            "a:\n  - 1\n b: 2\n",
            "3:2 this line does not fit into the mapping around it",
        ),
        ("a: [1, 2\nb: 3\n", "2:2 the `[` is not closed"),
        ("a: {x: 1\nb: 3\n", "2:2 the `{` is not closed"),
        ("a: {x: #y}\nb: 3\n", "2:1 the `{` is not closed"),
        ("{", "1:2 a value is missing here"),
        (
            "a: \"x\nb: 2\n",
            "1:4 a quote is not closed, or its text is not indented",
        ),
        ("a: 'x\n", "1:4 a quote is not closed"),
        (
            "é: \"\\q\"\n",
            "1:5 this escape does not exist in a double-quoted text",
        ),
        ("a: \"ok \\n \\x1\"\n", "1:11 an escape needs hexadecimal digits"),
        ("a: \"\\ud800\"\n", "1:5 this escape is not a character"),
        (
            "a: *x\n",
            "1:4 the alias stands for an anchor that was not written before",
        ),
        ("a: *\n", "1:4 a name is missing after `&` or `*`"),
        (
            "a: &x\n  b: *x\n",
            "2:6 the alias stands inside of what it stands for",
        ),
        ("a: @x\n", "1:4 a text cannot start with this character"),
        ("a: `x`\n", "1:4 a text cannot start with this character"),
        ("a: %x\n", "1:4 a text cannot start with this character"),
        ("%YAM 1.2\n", "1:9 this does not belong to the document"),
        ("a: |x\n", "1:4 the text block after `|` or `>` starts wrongly"),
        ("a: !x!y z\n", "1:4 this tag is not known"),
        ("a: !x z\n", "1:4 the tag `!x` does not fit here"),
        ("a: !!int z\n", "1:4 the tag `!!int` does not fit here"),
        ("a: !!map [1]\n", "1:4 the tag `!!map` does not fit here"),
        ("a\nb: 1\n", "1:1 this line is not a `key: value`"),
        ("a: 1\nb\n", "2:2 this line is not a `key: value`"),
        (
            "- a\nb: 1\n",
            "2:1 this line does not fit into the list around it",
        ),
        ("a: - b\n", "1:4 a `-` does not fit here"),
        ("a: [1]]\n", "1:7 a closing bracket without its opening one"),
        ("a: \"x\" y\n", "1:8 something follows the closing quote"),
        ("a: 1\n---\nb: 2\n", "2:1 a second document starts here"),
        ("? [x]\n: 1\n", "1:3 a key must be a text, not a list or mapping"),
        (": 1\n", "1:1 a key is missing before this `:`"),
        ("? &x a\n: 1\n", "1:3 a key must not carry an anchor"),
        ("a: &x b\n*x : 1\n", "2:1 a key must be a text, not an alias"),
        (
            "a: 1 # x\n  b: 2\n",
            "1:6 a comment stands in the middle of a text",
        ),
        (
            "a: \u{feff}b",
            "1:4 a byte order mark stands in the middle of the file",
        ),
        ("a: 1\0b: 2", "1:5 the character U+0000 is not allowed in YAML"),
        ("ä: \u{1b}[1m", "1:4 the character U+001B is not allowed in YAML"),
    ] {
        assert_eq!(wrong(text), [expected], "{text:?}");
    }
}

#[test]
fn all_doubled_keys_are_told() {
    let doubled = wrong("a: 1\nb: {c: 1, c: 2}\na: {d: 1, d: 2}\n'a': 3\n");
    assert_eq!(
        doubled,
        [
            "2:11 the key `c` is there twice",
            "3:1 the key `a` is there twice",
            "3:11 the key `d` is there twice",
            "4:1 the key `a` is there twice",
        ]
    );
}

#[test]
fn deep_nesting_is_refused() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(&source(&nested(DEPTH_MAX))).is_ok());
    for depth in [DEPTH_MAX + 1, 1_000, FILE_BYTES_MAX / 2] {
        assert!(wrong(&nested(depth))[0].ends_with("nested deeper than 64 levels"));
    }
    for text in [
        "[".repeat(FILE_BYTES_MAX),
        "{a: ".repeat(FILE_BYTES_MAX / 4),
        "- ".repeat(FILE_BYTES_MAX / 2),
    ] {
        assert!(wrong(&text)[0].ends_with("nested deeper than 64 levels"));
    }
    let block: String = (0..100)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    assert_eq!(wrong(&block), ["65:65 nested deeper than 64 levels"]);
}

#[test]
fn alias_bombs_are_refused() {
    // Nine levels of nine: a billion values from 600 bytes.
    let mut laughs = "a0: &a0 [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n".to_owned();
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(",");
        laughs.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert_eq!(wrong(&laughs).len(), 1);
    assert!(wrong(&laughs)[0].ends_with("anchors and aliases repeat more than 100000 values"));
    // One large text, many times.
    let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), "*a, ".repeat(100_000));
    assert!(wrong(&text)[0].ends_with("repeat more than 100000 values"));
    // Anchors around anchors, never used.
    let nested = format!("{}{}", "&a [".repeat(60), "x, ".repeat(200_000));
    assert!(parse(&source(&nested)).is_err());
    // Honest use stays possible.
    assert!(
        parse(&source(&format!(
            "a: &a {{b: 1}}\nc: [{}]\n",
            "*a, ".repeat(10_000)
        )))
        .is_ok()
    );
}

#[test]
fn the_limits_on_size_hold_and_large_files_are_quick() {
    let clock = crate::clock::monotonic_ns();
    let tenants: String = (0..14_000)
        .map(|n| format!("  tenant-{n}: {{tier: gold, body_max: 1MiB}}\n"))
        .collect();
    assert!(parse(&source(&format!("tenants:\n{tenants}"))).is_ok());
    assert_eq!(
        wrong(&"x".repeat(FILE_BYTES_MAX + 1)),
        ["1:1 the file has 1048577 bytes, the limit is 1048576"]
    );
    for text in [
        "- x\n".repeat(FILE_BYTES_MAX / 4),
        "x ".repeat(FILE_BYTES_MAX / 2),
        "a".repeat(FILE_BYTES_MAX),
        "? ".repeat(1_000),
        "é: [é, é]\n".repeat(1_000),
        "\"".repeat(10_000),
        "#".repeat(FILE_BYTES_MAX),
        "\n".repeat(FILE_BYTES_MAX),
        "&a ".repeat(10_000),
        "!a ".repeat(10_000),
    ] {
        // Only that it ends, and soon.
        let _ = parse(&source(&text)).map_err(|problems| problems.iter().for_each(|p| drop(p.to_string())));
    }
    let spent = Duration::from_nanos(crate::clock::monotonic_ns() - clock);
    assert!(spent < Duration::from_secs(20), "{spent:?}");
}

#[test]
fn truncated_files_are_told_and_never_panic() {
    let text = include_str!("../workspace/cases.txt");
    let (start, end) = (
        text.find("name: shop").unwrap(),
        text.find("=== tenant of").unwrap(),
    );
    let text = text[start..end].replace(">>> ", "# ").replace("<<<", "");
    for cut in (0..text.len()).filter(|cut| text.is_char_boundary(*cut)) {
        if let Err(problems) = parse(&source(&text[..cut])) {
            problems.iter().for_each(|problem| drop(problem.to_string()));
        }
    }
}

fn yamlish() -> impl Strategy<Value = String> {
    let token = prop::sample::select(vec![
        "a",
        "b: ",
        "tier: gold",
        "- ",
        "? ",
        ": ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "\n",
        "\n  ",
        "\n    ",
        "\r\n",
        "\t",
        "&x ",
        "*x",
        "!!str ",
        "!t ",
        "|\n",
        ">-\n",
        "\"",
        "'",
        "\\",
        "\\x4",
        "#",
        " #c",
        "---",
        "...",
        "%YAML 1.2",
        "é",
        "日",
        "\u{feff}",
        "<<",
        "~",
        "0x1f",
        "1.5",
        "@",
        "`",
        "\r",
        " ",
        "\u{85}",
        "\u{2028}",
    ]);
    prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.concat())
}

fn holds(text: &str) {
    let source = source(text);
    let spans_are_inside = |span: ByteSpan| {
        assert!(
            span.start <= span.end && span.end <= source.text().len(),
            "{text:?} {span:?}"
        );
        assert!(source.text().is_char_boundary(span.start) && source.text().is_char_boundary(span.end));
    };
    match parse(&source) {
        Ok(root) => {
            let mut open = vec![&root];
            while let Some(node) = open.pop() {
                spans_are_inside(node.span);
                node.entries()
                    .iter()
                    .for_each(|entry| spans_are_inside(entry.key_span));
                open.extend(node.items());
                open.extend(node.entries().iter().map(|entry| &entry.value));
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!(problem.line >= 1 && problem.column >= 1);
                spans_are_inside(problem.span);
                drop(problem.to_string());
            }
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        holds(&text);
    }

    #[test]
    fn anything_that_looks_like_yaml_is_read_or_refused(text in yamlish()) {
        holds(&text);
    }

    #[test]
    fn any_json_is_read_as_what_it_is(text in "[ -~é日\\n\\t\"\\\\]{0,40}", number in any::<i64>(), flag in any::<bool>()) {
        let value = json!({"text": text, "number": number, "list": [flag, null, {"a": text}]});
        // NEL and friends aside, JSON is YAML.
        prop_assert_eq!(read(&value.to_string()), value);
    }
}
