//! Which parts of a line are not shown: whatever may be a password. Rather too much than too little: who reads
//! the message has the file, and the log has more readers.

use std::ops::Range;

/// Names end so whose values are secret: `password`, `db_password`, `apiKey`.
const SECRET_NAMES: [&str; 9] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "key",
    "credential",
    "credentials",
];

/// Lines above one that are searched for the key whose value it goes on with.
const LINES_ABOVE_MAX: usize = 64;

/// The parts of `line` that may be secret. They may overlap. A line may be as long as the file.
pub(super) fn ranges(line: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    users(line, &mut found);
    values(line, &mut found);
    found
}

/// `postgres://user:PASSWORD@`, and all before the `@` of other schemes, where a token may stand alone. A password
/// may itself hold what ends it elsewhere, so it goes up to the last `@`.
fn users(line: &str, found: &mut Vec<Range<usize>>) {
    let Some(end) = line.rfind('@') else { return };
    for (at, _) in line[..end].match_indices("://") {
        if found.last().is_some_and(|found| found.contains(&at)) {
            continue;
        }
        let start = at + 3;
        if !line[..at].ends_with("postgres") && !line[..at].ends_with("postgresql") {
            found.push(start..end);
        } else if let Some(colon) = line[start..end].find(':') {
            found.push(start + colon + 1..end);
        }
    }
}

/// `name: VALUE` and `name=VALUE`, also quoted, for the names of secrets. With `=` the value ends as an option of
/// a URL does; with `:` it is the rest of the line.
fn values(line: &str, found: &mut Vec<Range<usize>>) {
    for (at, mark) in line.char_indices().filter(|(_, c)| matches!(c, ':' | '=')) {
        if found.last().is_some_and(|found| found.contains(&at)) {
            continue;
        }
        let before = line[..at].trim_end().trim_end_matches(['"', '\'']);
        if !is_secret(before) {
            continue;
        }
        let rest = line[at + 1..].trim_start();
        let (value, len) = (line.len() - rest.len(), rest.len());
        let end = match mark {
            '=' => line[value..].find(['&', ' ', '\t']).unwrap_or(len),
            _ => len,
        };
        found.push(value..value + end);
    }
}

/// Whether a line is part of the value of a secret that begins above it: a block, or a folded text.
pub(super) fn continues<'a>(line: &str, above: impl Iterator<Item = &'a str>) -> bool {
    let indent = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let own = indent(line);
    let parent = above
        .take(LINES_ABOVE_MAX)
        .filter(|above| !above.trim().is_empty())
        .find(|above| indent(above) < own);
    parent
        .and_then(|parent| parent.split_once(':'))
        .is_some_and(|(name, value)| {
            // With a value of its own on its line it goes on here only when that is not closed.
            is_secret(name.trim_end().trim_end_matches(['"', '\'']))
                && !value.trim_start().starts_with(['{', '['])
        })
}

/// Whether `text` ends with the name of a secret.
fn is_secret(text: &str) -> bool {
    let start = text
        .rfind(|c: char| !c.is_ascii_alphanumeric())
        .map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
    let word = text[start..].to_ascii_lowercase();
    SECRET_NAMES.iter().any(|name| word.ends_with(name))
}
