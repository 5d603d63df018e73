use super::*;

#[test]
fn a_pointer_has_a_line() {
    let text = "{\n  \"type\": \"object\",\n  \"properties\": {\n\t\"a/b\": { \"enum\": [1,\n 2] }\n  }\n}\n";
    let file = File::new("a.v1.json", "schemas/a.v1.json".to_owned(), text.to_owned());
    for (pointer, line) in [
        ("", 1),
        ("/type", 2),
        ("/properties/a~1b", 4),
        ("/properties/a~1b/enum/1", 5),
        // What is not there is where it would be.
        ("/properties/c/type", 3),
        ("/additionalProperties", 1),
    ] {
        assert_eq!(file.line(pointer), line, "{pointer}");
    }
}

#[test]
fn files_that_are_no_schemas_are_told_together() {
    let file = |name: &str, text: &str| File::new(name, format!("schemas/{name}"), text.to_owned());
    let files = [
        file("a.v1.json", "{\n \"type\": \"strin\"\n}"),
        file("b.v1.json", "{}"),
        file("c.json", "{}"),
    ];
    let told = compiled(&files).unwrap_err().to_string();
    assert!(
        told.contains("schemas/a.v1.json:2") && told.contains("schemas/c.json:1"),
        "{told}"
    );
    assert!(!told.contains("b.v1"), "{told}");
    assert_eq!(compiled(&files[1..2]).unwrap().schemas().count(), 1);
}
