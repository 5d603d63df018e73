use super::*;

fn read(text: &str) -> (Vec<KeyLine>, Vec<Diagnostic>) {
    let mut problems = Vec::new();
    let keys = parse(&Arc::new(SourceFile::new("gateway.keys", text)), &mut problems);
    (keys, problems)
}

#[test]
fn a_line_that_is_written_is_read_again() {
    let (id, tenant) = (
        KeyId::new("kg0w2cm1hwvy").unwrap(),
        TenantId::new("acme").unwrap(),
    );
    let text = line(&id, &tenant, Digest::of(b"a"), "nightly build");
    let (keys, problems) = read(&format!("# keys\n\n{text}"));
    assert_eq!(problems, []);
    assert_eq!(
        (&keys[0].id, &keys[0].tenant, keys[0].hash),
        (&id, &tenant, Digest::of(b"a"))
    );
}

#[test]
fn every_broken_line_is_told_and_no_secret_is_repeated() {
    let hash = Digest::of(b"a");
    let text = format!(
        "rck_kg0w2cm1hwvy_abcdefSECRET acme {hash}\nonly\na b sha256:12\nid1 acme {hash}\nid1 acme {hash}\n"
    );
    let (keys, problems) = read(&text);
    assert_eq!(keys.len(), 1);
    let places: Vec<_> = problems
        .iter()
        .map(|problem| (problem.code, problem.line))
        .collect();
    assert_eq!(
        places,
        [
            ("RC-CFG-009", 1),
            ("RC-CFG-009", 2),
            ("RC-CFG-009", 3),
            ("RC-CFG-004", 5)
        ]
    );
    for problem in &problems {
        assert!(!problem.to_string().contains("SECRET"), "{problem}");
    }
}

#[test]
fn keys_of_nobody_are_a_warning_with_a_guess() {
    let (keys, _) = read(&format!("id1 acmee {}\n", Digest::of(b"a")));
    let mut problems = Vec::new();
    check(&keys, &TenantsFile::default(), &mut problems);
    assert!(!problems[0].is_error());
    assert_eq!(problems[0].hint.as_deref(), Some("did you mean `acme`?"));
}
