use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::source::SourceFile;
use crate::yaml::parse;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum Mode {
    On,
    Off,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct All {
    flag: bool,
    small: i32,
    large: u64,
    part: f64,
    text: String,
    list: Vec<u8>,
    map: BTreeMap<String, Option<u32>>,
    mode: Mode,
    absent: Option<String>,
}

const TEXT: &str = "flag: true\nsmall: -3\nlarge: 18446744073709551615\npart: 0.5\ntext: a b\nlist: [1, 2]\nmap: {a: 1, b: null}\nmode: off\n";

#[test]
fn values_are_those_that_json_would_give() {
    let root = parse(&Arc::new(SourceFile::new("t.yaml", TEXT))).unwrap();
    let direct = All::deserialize(&root).unwrap();
    assert_eq!(direct, serde_json::from_value(root.to_json()).unwrap());
    assert_eq!((direct.small, direct.mode), (-3, Mode::Off));
}

#[test]
fn what_json_refuses_is_refused() {
    for (from, to) in [
        ("true", "1"),
        ("[1, 2]", "[1, 300]"),
        ("off", "maybe"),
        ("off", "{off: 1}"),
        ("a b", "[]"),
        ("mode", "mood"),
    ] {
        let text = TEXT.replace(from, to);
        let root = parse(&Arc::new(SourceFile::new("t.yaml", text))).unwrap();
        assert!(All::deserialize(&root).is_err(), "{to}");
        assert!(serde_json::from_value::<All>(root.to_json()).is_err(), "{to}");
    }
}
