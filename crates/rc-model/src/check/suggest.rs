//! "Did you mean": the nearest of some names.

/// Most names that a hint lists.
const NAMES_SHOWN_MAX: usize = 12;

/// The candidate that `text` was probably meant to be: at most a third of its characters differ, whatever
/// their case.
pub fn closest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = normal(text);
    // A key of a thousand characters is no typing mistake; distances are quadratic.
    if wanted.len() > 2 * crate::id::NAME_BYTES_MAX {
        return None;
    }
    candidates
        .into_iter()
        .map(|candidate| (distance(&wanted, &normal(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= wanted.len().max(candidate.len()).div_ceil(3).min(3))
        .filter(|(distance, candidate)| *distance < wanted.len().min(candidate.chars().count()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `one of `a`, `b` or `c``, shortened when there are many.
pub(crate) fn one_of<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(NAMES_SHOWN_MAX)
        .map(|name| format!("`{}`", name.as_ref()))
        .collect();
    let rest = names.len().saturating_sub(shown.len());
    if rest > 0 {
        return format!("one of {} and {rest} more", shown.join(", "));
    }
    match shown.as_slice() {
        [] => "there is none".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("one of {} or {last}", first.join(", ")),
    }
}

/// `write one of `a` or `b`, or add it`; with no names only `add it` is left.
pub(crate) fn one_of_or<T: AsRef<str>>(names: &[T], otherwise: &str) -> String {
    if names.is_empty() {
        return otherwise.to_owned();
    }
    format!("write {}, or {otherwise}", one_of(names))
}

/// Lower case, with `_` for `-`: these are the commonest slips.
fn normal(text: &str) -> Vec<char> {
    let lower = text.chars().flat_map(char::to_lowercase);
    lower.map(|c| if c == '-' { '_' } else { c }).collect()
}

/// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(from != to))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *to && b[j - 1] == *from {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests;
