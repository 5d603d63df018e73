use std::path::PathBuf;

use super::{ERROR_PARTS, adrs, anchors, error_page, link_targets, links, parts, resolve};
use crate::tidy::{Fault, Source, Tree};

fn page(path: &str, text: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

fn tree(files: &[(&str, &str)]) -> Tree {
    Tree {
        root: PathBuf::from("/nonexistent"),
        files: files.iter().map(|(path, text)| page(path, text)).collect(),
    }
}

fn shown(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

const PAGE: &str = "# RC-X-001: it broke\n\n**What happened**: it broke.\n\n## Why\n\nBecause.\n\n\
                    **What to do**\n\nMend it.\n\n**Example**\n\n```\nrc up\n```\n";

#[test]
fn error_pages_have_a_title_and_four_parts() {
    let path = "docs/reference/errors/RC-X-001.md";
    assert!(
        error_page(&page(path, PAGE)).is_empty(),
        "{:?}",
        error_page(&page(path, PAGE))
    );
    for (from, to, expect) in [
        ("RC-X-001", "RC-X-002", "begin with"),
        (": it broke\n", "\n", "begin with"),
        ("Because.", "", "`Why` is empty"),
        ("## Why", "## How", "no part `Why`"),
        ("rc up", "", "`Example` is empty"),
    ] {
        let found = shown(&error_page(&page(path, &PAGE.replacen(from, to, 1))));
        assert!(
            found.iter().any(|fault| fault.contains(expect)),
            "{to:?}: {found:?}"
        );
    }
}

#[test]
fn parts_stand_in_order() {
    let text = PAGE
        .replace("## Why", "## Example")
        .replace("**Example**", "**Why**");
    assert!(!parts(&page("a.md", &text), ERROR_PARTS).is_empty());
}

#[test]
fn links_are_found_in_prose_only() {
    let text = "[a](b.md) and [c](d.md#e \"title\")\n`[f](g.md)`\n```\n[h](i.md)\n```\n[j]: k.md\n\
                [l](https://example.com) [m](mailto:a@example.com)\n";
    assert_eq!(link_targets(text), [(1, "b.md"), (1, "d.md#e"), (6, "k.md")]);
}

#[test]
fn links_that_lead_nowhere_are_named() {
    let tree = tree(&[
        (
            "README.md",
            "# A\n[x](docs/b.md#second-part) [y](docs/gone.md) [z](#a) [w](docs/b.md#third)\n",
        ),
        ("docs/b.md", "# B\n## Second part\n[up](../README.md)\n"),
    ]);
    assert_eq!(
        shown(&links(&tree, &tree.files[0])),
        [
            "README.md:2: the link `docs/gone.md` leads nowhere",
            "README.md:2: `docs/b.md` has no heading `#third`"
        ]
    );
    assert!(links(&tree, &tree.files[1]).is_empty());
}

#[test]
fn paths_and_anchors_are_made_as_forges_make_them() {
    assert_eq!(resolve("docs/guide/a.md", "../adr/./b.md"), "docs/adr/b.md");
    let found = anchors("# `rc up`: the *first* start\n```\n# not one\n```\n");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["rc-up-the-first-start"]);
}

#[test]
fn adrs_are_numbered_once_and_listed() {
    let tree = tree(&[
        ("docs/adr/0001-a.md", ""),
        ("docs/adr/0001-b.md", ""),
        ("docs/adr/README.md", "[0001](0001-a.md) [0001](0001-b.md)"),
        ("docs/adr/c.md", ""),
    ]);
    let found = shown(&adrs(&tree));
    assert_eq!(found.len(), 3, "{found:?}");
}
