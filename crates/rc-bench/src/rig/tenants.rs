//! Tenants by the dozen or by the thousand, with keys that every proxy of a comparison is shown alike.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use rc_model::Layout;
use rusqlite::{Connection, OpenFlags, params};
use sha2::{Digest as _, Sha256};

use crate::failure::{Failure, Result};
use crate::load::Requests;
use crate::text::Random;

/// A tenant of the bench.
#[derive(Debug, Clone)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    pub(crate) tier: &'static str,
    pub(crate) rps: u32,
}

/// All tenants of one project; a tenant's number is its place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tenants(Vec<Tenant>);

impl Tenants {
    pub(crate) fn push(&mut self, name: impl Into<String>, tier: &'static str, rps: u32) {
        let name = name.into();
        self.0.push(Tenant { name, tier, rps });
    }

    /// So many of a kind, named with a number.
    pub(crate) fn push_many(&mut self, name: &str, count: usize, tier: &'static str, rps: u32) {
        for number in 0..count {
            self.push(format!("{name}-{number}"), tier, rps);
        }
    }

    /// What stands below `tenants:` in `tenants.yaml`.
    pub(crate) fn yaml(&self) -> String {
        let mut yaml = String::new();
        for Tenant { name, tier, rps } in &self.0 {
            writeln!(
                yaml,
                "  {name}: {{tier: {tier}, rps: {{rate: {rps}/s, burst: {rps}}}}}"
            )
            .expect("writing to a string cannot fail");
        }
        yaml
    }

    /// The key of the tenant with that name.
    pub(crate) fn key(&self, name: &str) -> Result<String> {
        let number = self.0.iter().position(|tenant| tenant.name == name);
        number
            .map(key)
            .ok_or_else(|| Failure::new(format!("the rig has no tenant `{name}`")))
    }

    /// The keys of all whose names begin so.
    pub(crate) fn keys(&self, prefix: &str) -> Vec<String> {
        let numbered = self.0.iter().enumerate();
        numbered
            .filter(|(_, tenant)| tenant.name.starts_with(prefix))
            .map(|(number, _)| key(number))
            .collect()
    }

    /// Writes every tenant's key into the gateway's database, which has run and does not run now: thousands of
    /// `rc tenant key create` would take longer than the measurement.
    pub(crate) fn write_keys(&self, project: &Path) -> Result<()> {
        let failed = |error: rusqlite::Error| Failure::new(format!("the gateway's database: {error}"));
        let file = Layout::new(project).gateway_db();
        let mut db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
        db.busy_timeout(Duration::from_secs(10)).map_err(failed)?;
        let transaction = db.transaction().map_err(failed)?;
        {
            let mut insert = transaction
                .prepare(
                    "INSERT INTO api_keys (key_id, tenant, label, hash, created_at) VALUES (?1, ?2, 'bench', ?3, 0)",
                )
                .map_err(failed)?;
            for (number, tenant) in self.0.iter().enumerate() {
                let (id, secret) = halves(number);
                let hash = Sha256::digest(secret.as_bytes());
                insert
                    .execute(params![id, tenant.name, hash.as_slice()])
                    .map_err(failed)?;
            }
        }
        transaction.commit().map_err(failed)
    }
}

/// Id and secret of a tenant's key. Nothing is guarded here, so a number is secret enough.
fn halves(number: usize) -> (String, String) {
    (format!("{number:012}"), format!("{number:032}"))
}

fn key(number: usize) -> String {
    let (id, secret) = halves(number);
    format!("rck_{id}_{secret}")
}

/// A request for the service at `target`.
pub(crate) fn request(key: &str, target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\nAccept: */*\r\n\r\n")
        .into_bytes()
}

/// Each tenant in turn.
pub(crate) struct InTurn {
    requests: Vec<Vec<u8>>,
    next: usize,
}

impl InTurn {
    pub(crate) fn new(keys: &[String], target: &str) -> Self {
        let requests = keys.iter().map(|key| request(key, target)).collect();
        Self { requests, next: 0 }
    }
}

impl Requests for InTurn {
    fn next(&mut self, out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(&self.requests[self.next]);
        self.next = (self.next + 1) % self.requests.len();
        0
    }
}

/// Tenants by Zipf's law: the tenth asks a tenth as often as the first.
pub(crate) struct ByZipf {
    requests: Vec<Vec<u8>>,
    /// The share of all requests that come from this tenant or one before it.
    up_to: Vec<f64>,
    random: Random,
}

impl ByZipf {
    pub(crate) fn new(keys: &[String], target: &str, seed: u64) -> Self {
        let total: f64 = (1..=keys.len()).map(|rank| 1.0 / rank as f64).sum();
        let mut sum = 0.0;
        let up_to = (1..=keys.len()).map(|rank| {
            sum += 1.0 / rank as f64 / total;
            sum
        });
        Self {
            up_to: up_to.collect(),
            requests: keys.iter().map(|key| request(key, target)).collect(),
            random: Random::new(seed),
        }
    }
}

impl Requests for ByZipf {
    fn next(&mut self, out: &mut Vec<u8>) -> usize {
        let drawn = (self.random.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let place = self.up_to.partition_point(|up_to| *up_to < drawn);
        out.extend_from_slice(&self.requests[place.min(self.requests.len() - 1)]);
        0
    }
}

#[cfg(test)]
mod tests;
