//! Does a statement's text bind its tenant? Evaluated at compile time, so plain loops over bytes.

/// Whether `sql` compares `tenant` with the first parameter, inserts it as the first column, or names a
/// table of the tenant's own. Text inside string literals does not count; comments are refused because a
/// binding inside one would count.
pub(super) const fn binds_tenant(sql: &str) -> bool {
    let text = sql.as_bytes();
    let mut at = 0;
    let mut in_string = false;
    // `INSERT INTO t (tenant,` was seen; its `VALUES (?1` or `SELECT ?1` must follow.
    let mut inserts_tenant = false;
    let mut bound = false;
    while at < text.len() {
        if text[at] == b'\'' {
            in_string = !in_string;
            at += 1;
            continue;
        }
        if in_string {
            at += 1;
            continue;
        }
        if starts(text, at, b"--") || starts(text, at, b"/*") {
            return false;
        }
        if starts(text, at, b"{tenant}") {
            bound = true;
        } else if word_starts(text, at) {
            if let Some(next) = word(text, at, b"tenant") {
                if let Some(value) = token(text, next, b"=") {
                    bound = bound || first_parameter(text, value);
                }
            } else if let Some(next) = word(text, at, b"into") {
                inserts_tenant = inserts_tenant || first_column_is_tenant(text, next);
            } else if inserts_tenant {
                if let Some(next) = word(text, at, b"values") {
                    if let Some(value) = token(text, next, b"(") {
                        bound = bound || first_parameter(text, value);
                    }
                } else if let Some(next) = word(text, at, b"select") {
                    bound = bound || first_parameter(text, next);
                }
            }
        }
        at += 1;
    }
    bound && !in_string
}

const fn first_column_is_tenant(text: &[u8], from: usize) -> bool {
    let mut at = skip_space(text, from);
    while at < text.len() && (is_word(text[at]) || text[at] == b'.' || text[at] == b'"') {
        at += 1;
    }
    let Some(open) = token(text, at, b"(") else {
        return false;
    };
    word(text, skip_space(text, open), b"tenant").is_some()
}

/// `?1` or `$1`, and not `?10`.
const fn first_parameter(text: &[u8], from: usize) -> bool {
    let at = skip_space(text, from);
    (starts(text, at, b"?1") || starts(text, at, b"$1")) && !(at + 2 < text.len() && is_word(text[at + 2]))
}

/// The place after `token`, skipping space before it.
const fn token(text: &[u8], from: usize, token: &[u8]) -> Option<usize> {
    let at = skip_space(text, from);
    if starts(text, at, token) {
        Some(at + token.len())
    } else {
        None
    }
}

/// The place after the whole word `word` at `at`, in any case.
const fn word(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    let end = at + word.len();
    if starts(text, at, word) && (end >= text.len() || !is_word(text[end])) {
        Some(end)
    } else {
        None
    }
}

const fn word_starts(text: &[u8], at: usize) -> bool {
    is_word(text[at]) && (at == 0 || !is_word(text[at - 1]))
}

const fn starts(text: &[u8], at: usize, part: &[u8]) -> bool {
    if at + part.len() > text.len() {
        return false;
    }
    let mut index = 0;
    while index < part.len() {
        if !text[at + index].eq_ignore_ascii_case(&part[index]) {
            return false;
        }
        index += 1;
    }
    true
}

const fn skip_space(text: &[u8], mut at: usize) -> usize {
    while at < text.len() && text[at].is_ascii_whitespace() {
        at += 1;
    }
    at
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
