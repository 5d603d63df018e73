use std::path::Path;
use std::process::Command;

use super::*;

const V1: &str = r#"{
  "type": "object",
  "required": ["sum"],
  "properties": {
    "sum": { "type": "integer", "minimum": 0 },
    "note": { "type": "string" }
  },
  "additionalProperties": false
}
"#;

fn file(name: &str, text: &str) -> File {
    File::new(name, format!("schemas/{name}"), text.to_owned())
}

fn report(now: &[File], before: Option<&[File]>) -> Report {
    let (schemas, _) = compare(now, before);
    Report {
        compatible: schemas.iter().all(|line| line.findings.is_empty()),
        schemas,
    }
}

#[test]
fn a_break_is_told_with_its_line() {
    let narrower = V1.replace("\"minimum\": 0", "\"minimum\": 1").replace(
        "    \"note\": { \"type\": \"string\" }\n",
        "    \"more\": { \"type\": \"string\" }\n",
    );
    let now = [
        file("order.v1.json", &narrower),
        file("ship.v1.json", V1),
        file("odd.json", "{}"),
    ];
    let before = [
        file("order.v1.json", V1),
        file("ship.v1.json", V1),
        file("gone.v1.json", V1),
    ];
    insta::assert_snapshot!(text(&report(&now, Some(&before))), @r"
    schemas/order.v1.json:8: breaks: /additionalProperties: the member `note` was removed, and others are not allowed
    schemas/order.v1.json:5: breaks: /properties/sum/minimum: `minimum` is 1 and was 0
    schemas/odd.json:1: breaks: `odd.json` does not name a type and a major version: `order.placed.v1.json` does
    schemas/gone.v1.json:1: breaks: the schema was removed: nobody can tell any more what its events are
    4 schemas: 1 unchanged, 1 incompatible, 1 no schemas, 1 removed
    ");
}

#[test]
fn the_json_has_a_verdict_a_schema() {
    let wider = V1.replace("\"minimum\": 0", "\"minimum\": -1");
    let now = [
        file("order.v1.json", &wider),
        file("ship.v1.json", &V1.replace("sum", "count")),
    ];
    let before = [file("order.v1.json", V1)];
    let value = serde_json::to_value(report(&now, Some(&before))).unwrap();
    let expect = serde_json::json!({
        "compatible": true,
        "schemas": [
            { "schema": "order.v1", "file": "schemas/order.v1.json", "verdict": "compatible", "findings": [] },
            { "schema": "ship.v1", "file": "schemas/ship.v1.json", "verdict": "new", "findings": [] },
        ],
    });
    assert_eq!(value, expect);
    let broken = serde_json::to_value(report(&[file("order.v1.json", "{\n\"type\": 1}")], None)).unwrap();
    assert_eq!(broken["schemas"][0]["verdict"], "malformed");
    assert_eq!(broken["schemas"][0]["findings"][0]["line"], 2);
    assert_eq!(broken["schemas"][0]["findings"][0]["pointer"], "/type");
}

#[test]
fn a_new_major_version_says_how_old_events_are_read() {
    let now = |note: &str| {
        let v2 = format!("{{ {note} \"required\": [\"count\"] }}");
        report(&[file("order.v1.json", V1), file("order.v2.json", &v2)], None)
    };
    assert!(
        text(&now("")).contains("schemas/order.v2.json:1: breaks: nothing says how events of `order.v1`")
    );
    assert!(!now("\"x-upcast\": \" \",").compatible);
    assert!(now("\"x-upcast\": \"billing::orders::v1_to_v2\",").compatible);
}

#[test]
fn a_folder_or_a_commit_is_what_was_before() {
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("inner");
    fs_err::create_dir_all(project.join(FOLDER)).unwrap();
    fs_err::write(project.join(FOLDER).join("order.v1.json"), V1).unwrap();
    fs_err::write(project.join(FOLDER).join("README.md"), "words").unwrap();
    let git = |args: &[&str]| {
        let identity = [
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "-c",
            "commit.gpgsign=false",
        ];
        let done = Command::new("git")
            .args(identity)
            .args(args)
            .current_dir(folder.path())
            .output();
        assert!(done.unwrap().status.success(), "git {args:?}");
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "-m", "first"]);
    fs_err::write(project.join(FOLDER).join("order.v1.json"), "{}").unwrap();

    let read = |against: &str| before::read(folder.path(), &project, against);
    let names = |files: Vec<File>| -> Vec<(String, String)> {
        let named = files
            .into_iter()
            .map(|file| (file.name.clone(), file.source.text().to_owned()));
        named.collect()
    };
    let committed = vec![("order.v1.json".to_owned(), V1.to_owned())];
    assert_eq!(names(read("HEAD").unwrap()), committed);
    let here = Path::new("inner").join(FOLDER);
    assert_eq!(names(read(here.to_str().unwrap()).unwrap())[0].1, "{}");
    for odd in ["elsewhere", "", "--output=/tmp/x", "HEAD~5"] {
        let refused = read(odd).unwrap_err();
        assert!(
            refused.to_string().starts_with(&format!("`{odd}` is no folder")),
            "{refused}"
        );
    }
}

#[test]
fn a_misspelt_keyword_of_a_new_schema_is_told() {
    let now = [
        file("order.v1.json", &V1.replace("\"minimum\"", "\"minimun\"")),
        file("ship.v1.json", &V1.replace("\"minimum\"", "\"currency\"")),
    ];
    insta::assert_snapshot!(text(&report(&now, None)), @r"
    schemas/order.v1.json:5: unproven: /properties/sum/minimun: `minimun` is no keyword and checks nothing: did you mean `minimum`?
    2 schemas: 1 valid, 1 incompatible
    ");
}
