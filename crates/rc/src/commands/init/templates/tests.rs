use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum as _;
use rc_model::source::SourceFile;
use rc_model::{Digest, Model, Sources};

use super::*;

const FOLDERS: [(&str, Files); 4] = [
    ("shared", SHARED),
    ("rust", RUST),
    ("node", NODE),
    ("python", PYTHON),
];

fn answers(name: &str, template: Template) -> Answers {
    Answers {
        name: ServiceId::new(name).unwrap(),
        template,
        owner: OwnerId::new("shop").unwrap(),
        tier: Tier::Gold,
        oncall: "#oncall-shop".to_owned(),
    }
}

fn text<'a>(files: &'a [File], path: &str) -> &'a str {
    let file = files.iter().find(|file| file.path == path);
    &file.unwrap_or_else(|| panic!("{path} is missing")).text
}

fn catalog_of(files: &[File]) -> Model {
    let texts = |path| Some(text(files, path));
    let sources = Sources::from_texts(None, texts("service-catalog.yaml"), texts("tenants.yaml"));
    Model::read(&sources).unwrap_or_else(|problems| panic!("{problems:#?}\n{files:#?}"))
}

#[test]
fn every_file_of_the_folders_is_built_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../templates");
    /// What trying a template in place leaves behind.
    const LEFT: [&str; 4] = ["target", "node_modules", "__pycache__", ".royalcrown"];
    for (folder, files) in FOLDERS {
        let dir = root.join(folder);
        let there: BTreeSet<String> = walkdir::WalkDir::new(&dir)
            .into_iter()
            .filter_entry(|entry| !LEFT.iter().any(|name| entry.file_name() == *name))
            .map(Result::unwrap)
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| {
                entry
                    .path()
                    .strip_prefix(&dir)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        let built_in: BTreeSet<String> = files.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(there, built_in, "{folder}");
    }
}

/// A change of a template is seen here, and `rc init` cannot come to depend on when or where it runs.
#[test]
fn the_same_answers_give_the_same_bytes() {
    for template in Template::value_variants() {
        let files = render(&answers("orders", *template));
        assert_eq!(files, render(&answers("orders", *template)));
        let list: Vec<String> = files
            .iter()
            .map(|file| {
                format!(
                    "{} {}",
                    &Digest::of(file.text.as_bytes()).to_string()[..19],
                    file.path
                )
            })
            .collect();
        insta::assert_snapshot!(format!("{template:?}").to_lowercase(), list.join("\n"));
    }
}

#[test]
fn nothing_is_left_to_fill_in() {
    for template in Template::value_variants() {
        for file in render(&answers("orders", *template)) {
            for word in [
                "name", "owner", "tier", "yaml ", "run", "test", "needs", "setup", "outgoing",
            ] {
                let open = format!("{{{{{word}");
                assert!(!file.text.contains(&open), "{open} in {}", file.path);
            }
            assert!(file.text.ends_with('\n'), "{}", file.path);
        }
    }
}

/// Words that YAML, Rust, JavaScript, Python, cargo or npm take for something else.
#[test]
fn every_name_makes_files_that_can_be_used() {
    let names = [
        "null",
        "true",
        "no",
        "on",
        "y",
        "7",
        "1e3",
        "0x1f",
        "fn",
        "class",
        "await",
        "import",
        "test",
        "build",
        "tokio",
        "http",
        "node-modules",
        "docs",
        "health",
    ];
    for name in names.into_iter().chain([&*"x".repeat(63)]) {
        for template in Template::value_variants() {
            let owner = OwnerId::new(name).unwrap();
            let files = render(&Answers {
                owner,
                ..answers(name, *template)
            });
            let model = catalog_of(&files);
            assert!(model.warnings.is_empty(), "{name}: {:?}", model.warnings);
            let id = ServiceId::new(name).unwrap();
            assert_eq!(
                model.catalog.services[&id].routes[0].path,
                format!("/{name}/hello")
            );
        }
        let files = render(&answers(name, Template::Node));
        let package: serde_json::Value = serde_json::from_str(text(&files, "package.json")).unwrap();
        assert_eq!(package["name"], name);
    }
}

#[test]
fn the_catalog_says_whose_it_is_whatever_the_text_is() {
    let oncall = r#"#x" {{name}}: \ [y], 'z' & *"#;
    let answers = Answers {
        oncall: oncall.to_owned(),
        ..answers("orders", Template::Python)
    };
    let model = catalog_of(&render(&answers));
    let owner = &model.catalog.owners[&answers.owner];
    assert_eq!(owner.oncall.as_deref(), Some(oncall));
    let orders = &model.catalog.services[&answers.name];
    assert_eq!((orders.tier.as_str(), &orders.owner), ("gold", &answers.owner));
    assert_eq!(orders.ready.as_deref(), Some("/ready"));
}

#[test]
fn the_values_hold_a_plan_that_rollouts_read() {
    let files = render(&answers("orders", Template::Node));
    let values = SourceFile::new("values.yaml", text(&files, "deploy/values.yaml"));
    let spec = rc_model::rollout::read(&Arc::new(values)).unwrap();
    assert_eq!(spec.stages(), rc_model::rollout::RolloutSpec::default().stages());
    assert!(
        spec.metrics[0].query.contains("service=\"orders\""),
        "{:?}",
        spec.metrics
    );
}

#[test]
fn fill_replaces_what_it_knows_and_nothing_else() {
    let values = [("name", "{{owner}}"), ("owner", "shop")];
    assert_eq!(fill("a {{name}} b {{owner}}", &values), "a {{owner}} b shop");
    for same in [
        "",
        "{{",
        "}}",
        "{{}}",
        "{{ name }}",
        "${{ secrets.X }}",
        "{{unknown}}",
        "{{{",
    ] {
        assert_eq!(fill(same, &values), same);
    }
    assert_eq!(fill("{{{{owner}}", &values), "{{shop");
}
