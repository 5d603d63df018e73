//! JSON Patch (RFC 6902), for editing the payload of a letter. All operations or none.

use serde_json::Value;

use crate::Error;

/// Operations in one patch.
pub const OPERATIONS_MAX: usize = 1_000;

/// `document` after `patch`.
///
/// # Errors
/// [`Error::Letter`] with the operation that does not fit and why.
pub fn apply(document: &Value, patch: &Value) -> Result<Value, Error> {
    let Some(operations) = patch.as_array() else {
        return Err(Error::letter("a JSON Patch is an array of operations"));
    };
    if operations.len() > OPERATIONS_MAX {
        return Err(Error::letter(format!(
            "the patch has {} operations; {OPERATIONS_MAX} are allowed",
            operations.len()
        )));
    }
    let mut patched = document.clone();
    for (index, operation) in operations.iter().enumerate() {
        step(&mut patched, operation)
            .map_err(|why| Error::letter(format!("operation {index} of the patch: {why}")))?;
    }
    Ok(patched)
}

fn step(document: &mut Value, operation: &Value) -> Result<(), String> {
    let text = |name: &str| {
        operation
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| format!("`{name}` is missing"))
    };
    let value = || {
        operation
            .get("value")
            .cloned()
            .ok_or_else(|| "`value` is missing".to_owned())
    };
    let path = text("path")?;
    match text("op")? {
        "add" => add(document, path, value()?),
        "remove" => remove(document, path).map(drop),
        "replace" => {
            *find(document, path)? = value()?;
            Ok(())
        }
        "move" => {
            let from = text("from")?;
            if path.len() > from.len() && path.starts_with(from) && path[from.len()..].starts_with('/') {
                return Err(format!("`{from}` cannot move into itself"));
            }
            let moved = remove(document, from)?;
            add(document, path, moved)
        }
        "copy" => {
            let copied = find(document, text("from")?)?.clone();
            add(document, path, copied)
        }
        "test" => {
            if *find(document, path)? == value()? {
                Ok(())
            } else {
                Err(format!("the value at `{path}` is another one"))
            }
        }
        other => Err(format!("there is no operation `{other}`")),
    }
}

fn find<'d>(document: &'d mut Value, path: &str) -> Result<&'d mut Value, String> {
    document
        .pointer_mut(path)
        .ok_or_else(|| format!("there is nothing at `{path}`"))
}

/// The parent of what `path` names, and the last word of `path`.
fn parent<'d>(document: &'d mut Value, path: &str) -> Result<(&'d mut Value, String), String> {
    let (parent, last) = path
        .rsplit_once('/')
        .ok_or_else(|| format!("`{path}` does not begin with `/`"))?;
    Ok((
        find(document, parent)?,
        last.replace("~1", "/").replace("~0", "~"),
    ))
}

fn add(document: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        *document = value;
        return Ok(());
    }
    let (parent, last) = parent(document, path)?;
    match parent {
        Value::Object(members) => {
            members.insert(last, value);
        }
        Value::Array(items) => {
            let at = if last == "-" {
                items.len()
            } else {
                place(&last, items.len() + 1)?
            };
            items.insert(at, value);
        }
        _ => return Err(format!("`{path}` is not in an object or an array")),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &str) -> Result<Value, String> {
    if path.is_empty() {
        return Ok(std::mem::take(document));
    }
    let nothing = || format!("there is nothing at `{path}`");
    let (parent, last) = parent(document, path)?;
    match parent {
        Value::Object(members) => members.remove(&last).ok_or_else(nothing),
        Value::Array(items) => {
            let at = place(&last, items.len())?;
            Ok(items.remove(at))
        }
        _ => Err(nothing()),
    }
}

/// An array's index below `bound`, without a sign or leading zeros.
fn place(word: &str, bound: usize) -> Result<usize, String> {
    let plain = word == "0" || (!word.starts_with('0') && word.bytes().all(|byte| byte.is_ascii_digit()));
    let at: Option<usize> = if plain { word.parse().ok() } else { None };
    at.filter(|at| *at < bound)
        .ok_or_else(|| format!("`{word}` is no place in an array of {}", bound))
}

#[cfg(test)]
mod tests;
