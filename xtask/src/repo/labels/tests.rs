use super::{FILE, Label, difference, parse};
use crate::cx::Cx;

fn label(name: &str, color: &str) -> Label {
    Label {
        name: name.to_owned(),
        color: color.to_owned(),
        description: Some("x".to_owned()),
    }
}

#[test]
fn the_repositorys_labels_are_valid() {
    let cx = Cx::from_environment().unwrap();
    assert!(parse(&cx.read(FILE).unwrap()).unwrap().len() > 10);
}

#[test]
fn all_faults_are_told_at_once() {
    let text = r#"{"groups": {"kind": {"about": "", "color": "RED"}, "area": {"about": "a", "color": "00ff00"}},
        "labels": {"kind": {"Bug": "x"}, "size": {"xl": "x"}}}"#;
    let message = parse(text).unwrap_err().message;
    for expect in [
        "`RED` is not six",
        "does not say what",
        "`area` has no label",
        "`kind/Bug`: use",
        "no such group",
    ] {
        assert!(message.contains(expect), "{expect}: {message}");
    }
    assert!(parse(r#"{"groups": {}, "labels": {}, "more": 1}"#).is_err());
}

#[test]
fn missing_labels_are_made_changed_ones_changed_and_others_left_alone() {
    let wanted = [
        label("kind/bug", "ff0000"),
        label("kind/idea", "ff0000"),
        label("area/cli", "00ff00"),
    ];
    let found = [
        label("kind/bug", "ff0000"),
        label("kind/idea", "0000ff"),
        label("wontfix", "000000"),
    ];
    let difference = difference(&wanted, &found);
    let calls: Vec<(&str, &str)> = difference
        .changes
        .iter()
        .map(|change| (change.method, change.path.as_str()))
        .collect();
    assert_eq!(calls, [("PATCH", "labels/kind%2Fidea"), ("POST", "labels")]);
    assert_eq!(difference.only_there, ["wontfix"]);
}
