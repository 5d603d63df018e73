//! Rules for pages: links lead somewhere, error pages have their four parts, ADRs are numbered and listed.

use std::collections::BTreeSet;

use super::{Fault, Source, Tree};

/// The folder of pages about error codes, one `CODE.md` each.
const ERRORS: &str = "docs/reference/errors";

/// What every error page says, in this order.
const ERROR_PARTS: &[&str] = &["What happened", "Why", "What to do", "Example"];

const ADRS: &str = "docs/adr";

/// What every note on an unreleased change says.
const NOTE_PARTS: &[&str] = &["What", "Why it matters", "Impact", "Migration"];

const NOTES: &str = "release-notes/unreleased";

pub(super) fn check(tree: &Tree) -> Vec<Fault> {
    let mut faults = Vec::new();
    for page in tree
        .files
        .iter()
        .filter(|file| file.has_extension(&["md"]) && !file.below("fixtures"))
    {
        if page.below(ERRORS) && !page.path.ends_with("README.md") {
            faults.extend(error_page(page));
        }
        if page.below(NOTES) && !page.path.ends_with("README.md") {
            faults.extend(parts(page, NOTE_PARTS));
        }
        faults.extend(links(tree, page));
    }
    faults.extend(adrs(tree));
    faults
}

/// The faults of a page about an error code.
fn error_page(page: &Source) -> Vec<Fault> {
    let mut faults = parts(page, ERROR_PARTS);
    let code = stem(&page.path);
    let title = page.text.lines().next().unwrap_or_default();
    let is_title = title
        .strip_prefix("# ")
        .and_then(|title| title.strip_prefix(code))
        .and_then(|rest| rest.strip_prefix(": "))
        .is_some_and(|rest| !rest.trim().is_empty());
    if !is_title {
        faults.push(Fault::at(
            &page.path,
            1,
            format!("begin with `# {code}: what went wrong`"),
        ));
    }
    faults
}

/// The parts of a page that are missing, empty or out of order. A part begins with a heading `## Part`, or
/// with the words in bold at the start of a line.
fn parts(page: &Source, wanted: &[&str]) -> Vec<Fault> {
    let lines: Vec<&str> = page.text.lines().collect();
    let mut from = 0;
    let mut faults = Vec::new();
    for part in wanted {
        let Some(found) = lines[from..].iter().position(|line| begins_part(line, part)) else {
            faults.push(Fault::file(
                &page.path,
                format!("no part `{part}` (or it is out of order)"),
            ));
            continue;
        };
        let start = from + found;
        let own = lines[start]
            .trim_start_matches(['#', '*', ' '])
            .trim_start_matches(part);
        let body = lines[start + 1..]
            .iter()
            .take_while(|line| !wanted.iter().any(|other| begins_part(line, other)));
        let says_something = own.chars().any(char::is_alphanumeric)
            || body
                .into_iter()
                .any(|line| line.chars().any(char::is_alphanumeric));
        if !says_something {
            faults.push(Fault::at(
                &page.path,
                start + 1,
                format!("the part `{part}` is empty"),
            ));
        }
        from = start + 1;
    }
    faults
}

fn begins_part(line: &str, part: &str) -> bool {
    let heading = line.trim_start_matches('#');
    let is_heading = heading.len() < line.len() && heading.trim() == part;
    let is_bold = line
        .strip_prefix("**")
        .and_then(|rest| rest.strip_prefix(part))
        .is_some_and(|rest| rest.starts_with("**") || rest.starts_with(".**") || rest.starts_with(":**"));
    is_heading || is_bold
}

/// Links that lead to no file, or to no heading of it.
fn links(tree: &Tree, page: &Source) -> Vec<Fault> {
    link_targets(&page.text)
        .into_iter()
        .filter_map(|(line, target)| {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() {
                page.path.clone()
            } else {
                resolve(&page.path, file)
            };
            let exists = tree.get(&path).is_some() || tree.root.join(&path).exists();
            if !exists {
                return Some(Fault::at(
                    &page.path,
                    line,
                    format!("the link `{target}` leads nowhere"),
                ));
            }
            let headed = tree
                .get(&path)
                .filter(|found| !anchor.is_empty() && found.has_extension(&["md"]))?;
            (!anchors(&headed.text).contains(anchor))
                .then(|| Fault::at(&page.path, line, format!("`{path}` has no heading `#{anchor}`")))
        })
        .collect()
}

/// Lines outside fenced code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// Targets of `[text](target)` and `[name]: target` that are files of the repository.
fn link_targets(text: &str) -> Vec<(usize, &str)> {
    let mut targets = Vec::new();
    for (number, line) in prose(text) {
        // Odd pieces between back quotes are code.
        for piece in line.split('`').step_by(2) {
            for (start, _) in piece.match_indices("](") {
                let rest = &piece[start + 2..];
                targets.push((number, rest.split([')', ' ']).next().unwrap_or_default()));
            }
        }
        if let Some((name, target)) = line.split_once("]: ")
            && name.starts_with('[')
        {
            targets.push((number, target.split_whitespace().next().unwrap_or_default()));
        }
    }
    targets.retain(|(_, target)| {
        !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:")
    });
    targets
}

/// The path that `link` means on the page `page`.
fn resolve(page: &str, link: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// The anchors of a page's headings, as forges make them.
fn anchors(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// ADRs are `NNNN-title.md`, each number once, each in the list.
fn adrs(tree: &Tree) -> Vec<Fault> {
    let list = tree.text("docs/adr/README.md").unwrap_or_default();
    let mut numbers = BTreeSet::new();
    let mut faults = Vec::new();
    for page in tree
        .files
        .iter()
        .filter(|file| file.below(ADRS) && !file.path.ends_with("/README.md"))
    {
        let name = stem(&page.path);
        let number = name.split('-').next().unwrap_or_default();
        if number.len() != 4 || !number.chars().all(|c| c.is_ascii_digit()) || !page.has_extension(&["md"]) {
            faults.push(Fault::file(&page.path, "an ADR is named `NNNN-title.md`"));
        } else if !numbers.insert(number) {
            faults.push(Fault::file(&page.path, format!("the number {number} is taken")));
        }
        if !list.contains(&format!("({name}.md)")) {
            faults.push(Fault::file(&page.path, "not in the list of docs/adr/README.md"));
        }
    }
    faults
}

/// `docs/reference/errors/RC-X-001.md` to `RC-X-001`.
fn stem(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

#[cfg(test)]
mod tests;
