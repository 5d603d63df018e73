use super::*;

#[test]
fn yaml_is_plain_where_it_is_safe() {
    let value = json!({
        "openapi": "3.1.0",
        "empty": {},
        "none": [],
        "yes": "no",
        "list": ["a", {"b": 1, "c": ["d"]}, ["x", "y"], "two\nlines"],
        "text": "one\n\ntwo: three",
        "202": { "description": "it's `fine`: really # yes" },
        "number": 1.5,
        "null": null,
        "trailing": "x\n",
    });
    let expect = "\
openapi: \"3.1.0\"
empty: {}
none: []
\"yes\": \"no\"
list:
  - a
  - b: 1
    c:
      - d
  -
    - x
    - \"y\"
  - |-
    two
    lines
text: |-
  one

  two: three
\"202\":
  description: \"it's `fine`: really # yes\"
number: 1.5
\"null\": null
trailing: \"x\\n\"
";
    assert_eq!(to_yaml(&value), expect);
}

#[test]
fn every_reference_in_a_description_leads_somewhere() {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    if let (true, Some(target)) = (name == "$ref", member.as_str()) {
                        found.push(target.to_owned());
                    }
                    walk(member, found);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let document = crate::ingest::api::document();
    let mut references = Vec::new();
    walk(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn no_schema_takes_null() {
    for (path, text) in all() {
        assert!(!text.contains("null"), "{path}");
    }
}

#[test]
fn committed_descriptions_are_what_the_code_says() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../apis");
    for (path, text) in all() {
        let committed = fs_err::read_to_string(root.join(path)).unwrap_or_default();
        assert!(committed == text, "apis/{path} is stale: run `cargo xtask gen`");
    }
}
