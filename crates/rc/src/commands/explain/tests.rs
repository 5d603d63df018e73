use std::collections::BTreeSet;
use std::path::Path;

use super::*;

const HEADINGS: [&str; 4] = ["**What happened**", "**Why**", "**What to do**", "**Example**"];

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let codes: BTreeSet<&str> = code::all().map(|entry| entry.code).collect();
    let embedded: BTreeSet<&str> = pages::PAGES.iter().map(|(code, _)| *code).collect();
    assert_eq!(embedded.len(), pages::PAGES.len(), "a page is listed twice");
    let differ: Vec<&&str> = codes.symmetric_difference(&embedded).collect();
    assert!(
        differ.is_empty(),
        "in rc_model::code or in explain/pages.rs, not in both: {differ:?}"
    );
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/errors");
    for entry in fs_err::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let code = name.strip_suffix(".md").unwrap();
        assert!(codes.contains(code), "{name} explains a code that does not exist");
    }
}

#[test]
fn pages_have_one_shape() {
    for (code, page) in pages::PAGES {
        let title = code::lookup(code).unwrap().title;
        assert_eq!(page.lines().next(), Some(format!("# {code}: {title}").as_str()));
        let mut rest = *page;
        for heading in HEADINGS {
            let (_, after) = rest
                .split_once(heading)
                .unwrap_or_else(|| panic!("{code}: {heading} is missing or out of order"));
            assert!(
                after
                    .trim_start()
                    .lines()
                    .next()
                    .is_some_and(|line| !line.starts_with("**")),
                "{code}: {heading} is empty"
            );
            rest = after;
        }
        assert!(page.ends_with('\n') && !page.contains('\t'), "{code}");
    }
}

#[test]
fn pages_lose_their_marks_and_are_wrapped() {
    let page = "# RC-X-001: title\n\n**Why**\n\n- one two\n- three\n\n```yaml\na:   1\n```\n";
    insta::assert_snapshot!(for_people(page, false), @r"
    RC-X-001: title

    Why

    - one two
    - three

        a:   1
    ");
    assert!(for_people(page, true).starts_with("\u{1b}[1mRC-X-001: title\u{1b}[0m\n"));
    let long = format!("- {}", "word ".repeat(60).trim_end());
    let wrapped = for_people(&long, false);
    assert_eq!(wrapped.lines().count(), 4);
    assert!(wrapped.lines().all(|line| line.chars().count() <= PAGE_COLUMNS));
    assert!(wrapped.lines().skip(1).all(|line| line.starts_with("  word")));
    assert_eq!(wrapped.matches("word").count(), 60);
}

#[test]
fn unknown_codes_are_guessed() {
    for (wanted, guess) in [
        ("RC-CFG-05", Some("RC-CFG-005")),
        ("cfg-5", Some("RC-CFG-005")),
        ("CFG-005", Some("RC-CFG-005")),
        ("rc-cgf-005", Some("RC-CFG-005")),
        ("RC_CFG_018", Some("RC-CFG-018")),
        ("banana", None),
        ("", None),
    ] {
        let fault = unknown(wanted);
        let help = miette::Diagnostic::help(&fault).unwrap().to_string();
        match guess {
            Some(guess) => assert!(help.contains(guess), "{wanted}: {help}"),
            None => assert!(!help.contains("did you mean"), "{wanted}: {help}"),
        }
    }
}

/// What the examples of the pages about files are printed for: the catalog and the tenants.
const EXAMPLES: [(&str, &str, &str, &str); 16] = [
    ("RC-CFG-003", "", "", "tenants:\n  acme: gold\n      demo: true\n"),
    (
        "RC-CFG-004",
        "",
        "",
        "tenants:\n  acme: {tier: gold}\n  globex: {tier: silver}\n  acme: {tier: silver}\n",
    ),
    ("RC-CFG-005", "", "", "tenants:\n  acme:\n    teir: gold\n"),
    (
        "RC-CFG-006",
        "",
        "services:\n  docs-api: {tier: gold, owner: core}\n  ingest: {tier: gold}\n",
        "",
    ),
    (
        "RC-CFG-007",
        "",
        "",
        "tenants:\n  acme: {tier: gold, demo: yes}\n",
    ),
    ("RC-CFG-008", "logs: {level: INFO}\n", "", ""),
    (
        "RC-CFG-009",
        "",
        "",
        "tiers:\n  basic:\n    rps: {rate: 5}\n    timeout: 30\n",
    ),
    (
        "RC-CFG-010",
        "",
        "services:\n  Docs_API: {tier: gold, owner: core}\n",
        "",
    ),
    ("RC-CFG-011", "", "", "tenants:\n  acme: {tier: glod}\n"),
    (
        "RC-CFG-012",
        "",
        "services:\n  orders: {tier: gold, owner: shop, command: [orders], needs: [stock]}\n  stock: {tier: gold, owner: shop, command: [stock], needs: [orders]}\n",
        "",
    ),
    (
        "RC-CFG-013",
        "",
        "services:\n  gateway: {tier: gold, owner: core}\n  docs-api: {tier: gold, owner: core}\n  wiki: {tier: gold, owner: core, command: [wiki], routes: [{path: /docs}]}\n",
        "",
    ),
    (
        "RC-CFG-014",
        "",
        "services:\n  docsapi: {tier: gold, owner: core}\n",
        "",
    ),
    (
        "RC-CFG-015",
        "",
        "services:\n  orders: {tier: gold, owner: shop, command: [orders], port: 9001}\n  stock: {tier: gold, owner: shop, command: [stock], port: 9001}\n",
        "",
    ),
    (
        "RC-CFG-016",
        "",
        "services:\n  orders: {tier: gold, owner: shop, command: [orders], routes: [{path: /orders}]}\n",
        "",
    ),
    (
        "RC-CFG-017",
        "",
        "services:\n  gateway: {tier: gold, owner: core, routes: [{path: /a}]}\n",
        "",
    ),
    (
        "RC-CFG-018",
        "",
        "owners:\n  core:\n    oncall: #core\n  platform: {}\n",
        "",
    ),
];

#[test]
fn pages_about_files_show_what_is_printed() {
    for (code, project, catalog, tenants) in EXAMPLES {
        let sources = rc_model::Sources::from_texts(Some(project), Some(catalog), Some(tenants));
        let problems = match rc_model::Model::read(&sources) {
            Ok(model) => model.warnings,
            Err(problems) => problems,
        };
        assert_eq!(problems.len(), 1, "{code}: {problems:?}");
        assert_eq!(problems[0].code, code);
        let page = pages::page(code).unwrap();
        let example = page
            .split("```text\n")
            .nth(1)
            .unwrap()
            .split("```")
            .next()
            .unwrap();
        assert_eq!(example, problems[0].to_string(), "{code}");
    }
}
