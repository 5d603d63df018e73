//! The file of API keys of a gateway on its own: one line a key, with the hash of its secret.
//!
//! ```text
//! # id          tenant  hash of the secret                  what it is for
//! kg0w2cm1hwvy  acme    sha256:5e88…                        nightly build
//! ```

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use crate::check::suggest::closest;
use crate::digest::Digest;
use crate::id::{KeyId, TenantId};
use crate::source::{ByteSpan, Diagnostic, SourceFile, quote};
use crate::tenants::TenantsFile;

/// Largest file of keys: about 100,000 of them.
pub const KEYS_BYTES_MAX: u64 = 16 << 20;

/// What a line must look like.
const EXPECTED: &str = "a line is `ID TENANT sha256:HASH LABEL`; `rc gateway key TENANT` makes one";

/// One key.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyLine {
    pub id: KeyId,
    pub tenant: TenantId,
    /// The SHA-256 of the key's secret half.
    pub hash: Digest,
    source: Arc<SourceFile>,
    span: ByteSpan,
}

/// The line of a key, with its line break.
#[must_use]
pub fn line(id: &KeyId, tenant: &TenantId, hash: Digest, label: &str) -> String {
    format!("{}\n", format!("{id} {tenant} {hash} {label}").trim_end())
}

/// Reads the file at `path`, called `name`. Gives its text too; nothing of a file that is not there.
pub(super) fn read(path: &Path, name: &str, problems: &mut Vec<Diagnostic>) -> (Vec<KeyLine>, String) {
    let mut text = String::new();
    let taken =
        fs_err::File::open(path).and_then(|file| file.take(KEYS_BYTES_MAX + 1).read_to_string(&mut text));
    let fault = match taken {
        Err(error) => Some(error.to_string()),
        Ok(_) if text.len() as u64 > KEYS_BYTES_MAX => {
            Some(format!("the file has more than {KEYS_BYTES_MAX} bytes"))
        }
        Ok(_) => None,
    };
    if let Some(fault) = fault {
        problems.push(
            Diagnostic::of_file("RC-CFG-001", name, fault)
                .hint("`rc gateway key TENANT --add` makes the file with a first key"),
        );
        return (Vec::new(), String::new());
    }
    let source = Arc::new(SourceFile::new(name, text));
    (parse(&source, problems), source.text().to_owned())
}

fn parse(source: &Arc<SourceFile>, problems: &mut Vec<Diagnostic>) -> Vec<KeyLine> {
    let mut keys: Vec<KeyLine> = Vec::new();
    let mut seen: HashMap<KeyId, ByteSpan> = HashMap::new();
    let mut start = 0;
    for whole in source.text().split_inclusive('\n') {
        let text = whole.trim_end();
        // Never the whole line: what somebody pasted may be a key.
        let first = ByteSpan::new(start, start + text.find(char::is_whitespace).unwrap_or(0));
        start += whole.len();
        if text.trim_start().is_empty() || text.trim_start().starts_with('#') {
            continue;
        }
        let key = match key(text) {
            Ok((id, tenant, hash)) => KeyLine {
                id,
                tenant,
                hash,
                source: Arc::clone(source),
                span: first,
            },
            Err(why) => {
                let start = ByteSpan::new(first.start, first.start);
                let fault = Diagnostic::error("RC-CFG-009", source, start, format!("malformed key: {why}"));
                problems.push(
                    fault
                        .hint(EXPECTED)
                        .hide(&Arc::from([ByteSpan::new(first.start, first.start + text.len())])),
                );
                continue;
            }
        };
        if let Some(other) = seen.insert(key.id.clone(), key.span) {
            problems.push(
                Diagnostic::error(
                    "RC-CFG-004",
                    source,
                    key.span,
                    format!("the key {} is there twice", quote(key.id.as_str())),
                )
                .note(source, other, "first here")
                .hint("keep one of the two lines"),
            );
            continue;
        }
        keys.push(key);
    }
    keys
}

fn key(text: &str) -> Result<(KeyId, TenantId, Digest), String> {
    let mut words = text.split_whitespace();
    let mut word = |what: &str| words.next().ok_or_else(|| format!("the {what} is missing"));
    let (id, tenant, hash) = (word("id")?, word("tenant")?, word("hash")?);
    if id.starts_with("rck_") {
        return Err(
            "it begins with a whole key; a line has the key's id and the hash of its secret".to_owned(),
        );
    }
    let id = KeyId::new(id).map_err(|error| format!("the id: {error}"))?;
    let tenant = TenantId::new(tenant).map_err(|error| format!("the tenant: {error}"))?;
    let hash = Digest::parse(hash).ok_or("the hash is `sha256:` and 64 digits of `0-9a-f`")?;
    Ok((id, tenant, hash))
}

/// Keys of nobody: a tenant that was removed, or a slip.
pub(super) fn check(keys: &[KeyLine], tenants: &TenantsFile, problems: &mut Vec<Diagnostic>) {
    for key in keys
        .iter()
        .filter(|key| !tenants.tenants.contains_key(&key.tenant))
    {
        let message = format!(
            "the key {} belongs to {}, which is no tenant",
            quote(key.id.as_str()),
            quote(key.tenant.as_str())
        );
        let meant = closest(key.tenant.as_str(), tenants.tenants.keys().map(TenantId::as_str));
        let hint = meant.map_or_else(
            || "remove the line, or add the tenant".to_owned(),
            |name| format!("did you mean `{name}`?"),
        );
        problems.push(Diagnostic::warning("RC-CFG-011", &key.source, key.span, message).hint(hint));
    }
}

#[cfg(test)]
mod tests;
